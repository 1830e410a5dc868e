"""The console script aya-embedder."""

from __future__ import annotations

import os
import sys
import traceback
from functools import partial
from typing import NoReturn

from aya import service
from aya.alerts.of_home import alerts_of
from aya.errors import EXIT_FAILED, ConfigError
from aya_embedder.config import Config
from aya_embedder.server import serve

# NumPy's threads let go of the interpreter's lock and take it again a thousand times a batch. While the event loop is
# busy each of them waits for this long, and by Python's 5 ms a batch took seconds under overload.
_SWITCH_SECONDS = 20e-6


def main() -> None:
    """Run the embedder until SIGTERM or SIGINT; exit 0 then, and 1 when it cannot go on."""
    try:
        config = Config.from_environ(os.environ)
    except ConfigError as error:
        sys.exit(f"aya-embedder: {error.message}\n  try: {error.hint}")
    sys.setswitchinterval(_SWITCH_SECONDS)
    try:
        code = service.run("embedder", partial(serve, config), node=config.node, told=alerts_of())
    except Exception:  # noqa: BLE001 a fault of ours: shown whole, and the supervisor starts us again
        traceback.print_exc()
        code = EXIT_FAILED
    _leave(code)


def _leave(code: int) -> NoReturn:
    """End the process without tearing the interpreter down.

    MLX ends its threads while the process ends its libraries, and one exit in 25 lost that race by an abort; and a
    forward pass or a download cannot be interrupted. There is nothing to save.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()

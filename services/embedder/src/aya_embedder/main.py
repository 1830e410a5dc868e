"""The console script aya-embedder."""

from __future__ import annotations

import os
import sys
import threading
from functools import partial

from aya import service
from aya.errors import ConfigError
from aya_embedder.config import Config
from aya_embedder.server import serve


def main() -> None:
    """Run the embedder until SIGTERM or SIGINT; exit 0 then, and 1 when it cannot go on."""
    try:
        config = Config.from_environ(os.environ)
    except ConfigError as error:
        sys.exit(f"aya-embedder: {error.message}\n  try: {error.hint}")
    _leave(service.run("embedder", partial(serve, config), node=config.node))


def _leave(code: int) -> None:
    """Exit at once when a thread is still in a forward pass or a download.

    Neither can be interrupted nor has anything to save, and a thread that comes back from C++ into an interpreter
    that is being torn down would abort the process.
    """
    if threading.active_count() > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    main()

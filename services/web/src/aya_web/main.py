"""The page's service: python -m aya_web."""

from __future__ import annotations

import os
import sys
from functools import partial

from aya import service
from aya.alerts.of_home import alerts_of
from aya.errors import AyaError
from aya_web.config import Config
from aya_web.server import serve


def main() -> None:
    """Run the service until SIGTERM; exit 0 then, 1 on a failure that a restart may mend."""
    try:
        config = Config.from_environ(os.environ)
    except AyaError as error:
        sys.exit(f"aya-web: {error.message}" + (f"\n  next: {error.hint}" if error.hint else ""))
    sys.exit(service.run("web", partial(serve, config), node=config.node, told=alerts_of()))

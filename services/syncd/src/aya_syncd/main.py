"""AIR's sync daemon: python -m aya_syncd [--alpha-host HOST[:PORT],…] [--local-host HOST[:PORT]]."""

from __future__ import annotations

import asyncio
import sys

from aya import log, service
from aya.alerts.of_home import alerts_of
from aya.errors import AyaError
from aya_syncd.config import read
from aya_syncd.loop import Sync


def main() -> None:
    """Run the service until SIGTERM; exit 0 then, 1 on a failure that a restart may mend."""
    try:
        config = read(sys.argv[1:])
    except AyaError as error:
        sys.exit(f"aya-syncd: {error.message}" + (f"\n  next: {error.hint}" if error.hint else ""))
    work = Sync(config, config.primary).run if config.primary else _alone
    sys.exit(service.run("syncd", work, node=config.node, told=alerts_of()))


async def _alone(stop: asyncio.Event) -> None:
    """Wait: this machine's AIR has nobody to follow yet; `aya up` starts the daemon anew when that changes."""
    log.get_logger().warning("sync.alone", hint="aya up --nodes alpha,air, or [cluster] in aya.toml")
    await stop.wait()

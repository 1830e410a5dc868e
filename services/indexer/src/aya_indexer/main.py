"""The indexer: chunks and embeds the documents that arrived without vectors, such as those typed in psql."""

from __future__ import annotations

import sys

from aya import service
from aya.alerts.of_home import alerts_of
from aya.errors import AyaError
from aya_indexer.config import read
from aya_indexer.loop import Indexer


def main() -> None:
    """Run the service until SIGTERM; exit 0 then, 1 on a failure that a restart may mend."""
    try:
        config = read()
    except AyaError as error:
        sys.exit(f"aya-indexer: {error.message}" + (f"\n  next: {error.hint}" if error.hint else ""))
    sys.exit(service.run("indexer", Indexer(config).run, node=config.node, told=alerts_of()))

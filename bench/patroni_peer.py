"""Patroni as the peer of bench/failover.py: two members on hosts of their own, etcd on the clients' host.

What the faults mean for it:

    kill        Patroni and PostgreSQL of the leader end in the same moment, as when its plug is pulled
    freeze      all their processes stop (SIGSTOP); the leader's lock in etcd runs out
    cut         the two members do not reach each other, but both reach etcd. The leader keeps its lock, so nobody is
                promoted: its writers wait for a standby that has fallen silent until PostgreSQL gives that up
                (wal_sender_timeout, 60 s by default, 3 s in the aggressive setting) and Patroni's next loop takes it
                out of synchronous_standby_names. With etcd on the members' own machines a cut would be more than that.
    isolate     the leader's host reaches nobody, etcd neither
    switchover  by its REST API, what `patronictl switchover` calls

default: ttl 30, loop_wait 10, retry_timeout 10, and PostgreSQL's defaults. aggressive: ttl 20, loop_wait 1,
retry_timeout 3 (each the least that Patroni takes), and short times for silent connections in PostgreSQL.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.failover import clients
from tests.failover.lab import NODES
from tests.failover.network import network
from tests.failover.patroni_lab import AGGRESSIVE, DEFAULT, PatroniLab, missing, patroni_lab

PACES = {"default": DEFAULT, "aggressive": AGGRESSIVE}
# Longer than the longest of the default setting: a cut's wal_sender_timeout and a loop.
GIVE_UP_SECONDS = 150.0
_MAKE = Path(__file__).resolve().parent.parent / "scripts" / "patroni"


def lacking() -> str | None:
    """Make Patroni's environment where there is none; return what is missing all the same."""
    if not os.environ.get("AYA_PATRONI_PYTHON") and shutil.which("etcd"):
        made = subprocess.run([str(_MAKE)], stdout=subprocess.PIPE, text=True, check=False)
        os.environ["AYA_PATRONI_PYTHON"] = made.stdout.strip()
    return missing()


@asynccontextmanager
async def pair(directory: Path, pace: str) -> AsyncGenerator[PatroniLab]:
    """Lend two members at a pace of PACES, with the clients' tables."""
    with network(*NODES) as hosts:
        async with patroni_lab(directory / "patroni", PACES[pace], hosts) as members:
            await clients.prepare(members.database())
            yield members

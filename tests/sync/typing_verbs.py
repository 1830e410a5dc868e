"""Typing `aya` at one of the two bases, while the daemon runs in this process."""

from __future__ import annotations

import asyncio
from pathlib import Path

from click.testing import CliRunner, Result

from aya.cli import main
from aya.dsn import DatabaseSettings


def environment(settings: DatabaseSettings, **more: str) -> dict[str, str | None]:
    """Return the contract's names for a base, and nothing of the shell's."""
    ((host, port),) = settings.hosts
    known = {"DB_HOST": host, "DB_PORT": str(port), "DB_NAME": settings.database, "DB_USER": settings.user}
    return {"AYA_DEBUG": None, "AYA_NODE": None, "AYA_DSN": None, "DB_PASSWORD": settings.password, **known, **more}


async def typed(home: Path, env: dict[str, str | None], *arguments: str) -> Result:
    """Run `aya` in a thread of its own: the daemon is in this one."""
    runner = CliRunner(env=env)
    return await asyncio.to_thread(runner.invoke, main, ["--home", str(home), *arguments])

"""`aya dsn`: how other programs reach the knowledge base, whoever leads it."""

from __future__ import annotations

import click

from aya.cli import output, session
from aya.home import Home
from aya.reach import base_settings


@click.command(name="dsn")
@click.option("--node", metavar="NODE", help="The node whose server comes first (default: this machine's first).")
@click.option("--password", is_flag=True, help="With the password: whoever sees the line has it.")
@click.pass_obj
def command(home: Home, /, *, node: str | None, password: bool) -> None:
    """Print the DSN of the base for psql and every libpq program, and for asyncpg; it need not change in a failover.

    Without --password it is read from ~/.pgpass or PGPASSWORD (aya env prints it).
    """
    database = base_settings(home, session.chosen_node(home, node), environ={}).database
    output.line(database.dsn() if password else database.display())

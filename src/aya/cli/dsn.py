"""`aya dsn`: how another program reaches the server that may be written, whoever leads."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import quote, urlencode

import click

from aya.cli import output, session
from aya.dsn import OWNER, DatabaseSettings, writable
from aya.home import Home
from aya.members import members
from aya.settings import load_config, node_settings

# For each host; libpq takes no less than two seconds (libpq, "connect_timeout").
_CONNECT_SECONDS = 2
# A host that went without a word is given up after so long, where the system can (libpq, "tcp_user_timeout").
_SILENT_MILLISECONDS = 5000


@click.command(name="dsn")
@click.option("--jdbc", is_flag=True, help="As a JDBC URL.")
@click.option("--elsewhere", is_flag=True, help="For a program on another machine: by the addresses in aya.toml.")
@click.option("--role", metavar="ROLE", default=OWNER, show_default=True, help="Whom to enter as.")
@click.option("--password", is_flag=True, help="With the password: whoever sees the line has it.")
@session.node_option
@click.pass_obj
def command(home: Home, /, *, node: str | None, role: str, jdbc: bool, elsewhere: bool, password: bool) -> None:
    """Print the DSN of the knowledge base for psql, psycopg and other programs.

    It lists every server that may lead, and asks for the one that may be written: it stays the same after a failover.
    Without --password that is read from ~/.pgpass or PGPASSWORD (aya env prints it).
    """
    name = session.chosen_node(home, node)
    database = node_settings(home, name, role=role).database
    if elsewhere:
        known = members(home, load_config(home))
        hosts = tuple(host for member in known.values() for host in member.hosts)
        database = writable(replace(database, hosts=hosts or database.hosts))
    if not password:
        database = replace(database, password=None)
    output.line(jdbc_url(database) if jdbc else libpq_dsn(database))


def libpq_dsn(database: DatabaseSettings) -> str:
    """Return the DSN for libpq and what is built on it; pure. One server alone is asked for nothing more."""
    if len(database.hosts) == 1:
        return database.dsn()
    limits = (("connect_timeout", str(_CONNECT_SECONDS)), ("tcp_user_timeout", str(_SILENT_MILLISECONDS)))
    return replace(database, options=(*database.options, *limits)).dsn()


def jdbc_url(database: DatabaseSettings) -> str:
    """Return the URL for pgJDBC, which has words of its own; pure."""
    hosts = ",".join(f"{f'[{host}]' if ':' in host else host}:{port}" for host, port in database.hosts)
    wanted = {"user": database.user, **({"password": database.password} if database.password else {})}
    if len(database.hosts) > 1:
        wanted |= {"targetServerType": "primary", "connectTimeout": str(_CONNECT_SECONDS), "tcpKeepAlive": "true"}
    return f"jdbc:postgresql://{hosts}/{quote(database.database, safe='')}?{urlencode(wanted, quote_via=quote)}"

"""The lines of the contract, phase by phase, each with its limit and what to do when it fails; pure.

{primary}, {standby} and {copy} are the nodes that have these roles now; {node} is the one that is measured.
"""

from __future__ import annotations

from aya.verify.types import Check, Limit, Where

_UP = "aya up, then aya status"
_ARCHIVE = "docs/operations/backup.md"
_FAILOVER = "aya status, then docs/operations/failover.md"
_SYNC = "aya sync status, then docs/operations/sync.md"
_LOCAL_LOG = "less {logs}/embedder.log, then aya up"
_MINUTE, _LONG = Limit("<", 60), 90.0
# A passage is found when it is among the five that a search returns by default.
_FOUND = Limit("≤", 5)
_HEALTHY = Limit("=", "healthy")


def _index(name: str, statement: str) -> Check:
    return Check(f"1.{name}", "primary", f"index {name}", Limit("=", "valid"), hint=statement, needs=("1.database",))


def _table(check_id: str, where: Where, needs: str, columns: int) -> Check:
    name = check_id.partition(".")[2]
    return Check(check_id, where, f"table {name}", Limit("=", columns), "columns", "aya migrate", needs=(needs,))


def _sql(statement: str) -> str:
    # The password goes by the environment: arguments can be read by everybody on the machine.
    return f"""eval "$(aya env {{node}})"; PGPASSWORD="$DB_PASSWORD" psql "$(aya dsn)" -c '{statement}'"""


PRIMARY = (
    Check("1.processes", "primary", "postgres processes", Limit(">", 5), hint=_UP, local=True, own=True),
    Check("1.database", "primary", "database {database}", Limit("=", "{database}"), hint=_UP),
    Check("1.extension", "primary", "extension vector", Limit("there"), hint="aya migrate", needs=("1.database",)),
    _table("1.documents", "primary", "1.database", 7),
    _table("1.chunks", "primary", "1.database", 7),
    _index("idx_chunks_embedding", "aya index build"),
    _index("idx_chunks_document_id", _sql("CREATE INDEX idx_chunks_document_id ON chunks (document_id)")),
    _index("idx_documents_category", _sql("CREATE INDEX idx_documents_category ON documents (category)")),
    _index("idx_documents_created_at", _sql("CREATE INDEX idx_documents_created_at ON documents (created_at DESC)")),
    Check(
        "1.wal_level", "primary", "wal_level", Limit("one of", ("replica", "logical")), hint=_UP,
        needs=("1.database",),
    ),
    Check(
        "1.slot", "primary", "slot {slot}", Limit("=", "physical"), hint="aya rejoin {standby}",
        needs=("1.database",), of="standby", own=True,
    ),
    Check("1.embedder", "primary", "embedder healthy", _HEALTHY, hint=_LOCAL_LOG, local=True),
    Check(
        "1.archive", "primary", "WAL archive directory, owned by the server's user", Limit("there"),
        hint="ls -ld {archive}", local=True, own=True,
    ),
    Check(
        "1.archive_mode", "primary", "WAL archive directory, mode", Limit("=", "700"), hint="chmod 700 {archive}",
        local=True, own=True,
    ),
    Check(
        "1.archiving", "primary", "WAL archiving, failures since the last success", Limit("=", 0), hint=_ARCHIVE,
        needs=("1.database",), own=True,
    ),
    Check("1.port", "primary", "port {port}", Limit("=", "listening"), hint=_UP, own=True),
    Check(
        "1.insert", "primary", "a document with its vector inserted", Limit("=", 1), "rows", _FAILOVER,
        needs=("1.database", "1.chunks", "1.embedder"),
    ),
    Check(
        "1.search", "primary", "similarity search finds it, place", _FOUND, hint="aya index status",
        uses=("1.insert",),
    ),
)  # fmt: skip

STANDBY = (
    Check("2.recovery", "standby", "in recovery", Limit("=", "in recovery"), hint=_FAILOVER),
    Check("2.lag", "standby", "replay lag", Limit("<", 1), "s", _FAILOVER, needs=("2.recovery",)),
    Check(
        "2.bulk_lag", "standby", "longest replay lag while 100 documents are inserted", Limit("<", 1), "s", _FAILOVER,
        needs=("2.recovery", "2.lag"), patience_seconds=60,
    ),
    Check("2.read_only", "standby", "refuses a write", Limit("contains", "read-only transaction"), hint=_FAILOVER),
    Check("2.embedder", "standby", "embedder healthy", _HEALTHY, hint=_LOCAL_LOG, local=True),
    Check(
        "2.name", "primary", "{standby} follows {primary}, application_name", Limit("=", "{standby}"), hint=_FAILOVER,
        of="standby",
    ),
    Check(
        "2.state", "primary", "{standby} follows {primary}, state", Limit("=", "streaming"), hint=_FAILOVER,
        needs=("2.name",), of="standby",
    ),
    Check(
        "2.sync_state", "primary", "{standby} follows {primary}, sync_state", Limit("=", "sync"), hint=_FAILOVER,
        needs=("2.name",), of="standby",
    ),
    Check(
        "2.slot_active", "primary", "slot {slot}", Limit("=", "active"), hint=_FAILOVER, of="standby", own=True,
    ),
    Check(
        "2.replication_lag", "primary", "replication lag, median of 5 commits", Limit("<", 100), "ms", _FAILOVER,
        needs=("2.name",), of="standby",
    ),
)  # fmt: skip

COPY = (
    Check("3.postgresql", "copy", "local PostgreSQL", Limit("there"), hint=_UP),
    _table("3.documents", "copy", "3.postgresql", 7),
    _table("3.chunks", "copy", "3.postgresql", 7),
    _table("3.write_queue", "copy", "3.postgresql", 6),
    Check("3.primary", "copy", "{primary} reachable", Limit("<", 3000), "ms", _SYNC),
    Check("3.embedder", "copy", "embedder healthy", _HEALTHY, hint=_LOCAL_LOG, local=True),
    Check("3.daemon", "copy", "sync daemon", Limit("=", "running"), hint=_UP, needs=("3.postgresql",)),
    Check("3.last_sync", "copy", "last sync", _MINUTE, "s", _SYNC, needs=("3.daemon", "3.primary")),
    Check(
        "3.count", "copy", "documents more or fewer than on {primary}", Limit("=", 0), hint="aya sync now",
        needs=("3.daemon", "3.primary"), patience_seconds=60,
    ),
    Check(
        "3.pushed", "copy", "a row queued here is on {primary} after", _MINUTE, "s", _SYNC,
        needs=("3.write_queue", "3.daemon", "3.primary"), patience_seconds=_LONG,
    ),
    Check("3.marked", "copy", "and is marked", Limit("=", "synced"), hint=_SYNC, uses=("3.pushed",)),
    Check(
        "3.deleted", "copy", "deleted on {primary}, it is gone here after", _MINUTE, "s", _SYNC, uses=("3.pushed",),
        patience_seconds=_LONG,
    ),
)  # fmt: skip

_SERVER_LOG = "aya mcp serve --node {node}, by hand, shows why"
ASSISTANT = (
    Check(
        "4.protocol", "each", "initialize: protocolVersion", Limit("=", "2025-11-25"), hint=_SERVER_LOG, local=True,
    ),
    Check(
        "4.capabilities", "each", "initialize: capabilities", Limit("contains", "tools"), hint=_SERVER_LOG,
        uses=("4.protocol",), local=True,
    ),
    Check(
        "4.server", "each", "initialize: serverInfo", Limit("=", "aya-rag"), hint=_SERVER_LOG, uses=("4.protocol",),
        local=True,
    ),
    Check(
        "4.query_listed", "each", "tool query_aya_rag", Limit("=", "listed"), hint=_SERVER_LOG, uses=("4.protocol",),
        local=True,
    ),
    Check(
        "4.add_listed", "each", "tool add_to_aya_rag", Limit("=", "listed"), hint=_SERVER_LOG, uses=("4.protocol",),
        local=True,
    ),
    Check(
        "4.add", "each", "add_to_aya_rag called", Limit("=", "success"), hint=_SERVER_LOG,
        needs=("4.add_listed",), uses=("4.protocol",),
        local=True,
    ),
    Check(
        "4.query", "each", "query_aya_rag finds it, place", _FOUND, hint=_SERVER_LOG,
        needs=("4.query_listed",), uses=("4.protocol", "4.add"), local=True,
    ),
)  # fmt: skip

ARRIVAL = (
    Check("5.insert", "primary", "a document with its vector inserted", Limit("=", 1), "rows", _FAILOVER),
    Check("5.standby", "standby", "it is on {standby} after", Limit("<", 1), "s", _FAILOVER, uses=("5.insert",)),
    Check(
        "5.copy", "copy", "it is on {copy} after", _MINUTE, "s", _SYNC, needs=("3.daemon", "3.primary"),
        uses=("5.insert",),
        patience_seconds=_LONG,
    ),
    Check(
        "5.indexed", "primary", "a text typed alone has its vectors after", Limit("<", 30), "s",
        "less {logs}/indexer.log, then aya up", patience_seconds=60,
    ),
    Check(
        "5.search", "each", "similarity search finds it, place", _FOUND, hint="aya index status --node {node}",
        needs=("5.standby", "5.copy"),
        uses=("5.insert",), local=True,
    ),
)  # fmt: skip

CHECKS: tuple[Check, ...] = (*PRIMARY, *STANDBY, *COPY, *ASSISTANT, *ARRIVAL)
PHASES = tuple(dict.fromkeys(check.phase for check in CHECKS))

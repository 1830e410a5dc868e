"""Versions that should be the same on all nodes, or fit together; pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aya.doctor.catalogue import finding
from aya.doctor.findings import Finding
from aya.doctor.servers import ServerFacts
from aya.postgres.config import SERVERS


def judge_one(seen: ServerFacts, aya: str) -> list[Finding]:
    """Return what does not fit together inside one server. aya: the version that looks."""
    found: list[Finding] = []
    if seen.schema_error:
        found.append(finding("versions.schema-wrong", seen.schema_error[0], seen.schema_error[1], node=seen.node))
    elif seen.schema_aya and _ordered(seen.schema_aya) > _ordered(aya):
        what = f"AYA {seen.schema_aya} made the base's last migration, this is {aya}"
        found.append(finding("versions.aya-differs", what, "upgrade AYA on this machine", node=seen.node))
    if seen.collation_recorded and seen.collation_actual and seen.collation_recorded != seen.collation_actual:
        what = f"the base was sorted by collation {seen.collation_recorded}, the system has {seen.collation_actual}"
        hint = f"psql: REINDEX DATABASE {seen.database}; ALTER DATABASE {seen.database} REFRESH COLLATION VERSION"
        found.append(finding("versions.collation-changed", what, hint, node=seen.node))
    return [*found, *_pgvector(seen)]


def _pgvector(seen: ServerFacts) -> list[Finding]:
    used, installed = seen.pgvector, seen.pgvector_library
    if used is None or used == installed:
        return []
    if installed is None or _ordered(installed) < _ordered(used):
        what = f"the base uses pgvector {used}, the library is {installed or 'missing'}"
        hint = f"brew upgrade pgvector, or apt-get install postgresql-{seen.major}-pgvector; then restart the server"
        return [finding("versions.pgvector-library", what, hint, node=seen.node)]
    what = f"the base uses pgvector {used}, and {installed} is installed"
    hint = "once every server has the library, at the primary in psql: ALTER EXTENSION vector UPDATE"
    return [finding("versions.pgvector-behind", what, hint, node=seen.node)]


def judge_all(seen: Sequence[ServerFacts]) -> list[Finding]:
    """Return what differs between nodes."""
    servers = [one for one in seen if one.node in SERVERS]
    return [
        *_postgresql(servers),
        *_platforms(servers),
        *_differing(
            "versions.pgvector-differs", "pgvector", seen, lambda one: one.pgvector_library,
            "install the same on every node; on beta before alpha",
        ),
        *_schemas(seen),
        *_differing("versions.model-differs", "the model of its vectors", seen,
                    lambda one: one.model and f"{one.model[1]} ({one.model[0][:12]})",
                    "aya reembed --model NAME at the node that is wrong"),
        *_differing("versions.collation-differs", "the collation", seen, lambda one: one.collation or None,
                    "dump and restore into a cluster made by aya up"),
    ]  # fmt: skip


def _postgresql(servers: Sequence[ServerFacts]) -> list[Finding]:
    majors = _differing(
        "versions.postgresql-major-differs", "PostgreSQL", servers, lambda one: one.major or None,
        "the same [postgres] major in aya.toml on both, then aya rejoin",
    )  # fmt: skip
    return majors or _differing(
        "versions.postgresql-minor-differs", "PostgreSQL", servers, lambda one: one.version or None,
        "upgrade the standby's, restart it, then aya switchover and the other one",
    )  # fmt: skip


def _platforms(servers: Sequence[ServerFacts]) -> list[Finding]:
    def system(one: ServerFacts) -> str | None:
        words = one.system
        return "macOS" if "darwin" in words else "Linux" if "linux" in words else words or None

    hint = "follow by aya sync (AIR) instead of a physical standby"
    return _differing("versions.platform-differs", "the system", servers, system, hint)


def _schemas(seen: Sequence[ServerFacts]) -> list[Finding]:
    """Return whether nodes are at different migrations. Only the highest that all nodes have counts for AIR."""
    servers = [one for one in seen if one.node in SERVERS and one.schema is not None]
    return _differing("versions.schema-differs", "the schema", servers, lambda one: str(one.schema), "aya migrate")


def _differing(
    kind: str, what: str, seen: Sequence[ServerFacts], value: Callable[[ServerFacts], str | None], hint: str
) -> list[Finding]:
    """Return one finding when nodes that say a value do not all say the same."""
    said = {one.node: word for one in seen if (word := value(one)) is not None}
    if len(set(said.values())) < 2:  # noqa: PLR2004 - two of them differ
        return []
    listed = ", ".join(f"{node} has {word}" for node, word in said.items())
    return [finding(kind, f"{what} differs: {listed}", hint)]


def _ordered(version: str) -> tuple[int, ...]:
    """Return a version so that it can be compared; what is no number counts as 0."""
    return tuple(int(part[:9]) if part.isascii() and part.isdigit() else 0 for part in version.split(".")[:4])

"""How the index on the vectors is shown to a person; pure."""

from __future__ import annotations

from aya.cli.text import size
from aya.knowledge.index_health import RECALL_AT, Build, IndexStatus, Sample


def lines(seen: IndexStatus) -> list[str]:
    """Return what `aya index status` says, without what is wrong."""
    state = seen.state
    if state is None:
        found = ["index:     none"]
    else:
        condition = "whole" if state.valid else "broken"
        found = [f"index:     {condition}, {size(state.bytes)}{_bloat(seen)}", f"           {state.definition}"]
    if seen.build is not None:
        found.append(f"building:  {progress(seen.build)}")
    found.append(f"vectors:   {seen.with_vector} of {seen.dimension} dimensions; {seen.without_vector} chunks without")
    found.append(f"table:     {size(seen.table_bytes)}{_dead(seen)}; shared_buffers {size(seen.shared_buffers)}")
    found.append(f"searches:  ef {seen.ef_search}; {recall(seen.sample)}")
    return found


def recall(sample: Sample) -> str:
    """Return what the sample says, in words."""
    if sample.recall is None:
        return "recall not measured"
    return (
        f"recall@{RECALL_AT} {sample.recall:.3f} of {sample.queries} chunks' vectors,"
        f" p50 {sample.p50_ms:.1f} ms, p95 {sample.p95_ms:.1f} ms; all compared: p50 {sample.exact_p50_ms:.1f} ms"
    )


def progress(seen: Build) -> str:
    """Return how far a build is."""
    return f"{seen.phase}: {seen.share:.0%}"


def _bloat(seen: IndexStatus) -> str:
    return "" if seen.bloat is None else f" ({seen.bloat:.1f} times what its vectors need)"


def _dead(seen: IndexStatus) -> str:
    return "" if seen.dead is None else f", {seen.dead} dead rows"

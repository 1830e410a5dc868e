"""The embedder of a node, its model and what computes it; pure."""

from __future__ import annotations

from dataclasses import dataclass

from aya.doctor.catalogue import finding
from aya.doctor.findings import Finding


@dataclass(frozen=True, slots=True)
class Failed:
    """A model that could not be loaded."""

    source: str
    error: str
    hint: str | None


@dataclass(frozen=True, slots=True)
class Seen:
    """One node's embedder. error: why it does not answer. status, device, blas, model, fingerprint: as /health says.

    failed: models that could not be loaded. bound: fingerprint and name of the database's model; None: not known.
    """

    node: str
    platform: str
    error: str | None = None
    status: str = ""
    device: str | None = None
    blas: str | None = None
    model: str | None = None
    fingerprint: str | None = None
    failed: tuple[Failed, ...] = ()
    bound: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Weights:
    """The configured model. here: whether its files are on this machine; error: why that cannot be said."""

    model: str
    here: bool
    error: str | None = None


def judge(seen: Seen) -> list[Finding]:
    """Return what is wrong with a node's embedder."""
    if seen.error is not None:
        return [finding("model.silent", f"the embedder does not answer: {seen.error}", "aya up", node=seen.node)]
    found = [
        finding(
            "model.failed", f"{one.source} cannot be loaded: {one.error}", one.hint or "aya models check",
            node=seen.node,
        )
        for one in seen.failed
    ]  # fmt: skip
    if seen.status != "healthy":
        found.append(finding("model.not-ready", f"the embedder is {seen.status}", "aya status", node=seen.node))
    if seen.bound and seen.fingerprint and seen.fingerprint != seen.bound[0]:
        what = f"the embedder runs {seen.model}, the base's vectors were made by {seen.bound[1]}"
        found.append(finding("model.other", what, "aya down, then aya up", node=seen.node))
    return [*found, *_computing(seen)]


def judge_weights(seen: Weights) -> list[Finding]:
    """Return whether the configured model must be fetched before it can be used."""
    if seen.here:
        return []
    what = f"the files of {seen.model} are not on this machine" + (f": {seen.error}" if seen.error else "")
    return [finding("model.weights-absent", what, f"aya models pull {seen.model}")]


def _computing(seen: Seen) -> list[Finding]:
    if seen.device is None:
        return []
    if seen.platform == "darwin" and seen.device != "metal":
        what = f"the embedder computes on {seen.device}, not on the GPU"
        hint = "file .venv/bin/python must say arm64: make bootstrap with Apple Silicon's Python, then aya up"
        return [finding("model.no-metal", what, hint, node=seen.node)]
    if seen.platform == "linux" and seen.device == "cpu" and seen.blas == "reference":
        what = "matrix products are computed by the reference BLAS"
        hint = "apt-get install libopenblas0-pthread, then aya down and aya up"
        return [finding("model.slow-blas", what, hint, node=seen.node)]
    return []

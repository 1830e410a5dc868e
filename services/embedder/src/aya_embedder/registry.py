"""The models that have a name here, each pinned to one commit of the hub: pure data, and how a name is read.

The commits and the hashes of model.safetensors stand in MTEB's registry of models (mteb/models) and in several other
public ones, alike in all. The dimensions, windows and pooling are those of the models' own files, which decide: here
they only tell a person who has not downloaded the model what it is.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

MINILM = "minilm"


@dataclass(frozen=True, slots=True)
class Pinned:
    """A model on the hub at one commit.

    name: what AYA_MODEL says. weights_sha256: of model.safetensors, None where we do not know it; weights_bytes,
    dimension, max_tokens, pooling: for people, None where the files have not been seen.
    """

    name: str
    repository: str
    revision: str
    weights_sha256: str | None = None
    weights_bytes: int | None = None
    dimension: int | None = None
    max_tokens: int | None = None
    pooling: str | None = None


PINNED = {
    pinned.name: pinned
    for pinned in (
        Pinned(
            "bge-small-en-v1.5",
            "BAAI/bge-small-en-v1.5",
            "5c38ec7c405ec4b44b94cc5a9bb96e735b38267a",
            "3c9f31665447c8911517620762200d2245a2518d6e7208acc78cd9db317e21ad",
            133_466_304,
            384,
            512,
            "cls",
        ),
        Pinned(
            "bge-base-en-v1.5",
            "BAAI/bge-base-en-v1.5",
            "a5beb1e3e68b9ab74eb54cfd186867f64f240e1a",
            "c7c1988aae201f80cf91a5dbbd5866409503b89dcaba877ca6dba7dd0a5167d7",
            437_955_512,
            768,
            512,
            "cls",
        ),
        Pinned(
            "bge-large-en-v1.5",
            "BAAI/bge-large-en-v1.5",
            "d4aa6901d3a41ba39fb536a557fa166f842b0e09",
            "45e1954914e29bd74080e6c1510165274ff5279421c89f76c418878732f64ae7",
            1_340_616_616,
            1024,
            512,
            "cls",
        ),
        Pinned(
            "multilingual-e5-small",
            "intfloat/multilingual-e5-small",
            "fd1525a9fd15316a2d503bf26ab031a61d056e98",
            "1a55775f53449dac10a2bcbc312469fac40b96d53198c407081a831f81c98477",
            470_641_600,
            384,
            512,
            "mean",
        ),
    )
}
NAMES = (MINILM, *PINNED)

_ANY_REPOSITORY = re.compile(r"(?P<repository>[\w.-]+/(?P<name>[\w.-]+))@(?P<revision>[0-9a-f]{40})", re.ASCII)


def pinned(model: str) -> Pinned | None:
    """Return the model of the hub that `model` names: one of PINNED, or owner/name@commit; None for anything else."""
    found = _ANY_REPOSITORY.fullmatch(model)
    if found:
        return Pinned(model, found["repository"], found["revision"])
    return PINNED.get(model)


def nearest(model: str) -> str | None:
    """Return the name that was probably meant: what was typed, without its owner, is nearly one of them."""
    near = difflib.get_close_matches(model.rpartition("/")[2].lower(), NAMES, n=1)
    return near[0] if near else None

"""Whether a text fits the model, and what is said of one that does not; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aya_embedder.problems import Failed, Invalid, TooLong

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aya_embedder.embedder import Given


def refuse_unknown_ids(texts: Sequence[Given], vocabulary_size: int) -> None:
    """Raise Invalid for a token id that the model does not know."""
    for index, ids in enumerate(texts):
        if isinstance(ids, tuple) and ids and not 0 <= min(ids) <= max(ids) < vocabulary_size:
            raise Invalid(
                f"text {index} has a token id that is not from 0 to {vocabulary_size - 1}, the model's vocabulary",
                hint="make token ids with the model's own tokenizer, or send text",
                field="input",
            )


def refuse_long(tokens: Sequence[int], limit: int) -> None:
    """Raise TooLong for a text of more tokens than the model reads. tokens: how many each text has."""
    for index, count in enumerate(tokens):
        if count > limit:
            raise TooLong(
                f"text {index} has {count} tokens, and the model reads at most {limit}",
                hint='split it, or send "truncate": true',
            )


def about(problem: BaseException, index: int) -> BaseException:
    """Name the text in a failure that is about one."""
    return Failed(f"text {index}: {problem.message}", hint=problem.hint) if isinstance(problem, Failed) else problem

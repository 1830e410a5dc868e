"""How texts are cut into requests; pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

# Few enough that several clients' batches are through in time even without OpenBLAS (half a passage a second).
BATCH_TEXTS = 16
BATCH_CHARACTERS = 100_000
TOKENIZE_CHARACTERS = 200_000
# The embedder takes 1,250,000 of a request. A batch has four bytes a character at most, and stays below that.
TOKENIZE_BYTES = 1_000_000
_BREAK = re.compile(r"\s")


def batches(
    lengths: Sequence[int], *, most_texts: int = BATCH_TEXTS, most_characters: int = BATCH_CHARACTERS
) -> Iterator[range]:
    """Cut texts of these lengths, in characters, into runs of neighbours, each a request; yield their indexes.

    A run has at most `most_texts` texts and `most_characters` characters; a text that is longer by itself goes alone.
    """
    start = characters = 0
    for index, length in enumerate(lengths):
        if index > start and (index - start == most_texts or characters + length > most_characters):
            yield range(start, index)
            start, characters = index, 0
        characters += length
    if start < len(lengths):
        yield range(start, len(lengths))


def segments(text: str, size: int = TOKENIZE_CHARACTERS) -> Iterator[tuple[int, str]]:
    """Cut a long text at white space into parts of about `size` characters, with their offsets.

    A run without white space is cut at `size`; BERT's tokens never cross white space, so counts stay exact otherwise.
    No part is over TOKENIZE_BYTES in UTF-8 as long as `size` is at most a fourth of it.
    """
    start = 0
    while start < len(text):
        end = start + size
        if end < len(text):
            found = _BREAK.search(text, end, end + size)
            end = found.start() if found and _fits(text[start : found.start()]) else end
        yield start, text[start:end]
        start = end


def _fits(part: str) -> bool:
    return len(part.encode(errors="surrogatepass")) <= TOKENIZE_BYTES

"""Text to token ids, by the model's own tokenizer.json.

The truncation and padding that are baked into many tokenizer.json files are turned off: the length comes
from the model's description, and the padding from the batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenizers import Tokenizer, normalizers

from aya.errors import ConfigError
from aya_embedder.embedder import Encoded, Tokenization

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class TextTokenizer:
    """The tokenizer of one model, with its window."""

    def __init__(self, path: Path, *, max_tokens: int, lowercase: bool) -> None:
        """Load `path` (a tokenizer.json).

        max_tokens: the window, special tokens included.
        lowercase: lower the text first (do_lower_case of sentence_bert_config.json).
        Raises ConfigError when the file cannot be read.
        """
        self._tokenizer = _load(path)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        if lowercase:
            _lower_first(self._tokenizer)
        self._before, self._after = _special_ids(self._tokenizer)
        self._max_tokens = max_tokens

    @property
    def special_tokens(self) -> int:
        """How many tokens the model adds to every text."""
        return len(self._before) + len(self._after)

    def encode(self, texts: Sequence[str], prefix: str) -> list[Encoded]:
        """Tokenise `prefix` + text; the first max_tokens are kept, special tokens at both ends included."""
        encodings = self._tokenizer.encode_batch_fast([prefix + text for text in texts], add_special_tokens=False)
        return [self.encode_ids(encoding.ids) for encoding in encodings]

    def encode_ids(self, ids: Sequence[int]) -> Encoded:
        """Put the special tokens around the ids of a text's own tokens, cut to max_tokens with them."""
        room = self._max_tokens - self.special_tokens
        return Encoded((*self._before, *ids[:room], *self._after), len(ids) + self.special_tokens)

    def tokenize(self, texts: Sequence[str], prefix: str) -> Tokenization:
        """Say where the tokens of each text start, in code points; prefix: whose tokens are counted only."""
        encodings = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return Tokenization(
            starts=[[start for start, _ in encoding.offsets] for encoding in encodings],
            special_tokens=self.special_tokens,
            prefix_tokens=len(self._tokenizer.encode(prefix, add_special_tokens=False).ids),
            max_tokens=self._max_tokens,
        )


def _load(path: Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the Rust side raises bare Exception for a missing file and for bad JSON alike
        raise ConfigError(f"{path} cannot be read: {error}", hint=f"ls -l {path}") from error


def _lower_first(tokenizer: Tokenizer) -> None:
    own = tokenizer.normalizer
    if getattr(own, "lowercase", False):
        return
    steps = [normalizers.Lowercase(), *([own] if own is not None else [])]
    tokenizer.normalizer = normalizers.Sequence(steps)


def _special_ids(tokenizer: Tokenizer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    sample = tokenizer.encode("a", add_special_tokens=True)
    body = sample.special_tokens_mask.index(0)
    end = len(sample.ids) - sample.special_tokens_mask[::-1].index(0)
    return tuple(sample.ids[:body]), tuple(sample.ids[end:])

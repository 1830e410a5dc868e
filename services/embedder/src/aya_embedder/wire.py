"""Requests as JSON: what the calls take, their caps, and how vectors are written.

Bodies are validated from their bytes (no intermediate Python objects), and vectors go out through orjson straight
from float32: Python float lists through FastAPI's encoder take 29 ms of event loop for 32 × 768.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, TypeVar, cast

import numpy as np
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from aya_embedder.identity import Prompt
from aya_embedder.limits import MAX_CHARACTERS, MAX_TEXT_BYTES, MAX_TEXTS, MAX_TOKEN_IDS
from aya_embedder.problems import BadRequest, Invalid, TooLarge

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from numpy.typing import NDArray

    from aya_embedder.embedder import Given

_OVER = "over_the_cap"
_TOO_LARGE = frozenset({"too_long", "string_too_long"})
_INPUTS = frozenset({"text", "texts", "input"})
_LARGEST_ID = 2**31 - 1

Encoding = Literal["float", "base64"]
Taken = TypeVar("Taken", bound=BaseModel)


def _without_nul(text: str) -> str:
    """PostgreSQL cannot store NUL, so no text with one has a use here (RFC 8259 allows it as an escape)."""
    if "\x00" in text:
        raise PydanticCustomError("nul_character", "a text must not hold the character NUL")
    return text


def _within_caps(texts: Sequence[str]) -> None:
    size = sum(len(text) if text.isascii() else len(text.encode()) for text in texts)
    if size > MAX_TEXT_BYTES:
        raise _over(f"the texts have {size} bytes together, as UTF-8; at most {MAX_TEXT_BYTES} are taken")


def _over(message: str) -> PydanticCustomError:
    return PydanticCustomError(_OVER, "{message}", {"message": message})


def _whole_number(given: object) -> object:
    """Take 5.0 for 5: JSON has one kind of numbers (RFC 8259, section 6)."""
    return int(given) if isinstance(given, float) and given.is_integer() else given


def _whole_numbers(given: object) -> object:
    if not isinstance(given, list):
        return given
    numbers = cast("list[object]", given)
    return [_whole_number(one) for one in numbers] if any(isinstance(one, float) for one in numbers) else numbers


Text = Annotated[
    str,
    Field(min_length=1, max_length=MAX_CHARACTERS, json_schema_extra={"pattern": "^[^\\x00]*$"}),
    AfterValidator(_without_nul),
]
Texts = Annotated[list[Text], Field(min_length=1, max_length=MAX_TEXTS)]
TokenIds = Annotated[
    list[Annotated[int, Field(ge=0, le=_LARGEST_ID)]],
    Field(min_length=1, max_length=MAX_TOKEN_IDS),
    BeforeValidator(_whole_numbers),
]
ManyTokenIds = Annotated[list[TokenIds], Field(min_length=1, max_length=MAX_TEXTS)]
ModelName = Annotated[str, Field(max_length=4096, description="a fingerprint, a source, a name or its last part")]


class EmbedRequest(BaseModel):
    """One text or several, never both."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "oneOf": [
                {"required": ["text"], "properties": {"text": {"type": "string"}, "texts": {"type": "null"}}},
                {"required": ["texts"], "properties": {"texts": {"type": "array"}, "text": {"type": "null"}}},
            ],
            "examples": [{"text": "A cat sits on the mat."}, {"texts": ["a", "b"], "prompt": "query"}],
        },
    )

    text: Text | None = None
    texts: Texts | None = None
    prompt: Prompt = "document"
    truncate: bool = True
    encoding: Encoding = "float"
    model: ModelName | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.text is None) == (self.texts is None):
            raise PydanticCustomError("one_of_both", 'give either "text" or "texts"')
        _within_caps(self.texts or [self.text or ""])
        return self


class TokenizeRequest(BaseModel):
    """Texts whose tokens are to be counted and found."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra={"examples": [{"texts": ["A cat."]}]})

    texts: Texts
    model: ModelName | None = None

    @model_validator(mode="after")
    def _not_too_much(self) -> Self:
        _within_caps(self.texts)
        return self


class LoadRequest(BaseModel):
    """Which model to load, and whether it answers from then on when nobody names one."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra={"examples": [{"model": "minilm"}]})

    model: Annotated[
        str,
        Field(
            min_length=1,
            max_length=4096,
            description="a name of `aya models list`, owner/name@commit of the hub, or a directory",
        ),
    ]
    default: bool = False


def _kind_of_input(given: object) -> str:
    if not isinstance(given, list):
        return "text"
    first = next(iter(cast("list[object]", given)), "")
    if isinstance(first, list):
        return "many_ids"
    return "ids" if isinstance(first, int | float) else "texts"


class OpenAIRequest(BaseModel):
    """After https://platform.openai.com/docs/api-reference/embeddings/create.

    input: a text, texts, or the token ids, without special tokens, of one text or of several; ids are those of the
        model's own tokenizer, not of OpenAI's.
    dimensions: the first so many of the vector's numbers, made a vector of length 1 again.
    user: taken, and not looked at; so are fields that we do not know.
    prompt, truncate: ours, as in /embed; token ids get no prompt.
    """

    model_config = ConfigDict(
        extra="ignore",
        strict=True,
        json_schema_extra={"examples": [{"input": ["A cat sits on the mat."], "model": "", "dimensions": 4}]},
    )

    input: Annotated[
        Annotated[Text, Tag("text")]
        | Annotated[Texts, Tag("texts")]
        | Annotated[TokenIds, Tag("ids")]
        | Annotated[ManyTokenIds, Tag("many_ids")],
        Discriminator(_kind_of_input),
    ]
    model: ModelName = ""
    encoding_format: Encoding = "float"
    dimensions: Annotated[Annotated[int, Field(ge=1)] | None, BeforeValidator(_whole_number)] = None
    user: str | None = None
    prompt: Prompt = "document"
    truncate: bool = True

    @property
    def given(self) -> list[Given]:
        """What to embed, one a vector."""
        if isinstance(self.input, str):
            return [self.input]
        ids = tuple(one for one in self.input if isinstance(one, int))
        if ids:
            return [ids]
        return [one if isinstance(one, str) else tuple(one) for one in self.input if not isinstance(one, int)]

    @model_validator(mode="after")
    def _not_too_much(self) -> Self:
        given = self.given
        _within_caps([one for one in given if isinstance(one, str)])
        if sum(len(one) for one in given if isinstance(one, tuple)) > MAX_TOKEN_IDS:
            raise _over(f"input has more than {MAX_TOKEN_IDS} token ids")
        return self


def parse(model: type[Taken], body: bytes) -> Taken:
    """Validate a JSON body. Raises BadRequest, Invalid or TooLarge, naming the field."""
    try:
        taken = model.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = _place(first["loc"])
        message = f"{'.'.join(where) or 'body'}: {first['msg']}"
        if first["type"] == "json_invalid":
            raise BadRequest(message, hint="send JSON in UTF-8, without lone surrogates") from error
        field = where[0] if where else "input" if first["type"] == _OVER and "input" in model.model_fields else None
        if first["type"] == _OVER or (first["type"] in _TOO_LARGE and field in _INPUTS):
            raise TooLarge(
                message,
                hint=f"at most {MAX_TEXTS} texts of {MAX_CHARACTERS} characters, {MAX_TEXT_BYTES} bytes together",
                field=field,
            ) from error
        raise Invalid(message, hint="GET /docs shows what each call takes", field=field) from error
    _refuse_ambiguity(body)
    return taken


def _place(location: tuple[int | str, ...]) -> list[str]:
    """Return where a fault is as clients know it: without the tag of the kind of input that was recognised."""
    tagged = location[:1] == ("input",)
    return [str(part) for index, part in enumerate(location) if not (tagged and index == 1)]


def _refuse_ambiguity(body: bytes) -> None:
    """Raise BadRequest on what JSON readers disagree about: a name that stands twice, NaN and Infinity.

    Source: RFC 8259, sections 4 and 6. The body is valid otherwise, and not deep.
    """
    try:
        json.loads(body, object_pairs_hook=_unique, parse_constant=_no_number)
    except ValueError as error:
        raise BadRequest(f"body: {error}", hint="send each field once, and numbers that JSON knows") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) != len(pairs):
        raise ValueError("a field stands twice")
    return names


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number in JSON")


def written(vector: NDArray[np.float32], encoding: Encoding) -> NDArray[np.float32] | str:
    """Return a vector as orjson writes it best, or as base64 of its little-endian bytes."""
    if encoding == "base64":
        return base64.b64encode(vector.astype("<f4", copy=False).tobytes()).decode("ascii")
    return vector


def vector_of(data: bytes, dimensions: int | None = None) -> NDArray[np.float32]:
    """Return the vector in `data` (little-endian float32); cut to `dimensions` it is made of length 1 again."""
    whole = np.frombuffer(data, dtype="<f4")
    if dimensions is None or dimensions >= len(whole):
        return whole
    cut = whole[:dimensions]
    length = np.linalg.norm(cut)
    return np.divide(cut, length, dtype=np.float32) if length else cut

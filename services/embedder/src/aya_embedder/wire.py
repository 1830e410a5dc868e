"""Requests and answers as JSON: what the calls take, their caps, and how vectors are written.

Bodies are validated from their bytes (no intermediate Python objects), and vectors go out through orjson straight
from float32: Python float lists through FastAPI's encoder take 29 ms of event loop for 32 × 768.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from aya_embedder.identity import Prompt
from aya_embedder.problems import BadRequest, Gone, Invalid, TooLarge

if TYPE_CHECKING:
    from typing import Self

    from fastapi import Request
    from numpy.typing import NDArray

MAX_BODY_BYTES = 8 * 1024 * 1024
MAX_TEXTS = 2048
MAX_CHARACTERS = 1_000_000

# An oversized body is read to its end, so that the client can read our answer, but not without end.
_MAX_DISCARDED_BYTES = 8 * MAX_BODY_BYTES
_TOO_LARGE = ("too_long", "string_too_long")

Encoding = Literal["float", "base64"]
Text = Annotated[str, Field(min_length=1, max_length=MAX_CHARACTERS)]
Texts = Annotated[list[Text], Field(min_length=1, max_length=MAX_TEXTS)]
Taken = TypeVar("Taken", bound=BaseModel)


class EmbedRequest(BaseModel):
    """POST /embed: one text or several, never both."""

    model_config = ConfigDict(extra="forbid", strict=True)

    text: Text | None = None
    texts: Texts | None = None
    prompt: Prompt = "document"
    truncate: bool = True
    encoding: Encoding = "float"

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.text is None) == (self.texts is None):
            raise PydanticCustomError("one_of_both", 'give either "text" or "texts"')
        return self


class TokenizeRequest(BaseModel):
    """POST /tokenize."""

    model_config = ConfigDict(extra="forbid", strict=True)

    texts: Texts


class OpenAIRequest(BaseModel):
    """POST /v1/embeddings, after https://platform.openai.com/docs/api-reference/embeddings/create.

    model: any name is taken; the one that answered stands in the answer.
    dimensions: taken when it is the model's own.
    prompt, truncate: ours, as in /embed.
    """

    model_config = ConfigDict(extra="ignore", strict=True)

    input: Annotated[
        Annotated[Text, Tag("string")] | Annotated[Texts, Tag("list")],
        Discriminator(lambda given: "list" if isinstance(given, list) else "string"),
    ]
    model: str = ""
    encoding_format: Encoding = "float"
    dimensions: int | None = None
    prompt: Prompt = "document"
    truncate: bool = True


async def read_body(request: Request) -> bytes:
    """Return the body. Raises TooLarge over MAX_BODY_BYTES, Gone when the client leaves before its end."""
    kept = bytearray()
    size = 0
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise Gone("the client left before it had sent its request")
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size <= MAX_BODY_BYTES:
            kept += chunk
        if size > _MAX_DISCARDED_BYTES or not message.get("more_body", False):
            break
    if size > MAX_BODY_BYTES:
        raise TooLarge(f"the body is over {MAX_BODY_BYTES} bytes", hint="send fewer texts at once")
    return bytes(kept)


def parse(model: type[Taken], body: bytes) -> Taken:
    """Validate a JSON body. Raises BadRequest, Invalid or TooLarge, naming the field."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        message = f"{'.'.join(map(str, first['loc'])) or 'body'}: {first['msg']}"
        if first["type"] == "json_invalid":
            raise BadRequest(message, hint="send JSON in UTF-8, without lone surrogates") from error
        if first["type"] in _TOO_LARGE:
            raise TooLarge(message, hint=f"at most {MAX_TEXTS} texts of {MAX_CHARACTERS} characters") from error
        raise Invalid(message, hint="GET /docs shows what each call takes") from error


def written(vector: bytes, encoding: Encoding) -> NDArray[np.float32] | str:
    """Return a vector (little-endian float32 bytes) as orjson writes it best, or as base64."""
    if encoding == "base64":
        return base64.b64encode(vector).decode("ascii")
    return np.frombuffer(vector, dtype=np.float32)

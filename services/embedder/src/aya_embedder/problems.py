"""Every error a client of the embedder can meet, as one tree; `status` and `kind` are what HTTP says.

Problem
├── BadRequest      400  the body is no JSON
├── NotLoaded       404  no model of that name is loaded
├── ModelsFull      409  no loaded model can make room for another
├── TooLarge        413  body, number of texts or a text is over a cap
├── TooLong         413  a text is over the model's window, and the caller refused to have it cut
├── Invalid         422  the JSON is not what the call takes
├── UnknownModel    422  neither a model's name nor a directory
├── Busy            429  the queue is full
├── Gone            499  the client left before it had sent everything
├── Failed          500  the model failed on this very text
└── NotReady        503  the model is loading, or the service is leaving
"""

from __future__ import annotations

from aya.errors import AyaError


class Problem(AyaError):
    """Something the service can explain to its client."""

    status = 500
    kind = "internal_error"

    def __init__(self, message: str, *, hint: str | None = None, retry_after_seconds: int | None = None) -> None:
        """retry_after_seconds: when the same call may succeed, None when it never will."""
        super().__init__(message, hint=hint)
        self.retry_after_seconds = retry_after_seconds


class BadRequest(Problem):
    """The body is no JSON."""

    status = 400
    kind = "invalid_json"


class NotLoaded(Problem):
    """No model of that name is loaded."""

    status = 404
    kind = "model_not_loaded"


class ModelsFull(Problem):
    """As many models are loaded as may be, and none of them can make room."""

    status = 409
    kind = "models_full"


class TooLarge(Problem):
    """The body, the number of texts or one text is over a cap."""

    status = 413
    kind = "too_large"


class TooLong(Problem):
    """A text is over the model's window, and the caller refused to have it cut."""

    status = 413
    kind = "text_too_long"


class Invalid(Problem):
    """The JSON is not what the call takes."""

    status = 422
    kind = "invalid_request"


class UnknownModel(Problem):
    """What should be loaded is neither a known model's name nor a directory."""

    status = 422
    kind = "unknown_model"


class Busy(Problem):
    """The queue is full."""

    status = 429
    kind = "overloaded"
    retryable = True


class Gone(Problem):
    """The client left; nobody reads this answer."""

    status = 499
    kind = "client_gone"


class Failed(Problem):
    """The model failed on this very text, also when it was alone in its batch."""

    status = 500
    kind = "inference_failed"


class NotReady(Problem):
    """The model is loading, or the service is leaving."""

    status = 503
    kind = "not_ready"
    retryable = True

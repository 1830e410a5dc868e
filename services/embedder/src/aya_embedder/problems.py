"""Every error a client of the embedder can meet, as one tree; `status` and `kind` are what HTTP says.

Problem
├── BadRequest      400  the body is no JSON
├── Unauthorized    401  the client is not on this machine, and did not say the token
├── Forbidden       403  a web page from elsewhere, or a call that is for clients on this machine
├── NotLoaded       404  no model of that name is loaded
├── Slow            408  the body did not come in time
├── ModelsFull      409  no loaded model can make room for another
├── TooLarge        413  body, number of texts or a text is over a cap
├── TooLong         413  a text is over the model's window, and the caller refused to have it cut
├── NotJson         415  the body says that it is something else
├── Misdirected     421  the client calls us by a name that is not ours
├── Invalid         422  the JSON is not what the call takes
├── UnknownModel    422  neither a model's name nor a directory
├── Busy            429  the queue is full
├── Gone            499  the client left before it had sent everything
├── Failed          500  the model failed on this very text
├── NotReady        503  the model is loading, or the service is leaving
└── OutOfTime       504  the request could not be computed in the time that one may take
"""

from __future__ import annotations

from aya.errors import AyaError

# The hint of NotLoaded.
LOADS_ONE = 'POST /models {"model": …} loads one'


class Problem(AyaError):
    """Something the service can explain to its client."""

    status = 500
    kind = "internal_error"

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        retry_after_seconds: int | None = None,
        field: str | None = None,
    ) -> None:
        """retry_after_seconds: when the same call may succeed, None when it never will.

        field: the outermost field of the body that is at fault, None when none is.
        """
        super().__init__(message, hint=hint)
        self.retry_after_seconds = retry_after_seconds
        self.field = field


class BadRequest(Problem):
    """The body is no JSON."""

    status = 400
    kind = "invalid_json"


class Unauthorized(Problem):
    """The client is not on this machine, and did not say the token."""

    status = 401
    kind = "unauthorized"


class Forbidden(Problem):
    """A browser asks for a web page from elsewhere, or the call is for clients on this machine."""

    status = 403
    kind = "forbidden"


class NotLoaded(Problem):
    """No model of that name is loaded."""

    status = 404
    kind = "model_not_loaded"


class Slow(Problem):
    """The body did not come in time."""

    status = 408
    kind = "request_timeout"


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


class NotJson(Problem):
    """The body says that it is something other than JSON in UTF-8."""

    status = 415
    kind = "unsupported_media_type"


class Misdirected(Problem):
    """The client calls us by a name that is not ours."""

    status = 421
    kind = "misdirected_request"


class Invalid(Problem):
    """The JSON is not what the call takes."""

    status = 422
    kind = "invalid_request"


class UnknownModel(Problem):
    """What should be loaded is neither a known model's name, nor one of the hub at a commit, nor a directory."""

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


class OutOfTime(Problem):
    """The request could not be computed in the time that one may take."""

    status = 504
    kind = "out_of_time"
    retryable = True

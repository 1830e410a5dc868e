"""What the embedder's command for models says, line by line: the common package starts it and imports none of it."""

from __future__ import annotations

import importlib.util
import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from aya.errors import AyaError, ConfigError
from aya.json_object import json_object

_SERVICE = "aya_embedder"
_LEAVING_SECONDS = 5.0
_SHOWN_CHARACTERS = 80
Event = dict[str, Any]


def events(command: str, *models: str) -> Iterator[Event]:
    """Run `list`, `pull` or `check` (aya_embedder.models_main) and yield each line that it says, up to its "done".

    Raises ConfigError when it is not installed, AyaError with its words and hint when it says that it failed, and
    AyaError when it says what is no event, or ends without the "done" that names its exit code: what it said until
    then may be half of it. It is interrupted when the iteration ends early.
    """
    if importlib.util.find_spec(_SERVICE) is None:
        raise ConfigError("the embedder is not installed beside this command", hint="uv sync --extra node")
    arguments = [sys.executable, "-m", f"{_SERVICE}.models_main", command, "--", *models]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, encoding="utf-8", errors="replace") as process:
        try:
            announced: object = None
            for line in process.stdout or ():
                event = _event(line)
                if event["event"] == "done":
                    announced = event.get("code")
                else:
                    yield event
            _require_end(process.wait(), announced, shlex.join(("aya", "models", command, *models)))
        finally:
            _end(process)


def _event(line: str) -> Event:
    """Return what a line says; raises AyaError on a failure, and on what is no event."""
    with suppress(ValueError):
        event = json_object(json.loads(line)) or {}
        if event.get("event") == "failed":
            raise AyaError(str(event.get("error")), hint=event.get("hint"))
        if "event" in event:
            return event
    raise AyaError(
        f"the embedder's command for models said {line.strip()[:_SHOWN_CHARACTERS]!r}, which is no event",
        hint="uv sync --extra node, so that both are of one version",
    )


def _require_end(code: int, announced: object, again: str) -> None:
    """Raise unless the process ended with the exit code that its last line announced; again: the command to type."""
    if code in {-signal.SIGINT, 128 + signal.SIGINT}:
        raise KeyboardInterrupt
    if code != announced:
        ended = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        raise AyaError(
            f"the embedder's command for models {ended} before it had said everything",
            hint=f"see what it printed above, then {again}",
        )


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_LEAVING_SECONDS)
        return
    process.kill()

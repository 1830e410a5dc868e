"""What the embedder's command for models says, line by line: the common package starts it and imports none of it."""

from __future__ import annotations

import importlib.util
import json
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
Event = dict[str, Any]


def events(command: str, *models: str) -> Iterator[Event]:
    """Run `list`, `pull` or `check` (aya_embedder.models_main) and yield each line that it says.

    Raises AyaError with its words and hint when it says that it failed; ConfigError when it is not installed, or ended
    without a word. It is interrupted when the iteration ends early.
    """
    if importlib.util.find_spec(_SERVICE) is None:
        raise ConfigError("the embedder is not installed beside this command", hint="uv sync --extra node")
    arguments = [sys.executable, "-m", f"{_SERVICE}.models_main", command, "--", *models]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, encoding="utf-8") as process:
        try:
            spoke = False
            for line in process.stdout or ():
                event = json_object(json.loads(line)) or {}
                spoke = True
                if event.get("event") == "failed":
                    raise AyaError(str(event["error"]), hint=event.get("hint"))
                yield event
            code = process.wait()
            if code == -signal.SIGINT or code == 128 + signal.SIGINT:
                raise KeyboardInterrupt
            if not spoke:
                raise ConfigError(f"the embedder's command for models ended with {code}", hint="see what it printed")
        finally:
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_LEAVING_SECONDS)
        return
    process.kill()

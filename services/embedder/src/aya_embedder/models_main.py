"""`python -m aya_embedder.models_main list | pull | check`: models on this machine, one JSON object a line.

`aya models` runs it and shows what it says: the common package imports no service. Exit codes as everywhere: 0 good,
1 failed (the last line is {"event": "failed", "error", "hint"}), 2 the call was wrong, 130 interrupted. A command that
came to its end says so in its last line, {"event": "done", "code"}, with the exit code that follows: without it, what
was said before may be half of it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NoReturn

from aya.errors import EXIT_FAILED, EXIT_USAGE, AyaError
from aya_embedder import registry, snapshots, sources
from aya_embedder.config import Config
from aya_embedder.contents import TOKENIZER
from aya_embedder.describe import WEIGHTS, describe
from aya_embedder.pull import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_EXIT_INTERRUPTED = 130
_SAID_EVERY_BYTES = 256 * 1024


def main() -> NoReturn:
    """Run one command and leave with its exit code."""
    parser = argparse.ArgumentParser(prog="aya_embedder.models_main")
    parser.add_argument("command", choices=("list", "pull", "check"))
    parser.add_argument("models", nargs="*", help="values of AYA_MODEL; list shows them beside those with a name")
    asked = parser.parse_args()
    if asked.command != "list" and len(asked.models) != 1:
        parser.exit(EXIT_USAGE, "one model is wanted\n")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where a shell had it ignored
    _leave(_run(asked.command, asked.models))


def _run(command: str, models: Sequence[str]) -> int:
    code = 0
    try:
        hf_home = Config.from_environ({**os.environ, "AYA_MODEL": ""}).hf_home
        match command:
            case "list":
                for model in dict.fromkeys((*registry.NAMES, *models)):
                    _say("model", **known(model, hf_home))
            case "pull":
                _say("ready", **_ready(models[0], hf_home, _Reporter()))
            case _:
                code = _check(models[0], hf_home)
        _say("done", code=code)
    except AyaError as error:
        # whoever reads this has heard all, and may interrupt us while we leave
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _say("failed", error=error.message, hint=error.hint)
        return EXIT_FAILED
    except KeyboardInterrupt:
        return _EXIT_INTERRUPTED
    return code


def known(model: str, hf_home: Path | None) -> dict[str, Any]:
    """Return what can be said of `model` (a value of AYA_MODEL) without fetching anything.

    here: whether its files are on this machine; then everything is as they say it, else as the registry does. error:
    why the files that are here cannot be used.
    """
    pinned = registry.pinned(model)
    said: dict[str, Any] = {
        "name": model,
        "source": pinned.repository if pinned else model,
        "revision": pinned.revision if pinned else None,
        "dimension": pinned.dimension if pinned else None,
        "max_tokens": pinned.max_tokens if pinned else None,
        "pooling": pinned.pooling if pinned else None,
        "bytes": pinned.weights_bytes if pinned else None,
        "here": False,
        "directory": None,
        "fingerprint": None,
        "error": None,
    }
    if pinned and snapshots.whole(pinned, hf_home) is None:
        return said
    try:
        return {**said, **_ready(model, hf_home, None)}
    except AyaError as error:
        return {**said, "error": error.message}


def _ready(model: str, hf_home: Path | None, report: Callable[[Progress], None] | None) -> dict[str, Any]:
    source = sources.find(model, hf_home, report)
    identity = sources.identity(source, describe(source.directory, source.name), "float32")
    size = sum((source.directory / name).stat().st_size for name in (WEIGHTS, TOKENIZER))
    return {
        "name": sources.resolve(model),
        "source": source.name,
        "revision": source.revision,
        "dimension": identity.dimension,
        "max_tokens": identity.max_tokens,
        "pooling": identity.pooling,
        "bytes": size,
        "here": True,
        "directory": str(source.directory),
        "fingerprint": identity.fingerprint,
    }


def _check(model: str, hf_home: Path | None) -> int:
    if registry.pinned(model) is None and model != registry.MINILM:
        sources.resolve(model)
    # here, because it imports MLX
    from aya_embedder.check import check  # noqa: PLC0415

    passed = True
    for finding in check(model, hf_home, _Reporter()):
        passed = passed and finding.passed is not False
        _say("checked", **asdict(finding))
    return 0 if passed else EXIT_FAILED


class _Reporter:
    """Says how far a pull is, whenever a quarter of a MiB has come, and everything else at once."""

    def __init__(self) -> None:
        self._said_bytes = 0

    def __call__(self, progress: Progress) -> None:
        if progress.event == "moved" and abs(progress.done_bytes - self._said_bytes) < _SAID_EVERY_BYTES:
            return
        self._said_bytes = progress.done_bytes
        _say(**progress.as_dict())


def _say(event: str, **fields: object) -> None:
    try:
        print(json.dumps({"event": event, **fields}), flush=True)  # noqa: T201 this is the command's output
    except BrokenPipeError as error:
        raise KeyboardInterrupt from error


def _leave(code: int) -> NoReturn:
    """Leave without tearing the interpreter down: see aya_embedder.main. Every line was flushed."""
    os._exit(code)


if __name__ == "__main__":
    main()

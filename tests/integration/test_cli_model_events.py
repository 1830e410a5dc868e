"""`aya models` and a child that does not come to its end: nothing that was said halfway is taken for an answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from aya.errors import AyaError
from aya.model_events import events

_COMMAND = (sys.executable, "-c", "from aya.cli import main; main()")
READY = {"event": "ready", "name": "minilm", "directory": "/models/minilm", "fingerprint": "a" * 16}
PASSED = {"event": "checked", "name": "files", "passed": True, "detail": "complete"}
MODEL = {
    **dict.fromkeys(("dimension", "max_tokens", "pooling", "bytes", "revision", "source", "error")),
    **READY,
    "event": "model",
    "here": True,
}
KILLED = "os.kill(os.getpid(), signal.SIGKILL)"
SAID: dict[str, list[object]] = {"list": [MODEL], "pull": [READY], "check": [PASSED]}


def child(directory: Path, said: dict[str, list[object]], end: str) -> str:
    """Write an embedder whose command for models says `said` and then does `end`; return its PYTHONPATH."""
    package = directory / "path" / "aya_embedder"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    lines = {name: [json.dumps(one) for one in events] for name, events in said.items()}
    (package / "models_main.py").write_text(
        f"import os, signal, sys\nfor line in {lines!r}[sys.argv[1]]:\n    print(line, flush=True)\n{end}\n"
    )
    return str(directory / "path")


def aya(tmp_path: Path, path: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `aya models` with the embedder of `path`."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AYA_")}
    command = (*_COMMAND, "--home", str(tmp_path), "models", *arguments)
    return subprocess.run(
        command, check=False, capture_output=True, text=True, env={**clean, "PYTHONPATH": path}, timeout=60
    )


@pytest.mark.parametrize(
    "arguments", [("list",), ("list", "--json"), ("pull", "minilm"), ("use", "minilm", "--no-check"), ("check",)]
)
def test_a_child_that_is_killed_after_it_spoke_is_a_failure(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Out of memory in the middle of a command: it says so, shows nothing as a result, and changes nothing."""
    done = aya(tmp_path, child(tmp_path, SAID, KILLED), *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert "was ended by SIGKILL before it had said everything" in done.stderr
    assert "next: " in done.stderr
    assert not (tmp_path / "aya.toml").exists()


def test_a_model_whose_check_is_killed_is_not_taken(tmp_path: Path) -> None:
    """The pull came to its end, and the first checks passed: that is no proof."""
    done = {"event": "done", "code": 0}
    end = f"if sys.argv[1] == 'check': {KILLED}"
    used = aya(tmp_path, child(tmp_path, {**SAID, "pull": [READY, done]}, end), "use", "minilm")
    assert (used.returncode, used.stdout, (tmp_path / "aya.toml").exists()) == (1, "", False)
    assert "SIGKILL" in used.stderr


@pytest.mark.parametrize(
    ("said", "end", "told"),
    [
        pytest.param([PASSED], "", "ended with 0 before", id="no done"),
        pytest.param([PASSED], "sys.exit(3)", "ended with 3 before", id="an exit code that nothing explains"),
        pytest.param([PASSED, {"event": "done", "code": 0}], "os._exit(1)", "ended with 1 before", id="another code"),
        pytest.param([], KILLED, "SIGKILL", id="not a word"),
        pytest.param([PASSED, {"event": "done", "code": 0}], KILLED, "SIGKILL", id="killed after done"),
        pytest.param([[1]], "", r"'\[1\]', which is no event", id="no object"),
        pytest.param([{"name": "files"}], "", "which is no event", id="no name"),
        pytest.param([PASSED], "print('Segmentation fault')", "'Segmentation fault', which is no event", id="no JSON"),
        pytest.param([PASSED], "sys.stdout.buffer.write(b'\\xff')", "which is no event", id="no UTF-8"),
    ],
)
def test_an_end_that_the_events_do_not_explain_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[object], end: str, told: str
) -> None:
    """Only the exit code that the last event announced is a good end."""
    monkeypatch.setenv("PYTHONPATH", child(tmp_path, {"check": said}, end))
    with pytest.raises(AyaError, match=told) as caught:
        list(events("check", "my model"))
    assert caught.value.hint


def test_a_finding_that_failed_is_shown_and_keeps_the_model_from_being_taken(tmp_path: Path) -> None:
    """Exit code 1 was announced, so all that was found counts: `check` shows it, and `use` changes nothing."""
    failed = {"event": "checked", "name": "reference", "passed": False, "detail": "cosine 0.5"}
    done = {"event": "done", "code": 0}
    said: dict[str, list[object]] = {"pull": [READY, done], "check": [PASSED, failed, {"event": "done", "code": 1}]}
    path = child(tmp_path, said, "sys.exit(sys.argv[1] == 'check')")
    shown = aya(tmp_path, path, "check", "minilm")
    assert shown.returncode == 1
    assert [line.split()[:2] for line in shown.stdout.splitlines()[1:]] == [["files", "ok"], ["reference", "FAILED"]]
    used = aya(tmp_path, path, "use", "minilm")
    assert (used.returncode, used.stdout, (tmp_path / "aya.toml").exists()) == (1, "", False)
    assert "minilm is not taken: reference: cosine 0.5" in used.stderr


@pytest.mark.parametrize("code", [0, 1])
def test_an_announced_end_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """A check that found something wrong ends with 1, and says so; its findings are what counts."""
    said: list[object] = [PASSED, {"event": "done", "code": code}]
    monkeypatch.setenv("PYTHONPATH", child(tmp_path, {"check": said}, f"sys.exit({code})"))
    assert list(events("check", "minilm")) == [PASSED]

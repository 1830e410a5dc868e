"""`aya models`: the command as a person types it, with the real embedder behind it and a hub of our own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from aya.home import Home, Node
from aya_embedder import sources
from aya_embedder.fake_hub import FakeHub, Fault

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

_COMMAND = (sys.executable, "-c", "from aya.cli import main; main()")


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    """A hub whose one model is MiniLM under another name."""
    with FakeHub(sources.minilm_directory()) as running:
        yield running


def aya(home: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run one call of `aya` with this home, and its own place for models."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AYA_", "DB_", "HF_"))}
    return subprocess.run(
        (*_COMMAND, "--home", str(home), "models", *arguments),
        check=False,
        capture_output=True,
        text=True,
        env={**clean, "AYA_HF_HOME": str(home / "hf"), **environ},
    )


def test_the_list_names_every_model_and_the_configured_one(tmp_path: Path) -> None:
    """As a table, and as one JSON document; nothing is fetched for it."""
    table = aya(tmp_path, "list")
    assert table.returncode == 0
    assert [line.split()[0] for line in table.stdout.splitlines()][:2] == ["NAME", "minilm"]
    said = json.loads(aya(tmp_path, "list", "--json").stdout)
    models = {model["name"]: model for model in said["models"]}
    minilm, bge = models["minilm"], models["bge-base-en-v1.5"]
    assert (minilm["here"], minilm["configured"], minilm["dimension"], minilm["max_tokens"]) == (True, True, 384, 256)
    assert (bge["here"], bge["configured"], bge["dimension"], bge["pooling"]) == (False, False, 768, "cls")
    assert bge["revision"] == "a5beb1e3e68b9ab74eb54cfd186867f64f240e1a"


def test_a_model_is_fetched_checked_and_chosen(tmp_path: Path, hub: FakeHub) -> None:
    """`use` does all of it, through a cut connection; what stands in aya.toml stays; it has MiniLM's fingerprint."""
    (tmp_path / "aya.toml").write_text("# mine\n[postgres]\nmajor = 16\n")
    hub.faults["model.safetensors"].append(Fault("cut", 30_000_000))
    used = aya(tmp_path, "use", hub.model, HF_ENDPOINT=hub.url)
    assert used.returncode == 0, used.stderr
    assert hub.ranges["model.safetensors"] == ["bytes=0-", "bytes=30000000-"]
    assert "again in" in used.stderr
    assert used.stderr.splitlines()[-1] == "  next: aya up"
    text = (tmp_path / "aya.toml").read_text()
    assert text.startswith("# mine\n[postgres]\nmajor = 16\n")
    assert tomllib.loads(text)["embedder"] == {"model": hub.model}
    models = {model["name"]: model for model in json.loads(aya(tmp_path, "list", "--json").stdout)["models"]}
    assert models[hub.model]["configured"]
    assert models[hub.model]["fingerprint"] == models["minilm"]["fingerprint"]
    assert (models[hub.model]["revision"], models["minilm"]["revision"]) == (hub.revision, "53aa51172d142c89")


def test_a_pull_says_every_byte_as_json(tmp_path: Path, hub: FakeHub) -> None:
    """One object a line, from the first byte to what can be said of the model."""
    done = aya(tmp_path, "pull", "--json", hub.model, HF_ENDPOINT=hub.url)
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert (said[0]["event"], said[-2]["event"], said[-1]["event"]) == ("started", "finished", "ready")
    moved = [one["done_bytes"] for one in said if one["event"] == "moved"]
    assert moved == sorted(moved)
    assert said[-2]["done_bytes"] == said[-2]["total_bytes"] > 90_000_000
    assert Path(said[-1]["directory"], "modules.json").exists()


def test_a_check_proves_the_vectors(tmp_path: Path) -> None:
    """MiniLM's are those of sentence-transformers, and its batches those of single texts."""
    done = aya(tmp_path, "check", "minilm", "--json")
    said = json.loads(done.stdout)
    checks = {one["name"]: one["passed"] for one in said["checks"]}
    assert (done.returncode, said["passed"]) == (0, True)
    assert {name for name, passed in checks.items() if passed} >= {"files", "loads", "batch of many", "reference"}
    assert "texts/s" in next(one["detail"] for one in said["checks"] if one["name"] == "speed")


def test_a_model_with_other_vectors_is_not_taken(tmp_path: Path) -> None:
    """Its check finds what only looks right, another epsilon in the norm: by the reference."""
    directory = tmp_path / "my model"
    directory.mkdir()
    for path in sources.minilm_directory().iterdir():
        (directory / path.name).symlink_to(path)
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").unlink()
    (directory / "config.json").write_text(json.dumps({**config, "layer_norm_eps": 0.5}))
    used = aya(tmp_path, "use", str(directory))
    assert (used.returncode, (tmp_path / "aya.toml").exists()) == (1, False)
    assert "is not taken: reference" in used.stderr


@pytest.mark.parametrize(
    ("arguments", "said", "hint"),
    [
        (("use", "bge-base-en-v1.6"), "there is no model 'bge-base-en-v1.6'", "did you mean bge-base-en-v1.5?"),
        (("check", "."), "has no modules.json", "SentenceTransformer"),
        (("pull", "nothing/here"), "there is no such directory", "aya models list"),
        (("check", "~/no such model"), "there is no such directory", "aya models list"),
    ],
)
def test_a_model_that_is_none_is_explained(tmp_path: Path, arguments: tuple[str, ...], said: str, hint: str) -> None:
    """One sentence, the next command, exit code 1, and no aya.toml."""
    done = aya(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    first, second = done.stderr.splitlines()
    assert first.startswith("aya: ")
    assert said in first
    assert second.startswith("  next: ")
    assert hint in second
    assert not (tmp_path / "aya.toml").exists()


def test_a_variable_that_wins_over_the_file_is_pointed_out(tmp_path: Path) -> None:
    """The choice is written, and what hides it is named."""
    done = aya(tmp_path, "use", "minilm", "--no-check", AYA_MODEL="bge-base-en-v1.5")
    assert done.returncode == 0
    assert "AYA_MODEL is bge-base-en-v1.5, and wins over" in done.stderr
    assert "next: unset AYA_MODEL" in done.stderr


def test_the_list_stands_while_nothing_answers(tmp_path: Path) -> None:
    """Nodes that are down are used by nobody, and delay it by no more than a moment."""
    Home(tmp_path).save_nodes({"alpha": Node("alpha", "primary", 6001, 6002)})
    Home(tmp_path).save_secrets("alpha", {"aya_user": "secret"})
    done = aya(tmp_path, "list", "--json")
    assert done.returncode == 0, done.stderr
    assert not any(model["served_by"] or model["bound_by"] for model in json.loads(done.stdout)["models"])

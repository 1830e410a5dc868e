"""Downloading a model: over real sockets from a hub of our own, which cuts, stalls, lies and refuses."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from aya.backoff import Backoff
from aya.errors import ConfigError, EmbedderError, EmbedderUnavailable
from aya_embedder import registry, snapshots, sources
from aya_embedder.fake_hub import FakeHub, Fault
from aya_embedder.pull import PERSISTENCE, Progress, pull

QUICK = replace(PERSISTENCE, backoff=Backoff(0.001, 0.001), stall_seconds=0.3, most_failures=3)
WEIGHTS = "model.safetensors"
SIZE = 3_000_000
CONFIG = {
    "model_type": "bert",
    "hidden_size": 32,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "vocab_size": 100,
}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A model's files, with weights of three million random bytes, and two files that nobody wants."""
    directory = tmp_path / "files"
    (directory / "1_Pooling").mkdir(parents=True)
    (directory / "onnx").mkdir()
    modules = [{"path": "", "type": "x.Transformer"}, {"path": "1_Pooling", "type": "x.Pooling"}]
    (directory / "modules.json").write_text(json.dumps(modules))
    (directory / "config.json").write_text(json.dumps(CONFIG))
    (directory / "tokenizer.json").write_text('{"model": {}}')
    (directory / "1_Pooling" / "config.json").write_text('{"pooling_mode": "cls"}')
    (directory / "onnx" / "config.json").write_text("{}")
    (directory / "pytorch_model.bin").write_bytes(b"pickle")
    (directory / WEIGHTS).write_bytes(random.Random(7).randbytes(SIZE))  # noqa: S311 no secret
    return directory


@pytest.fixture
def hub(files: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub that serves them, and is the one that HF_ENDPOINT names."""
    with FakeHub(files) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


def pulled(hub: FakeHub, hf_home: Path) -> tuple[Path, list[Progress]]:
    """Pull the hub's model, and return where it is and what was reported."""
    said: list[Progress] = []
    model = registry.pinned(hub.model)
    assert model
    return pull(model, hf_home, said.append, QUICK), said


def whole(hub: FakeHub, hf_home: Path) -> bool:
    """Return whether the model looks whole."""
    model = registry.pinned(hub.model)
    assert model
    return snapshots.whole(model, hf_home) is not None


def partials(hf_home: Path) -> list[int]:
    """Return the sizes of the partial files."""
    return [path.stat().st_size for path in hf_home.rglob("*.incomplete")]


def test_a_model_is_fetched_byte_for_byte(hub: FakeHub, files: Path, tmp_path: Path) -> None:
    """What the embedder reads is here, what it does not is not, and every byte was counted."""
    directory, said = pulled(hub, tmp_path / "hf")
    fetched = {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
    assert fetched == {"modules.json", "config.json", "tokenizer.json", "1_Pooling/config.json", WEIGHTS}
    assert all((directory / name).read_bytes() == (files / name).read_bytes() for name in fetched)
    total = sum((files / name).stat().st_size for name in fetched)
    assert (said[0].event, said[0].done_bytes, said[0].total_bytes) == ("started", 0, total)
    assert (said[-1].event, said[-1].done_bytes, said[-1].new_bytes) == ("finished", total, total)


def test_other_programs_find_what_was_fetched(hub: FakeHub, tmp_path: Path) -> None:
    """The files lie as huggingface_hub keeps them."""
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415 it takes 0.8 s

    directory, _ = pulled(hub, tmp_path / "hf")
    found = try_to_load_from_cache(hub.repository, WEIGHTS, cache_dir=tmp_path / "hf" / "hub", revision=hub.revision)
    assert found == str(directory / WEIGHTS)


def test_what_is_here_is_not_fetched_again(hub: FakeHub, tmp_path: Path) -> None:
    """A second pull asks for nothing."""
    pulled(hub, tmp_path / "hf")
    asked = {name: len(ranges) for name, ranges in hub.ranges.items()}
    _, said = pulled(hub, tmp_path / "hf")
    assert said == []
    assert {name: len(ranges) for name, ranges in hub.ranges.items()} == asked


def by_another_program(hub: FakeHub, hf_home: Path, *lacks: str) -> Path:
    """Lay the model down as huggingface_hub does, without the files that it had not come to; return the snapshot."""
    directory, _ = pulled(hub, hf_home)
    for name in lacks:
        blob = (directory / name).resolve()
        (directory / name).unlink()
        blob.unlink()
    for marker in directory.parents[1].glob("aya.*"):
        marker.unlink()
    return directory


def test_what_another_program_left_unfinished_is_completed(hub: FakeHub, files: Path, tmp_path: Path) -> None:
    """The weights came before the window was said: only the missing file is fetched, and then the model is whole."""
    window = "sentence_bert_config.json"
    hub.files[window] = files / window
    hub.files[window].write_text('{"max_seq_length": 16}')
    directory = by_another_program(hub, tmp_path / "hf", window)
    assert not whole(hub, tmp_path / "hf")
    _, said = pulled(hub, tmp_path / "hf")
    assert (directory / window).read_bytes() == hub.files[window].read_bytes()
    assert (len(hub.ranges[window]), len(hub.ranges[WEIGHTS])) == (2, 1)
    assert said[-1].new_bytes == hub.files[window].stat().st_size
    assert whole(hub, tmp_path / "hf")


@pytest.mark.parametrize("status", [503, 401])
def test_what_another_program_fetched_is_used_while_the_hub_does_not_answer(
    hub: FakeHub, tmp_path: Path, status: int
) -> None:
    """It is asked once, it is said, and the next pull asks again."""
    directory = by_another_program(hub, tmp_path / "hf")
    hub.faults[""].append(Fault("status", status))
    found, said = pulled(hub, tmp_path / "hf")
    assert (found, [one.event for one in said]) == (directory, ["retrying"])
    assert "used as it is" in (said[0].note or "")
    assert not whole(hub, tmp_path / "hf")
    pulled(hub, tmp_path / "hf")
    assert whole(hub, tmp_path / "hf")


def test_what_was_pulled_works_without_a_network(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub is not asked about a model that is whole."""
    directory, _ = pulled(hub, tmp_path / "hf")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert pulled(hub, tmp_path / "hf") == (directory, [])


def test_a_file_that_went_away_is_fetched_again(hub: FakeHub, tmp_path: Path) -> None:
    """The mark names the files: one that somebody deleted makes the model no longer whole."""
    directory, _ = pulled(hub, tmp_path / "hf")
    (directory / "tokenizer.json").resolve().unlink()
    assert not whole(hub, tmp_path / "hf")
    pulled(hub, tmp_path / "hf")
    assert whole(hub, tmp_path / "hf")


@pytest.mark.parametrize("kind", ["cut", "stall"])
def test_a_broken_connection_is_taken_up_where_it_broke(hub: FakeHub, tmp_path: Path, kind: str) -> None:
    """Cut twice, or stalled: the missing bytes are asked for, and only those."""
    fault = Fault("cut", 1_000_000) if kind == "cut" else Fault("stall", 1_000_000)
    hub.faults[WEIGHTS] += [fault, fault]
    directory, said = pulled(hub, tmp_path / "hf")
    starts = [int((asked or "bytes=0-").removeprefix("bytes=").rstrip("-")) for asked in hub.ranges[WEIGHTS]]
    assert starts == [0, 1_000_000, 2_000_000]
    assert (directory / WEIGHTS).read_bytes() == hub.files[WEIGHTS].read_bytes()
    assert [one.event for one in said].count("retrying") == 2


def test_more_failures_than_attempts_are_forgiven_while_bytes_arrive(hub: FakeHub, tmp_path: Path) -> None:
    """Only failures that bring nothing count: a bad line with progress gets there."""
    hub.faults[WEIGHTS] += [Fault("cut", 200_000)] * 8
    pulled(hub, tmp_path / "hf")
    assert whole(hub, tmp_path / "hf")


def test_a_line_that_brings_nothing_ends_with_what_to_do(hub: FakeHub, tmp_path: Path) -> None:
    """The error names the command, what has arrived stays, and the next pull goes on from it."""
    hub.faults[WEIGHTS] += [Fault("cut", 1_500_000), *[Fault("status", 503)] * 3]
    with pytest.raises(EmbedderUnavailable, match="503") as caught:
        pulled(hub, tmp_path / "hf")
    assert caught.value.hint == f"aya models pull {hub.model}"
    assert (partials(tmp_path / "hf"), whole(hub, tmp_path / "hf")) == ([1_500_000], False)
    _, said = pulled(hub, tmp_path / "hf")
    assert said[-1].new_bytes == SIZE - 1_500_000
    assert hub.ranges[WEIGHTS][-1] == "bytes=1500000-"


def test_a_server_without_ranges_sends_it_all_again(hub: FakeHub, tmp_path: Path) -> None:
    """Bytes that are sent twice are not appended."""
    hub.faults[WEIGHTS] += [Fault("cut", 1_000_000), Fault("whole")]
    directory, _ = pulled(hub, tmp_path / "hf")
    assert (directory / WEIGHTS).read_bytes() == hub.files[WEIGHTS].read_bytes()


@pytest.mark.parametrize("name", [WEIGHTS, "config.json"])
def test_wrong_bytes_are_thrown_away(hub: FakeHub, tmp_path: Path, name: str) -> None:
    """A file that is not what the hub announced never becomes part of a model; the next pull has it right."""
    hub.faults[name].append(Fault("wrong"))
    with pytest.raises(EmbedderError, match=f"{name} has the hash") as caught:
        pulled(hub, tmp_path / "hf")
    assert caught.value.hint
    assert (partials(tmp_path / "hf"), whole(hub, tmp_path / "hf")) == ([], False)
    pulled(hub, tmp_path / "hf")
    assert whole(hub, tmp_path / "hf")


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (404, EmbedderError, "the hub has no acme/mini"),
        (401, EmbedderError, "does not give acme/mini"),
        (403, EmbedderError, "does not give acme/mini"),
        (503, EmbedderUnavailable, "the hub answers 503"),
    ],
)
def test_a_hub_that_refuses_is_explained(
    hub: FakeHub, tmp_path: Path, status: int, kind: type[EmbedderError], said: str
) -> None:
    """Each refusal is one sentence and a next command; only what may pass is retryable."""
    hub.faults[""] += [Fault("status", status)] * QUICK.most_failures
    with pytest.raises(kind, match=said) as caught:
        pulled(hub, tmp_path / "hf")
    assert caught.value.hint
    assert caught.value.retryable == (status == 503)


def test_a_hub_that_is_busy_for_a_moment_is_asked_again(hub: FakeHub, tmp_path: Path) -> None:
    """A 503 and a 429 cost two waits."""
    hub.faults[""] += [Fault("status", 503)]
    hub.faults["config.json"] += [Fault("status", 429)]
    pulled(hub, tmp_path / "hf")
    assert whole(hub, tmp_path / "hf")


def test_without_a_network_the_error_says_what_works_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No hub at all: the hint names the model that needs none."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    model = registry.PINNED["bge-base-en-v1.5"]
    with pytest.raises(EmbedderUnavailable, match="cannot be reached") as caught:
        pull(model, tmp_path / "hf", lambda _: None, QUICK)
    assert "AYA_MODEL=minilm" in (caught.value.hint or "")


def test_other_weights_than_the_pinned_ones_are_refused_before_they_are_fetched(hub: FakeHub, tmp_path: Path) -> None:
    """A mirror that serves something else under the same commit is found out by its announcement."""
    model = registry.pinned(hub.model)
    assert model
    with pytest.raises(EmbedderError, match="has the hash"):
        pull(replace(model, weights_sha256="0" * 64), tmp_path / "hf", lambda _: None, QUICK)
    assert not hub.ranges


def test_a_full_disk_is_said_and_keeps_what_arrived(hub: FakeHub, tmp_path: Path) -> None:
    """A write that has no room: what is here stays, and nothing looks whole."""
    limit = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    limit += f"resource.setrlimit(resource.RLIMIT_FSIZE, ({SIZE // 2}, {SIZE // 2})); "
    code = limit + "from aya_embedder.models_main import main; main()"
    command = [sys.executable, "-c", code, "pull", hub.model]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environ(hub, tmp_path))
    failed = json.loads(done.stdout.splitlines()[-1])
    assert (done.returncode, failed["event"]) == (1, "failed")
    assert "cannot be written: File too large" in failed["error"]
    assert (partials(tmp_path / "hf"), whole(hub, tmp_path / "hf")) == ([SIZE // 2], False)


def test_a_disk_with_too_little_room_is_said_before_anything_is_fetched(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub's sizes are compared with what is free."""
    room = shutil.disk_usage(tmp_path)._replace(free=1000)

    def almost_full(_: object) -> object:
        return room

    monkeypatch.setattr(shutil, "disk_usage", almost_full)
    with pytest.raises(EmbedderError, match="the disk is full") as caught:
        pulled(hub, tmp_path / "hf")
    assert "df -h" in (caught.value.hint or "")
    assert not hub.ranges


def environ(hub: FakeHub, tmp_path: Path) -> dict[str, str]:
    """Return the environment of a process that pulls from `hub`."""
    return {**os.environ, "HF_ENDPOINT": hub.url, "AYA_HF_HOME": str(tmp_path / "hf")}


def test_ctrl_c_keeps_what_arrived_and_the_next_pull_resumes(hub: FakeHub, tmp_path: Path) -> None:
    """A process that is interrupted in the middle leaves 130, half a file and no model."""
    hub.faults[WEIGHTS].append(Fault("stall", 1_000_000))
    command = [sys.executable, "-m", "aya_embedder.models_main", "pull", hub.model]
    process = subprocess.Popen(command, env=environ(hub, tmp_path), stdout=subprocess.PIPE, text=True)
    assert process.stdout
    said = (json.loads(line) for line in process.stdout)
    assert next(one for one in said if one["file"] == WEIGHTS and one["done_bytes"] > 600_000)
    process.send_signal(signal.SIGINT)
    process.stdout.close()
    assert process.wait(20) == 130
    (kept,) = partials(tmp_path / "hf")
    assert kept > 500_000
    assert not whole(hub, tmp_path / "hf")
    subprocess.run(command, env=environ(hub, tmp_path), check=True, capture_output=True)
    assert hub.ranges[WEIGHTS] == ["bytes=0-", f"bytes={kept}-"]
    assert whole(hub, tmp_path / "hf")


@pytest.mark.slow
def test_a_service_fetches_its_model_when_it_starts(tmp_path: Path) -> None:
    """AYA_MODEL names a model that is not here: the log says how far it is, and then it serves it."""
    with FakeHub(sources.minilm_directory()) as hub:
        own = {
            "AYA_MODEL": hub.model,
            "AYA_EMBEDDER_PORT": "0",
            "AYA_EMBEDDER_CACHE_DIR": str(tmp_path / "cache"),
        }
        command = [sys.executable, "-m", "aya_embedder"]
        process = subprocess.Popen(
            command, env={**environ(hub, tmp_path), **own}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert process.stdout
        said: list[str] = []
        for line in process.stdout:
            said.append(line)
            if "model.loaded" in line:
                break
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    log = "".join(said)
    assert process.returncode == 0
    assert log.index("model.download_started") < log.index("model.download_finished") < log.index("model.loaded")
    assert hub.repository in said[-1]


def test_two_processes_fetch_a_model_once(hub: FakeHub, tmp_path: Path) -> None:
    """Three nodes that start together wait for one download."""
    command = [sys.executable, "-m", "aya_embedder.models_main", "pull", hub.model]
    both = [subprocess.Popen(command, env=environ(hub, tmp_path), stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait(30) for process in both] == [0, 0]
    assert hub.ranges[WEIGHTS] == ["bytes=0-"]


def test_weights_that_were_changed_afterwards_are_refused(hub: FakeHub, tmp_path: Path) -> None:
    """A pinned model on this machine is the published one, or none; the error says how to fetch it again."""
    pinned = registry.PINNED["bge-small-en-v1.5"]
    directory, _ = pulled(hub, tmp_path / "hf")
    place = tmp_path / "hf" / "hub" / "models--BAAI--bge-small-en-v1.5" / "snapshots" / pinned.revision
    shutil.copytree(directory, place)
    with pytest.raises(ConfigError, match="not the published") as caught:
        sources.find(pinned.name, tmp_path / "hf")
    assert f"aya models pull {pinned.name}" in (caught.value.hint or "")

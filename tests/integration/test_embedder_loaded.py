"""Two real models in one process: MiniLM as published, and with CLS pooling from a directory; what unloading frees."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from aya_embedder import model, sources
from aya_embedder.cache import VectorCache
from aya_embedder.loaded import LoadedModels

MIB = 1024 * 1024


@pytest.fixture
def cls_directory(tmp_path: Path) -> Path:
    """MiniLM's files with another pooling: another model, whose vectors must not be mixed with MiniLM's."""
    directory = tmp_path / "minilm-cls"
    shutil.copytree(sources.find("minilm", None).directory, directory)
    (directory / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": ["cls"]}))
    return directory


async def test_two_real_models_answer_side_by_side(cls_directory: Path) -> None:
    """Each request gets the vectors of the model that it names, also when both compute at once."""
    models = LoadedModels(
        lambda source: model.load(source, None), VectorCache(MIB), default="minilm", resolve=sources.resolve
    )
    texts = [f"Text number {number} of a few words." for number in range(20)]
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(models.run())
        await models.until_loaded()
        models.load(str(cls_directory), default=False)
        await models.until_loaded(str(cls_directory))
        names = [None, "minilm-cls"] * 3
        answers = await asyncio.gather(*(models.find(name).embed(texts, "document", truncate=True) for name in names))
        identities = [status.identity for status in models.statuses()]
        serving.cancel()
    mean, cls = (np.array([np.frombuffer(one.vector, "<f4") for one in answers[place].embedded]) for place in (0, 1))
    for place, answer in enumerate(answers):
        assert [one.vector for one in answer.embedded] == [one.vector for one in answers[place % 2].embedded]
    assert (mean * cls).sum(axis=1).max() < 0.99
    assert [identity.pooling for identity in identities if identity] == ["mean", "cls"]


# In a process of its own: prints what MLX and the process take with one model, then with six others in turn.
UNLOADED = """
import asyncio, json, os, sys
import psutil
from aya_embedder import model, sources
from aya_embedder.cache import VectorCache
from aya_embedder.loaded import LoadedModels

def sizes(models):
    process = psutil.Process()
    return models.default.model.active_memory_bytes(), process.memory_info().rss, process.num_threads()

async def main(*others):
    load = lambda source: model.load(source, None)
    models = LoadedModels(load, VectorCache(0), default="minilm", resolve=sources.resolve)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(models.run())
        await models.until_loaded()
        printed = [sizes(models)]
        for other in others * 3:
            models.load(other, default=False)
            await models.until_loaded(other)
            await models.find(other).embed(["some text " * 50] * 2, "document", truncate=True)
            printed.append(sizes(models))
        print(json.dumps(printed), flush=True)
        os._exit(0)  # as the service does: MLX may abort while the interpreter is torn down

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.slow
def test_unloading_frees_the_memory(cls_directory: Path, tmp_path: Path) -> None:
    """With one place beside the default, six models loaded in turn take memory and threads of one, not of six."""
    twin = tmp_path / "twin"
    shutil.copytree(cls_directory, twin)
    command = [sys.executable, "-c", UNLOADED, str(cls_directory), str(twin)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    measured: list[tuple[int, int, int]] = json.loads(done.stdout.splitlines()[-1])
    active, resident, threads = zip(*measured, strict=True)
    assert max(active) - active[0] < 100 * MIB
    assert resident[1] - resident[0] > 50 * MIB
    assert resident[-1] - resident[2] < 64 * MIB
    assert len(set(threads[2:])) == 1

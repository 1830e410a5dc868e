"""The embedder's client and the real service with MiniLM: many texts, and a restart in the middle of the work."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import await_healthy, free_port

from aya import errors
from aya.embedder_client import EmbedderClient
from aya.embedder_http import Timing
from aya.embedding_batches import BATCH_TEXTS


@contextmanager
def embedder(port: int, log_file: Path) -> Generator[subprocess.Popen[bytes]]:
    """Run an embedder that a test may stop."""
    environment = {**os.environ, "AYA_EMBEDDER_PORT": str(port), "AYA_MODEL": "minilm"}
    with log_file.open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "aya_embedder"], env=environment, stdout=log, stderr=log)
    try:
        await_healthy(f"http://127.0.0.1:{port}/health", process, log_file)
        yield process
    finally:
        process.kill()
        process.wait()


async def test_many_texts_have_the_vectors_that_each_has_alone(embedder_url: str) -> None:
    """However they were cut into requests, and whatever shared a batch with them."""
    texts = [f"Note {number}: {'bread rises ' * (number % 7)}" for number in range(3 * BATCH_TEXTS + 1)]
    async with EmbedderClient(embedder_url) as client:
        model = (await client.identity()).fingerprint
        together = await client.embed(texts, prompt="document", expect=model)
        alone = [(await client.embed([text], prompt="document", expect=model))[0] for text in texts[::BATCH_TEXTS]]
    assert together.shape == (len(texts), 384)
    assert np.allclose(together[::BATCH_TEXTS], alone, atol=1e-5)


async def test_a_model_that_is_not_loaded_is_told_from_one_that_is(embedder_url: str) -> None:
    """The one that runs answers to its fingerprint and to its names; any other is not taken for it."""
    async with EmbedderClient(embedder_url) as client:
        (status,) = await client.models()
        assert (status.source, status.state, status.default) == ("minilm", "ready", True)
        assert await client.await_model("minilm", 1) == await client.identity() == status.identity
        assert await client.load_model("minilm") == status
        assert (await client.identity("all-MiniLM-L6-v2")) == status.identity
        for call in (
            client.embed(["text"], prompt="query", expect="another"),
            client.tokenize("text", model="another"),
            client.identity("another"),
        ):
            with pytest.raises(errors.ModelNotLoaded, match="another"):
                await call
        with pytest.raises(errors.EmbedderError, match="no-such-model"):
            await client.load_model("no-such-model")


@pytest.mark.slow
async def test_a_restart_in_the_middle_of_the_work_reaches_no_caller(tmp_path: Path) -> None:
    """SIGTERM, then a new process on the same port: every call has its vectors, those that met the gap later."""
    port, back, met_the_gap = free_port(), asyncio.Event(), asyncio.Event()

    async def until_back(_: float) -> None:
        met_the_gap.set()
        await back.wait()

    async def work(worker: int, client: EmbedderClient, model: str) -> int:
        calls = 0
        while not back.is_set():
            made = await client.embed([f"{worker} {calls}"] * 3, prompt="document", expect=model)
            assert made.shape == (3, 384)
            calls += 1
        return calls

    url = f"http://127.0.0.1:{port}"
    async with EmbedderClient(url) as first, EmbedderClient(url, timing=Timing(sleep=until_back)) as client:
        with embedder(port, tmp_path / "first.log") as process:
            model = (await first.identity()).fingerprint
            working = [asyncio.create_task(work(number, client, model)) for number in range(4)]
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, 10) == 0
        await asyncio.wait_for(met_the_gap.wait(), 10)
        with embedder(port, tmp_path / "second.log"):
            back.set()
            calls = await asyncio.gather(*working)
    assert sum(calls) >= len(working)

"""One contender of embedder_throughput.py, in a process of its own, by whichever interpreter has what it needs.

    embedder_worker.py ours DIRECTORY auto|stock|cpu  our model in process, by as many threads as it has streams
    embedder_worker.py reference DIRECTORY            sentence-transformers, batches of 32
    embedder_worker.py make DIRECTORY TOKENIZER       writes a seeded random BERT-base with CLS pooling, and ends

The first line out describes the contender; then each line in, {"texts": […], "save": path or null}, is answered by
{"seconds": …}. Lines are JSON.
"""

from __future__ import annotations

import json
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from aya_embedder.kernels import Wish

_REFERENCE_BATCH = 32
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")

# the imports stand where they are used: no interpreter has both torch and MLX
# ruff: noqa: PLC0415


def ours(directory: str, kernels: Wish) -> tuple[str, Callable[[list[str]], Any]]:
    """Return a description and what embeds texts into (texts, dimension)."""
    import numpy as np

    from aya_embedder import model
    from aya_embedder.batch import Budget, Queue, Waiting

    embedder = model.load(directory, None, kernels)
    budget = Budget(embedder.budget_tokens, embedder.length_step)

    def embed(texts: list[str]) -> Any:  # noqa: ANN401 an array
        encoded = embedder.encode(texts, "document")
        queue = Queue()
        for arrival, text in enumerate(encoded):
            queue.add(Waiting(arrival, len(text.ids)))
        vectors = np.empty((len(texts), embedder.identity.dimension), dtype=np.float32)
        lock = threading.Lock()
        idle = embedder.backend.streams

        def compute() -> None:
            nonlocal idle
            while True:
                with lock:
                    if not queue:
                        return
                    members = queue.next_batch(budget.shared(queue.tokens, idle)).members
                    for one in members:
                        queue.remove(one)
                    idle -= 1
                rows = [one.arrival for one in members]
                vectors[rows] = embedder.forward([encoded[row].ids for row in rows])
                with lock:
                    idle += 1

        threads = [threading.Thread(target=compute) for _ in range(embedder.backend.streams)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return vectors

    backend = embedder.backend
    return (
        f"{backend.device}, {backend.kernels} kernels, {backend.version or backend.blas}, streams {backend.streams}",
        embed,
    )


def reference(directory: str) -> tuple[str, Callable[[list[str]], Any]]:
    """Return a description and what embeds texts."""
    import sentence_transformers
    import torch

    network = sentence_transformers.SentenceTransformer(directory, device="cpu")

    def embed(texts: list[str]) -> Any:  # noqa: ANN401 an array
        return network.encode(texts, batch_size=_REFERENCE_BATCH, normalize_embeddings=True)

    versions = f"sentence-transformers {sentence_transformers.__version__}, torch {torch.__version__}"
    return f"{versions}, {torch.get_num_threads()} threads", embed


def make(directory: Path, tokenizer: Path) -> None:
    """Write a BERT-base of random weights, the same every time, as sentence-transformers saves it."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel

    torch.manual_seed(7)
    raw = directory.with_name(directory.name + "-raw")
    BertModel(BertConfig()).save_pretrained(raw)
    for name in _TOKENIZER_FILES:
        shutil.copy(tokenizer / name, raw)
    transformer = Transformer(str(raw), max_seq_length=512)
    pooling = Pooling(transformer.get_embedding_dimension(), pooling_mode="cls")
    SentenceTransformer(modules=[transformer, pooling], device="cpu").save(str(directory))


def answer(described: str, embed: Callable[[list[str]], Any]) -> None:
    """Describe the contender, then time what is asked until nobody asks."""
    print(json.dumps({"described": described}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        started = time.perf_counter()
        vectors = embed(asked["texts"])
        seconds = time.perf_counter() - started
        if asked["save"]:
            import numpy as np

            np.save(asked["save"], vectors)
        print(json.dumps({"seconds": seconds}), flush=True)


def main() -> None:
    """Do what the arguments say."""
    match sys.argv[1:]:
        case ["ours", directory, "auto" | "stock" | "cpu" as kernels]:
            answer(*ours(directory, kernels))
        case ["reference", directory]:
            answer(*reference(directory))
        case ["make", directory, tokenizer]:
            make(Path(directory), Path(tokenizer))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()

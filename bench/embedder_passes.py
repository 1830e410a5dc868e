"""What one forward pass costs: processor time of single batches, MLX's functions beside the kernels for a CPU.

    python bench/embedder_passes.py [--model minilm] [--repeats 12]

Both are in one process and take turns on one thread with one BLAS thread. Processor time, the least of the repeats, so
that other programs on the machine disturb little; they still share the caches.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import threadpool_limits

from aya_embedder import model

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SHAPES = ((1, 16), (1, 62), (8, 62), (4, 128), (2, 250), (31, 16))


def batch(texts: int, tokens: int) -> list[list[int]]:
    """Return token ids, the same every time, between BERT's two special ones."""
    random = np.random.default_rng(texts * 1000 + tokens)
    return [[101, *random.integers(1000, 30_000, tokens - 2).tolist(), 102] for _ in range(texts)]


def milliseconds(forward: Callable[[Sequence[Sequence[int]]], object], texts: list[list[int]]) -> float:
    """Return what one pass takes of the processor."""
    started = time.process_time()
    forward(texts)
    return (time.process_time() - started) * 1000


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="minilm", help="what AYA_MODEL would say")
    parser.add_argument("--repeats", type=int, default=12)
    arguments = parser.parse_args()
    stock, ours = (model.load(arguments.model, None, wish) for wish in ("stock", "cpu"))
    threadpool_limits(1)
    print("| texts × tokens | MLX's functions, ms | ours, ms | ratio |\n|---|---:|---:|---:|")
    for texts, tokens in SHAPES:
        ids = batch(texts, tokens)
        rounds = [(milliseconds(stock.forward, ids), milliseconds(ours.forward, ids)) for _ in range(arguments.repeats)]
        theirs, our = (min(column) for column in zip(*rounds[1:], strict=True))
        ratio = statistics.median(one / other for one, other in rounds[1:])
        print(f"| {texts} × {tokens} | {theirs:.1f} | {our:.1f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()

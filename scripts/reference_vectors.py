"""Make the vectors that `aya models check` compares with, by sentence-transformers, and print them as JSON.

"$(scripts/parity)" scripts/reference_vectors.py MODEL_DIRECTORY… >reference_vectors.json

The file stands in services/embedder/src/aya_embedder.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer

TEXTS = [
    "The quick brown fox jumps over the lazy dog.",
    "naïve café, Ångström, 漢字とかな, Привет, 🎉 and flags 🇩🇪🇯🇵",
    "A sentence that is repeated to run over every window. " * 60,
]
DIGITS = 6


def reference(directory: Path) -> dict[str, Any]:
    """Return the vectors for the model in `directory`, with the hash of its weights."""
    model: Any = SentenceTransformer(str(directory), device="cpu")
    modes = model[1].get_config_dict()["pooling_mode"]
    vectors = model.encode(TEXTS, normalize_embeddings=True)
    weights = hashlib.sha256((directory / "model.safetensors").read_bytes()).hexdigest()
    return {
        "weights": weights,
        "pooling": "+".join([modes] if isinstance(modes, str) else modes),
        "texts": TEXTS,
        "vectors": [[round(float(number), DIGITS) for number in vector] for vector in vectors],
    }


if __name__ == "__main__":
    made = [reference(Path(directory)) for directory in sys.argv[1:]]
    print(json.dumps(made, ensure_ascii=False))

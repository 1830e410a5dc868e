"""Our vectors are those of sentence-transformers, for real and for random weights, on varied texts of all lengths.

sentence-transformers runs in a process of its own, by the interpreter that AYA_PARITY_PYTHON names (`scripts/parity`
makes one and prints its path), or by this one where torch is installed. AYA_REQUIRE_PARITY=1 turns a skip into a
failure.
"""

from __future__ import annotations

import importlib.util
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from aya_embedder import model, runtime, sources
from aya_embedder.kernels import Wish

pytestmark = [pytest.mark.parity, pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
EDGES = [
    "a",
    ".",
    "0",
    " ",
    "\n\t  \r\n",
    "   leading and trailing   ",
    "tabs\tand\nnew lines\r\n\r\nand    runs   of spaces",
    "ALL CAPITALS ARE LOWERED",
    "naïve café, Ångström, Straße, ﬁne ligatures, e\u0301 combined",
    "Привет, как дела? Это проверка.",
    "مرحبا بالعالم، هذا اختبار",
    "שלום עולם",
    "漢字とかなとカナ、そして句読点。",
    "한국어 문장입니다.",
    "ไทยไม่มีช่องว่าง",
    "🎉🚀👩‍👩‍👧‍👦 emoji 🏳️‍🌈 and flags 🇩🇪🇯🇵",
    "zero\u200bwidth\u00a0and\u2003wide spaces \ufeff",
    "nul \x00 and bell \x07 and escape \x1b[0m",
    "Τελικός σίγμα: ΟΔΟΣ",
    "unbelievablylongwordwithoutanyspaces" * 10,
    "x" * 150,
    "supercalifragilisticexpialidocious antidisestablishmentarianism",
    "def main():\n    if x < 3 and y != 'z':\n        return {k: v for k, v in d.items()}\n",
    "SELECT id, content FROM documents WHERE metadata->>'kind' = 'note' ORDER BY created_at DESC LIMIT 5;",
    '{"json": [1, 2.5, null, true], "nested": {"a": "b"}}',
    "https://example.org/path?query=1&other=%20#fragment user@example.org",
    "∀x∈ℝ: ⌈x⌉ = −⌊−x⌋, ∑ᵢ xᵢ², H₂O, 10⁻³",  # noqa: RUF001 ambiguous on purpose
    "[CLS] [SEP] [MASK] [UNK] [PAD] are special",
    "word " * 1000,
    "漢字" * 400,
    "A sentence that is repeated to run over every window. " * 60,
]

# Runs where sentence-transformers is installed: embeds texts with given models, and makes the random ones.
REFERENCE = """
import json, shutil, sys, pathlib
import numpy, torch
from sentence_transformers import SentenceTransformer, models
from transformers import BertConfig, BertModel, ModernBertConfig, ModernBertModel, XLMRobertaConfig, XLMRobertaModel

work, minilm = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
texts = json.loads((work / "texts.json").read_text())
sizes = dict(hidden_size=128, num_hidden_layers=3, num_attention_heads=4, intermediate_size=512, initializer_range=0.1)
torch.manual_seed(7)
networks = {
    "bert-cls": (BertModel(BertConfig(**sizes)), "cls"),
    "xlm-roberta-mean": (
        XLMRobertaModel(XLMRobertaConfig(**sizes, vocab_size=30522, max_position_embeddings=258, pad_token_id=0)),
        "mean",
    ),
    # windows of 16 tokens to each side, and bases of the rope that are not the default ones
    "modernbert-mean": (
        ModernBertModel(ModernBertConfig(
            **(sizes | dict(num_hidden_layers=5, intermediate_size=192)), vocab_size=30522, local_attention=32,
            max_position_embeddings=512, global_rope_theta=40000.0, local_rope_theta=2000.0, pad_token_id=0,
            bos_token_id=101, cls_token_id=101, eos_token_id=102, sep_token_id=102,
        )),
        "mean",
    ),
    # the size of bge-base-en-v1.5; few texts, for it is slow
    "bert-base-cls": (BertModel(BertConfig(initializer_range=0.05)), "cls"),
}
for name, (network, pooling) in networks.items():
    raw = work / (name + "-raw")
    network.save_pretrained(raw)
    for file in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
        shutil.copy(minilm / file, raw)
    width = network.config.hidden_size
    modules = [models.Transformer(str(raw), max_seq_length=200), models.Pooling(width, pooling_mode=pooling)]
    SentenceTransformer(modules=modules, device="cpu").save(str(work / name))
for name, path in (("minilm", minilm), *((name, work / name) for name in networks)):
    network = SentenceTransformer(str(path), device="cpu")
    chosen = texts[::10] if name == "bert-base-cls" else texts
    numpy.save(work / (name + ".npy"), network.encode(chosen, batch_size=16, normalize_embeddings=True))
"""


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """Two hundred texts: the edge cases, and real ones of all lengths."""
    return [*EDGES, *real_texts(200 - len(EDGES))]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> Path:
    """A folder with sentence-transformers' vectors (NAME.npy) and the random models (NAME/)."""
    work = tmp_path_factory.mktemp("parity")
    (work / "texts.json").write_text(json.dumps(texts))
    command = [parity_python(), "-c", REFERENCE, str(work), str(sources.find("minilm", None).directory)]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"}
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return work


def parity_python() -> str:
    """Return the interpreter that has sentence-transformers; skip, or fail when AYA_REQUIRE_PARITY=1, without one."""
    named = os.environ.get("AYA_PARITY_PYTHON")
    if named:
        return named
    if importlib.util.find_spec("torch") and importlib.util.find_spec("sentence_transformers"):
        return sys.executable
    missing = 'sentence-transformers is not here: AYA_PARITY_PYTHON="$(scripts/parity)"'
    if os.environ.get("AYA_REQUIRE_PARITY") == "1":
        pytest.fail(missing)
    pytest.skip(missing)


def real_texts(count: int) -> list[str]:
    """Return passages and questions of the shared data, or made-up ones where there is none."""
    data = Path(os.environ.get("AYA_DATA", ROOT.parent / "shared" / "data"))
    files = [data / folder / name for folder in ("scifact", "squad-dev") for name in ("corpus.jsonl", "queries.jsonl")]
    choose = random.Random(7)  # noqa: S311 a choice of texts, not a secret
    if not all(file.exists() for file in files):
        words = " ".join(EDGES).split()
        return [" ".join(choose.choices(words, k=choose.randint(1, 300))) for _ in range(count)]
    pools = [[json.loads(line)["text"] for line in file.read_text().splitlines()] for file in files]
    return [choose.choice(pools[number % len(pools)]) for number in range(count)]


def ours(embedder: model.MlxEmbedder, texts: list[str]) -> NDArray[np.float32]:
    """Embed documents in batches of eight, as they come: lengths are mixed."""
    ids = [text.ids for text in embedder.encode(texts, "document")]
    return np.concatenate([embedder.forward(ids[start : start + 8]) for start in range(0, len(ids), 8)])


@pytest.mark.parametrize("wish", ["stock", "cpu"])
@pytest.mark.parametrize("name", ["minilm", "bert-cls", "xlm-roberta-mean", "modernbert-mean", "bert-base-cls"])
def test_vectors_are_those_of_sentence_transformers(
    reference: Path, texts: list[str], name: str, wish: Wish, record_property: Callable[[str, object], None]
) -> None:
    """Cosine 0.9999 or more for every text, and in float32 no component further away than 1e-5."""
    if wish == "cpu" and runtime.device() != "cpu":
        pytest.skip("these kernels are for a CPU")
    embedder = model.load(name if name == "minilm" else str(reference / name), None, wish)
    chosen = texts[::10] if name == "bert-base-cls" else texts
    expected, found = np.load(reference / f"{name}.npy"), ours(embedder, chosen)
    cosine, apart = float((expected * found).sum(axis=1).min()), float(np.abs(expected - found).max())
    record_property("lowest_cosine", cosine)
    record_property("largest_difference", apart)
    print(f"{name}, {wish}: lowest cosine {cosine:.8f}, largest difference {apart:.2e}")  # noqa: T201 the figures, with -rP
    assert len(texts) == 200
    assert cosine >= 0.9999
    assert apart <= (1e-5 if embedder.identity.dtype == "float32" else 5e-3)

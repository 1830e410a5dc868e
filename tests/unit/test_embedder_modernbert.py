"""ModernBERT: what its config.json says in old and new names, and its masks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import aya_embedder
from aya.errors import ConfigError
from aya_embedder import modernbert
from aya_embedder.runtime import mx

FULL, LOCAL = "full_attention", "sliding_attention"
NEW: dict[str, Any] = {
    "layer_types": [FULL, LOCAL, LOCAL, FULL, LOCAL],
    "rope_parameters": {
        FULL: {"rope_type": "default", "rope_theta": 40000.0},
        LOCAL: {"rope_type": "default", "rope_theta": 2000.0},
    },
}
OLD: dict[str, Any] = {"global_attn_every_n_layers": 3, "global_rope_theta": 40000.0, "local_rope_theta": 2000.0}


@pytest.mark.parametrize("config", [NEW, OLD], ids=["transformers 5", "transformers 4"])
def test_both_ways_to_say_it_mean_the_same(config: dict[str, Any]) -> None:
    """The bases of the rope and the pattern of the layers arrive under the names that are read."""
    said = modernbert.config_for_mlx(config)
    assert {key: said[key] for key in OLD} == OLD


@pytest.mark.parametrize(
    ("layers", "period"), [([FULL] * 4, 1), ([FULL, LOCAL] * 2, 2), ([FULL, LOCAL, LOCAL], 3), ([FULL], 1)]
)
def test_the_period_of_the_global_layers(layers: list[str], period: int) -> None:
    """Global every n layers, from the first on."""
    assert modernbert.config_for_mlx({"layer_types": layers})["global_attn_every_n_layers"] == period


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"layer_types": [LOCAL, FULL]}, "layer_types"),
        ({"layer_types": [FULL, LOCAL, FULL, FULL]}, "layer_types"),
        ({"rope_parameters": {FULL: {"rope_type": "yarn", "rope_theta": 1.0}}}, "scaled rope"),
        ({"rope_scaling": {"type": "linear", "factor": 2}}, "scaled rope"),
    ],
)
def test_what_cannot_be_computed_is_refused(config: dict[str, Any], named: str) -> None:
    """A pattern or a rope that would be computed as another one gives plausible, wrong vectors."""
    with pytest.raises(ConfigError, match=named):
        modernbert.config_for_mlx(config)


def test_a_token_sees_its_neighbours_and_never_padding_but_no_row_is_empty() -> None:
    """Five tokens and three places of padding, two neighbours to each side; padding sees itself."""
    present = mx.array([[1, 1, 1, 1, 1, 0, 0, 0]]) > 0
    visible = modernbert.masks(present, 2)
    everywhere, nearby = np.array(visible[0], dtype=np.bool_), np.array(visible[1], dtype=np.bool_)
    assert everywhere[0, 0].tolist() == [[True] * 5 + [False] * 3]
    assert nearby[0, 0, 0].tolist() == [True] * 3 + [False] * 5
    assert nearby[0, 0, 2].tolist() == [True] * 5 + [False] * 3
    assert nearby[0, 0, 7].tolist() == [False] * 7 + [True]
    assert nearby.any(axis=-1).all()


def test_only_runtime_imports_mlx() -> None:
    """Whoever imports MLX first decides which BLAS it is bound to: one line cost five sixths of the speed."""
    folder = Path(aya_embedder.__file__).parent
    importing = [
        path.name
        for path in folder.glob("*.py")
        if re.search(r"^\s*(from|import) mlx\b", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert importing == ["runtime.py"]

"""scripts/fetch_uv.py: the right wheel of the right index, and only the one that the index describes."""

from __future__ import annotations

import hashlib
import io
import runpy
import zipfile
from pathlib import Path
from typing import Any

import pytest

FETCH: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "fetch_uv.py"))
TAGS = (
    "macosx_10_12_x86_64",
    "macosx_11_0_arm64",
    "manylinux_2_17_aarch64.manylinux2014_aarch64.musllinux_1_1_aarch64",
    "manylinux_2_17_x86_64.manylinux2014_x86_64",
    "manylinux_2_28_aarch64",
    "musllinux_1_1_x86_64",
    "win_amd64",
)
FILES = [
    {"filename": "uv-0.13.9.tar.gz"},
    {"filename": "uv-0.13.90-py3-none-macosx_11_0_arm64.whl"},
    *({"filename": f"uv-0.13.9-py3-none-{tag}.whl"} for tag in reversed(TAGS)),
]


@pytest.mark.parametrize(
    ("machine", "tag"),
    [
        (("Darwin", "arm64", ""), TAGS[1]),
        (("Darwin", "x86_64", ""), TAGS[0]),
        (("Linux", "aarch64", "glibc"), TAGS[2]),
        (("Linux", "aarch64", ""), TAGS[2]),
        (("Linux", "x86_64", "glibc"), TAGS[3]),
        (("Linux", "x86_64", ""), TAGS[5]),
    ],
)
def test_the_wheel_of_this_machine_is_chosen(machine: tuple[str, str, str], tag: str) -> None:
    """By system, processor and C library; of two that fit, the one that asks for the older glibc."""
    assert FETCH["choose"](FILES, "0.13.9", *machine)["filename"] == f"uv-0.13.9-py3-none-{tag}.whl"


def test_a_machine_without_a_wheel_is_told_so() -> None:
    """And a wheel that was withdrawn is none."""
    with pytest.raises(LookupError, match=r"no uv 0\.13\.9 for Linux on s390x"):
        FETCH["choose"](FILES, "0.13.9", "Linux", "s390x", "glibc")
    with pytest.raises(LookupError):
        FETCH["choose"]([{**file, "yanked": "broken"} for file in FILES], "0.13.9", "Darwin", "arm64", "")


@pytest.mark.parametrize(
    ("environ", "texts", "expected"),
    [
        ({}, [], "https://pypi.org/simple"),
        ({"PIP_INDEX_URL": "https://a/simple/"}, ["[global]\nindex-url = https://b/simple\n"], "https://a/simple"),
        ({"UV_DEFAULT_INDEX": "mine=https://u/s?x=1", "PIP_INDEX_URL": "https://a/simple"}, [], "https://u/s?x=1"),
        ({"UV_DEFAULT_INDEX": "", "PIP_INDEX_URL": ""}, ["[global]\nindex-url = https://b/%20\n"], "https://b/%20"),
        ({}, ["[global]\nindex-url = https://b\n", "[install]\nindex-url = https://c\n"], "https://c"),
        ({}, ["[global]\nindex-url = https://b\n", "[global]\nindex-url = https://c\n"], "https://c"),
    ],
)
def test_the_index_is_the_one_that_uv_or_pip_is_told_to_use(
    environ: dict[str, str], texts: list[str], expected: str
) -> None:
    """The environment wins over pip's files, of which the last wins; without either it is the default of both."""
    assert FETCH["index_url"](environ, texts) == expected


def test_only_what_the_index_describes_is_unpacked() -> None:
    """A wheel with another sha256, or an index that gives none, is refused."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("uv-0.13.9.data/scripts/uv", b"program")
    wheel = packed.getvalue()
    assert FETCH["program"](wheel, "0.13.9", hashlib.sha256(wheel).hexdigest()) == b"program"
    for sha256 in ("0" * 64, "", None):
        with pytest.raises(ValueError, match="not what the index describes"):
            FETCH["program"](wheel, "0.13.9", sha256)

"""What is read of a base backup, whoever wrote it: whole, or one clear error; nothing outside of the copy is named."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aya.backup import manifest
from aya.backup.catalogue import Catalogue
from aya.errors import BackupError
from aya.postgres.privileges import RunAs

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FILE = {"Path": "base/1/2", "Size": 3, "Checksum-Algorithm": "SHA256", "Checksum": "00"}
RANGE = {"Timeline": 1, "Start-LSN": "0/28", "End-LSN": "0/100"}
RECORD = {
    "name": "20260101T000000Z", "node": "alpha", "started_at": "2026-01-01T00:00:00+00:00",
    "ended_at": "2026-01-01T00:00:05+00:00", "timeline": 1, "start": 40, "end": 256, "size": 3,
    "segment_bytes": 16777216, "postgresql": "18.4", "verified_at": None, "problem": None,
}  # fmt: skip
FAST = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)


def written(directory: Path, files: object, ranges: object) -> Path:
    """Write a manifest that has the right checksum, as whoever can write there would."""
    body = json.dumps({"Files": files, "WAL-Ranges": ranges})[:-1] + ",\n"
    digest = hashlib.sha256(body.encode()).hexdigest()
    (directory / manifest.MANIFEST).write_text(f'{body}"Manifest-Checksum": "{digest}"}}\n', encoding="utf-8")
    return directory


def is_refused(directory: Path) -> bool:
    """Return whether a manifest is refused in words; else all that it names is in the copy."""
    try:
        found = manifest.read(directory)
    except BackupError:
        return True
    assert all(not PurePosixPath(name).is_absolute() and ".." not in name.split("/") for name in found.files)
    return False


def test_a_whole_manifest_is_read(tmp_path: Path) -> None:
    """The others differ from it in one thing."""
    found = manifest.read(written(tmp_path, [FILE], [RANGE]))
    assert found.files == {"base/1/2": (3, "00")}


@pytest.mark.parametrize(
    "entry",
    [
        {**FILE, "Path": "/etc/passwd"},
        {**FILE, "Path": "../../../etc/passwd"},
        {**FILE, "Path": "base/../../x"},
        {**FILE, "Path": "a\0b"},
        {**FILE, "Path": "", "Encoded-Path": "2f657463"},
        {**FILE, "Path": "", "Encoded-Path": "zz"},
        {**FILE, "Size": float("inf")},
        {**FILE, "Size": "many"},
        {**FILE, "Checksum-Algorithm": "CRC32C"},
    ],
)
def test_a_file_that_is_none_of_the_copy_is_refused(tmp_path: Path, entry: dict[str, Any]) -> None:
    """However it is written."""
    assert is_refused(written(tmp_path, [entry], [RANGE]))


@pytest.mark.parametrize(
    "text", ["", "[]", "[" * 100_000, '{"Manifest-Checksum": 1}', "\0", '{"a": 1,\n"Manifest-Checksum": "00"}']
)
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: str) -> None:
    """One that nests without end, too."""
    (tmp_path / manifest.MANIFEST).write_text(text, encoding="utf-8")
    assert is_refused(tmp_path)


@FAST
@given(st.sampled_from(sorted(FILE)), st.sampled_from(sorted(RANGE)), VALUES, VALUES)
def test_any_value_in_any_place_of_a_manifest(tmp_path: Path, of_file: str, of_range: str, one: Any, two: Any) -> None:  # noqa: ANN401 - any
    """Is taken whole or refused."""
    is_refused(written(tmp_path, [{**FILE, of_file: one}], [{**RANGE, of_range: two}]))


@FAST
@given(VALUES, VALUES)
def test_any_manifest(tmp_path: Path, files: Any, ranges: Any) -> None:  # noqa: ANN401 - any
    """Whatever its parts are."""
    is_refused(written(tmp_path, files, ranges))


@FAST
@given(st.sampled_from(sorted(RECORD)), VALUES)
def test_any_value_in_any_place_of_a_record(tmp_path: Path, key: str, value: Any) -> None:  # noqa: ANN401 - any
    """A backup with a damaged record is listed with its problem, and holds up none of the others."""
    catalogue = Catalogue(tmp_path, RunAs(None, None, "me"))
    for name in ("20260101T000000Z", "20260102T000000Z"):
        (tmp_path / name).mkdir(exist_ok=True)
    whole = {**RECORD, "name": "20260102T000000Z"}
    (tmp_path / "20260102T000000Z" / "backup.json").write_text(json.dumps(whole), encoding="utf-8")
    (tmp_path / "20260101T000000Z" / "backup.json").write_text(json.dumps({**RECORD, key: value}), encoding="utf-8")
    first, second = catalogue.all()
    assert second.is_known
    assert first.problem or first.ended.tzinfo is not None

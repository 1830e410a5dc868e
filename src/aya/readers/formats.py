"""Which suffixes are read, as what, and up to which size; pure."""

from __future__ import annotations

from pathlib import PurePath
from typing import Literal

Format = Literal["text", "code", "html", "pdf", "docx", "notebook", "mail", "mbox", "table", "json"]

MIB = 1024 * 1024

MARKDOWN_SUFFIXES = frozenset({".md", ".markdown", ".mdown"})
TEXT_SUFFIXES = frozenset({".txt", ".text", ".rst", ".org", ".log"})
_CODE = """
    .asm .bash .bat .c .cc .clj .cljs .cmake .cpp .cs .css .cu .cxx .d .dart .diff .el .elm .erl .ex .exs .f90 .fish
    .fs .go .gradle .graphql .groovy .h .hcl .hh .hpp .hs .hxx .ini .java .jl .js .jsx .kt .kts .less .lisp .lua .m
    .metal .mjs .mk .ml .mli .mm .nim .nix .patch .php .pl .pm .plist .proto .ps1 .py .pyi .pyx .r .rb .rs .scala .scm
    .scss .sh .sql .svelte .swift .tcl .tex .tf .toml .ts .tsx .vb .vim .vue .xml .yaml .yml .zig .zsh"""
CODE_SUFFIXES = frozenset(_CODE.split())
RECORD_SUFFIXES = frozenset({".jsonl", ".ndjson"})
"""Read by `aya import`, not by `aya add`."""

PARSED: dict[str, Format] = {
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".pdf": "pdf",
    ".docx": "docx",
    ".ipynb": "notebook",
    ".eml": "mail",
    ".mbox": "mbox",
    ".mbx": "mbox",
    ".csv": "table",
    ".tsv": "table",
    ".json": "json",
}
"""What a worker process reads."""

SUFFIXES = MARKDOWN_SUFFIXES | TEXT_SUFFIXES | CODE_SUFFIXES | PARSED.keys()

MOST_BYTES: dict[Format, int | None] = {
    "text": 32 * MIB,
    "code": 32 * MIB,
    "html": 32 * MIB,
    "pdf": 512 * MIB,
    "docx": 256 * MIB,
    "notebook": 64 * MIB,
    "mail": 64 * MIB,
    "mbox": None,
    "table": None,
    "json": 32 * MIB,
}
"""The largest file of a format, in bytes; None where it is read piece by piece, so that its size does not matter."""


def format_of(path: PurePath) -> Format:
    """Return what a file is read as, by its suffix; what has none that is known is tried as text."""
    suffix = path.suffix.lower()
    return "code" if suffix in CODE_SUFFIXES else PARSED.get(suffix, "text")

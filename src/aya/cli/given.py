"""What a person gave on the command line: checked before anything is opened, and told from what was left out."""

from __future__ import annotations

import sys

import click
from click.core import ParameterSource

from aya.errors import DocumentError, UsageError
from aya.records import unkeepable
from aya.textfile import DEFAULT_MAX_BYTES


def check_words(**options: str | None) -> None:
    """Raise UsageError unless PostgreSQL can take every option's words; None is an option that was left out."""
    for name, value in options.items():
        if why := unkeepable(value or ""):
            raise UsageError(f"--{name} {why}", hint=f"type --{name} in UTF-8")


def explicitly(*options: str) -> bool:
    """Return whether any of the present command's options was given, rather than left at its default."""
    context = click.get_current_context()
    return any(context.get_parameter_source(option) is not ParameterSource.DEFAULT for option in options)


def standard_input(again: str) -> str:
    """Return the text on standard input. again: the command that takes it, for the hint of a DocumentError."""
    data = sys.stdin.buffer.read(DEFAULT_MAX_BYTES + 1)
    if len(data) > DEFAULT_MAX_BYTES:
        raise DocumentError(f"standard input is larger than {DEFAULT_MAX_BYTES:,} bytes", hint="split it into files")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DocumentError(
            f"standard input is not UTF-8 (byte {error.start})",
            hint=f"iconv -f WINDOWS-1252 -t UTF-8 FILE | {again}",
        ) from error

"""The tree of errors: what is retryable, which exit code, and that the tree in words is the tree in code."""

from __future__ import annotations

import inspect
import re

import pytest

from aya import errors

PICTURE = (errors.__doc__ or "").split("\n\n")[1]
CLASSES = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, errors.AyaError)]


def test_the_tree_in_the_docstring_is_the_tree_in_the_code() -> None:
    """Every class stands in the picture, one level deeper than its parent."""
    drawn = re.findall(r"^([│├└─ ]*)(\w+)(?:  .*)?$", PICTURE, re.MULTILINE)
    depths = {name: len(signs) // 4 for signs, name in drawn}
    assert depths == {each.__name__: each.__mro__.index(errors.AyaError) for each in CLASSES}


def test_the_picture_says_which_errors_may_pass_by_themselves() -> None:
    """Retryable are exactly those that are marked so."""
    marked = {found[1] for found in re.finditer(r"(\w+) .*\(retryable\)", PICTURE)}
    assert {each.__name__ for each in CLASSES if each.retryable} == marked


@pytest.mark.parametrize("error", CLASSES, ids=lambda each: each.__name__)
def test_every_error_carries_its_message_and_the_next_command(error: type[errors.AyaError]) -> None:
    """str() is the message alone; the hint is a field; only a wrong call exits with 2."""
    raised = error("what and why", hint="aya status")
    assert (str(raised), raised.message, raised.hint) == ("what and why", "what and why", "aya status")
    assert error("x").hint is None
    assert error.exit_code == (2 if error is errors.UsageError else 1)
    assert error.__doc__


def test_exit_codes_are_told_apart() -> None:
    """1 failed, 2 usage, 3 degraded: scripts lean on them."""
    assert (errors.EXIT_FAILED, errors.EXIT_USAGE, errors.EXIT_DEGRADED) == (1, 2, 3)

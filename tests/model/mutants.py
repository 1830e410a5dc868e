"""The tables with one guard less: a row, or one condition of a row or of a predicate that the rows use.

Made from the source of aya_watchdog.decide, so that a new row or condition has its mutants at once.
"""

from __future__ import annotations

import ast
import copy
import inspect
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType

from aya_watchdog import decide, protocol

TABLES = ("PRIMARY", "STANDBY")
_TYPES = "there for the type checker: what it asks for is so whenever it is asked"
_NEVER = "another guard holds whenever it does; kept for the reader"
_FALSE_WORD = "only after a false word of a person, which the model leaves out"
# Mutants that nothing finds, and why that is so: by the beginning of their names.
SPARED = {
    "PRIMARY 11 (begin: the first row of an epoch is its own) without `_alone(v)`": _NEVER,
    "PRIMARY 19 (nothing: every acknowledged row is on both nodes) is missing": "only the words differ",
    "STANDBY 4 (yield": _FALSE_WORD,
    "STANDBY 5 (force: the stream is still open: close it first)": _FALSE_WORD,
    "STANDBY 8 (abandon: the right to be promoted is not held after all) is missing": _NEVER,
    "STANDBY 12 (restart: the server runs and lets nobody in) without `v.state.rejoin`": "row 19 does the same, later",
    "may_acknowledge_alone without `state.role == 'primary'`": _NEVER,
    "may_be_promoted without `state.role == 'standby'`": _NEVER,
    "_fresh without `seen.peer is not None`": _TYPES,
    "_is_taken_over without `seen.peer is not None`": _TYPES,
    "_has_caught_up without `peer is not None`": _TYPES,
    "_is_armed without `seen.peer is None": _TYPES,
    "_in_sync without `seen.follower is not None`": _TYPES,
}
PREDICATES = ("may_acknowledge_alone", "may_be_promoted")


@dataclass(frozen=True)
class Mutant:
    """name: where and what; source: the module's, changed."""

    name: str
    tree: ast.Module

    def tables(self) -> ModuleType:
        """Return it as a module."""
        module = ModuleType("aya_watchdog_mutant")
        # its dataclasses look their module up
        sys.modules[module.__name__] = module
        exec(compile(ast.fix_missing_locations(self.tree), self.name, "exec"), module.__dict__)  # noqa: S102 our own source
        return module


def spared(name: str) -> str:
    """Return why nothing finds a mutant; empty when something is to find it."""
    return next((why for beginning, why in SPARED.items() if name.startswith(beginning)), "")


def _source() -> ast.Module:
    """Return the module with the two predicates of the protocol, which its rows use, as its own."""
    tree = ast.parse(inspect.getsource(decide))
    own = ast.parse(inspect.getsource(protocol))
    functions = [one for one in own.body if isinstance(one, ast.FunctionDef) and one.name in PREDICATES]
    place = next(index for index, one in enumerate(tree.body) if isinstance(one, ast.Assign))
    wanted = ast.parse("from aya_watchdog.protocol import State").body
    tree.body[place:place] = [*wanted, *functions]
    return tree


def _rows(tree: ast.Module, table: str) -> ast.Tuple:
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == table:
            assert isinstance(node.value, ast.Tuple)
            return node.value
    raise AssertionError(table)


def _predicates(tree: ast.Module) -> list[ast.FunctionDef]:
    return [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name != "decide" and not node.name.startswith("decide_")
    ]


class _Dropper(ast.NodeTransformer):
    """Takes one operand out of its `and` or `or`, by its number. dropped: its source. seen: how many there are."""

    def __init__(self, number: int = -1) -> None:
        self.number = number
        self.seen = 0
        self.dropped = ""

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.expr:
        """Count the operands, those of the inner ones after those of the outer one."""
        first = self.seen
        self.seen += len(node.values)
        mine = self.number - first
        if 0 <= mine < len(node.values):
            self.dropped = ast.unparse(node.values.pop(mine))
        self.generic_visit(node)
        return node if len(node.values) > 1 else node.values[0]


def _guards(root: ast.AST) -> int:
    counter = _Dropper()
    counter.visit(copy.deepcopy(root))
    return counter.seen


def _drop(root: ast.AST, number: int) -> str:
    """Take an operand out; return its source."""
    dropper = _Dropper(number)
    dropper.visit(root)
    return dropper.dropped


def mutants() -> Iterator[Mutant]:
    """Yield every mutant."""
    whole = _source()
    for table in TABLES:
        rows = _rows(whole, table).elts
        for index, row in enumerate(rows):
            assert isinstance(row, ast.Call)
            why = ast.literal_eval(row.args[3])
            where = f"{table} {index + 1} ({ast.literal_eval(row.args[2])}: {why})"
            if index < len(rows) - 1:
                tree = copy.deepcopy(whole)
                del _rows(tree, table).elts[index]
                yield Mutant(f"{where} is missing", tree)
            for number in range(_guards(row.args[1])):
                tree = copy.deepcopy(whole)
                changed = _rows(tree, table).elts[index]
                assert isinstance(changed, ast.Call)
                dropped = _drop(changed, number)
                yield Mutant(f"{where} without `{dropped}`", tree)
    for place, function in enumerate(_predicates(whole)):
        for number in range(_guards(function)):
            tree = copy.deepcopy(whole)
            dropped = _drop(_predicates(tree)[place], number)
            yield Mutant(f"{function.name} without `{dropped}`", tree)

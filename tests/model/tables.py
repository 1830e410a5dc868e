"""The two tables as docs/failover.md prints them, from the source: `python -m tests.model.tables` writes them there."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

from aya_watchdog import decide

DOCUMENT = Path(__file__).parents[2] / "docs" / "failover.md"


def _condition(row: ast.Call) -> str:
    when = row.args[1]
    source = ast.unparse(when.body if isinstance(when, ast.Lambda) else when)
    source = re.sub(r"\b_(\w+)\(v\)", r"\1", source)
    source = re.sub(r"\bv\.", "", source)
    source = re.sub(r"^_", "", source)
    return "always" if source == "True" else source.replace(" is not None", " is set").replace("'", '"')


def predicates() -> list[str]:
    """Return the names of the predicates that the rows use, as the document prints them."""
    tree = ast.parse(inspect.getsource(decide))
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("_")]
    return [name.lstrip("_") for name in names]


def rendered(table: str) -> str:
    """Return one table as Markdown, a line for each row."""
    tree = ast.parse(inspect.getsource(decide))
    lines = ["| | condition | when | does | because |", "|---|---|---|---|---|"]
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == table:
            assert isinstance(node.value, ast.Tuple)
            for number, row in enumerate(node.value.elts, 1):
                assert isinstance(row, ast.Call)
                state, action, why = (ast.literal_eval(row.args[index]) for index in (0, 2, 3))
                paused = " ‖" if any(word.arg == "always" for word in row.keywords) else ""
                does = "" if action == "nothing" else action
                lines.append(f"| {number} | {state}{paused} | `{_condition(row)}` | {does} | {why} |")
    return "\n".join(lines)


def _between(table: str) -> re.Pattern[str]:
    return re.compile(rf"(?<=<!-- {table} -->\n).*?(?=\n<!-- end -->)", re.DOTALL)


def printed(document: str, table: str) -> str:
    """Return what a document has between the marks of a table."""
    found = _between(table).search(document)
    return found.group() if found else ""


if __name__ == "__main__":
    text = DOCUMENT.read_text(encoding="utf-8")
    for name in ("PRIMARY", "STANDBY"):
        text = _between(name).sub(lambda _, name=name: rendered(name), text)  # type: ignore[misc]
    DOCUMENT.write_text(text, encoding="utf-8")

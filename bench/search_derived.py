"""Two collections in which words are worth little, made of squad-dev: what a fusion must not be fooled by.

    python bench/search_derived.py DIRECTORY [--data ../shared/data]
    python bench/search.py --data DIRECTORY

halves: find the second half of a paragraph by its first, 2,016 of them. siblings: find the other questions that were
asked of a paragraph, by its first, among 8,503 questions; 800 queries, drawn by a fixed seed.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from pathlib import Path
from typing import Any

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_FEWEST_QUESTIONS = 3
_SIBLING_QUERIES = 800


def halves(paragraphs: list[dict[str, str]]) -> tuple[dict[str, str], dict[str, str], dict[str, list[str]]]:
    """Return (documents, queries, wanted) by name: second halves, first halves, which belong together; pure."""
    documents: dict[str, str] = {}
    queries: dict[str, str] = {}
    for paragraph in paragraphs:
        sentences = _SENTENCE_END.split(paragraph["text"])
        half = len(sentences) // 2
        if half:
            queries[paragraph["id"]] = " ".join(sentences[:half])
            documents[paragraph["id"]] = " ".join(sentences[half:])
    return documents, queries, {name: [name] for name in queries}


def siblings(
    questions: dict[str, str], of: dict[str, str]
) -> tuple[dict[str, str], dict[str, str], dict[str, list[str]]]:
    """Return the same for questions. of: the paragraph of each question, by name; pure but for its seed."""
    asked: dict[str, list[str]] = {}
    for question, paragraph in of.items():
        asked.setdefault(paragraph, []).append(question)
    families = sorted(family for family in asked.values() if len(family) >= _FEWEST_QUESTIONS)
    chosen = random.Random(5).sample(families, _SIBLING_QUERIES)  # noqa: S311 no secret
    documents = {each: questions[each] for family in asked.values() for each in family[1:]}
    return documents, {family[0]: questions[family[0]] for family in chosen}, {each[0]: each[1:] for each in chosen}


def write(directory: Path, documents: dict[str, str], queries: dict[str, str], wanted: dict[str, list[str]]) -> None:
    """Write a folder as bench/search.py reads it."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, texts in (("corpus.jsonl", documents), ("queries.jsonl", queries)):
        lines = [json.dumps({"id": key, "text": text}) for key, text in texts.items()]
        (directory / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    pairs = [f"{query}\t{document}\t1" for query, found in wanted.items() for document in found]
    (directory / "qrels.tsv").write_text("\n".join(["query_id\tdoc_id\trel", *pairs]) + "\n", encoding="utf-8")


def main() -> None:
    """Read squad-dev and write both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    asked = parser.parse_args()
    folder = asked.data / "squad-dev"
    paragraphs: list[dict[str, Any]] = _objects(folder / "corpus.jsonl")
    questions = {one["id"]: one["text"] for one in _objects(folder / "queries.jsonl")}
    pairs = [line.split("\t") for line in (folder / "qrels.tsv").read_text(encoding="utf-8").splitlines()[1:]]
    write(asked.directory / "halves", *halves(paragraphs))
    write(asked.directory / "siblings", *siblings(questions, {query: paragraph for query, paragraph, _ in pairs}))


def _objects(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    main()

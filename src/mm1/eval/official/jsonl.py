"""A user's own questions: a folder with test.jsonl and, for the examples, train.jsonl; one object a line.

    captions          {"image": "a.jpg", "captions": ["a cake on a table", …]}
    vqa               {"image": "a.jpg", "question": "What is it?", "answers": ["cake", …]}
    multiple_choice   {"image": "a.jpg", "question": "What is it?", "choices": ["cake", "pie"], "answer": "cake" or 0}
    classification    {"image": "a.jpg", "label": "cake"}      the classes are the labels of both files

Every line may have an "id" (the line's number otherwise), a "kind" that scores are also reported by, and a "rationale"
that chain-of-thought examples show. Where there is no train.jsonl, examples are other lines of test.jsonl.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mm1.eval.official.rows import DAMAGED, NO_ANSWER, Folder, Material, Row, Unfit, collect, first, line, texts
from mm1.eval.official.vqa import commonest

QUESTIONS, EXAMPLES = "test.jsonl", "train.jsonl"


def captions(folder: Folder) -> Material:
    """Pictures with captions."""

    def make(entry: Mapping[str, Any]) -> dict[str, Any]:
        found = texts(_list(entry, "captions", "caption"))
        return {"answers": found, "shown": first(found)}

    return _material(folder, make)


def vqa(folder: Folder) -> Material:
    """Questions with answers; as an example, one shows its commonest."""

    def make(entry: Mapping[str, Any]) -> dict[str, Any]:
        found = texts(_list(entry, "answers", "answer"))
        return {"answers": found, "shown": commonest(found), "question": _question(entry)}

    return _material(folder, make)


def multiple_choice(folder: Folder) -> Material:
    """Questions with choices, the right one by its text or its number from 0."""

    def make(entry: Mapping[str, Any]) -> dict[str, Any]:
        choices = tuple(map(line, entry.get("choices") or ()))
        answer = entry.get("answer")
        right = choices[answer] if isinstance(answer, int) and 0 <= answer < len(choices) else line(answer)
        if right not in choices or len(set(map(str.lower, choices))) < len(choices):
            raise Unfit(NO_ANSWER if right not in choices else "choices that do not differ")
        return {"answers": (right,), "shown": right, "question": _question(entry), "choices": choices}

    return _material(folder, make)


def classification(folder: Folder) -> Material:
    """Pictures with one label of a closed set."""
    files = [path for name in (QUESTIONS, EXAMPLES) if (path := folder.find(name))]
    labels = {line(entry.get("label")) for path in files for entry in _entries(path) if isinstance(entry, dict)}
    classes = tuple(sorted(labels - {""}))

    def make(entry: Mapping[str, Any]) -> dict[str, Any]:
        label = first(texts([entry.get("label")]))
        return {"answers": (label,), "shown": label, "choices": classes, "kind": label}

    return _material(folder, make)


def _material(folder: Folder, make: Callable[[Mapping[str, Any]], dict[str, Any]]) -> Material:
    def row(numbered: tuple[object, Any]) -> Row:
        number, entry = numbered
        if not isinstance(entry, dict) or not line(entry.get("image")):
            raise Unfit(DAMAGED if not isinstance(entry, dict) else "no image")
        fields = {"kind": str(entry.get("kind", "all")), "rationale": line(entry.get("rationale")), **make(entry)}
        name = str(entry["image"])
        return Row(id=str(entry.get("id", number)), picture=(f"images/{name}", name), **fields)

    path, examples = folder.file(QUESTIONS), folder.find(EXAMPLES)
    questions, missing = collect(enumerate(_entries(path), start=1), row)
    if examples is None:
        return Material(questions, questions, "test; examples of test", (path,), missing)
    # Numbers of lines mean other rows there.
    pool, _ = collect(((f"{EXAMPLES}/{number}", e) for number, e in enumerate(_entries(examples), start=1)), row)
    return Material(questions, pool, "test; examples of train", (path, examples), missing)


def _entries(path: Path) -> list[Any]:
    """The lines' values; one that is no JSON stays a string, and is dropped later as a damaged row."""
    found: list[Any] = []
    for text in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        if text.strip():
            try:
                found.append(json.loads(text))
            except (ValueError, RecursionError):
                found.append(text)
    return found


def _list(entry: Mapping[str, Any], many: str, one: str) -> list[Any]:
    value = entry.get(many, entry.get(one))
    return value if isinstance(value, list) else [value]


def _question(entry: Mapping[str, Any]) -> str:
    question = line(entry.get("question"))
    if not question:
        raise Unfit("no question")
    return question

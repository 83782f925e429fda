"""Which real key a mistyped one may mean.

    suggest("pretrain.frozen", ["pretrain", "pretrain.optimizer", "pretrain.optimizer.frozen"])
    # ": did you mean 'pretrain.optimizer.frozen'?"

Knows nothing of configurations: keys are words with dots between them.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any


def paths(values: Any, prefix: str = "") -> list[str]:
    """Every key path, inner nodes included, of nested plain values; items of lists are numbered."""
    children: list[tuple[str, Any]] = []
    if isinstance(values, dict):
        children = [(str(key), value) for key, value in values.items()]
    elif isinstance(values, list):
        children = [(str(index), item) for index, item in enumerate(values) if isinstance(item, dict)]
    found: list[str] = []
    for key, value in children:
        found += [prefix + key, *paths(value, f"{prefix}{key}.")]
    return found


def suggest(key: str, candidates: Sequence[str]) -> str:
    """A question naming the nearest real key; or the keys that there are.

    The nearest has the same last word elsewhere, or is spelled like the whole path, or at least like its last word.
    """
    others = [candidate for candidate in candidates if not key.startswith(f"{candidate}.")]
    same = [candidate for candidate in others if _last(candidate) == _last(key)]
    if near := sorted(same, key=lambda path: -_likeness(_parent(path), _parent(key))) or _spelled_like(key, others):
        return f": did you mean '{near[0]}'?"
    level, parent = list[str](), key
    while not level and parent:
        parent = _parent(parent)
        level = [_last(name) for name in candidates if _parent(name) == parent]
    return f": the keys{f' of {parent!r}' if parent else ' there'} are {', '.join(level)}" if level else ""


def _spelled_like(key: str, candidates: Sequence[str]) -> list[str]:
    """By the whole path, where the last word is like as well: a common beginning alone says little."""
    whole = difflib.get_close_matches(key, candidates, n=5, cutoff=0.75)
    if near := [candidate for candidate in whole if difflib.get_close_matches(_last(key), [_last(candidate)])]:
        return near
    last_words = {_last(candidate): candidate for candidate in reversed(candidates)}
    return [last_words[word] for word in difflib.get_close_matches(_last(key), last_words, n=1)]


def _likeness(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other).ratio()


def _parent(path: str) -> str:
    return path.rpartition(".")[0]


def _last(path: str) -> str:
    return path.rpartition(".")[2]

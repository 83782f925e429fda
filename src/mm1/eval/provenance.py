"""Which code a score comes from, so that none is read back after that code has changed.

    code_version()        # "0.1.0 3f2a91c04d7e": all of mm1, for the record
    answering_version()   # of what decides what is asked and said: prompts, choice of examples, model, engine
    scoring_version()     # of what decides what that is worth: extraction, metrics, intervals

A hash covers the modules and whatever of mm1 they import, directly or not; comments, docstrings and layout count for
nothing. So a metric that changes makes scores stale but not the model's words, which are scored again; see runner.py.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

import mm1

ANSWERING = (
    "mm1.eval.asking", "mm1.eval.model", "mm1.eval.official.catalog", "mm1.eval.official.features",
    "mm1.eval.world", "mm1.eval.naming",
)  # fmt: skip
SCORING = ("mm1.eval.runner",)
SCORES_ONLY = (
    "mm1.eval.metrics", "mm1.eval.tasks", "mm1.eval.results", "mm1.eval.intervals", "mm1.eval.runner",
    "mm1.eval.provenance", "mm1.eval.official.extraction", "mm1.eval.instruct.parsing", "mm1.eval.instruct.scoring",
)  # fmt: skip
"""Modules, and packages with all in them, that come after the model's words: their change asks nothing anew."""


@cache
def code_version() -> str:
    """mm1's number with a hash of its code, for work in progress all has one number."""
    digest = hashlib.sha256()
    for path, text in sorted(_sources(files("mm1"), "")):
        digest.update(f"{path}\0{text}\0".encode())
    return f"{mm1.__version__} {digest.hexdigest()[:12]}"


@cache
def answering_version() -> str:
    """A hash of the code that decides what is asked and what the model says."""
    names = [name for name in reached(ANSWERING) if not _within(name, SCORES_ONLY)]
    return _hash(names)


@cache
def scoring_version() -> str:
    """A hash of the code that decides what the model's words are worth."""
    names = [name for name in reached((*SCORING, *ANSWERING)) if _within(name, SCORES_ONLY)]
    return _hash(names)


def reached(roots: Sequence[str]) -> list[str]:
    """The modules of mm1 that `roots` import, directly or not, and the roots themselves; sorted."""
    found: set[str] = set()
    left = list(roots)
    while left:
        name = left.pop()
        # The package itself holds nothing but its number.
        if name not in found and name != "mm1" and _file(name) is not None:
            found.add(name)
            left += _imports(name)
    return sorted(found)


def _within(name: str, packages: Sequence[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def _hash(names: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for name in names:
        digest.update(f"{name}\0{ast.unparse(_bare(name))}\0".encode())
    return digest.hexdigest()[:16]


def _imports(name: str) -> Iterator[str]:
    """What may be modules: of `from a import b`, both a and a.b."""
    for node in ast.walk(_bare(name)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if _within(alias.name, ["mm1"]))
        elif isinstance(node, ast.ImportFrom) and _within(node.module or "", ["mm1"]):
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def _bare(name: str) -> ast.Module:
    """The module without its strings that only people read."""
    source = _file(name)
    assert source is not None
    tree = ast.parse(source.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [one for one in body if not _is_text(one)] or [ast.Pass()]  # type: ignore[attr-defined]
    return tree


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _file(name: str) -> Traversable | None:
    """A module's source; None where there is no such module, as of `from module import function`."""
    place = files("mm1")
    for part in name.split(".")[1:-1]:
        place = place / part
    last = name.rpartition(".")[2]
    for file in (place / f"{last}.py", place / last / "__init__.py"):
        if file.is_file():
            return file
    return None


def _sources(folder: Traversable, prefix: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found += _sources(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(".py"):
            found.append((prefix + entry.name, entry.read_text(encoding="utf-8")))
    return found

"""The space that some tokenizers put before a text (Llama 2's, Mistral's, Mixtral's), where it belongs and elsewhere.

    tokenizer.json of Llama 2    "a cat" → ▁a ▁cat      and of a text after it, " sat" → ▁ ▁sat, with a space too many
    beginning(parts, …)          "a cat" → ▁a ▁cat      the prefix before a string's beginning, and nowhere else in it
    going_on(parts, …)           " sat" → ▁sat, "s" → s      no prefix; and decoding keeps the space of " sat"

mm1 gives a tokenizer the pieces of a document one by one. Only the first is a beginning, as in transformers' tokenizers
that are not `legacy`; what follows an image, a turn or a prompt goes on. `parts` are what the library writes of a
tokenizer under PARTS, as JSON; `where` is the file that errors name. Knows nothing of vocabularies.
"""

from __future__ import annotations

import json
from typing import Any, TypeAlias

import tokenizers
from tokenizers import models

from mm1.config import UserError

Parts: TypeAlias = dict[str, Any]
Steps: TypeAlias = list[dict[str, Any]]

PARTS = {"normalizer": "normalizers", "pre_tokenizer": "pretokenizers", "decoder": "decoders"}
"""The parts of a tokenizer that know of the prefix, and what a Sequence of each calls its steps."""

MARK = "▁"
"""SentencePiece's space."""


def read_parts(library: tokenizers.Tokenizer) -> Parts:
    """The parts of a tokenizer."""
    values: Parts = json.loads(_copy_parts(library, tokenizers.Tokenizer(models.BPE())).to_str())
    return {part: values[part] for part in PARTS}


def set_parts(library: tokenizers.Tokenizer, parts: Parts) -> None:
    """Gives a tokenizer other parts."""
    values = json.loads(tokenizers.Tokenizer(models.BPE()).to_str())
    _copy_parts(tokenizers.Tokenizer.from_str(json.dumps({**values, **parts})), library)


def beginning(parts: Parts, where: str) -> Parts:
    """The same prefix before the beginning of a string only, not after each special or added token in it.

    Raises:
        UserError: it is made in a way that is not known.
    """
    normalizers, pre_tokenizers = (_steps(parts, part) for part in ("normalizer", "pre_tokenizer"))
    # Anywhere else such a step is asked about each word, and its prefix is what tells words apart.
    match pre_tokenizers:
        case [{"type": "Metaspace", "prepend_scheme": "always"} as first, *others]:
            pre_tokenizers = [{**first, "prepend_scheme": "first"}, *others]
        case [{"type": "ByteLevel", "add_prefix_space": True} as first, *others]:
            pre_tokenizers = [_metaspace(" ", "first"), {**first, "add_prefix_space": False}, *others]
    if prepended := [step["prepend"] for step in normalizers if step["type"] == "Prepend"]:
        spaces_marked = {"type": "Replace", "pattern": {"String": " "}, "content": MARK} in normalizers
        if prepended != [MARK] or not spaces_marked:
            raise UserError(
                f"{where} has a normalizer that puts {prepended[0]!r} before texts, which mm1 can do only with "
                f"'{MARK}', once, and where spaces become '{MARK}': use another tokenizer"
            )
        # Prepends MARK even where the text begins with one, as the normalizer does: the first step puts a space, the
        # only one that is left, and the second marks it.
        normalizers = [step for step in normalizers if step["type"] != "Prepend"]
        pre_tokenizers = [_metaspace(" ", "first"), _metaspace(MARK, "never"), *pre_tokenizers]
    return {
        **parts,
        "normalizer": _sequence("normalizer", normalizers),
        "pre_tokenizer": _sequence("pre_tokenizer", pre_tokenizers),
    }


def going_on(parts: Parts, where: str) -> Parts:
    """No prefix anywhere, and a decoder that does not take one away.

    Raises:
        UserError: as `beginning`.
    """
    first = beginning(parts, where)
    split, joined = (
        [_without_prefix(step, schemes) for step in _steps(first, part)]
        for part, schemes in (("pre_tokenizer", ["first"]), ("decoder", ["first", "always"]))
    )
    return {**first, "pre_tokenizer": _sequence("pre_tokenizer", split), "decoder": _sequence("decoder", joined)}


def _without_prefix(step: dict[str, Any], schemes: list[str]) -> dict[str, Any]:
    match step:
        case {"type": "Metaspace", "prepend_scheme": scheme} if scheme in schemes:
            return {**step, "prepend_scheme": "never"}
        case {"type": "Strip", "content": " ", "start": _}:  # as decoders have it
            return {**step, "start": 0}
    return step


def _metaspace(replacement: str, scheme: str) -> dict[str, Any]:
    """A step that spells each space as `replacement`, and with "first" puts a space before a string without one."""
    return {"type": "Metaspace", "replacement": replacement, "prepend_scheme": scheme, "split": False}


def _steps(parts: Parts, part: str) -> Steps:
    """The part's steps in order, out of all Sequences."""

    def flat(step: dict[str, Any] | None) -> Steps:
        if step is None:
            return []
        return [inner for outer in step[PARTS[part]] for inner in flat(outer)] if step["type"] == "Sequence" else [step]

    return flat(parts[part])


def _sequence(part: str, steps: Steps) -> dict[str, Any] | None:
    if len(steps) < 2:
        return steps[0] if steps else None
    return {"type": "Sequence", PARTS[part]: steps}


def _copy_parts(one: tokenizers.Tokenizer, other: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    for part in PARTS:
        setattr(other, part, getattr(one, part))
    return other

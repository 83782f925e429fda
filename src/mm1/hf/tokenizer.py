r"""mm1's tokenizer as AutoTokenizer reads it, giving a prompt in one string the ids that mm1 gives its pieces.

    "user: <|image|>a\n"   mm1:   encode("user: ", beginning=True), image, encode("a\n")
                          here:  encode("user: <|image|>a\n")                the same ids

Three things of the file are changed for that. Special tokens are looked for before anything else is done to a text,
and then ESCAPE (chat_template.py) goes: what was escaped is text by then. A tokenizer that puts a space before a text's
beginning does so at the prompt's beginning only, and not after a special token, where mm1's next piece goes on.
And only the beginning-of-text token that mm1 uses is added, if any. Knows nothing of models.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, processors

from mm1.config import UserError
from mm1.data.prefix import PARTS, beginning
from mm1.data.tokenizer import TOKENIZER_CONFIG, Tokenizer
from mm1.files import write_atomically
from mm1.hf.chat_template import ESCAPE, first_characters

TOKENIZER = "tokenizer.json"


@dataclass(frozen=True)
class SpecialTokens:
    """How they are spelled."""

    pad: str
    eos: str
    image: str
    bos: str | None
    all: tuple[str, ...] = ()
    """These and all others of the vocabulary."""
    opening: str = ""
    """Begins a prompt to which the tokenizer is told to add nothing: BOS, and after it the space that it puts before a
    text's beginning, as a BOS that is spelled is a beginning already."""


def write_tokenizer(tokenizer: Tokenizer, out: Path, max_positions: int | None = None) -> SpecialTokens:
    """Writes tokenizer.json and tokenizer_config.json into `out`.

    Args:
        tokenizer: mm1's.
        out: an existing folder.
        max_positions: what readers are told of the context's length.

    Raises:
        UserError: a special token is a single character, or has ESCAPE in it.
    """
    library = _library(tokenizer.path)
    special = _special_tokens(tokenizer, library)
    # Some files have them as ordinary tokens.
    needed = [name for name in (special.pad, special.eos, special.image, special.bos) if name is not None]
    library.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in needed])
    library.post_processor = None
    if special.bos is not None:
        ids = [(special.bos, tokenizer.bos_id)]
        library.post_processor = processors.TemplateProcessing(single=[special.bos, "$A"], special_tokens=ids)
    values: dict[str, Any] = json.loads(library.to_str())
    special = replace(special, all=tuple(token["content"] for token in values["added_tokens"] if token["special"]))
    if bad := [name for name in special.all if len(name) < 2 or ESCAPE in name]:
        raise UserError(f"{tokenizer.path} has the special token {bad[0]!r}, which no text can be kept from spelling")
    values |= beginning({part: values[part] for part in PARTS}, str(tokenizer.path))
    values["normalizer"] = _unescaping(special.all, values["normalizer"])
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": special.pad,
        "eos_token": special.eos,
        "bos_token": special.bos,
        "image_token": special.image,
        "extra_special_tokens": {"image_token": special.image},
        "padding_side": "left",
        "clean_up_tokenization_spaces": False,
        **({} if max_positions is None else {"model_max_length": max_positions}),
    }
    write_atomically(out / TOKENIZER, json.dumps(values, ensure_ascii=False).encode())
    write_atomically(out / TOKENIZER_CONFIG, (json.dumps(config, indent=2, ensure_ascii=False) + "\n").encode())
    return special


def _library(path: Path) -> tokenizers.Tokenizer:
    """The tokenizer, whose special tokens are looked for in a text as it came."""
    values: dict[str, Any] = json.loads(path.read_text())
    for token in values["added_tokens"]:
        token["normalized"] &= not token["special"]
    library = tokenizers.Tokenizer.from_str(json.dumps(values))
    library.no_truncation()
    library.no_padding()
    return library


def _special_tokens(tokenizer: Tokenizer, library: tokenizers.Tokenizer) -> SpecialTokens:
    """The spellings of those that mm1 uses."""

    def spelled(index: int) -> str:
        name: str | None = library.id_to_token(index)
        assert name is not None
        return name

    bos = None if tokenizer.bos_id is None else spelled(tokenizer.bos_id)
    return SpecialTokens(
        pad=spelled(tokenizer.pad_id),
        eos=spelled(tokenizer.eos_id),
        image=spelled(tokenizer.image_id),
        bos=bos,
        opening="" if bos is None else bos + " " * tokenizer.has_prefix,
    )


def _unescaping(names: tuple[str, ...], normalizer: dict[str, Any] | None) -> dict[str, Any]:
    """The normalizer that takes one ESCAPE after each first character, and then does what the old one did."""
    # Replacing both by the character would do, but then the library thinks that a text beginning so begins later.
    patterns = [f"(?<={re.escape(first)}){ESCAPE}" for first in first_characters(names)]
    steps = [{"type": "Replace", "pattern": {"Regex": pattern}, "content": ""} for pattern in patterns]
    return {"type": "Sequence", "normalizers": [*steps, *([] if normalizer is None else [normalizer])]}

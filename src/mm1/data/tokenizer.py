"""Text to ids and back: byte-level BPE, in the one-file format of the `tokenizers` library.

    train_tokenizer(texts, vocab_size=2048, path=folder / "tokenizer.json")
    tokenizer = Tokenizer(folder / "tokenizer.json")
    tokenizer.encode("a red circle")        # never pad_id, eos_id or image_id, whatever the text says

The special ids stand for padding, the end of a document, one position of an image and, in vocabularies that have
one, the beginning of a document. Text can not produce them: a text that spells "<|image|>" is encoded as the nine
characters it is. A file that spells them otherwise has a tokenizer_config.json beside it, of which these keys are read:

    {"pad_token": "<pad>", "eos_token": "</s>", "image_token": "<image>", "bos_token": "<s>"}    bos_token may be null

A file from elsewhere may put a space before texts: only a document's beginning gets it (prefix.py). Knows nothing of
documents.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, decoders, models, pre_tokenizers, trainers

from mm1.config import UserError
from mm1.data.prefix import beginning, going_on, read_parts, set_parts
from mm1.files import write_atomically

PAD, EOS, IMAGE = "<|pad|>", "<|endoftext|>", "<|image|>"
"""How the special tokens are spelled in a tokenizer's file that has no TOKENIZER_CONFIG beside it; the spelling has no
power in a text."""

TOKENIZER_CONFIG = "tokenizer_config.json"
"""In the form of Hugging Face's file of that name."""


class Tokenizer:
    """A trained vocabulary.

    Attributes:
        vocab_size: one more than the largest id, special ones included.
        digest: hash of the file and its TOKENIZER_CONFIG: two tokenizers with one digest give the same ids.
        pad_id, eos_id, image_id: the ids that only `DocumentEncoder` and the loader may produce.
        bos_id: likewise; None where documents begin without one.

    Raises:
        UserError: the file is missing, is not a tokenizer, lacks a special token, or has one for two purposes.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise UserError(f"there is no tokenizer at {path}: train one, or give the path of a tokenizer.json")
        self._first, self._later = _open_both(self.path)
        config_path = self.path.with_name(TOKENIZER_CONFIG)
        names = _read_names(config_path)
        content = self.path.read_bytes() + (config_path.read_bytes() if config_path.is_file() else b"")
        self.digest: str = hashlib.sha256(content).hexdigest()
        self.pad_id, self.eos_id, self.image_id = (
            self._special(names[key]) for key in ("pad_token", "eos_token", "image_token")
        )
        self.bos_id: int | None = self._special(names["bos_token"]) if "bos_token" in names else None
        self._check_distinct(names)
        # Not their number: some vocabularies leave ids out.
        self.vocab_size: int = max(self._later.get_vocab().values()) + 1

    def __reduce__(self) -> tuple[type[Tokenizer], tuple[Path]]:
        return Tokenizer, (self.path,)

    @property
    def has_prefix(self) -> bool:
        """Whether a document's first text is encoded as if a space stood before it."""
        return self._first is not self._later

    def encode(self, text: str, beginning: bool = False) -> list[int]:
        """Ids of `text`, and no special id ever.

        Args:
            text: a whole one, or a piece of one.
            beginning: whether nothing but a BOS precedes it. Some tokenizers put a space before it then; before what
                goes on from something, none does.
        """
        library = self._first if beginning else self._later
        ids: list[int] = library.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """What a text goes on with, its first space included; special ids are left out, bytes that are not UTF-8 become
        U+FFFD.
        """
        text: str = self._later.decode(list(ids), skip_special_tokens=True)
        return text

    def never_generated(self, vocab_size: int) -> list[int]:
        """Ids that a model of `vocab_size` has no business to say: padding, images, beginnings of documents, and what
        lies past the tokenizer's own ids, which only fills an embedding up to a round number.
        """
        # In some vocabularies a document begins with what ends it.
        begins = [] if self.bos_id is None or self.bos_id == self.eos_id else [self.bos_id]
        return sorted([self.pad_id, self.image_id, *begins, *range(self.vocab_size, vocab_size)])

    def _special(self, name: str) -> int:
        """The id of the token `name`, which no text can produce from here on."""
        index: int | None = self._later.token_to_id(name)
        if index is None:
            raise UserError(f"{self.path} has no token '{name}': add it as a special token, or train the file anew")
        for library in (self._first, self._later):
            library.add_special_tokens([AddedToken(name, special=True)])  # some files have it as an ordinary one
        if index in self.encode(name):
            raise UserError(
                f"{self.path} has '{name}' among the words that texts are made of: choose a token that none can spell"
            )
        return index

    def _check_distinct(self, names: dict[str, str]) -> None:
        """That one id does not stand for two things; beginning and end may be one, as in GPT-2's vocabulary."""
        for one, other in (("pad_token", "eos_token"), ("pad_token", "image_token"), ("eos_token", "image_token")):
            if names[one] == names[other]:
                raise UserError(
                    f"{self.path} has '{names[one]}' as {one} and as {other}: name two different tokens in "
                    f"{TOKENIZER_CONFIG}"
                )
        if self.bos_id in (self.pad_id, self.image_id):
            raise UserError(
                f"{self.path} has '{names['bos_token']}' as bos_token and for padding or images as well: name "
                f"different tokens in {TOKENIZER_CONFIG}, or make bos_token null"
            )


def _open_both(path: Path) -> tuple[tokenizers.Tokenizer, tokenizers.Tokenizer]:
    """The file for a document's first text and for others: one for both where there is no prefix, for it is large."""
    library = _open(path)
    parts = read_parts(library)
    first, later = beginning(parts, str(path)), going_on(parts, str(path))
    set_parts(library, later)
    if all(first[part] == later[part] for part in ("normalizer", "pre_tokenizer")):
        return library, library
    other = _open(path)
    set_parts(other, first)
    return other, library


def _open(path: Path) -> tokenizers.Tokenizer:
    """The file, by which no text can spell a special token."""
    try:
        library = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise UserError(f"{path} is not a tokenizer file ({error}): train it again") from None
    # Not stored in the file, so it must be set at every load: without it a text could spell an image.
    library.encode_special_tokens = True
    # Stored in some files; a text would silently lose its end, or get one.
    library.no_truncation()
    library.no_padding()
    return library


def _read_names(path: Path) -> dict[str, str]:
    """How the special tokens are spelled, by key; "bos_token" only where there is one."""
    if not path.is_file():
        return {"pad_token": PAD, "eos_token": EOS, "image_token": IMAGE}
    try:
        values: dict[str, Any] = json.loads(path.read_text())
    except ValueError as error:  # not JSON, or not even text
        raise UserError(f"{path} is not valid JSON ({error}): make or copy it again") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} is not a JSON object: make or copy it again")
    names = {}
    for key in ("pad_token", "eos_token", "image_token", "bos_token"):
        value = values.get(key)
        name = value.get("content") if isinstance(value, dict) else value  # a name, or a whole AddedToken
        if isinstance(name, str):
            names[key] = name
        elif key != "bos_token":
            raise UserError(f"{path} names no {key}: add one, spelled as in the tokenizer.json beside it")
    return names


def train_tokenizer(texts: Iterator[str], vocab_size: int, path: Path) -> Tokenizer:
    """Trains byte-level BPE (GPT-2's splitting, no prefix space) and writes `path` atomically.

    A TOKENIZER_CONFIG beside it, which named an earlier file's special tokens, is removed.
    The vocabulary may come out smaller than `vocab_size` where the texts hold too few distinct pairs.

    Raises:
        UserError: `vocab_size` has no room for the 256 bytes and the three special tokens.
    """
    special = [PAD, EOS, IMAGE]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if vocab_size < len(alphabet) + len(special):
        smallest = len(alphabet) + len(special)
        raise UserError(f"a vocabulary of {vocab_size} is too small: the bytes and special tokens alone are {smallest}")
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=special, initial_alphabet=sorted(alphabet), show_progress=False
    )
    # The trainer looks for the special tokens' spelling in the texts only if they were added to the tokenizer before.
    tokenizer.train_from_iterator(texts, trainer)
    path.with_name(TOKENIZER_CONFIG).unlink(missing_ok=True)
    write_atomically(path, tokenizer.to_str(pretty=False).encode())
    return Tokenizer(path)

"""Text to ids and back: byte-level BPE, in the one-file format of the `tokenizers` library.

    train_tokenizer(texts, vocab_size=2048, path=folder / "tokenizer.json")
    tokenizer = Tokenizer(folder / "tokenizer.json")
    tokenizer.encode("a red circle")        # never pad_id, eos_id or image_id, whatever the text says

The three special ids stand for padding, the end of a document and one position of an image. Text can not produce
them: a text that spells "<|image|>" is encoded as the nine characters it is. Knows nothing of documents.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from mm1.config import UserError
from mm1.files import write_atomically

PAD, EOS, IMAGE = "<|pad|>", "<|endoftext|>", "<|image|>"
"""How the special tokens are spelled in the tokenizer's file; the spelling has no power in a text."""


class Tokenizer:
    """A trained vocabulary.

    Attributes:
        vocab_size: number of ids, special ones included.
        digest: hash of the file: two tokenizers with one digest give the same ids.
        pad_id, eos_id, image_id: the ids that only `DocumentEncoder` and the loader may produce.

    Raises:
        UserError: the file is missing, is not a tokenizer, or lacks a special token.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise UserError(f"there is no tokenizer at {path}: train one, or give the path of a tokenizer.json")
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise UserError(f"{path} is not a tokenizer file ({error}): train it again") from None
        # Not stored in the file, so it must be set at every load: without it a text could spell an image.
        self._tokenizer.encode_special_tokens = True
        self.digest: str = hashlib.sha256(self.path.read_bytes()).hexdigest()
        self.vocab_size: int = self._tokenizer.get_vocab_size()
        self.pad_id, self.eos_id, self.image_id = (self._special(name) for name in (PAD, EOS, IMAGE))

    def __reduce__(self) -> tuple[type[Tokenizer], tuple[Path]]:
        return Tokenizer, (self.path,)

    def encode(self, text: str) -> list[int]:
        """Ids of `text` alone: nothing is added before or after, and no special id ever occurs."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`; special ids are left out, bytes that are not UTF-8 become U+FFFD."""
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

    def _special(self, name: str) -> int:
        index: int | None = self._tokenizer.token_to_id(name)
        if index is None:
            raise UserError(f"{self.path} has no token '{name}': add it as a special token, or train the file anew")
        return index


def train_tokenizer(texts: Iterator[str], vocab_size: int, path: Path) -> Tokenizer:
    """Trains byte-level BPE (GPT-2's splitting, no prefix space) and writes `path` atomically.

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
    write_atomically(path, tokenizer.to_str(pretty=False).encode())
    return Tokenizer(path)

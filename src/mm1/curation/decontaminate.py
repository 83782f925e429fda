"""Keeps what evaluations ask out of a training set: their images, and runs of words from their questions.

    index = build_index(read_evaluations([Path("vqa/")]), DecontaminationRules())
    index.image_reason(picture)        # "evaluation_image": the same bytes, or the same look
    index.text_reason(text)            # "evaluation_text": 13 words in a row of one of its texts
    index.told()                       # what is looked for, and what was left out

Texts are compared as GPT-3's were (Brown et al. 2020, appendix C): lower case, without punctuation, by runs of 13
words; a shorter text of at least 8 words must occur whole, and what is shorter still is left out, for "what color is
the cat" is everywhere. So a short question is never a hit, and a run of words that many people write is one: a licence,
a proverb, a quoted passage. GPT-3 cut out the passage and ignored runs of more than ten documents; here the whole text
is dropped, and a common run counts like any other: what it costs is a number in the funnel and a sample in the report,
and who wants those texts takes the run out of the evaluation's files. Images that look alike by chance are told apart
by colour as far as data/perceptual.py can; a blank image of an evaluation matches every blank image of that colour.
Hashes are of 64 bits: by chance alone, 10^7 runs of an index and 10^12 of a set meet in less than one.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mm1.config import Config, UserError, load_json, save_json
from mm1.curation.evaluation_files import Found
from mm1.curation.images import ImageRules, Picture, inspect
from mm1.curation.lookups import md5_key
from mm1.curation.page import Dropped
from mm1.curation.text.characters import Words, hash_words
from mm1.data.formats.reading import Drop
from mm1.data.perceptual import Look, alike

ANY_IMAGE = ImageRules(min_side=1, max_side=1 << 20, max_aspect=1 << 20)
"""Evaluations may have images that no training set would take."""


_COLOURS = 192
"""Bytes of a Look's colours."""
_ARRAYS = ("digests", "hashes", "colours")


class DecontaminationRules(Config):
    """When a document has seen an evaluation."""

    words: int = Field(13, ge=1)
    """In a row."""
    min_words: int = Field(8, ge=1)
    """Shorter texts of an evaluation are left out; those between are looked for whole."""
    max_distance: int = Field(6, ge=0, le=64)
    """Bits in which the perceptual hashes of one picture may differ, its colours agreeing as well."""


@dataclass(frozen=True, slots=True)
class EvaluationIndex:
    """What is looked for, as sorted arrays: 8 bytes a run of words, 208 bytes an image."""

    rules: DecontaminationRules
    runs: dict[int, NDArray[np.uint64]]
    """Words in a row → sorted hashes of such runs."""
    digests: NDArray[np.uint64]
    """Sorted first halves of the images' MD5s."""
    hashes: NDArray[np.uint64]
    """(images,) perceptual hashes."""
    colours: NDArray[np.uint8]
    """(images, 192)."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Reason → number of texts (`short_text`) and of images (inspect's reasons, the reader's) not looked for."""

    def image_reason(self, picture: Picture) -> str | None:
        """`evaluation_image` for an image of the evaluations, in this or another encoding or size."""
        if _is_in(np.array([md5_key(picture.md5)], np.uint64), self.digests).any():
            return "evaluation_image"
        look = picture.look
        apart = np.bitwise_count(self.hashes ^ np.uint64(look.hash))
        for place in np.flatnonzero(apart <= self.rules.max_distance):
            if alike(look, Look(int(self.hashes[place]), self.colours[place].tobytes())):
                return "evaluation_image"
        return None

    def text_reason(self, text: str, words: Words | None = None) -> str | None:
        """`evaluation_text` for a text with words of the evaluations in a row; `words`: its `hash_words`, if known."""
        words = hash_words(text) if words is None else words
        hit = any(_is_in(words.ngrams(count), known).any() for count, known in self.runs.items())
        return "evaluation_text" if hit else None

    def told(self) -> str:
        """What is looked for and what is not, in words."""
        runs = sum(map(len, self.runs.values()))
        left_out = ", ".join(f"{reason} {number:,}" for reason, number in self.left_out.most_common())
        looked_for = f"{_number(len(self.hashes), 'image')} and {_number(runs, 'run')} of words of evaluations"
        return f"{looked_for}; not looked for: {left_out or 'none'}"

    def save(self, folder: Path) -> None:
        """Writes the index into a folder that is there; `load_index` maps it into memory, shared by all processes."""
        save_json(self.rules, folder / "rules.json")
        (folder / "left_out.json").write_text(json.dumps(self.left_out))
        for count, known in self.runs.items():
            np.save(folder / f"runs-{count}.npy", known)
        for name in _ARRAYS:
            np.save(folder / f"{name}.npy", getattr(self, name))


def load_index(folder: Path) -> EvaluationIndex:
    """An index that was saved, memory-mapped.

    Raises:
        UserError: the folder has none.
    """
    try:
        rules = load_json(DecontaminationRules, folder / "rules.json")
        left_out = Counter(json.loads((folder / "left_out.json").read_text()))
        runs = {int(path.stem[5:]): np.load(path, mmap_mode="r") for path in sorted(folder.glob("runs-*.npy"))}
        digests, hashes, colours = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS)
    except (OSError, ValueError) as error:
        raise UserError(f"{folder} holds no whole index of evaluations ({error}): build it again") from None
    return EvaluationIndex(rules, runs, digests, hashes, colours, left_out)


@cache
def open_index(folder: Path | None) -> EvaluationIndex | None:
    """The index of a folder, opened once a process; None where there is none to ask.

    Raises:
        UserError: as `load_index`.
    """
    return None if folder is None else load_index(folder)


def digest(items: Iterable[Found]) -> str:
    """A hash of all that was found, for whoever keeps results that depend on it, wherever the files lie."""
    total = hashlib.sha256()
    for item in items:
        if isinstance(item, Drop):
            kind, data = b"d", f"{item.reason} {item.count}".encode()
        elif isinstance(item, str):
            kind, data = b"t", item.encode("utf-8", "surrogatepass")
        else:
            kind, data = b"p", item
        total.update(kind + len(data).to_bytes(8, "big"))
        total.update(data)
    return total.hexdigest()


def build_index(items: Iterable[Found], rules: DecontaminationRules) -> EvaluationIndex:
    """The index of all texts and pictures of evaluations."""
    runs: dict[int, list[NDArray[np.uint64]]] = {count: [] for count in range(rules.min_words, rules.words + 1)}
    runs.setdefault(rules.words, [])
    pictures: dict[bytes, Look] = {}
    left_out: Counter[str] = Counter()
    for item in items:
        if isinstance(item, Drop):
            left_out[item.reason] += item.count
        elif isinstance(item, str):
            words = hash_words(item)
            count = min(len(words.hashes), rules.words)
            if count in runs:
                runs[count].append(words.ngrams(count))
            else:
                left_out["short_text"] += 1
        else:
            try:
                picture = inspect(item, ANY_IMAGE)
                pictures[picture.md5] = picture.look
            except Dropped as error:
                left_out[error.reason] += 1
    return EvaluationIndex(
        rules,
        {count: np.unique(np.concatenate(found)) for count, found in runs.items() if found},
        np.unique(np.array([md5_key(md5) for md5 in pictures], np.uint64)),
        np.array([look.hash for look in pictures.values()], np.uint64),
        np.frombuffer(b"".join(look.colours for look in pictures.values()), np.uint8).reshape(-1, _COLOURS),
        left_out,
    )


def _number(count: int, of: str) -> str:
    return f"{count:,} {of}" if count == 1 else f"{count:,} {of}s"


def _is_in(values: NDArray[np.uint64], ordered: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which values are among the sorted ones."""
    places = np.searchsorted(ordered, values)
    found = np.zeros(len(values), bool)
    inside = places < len(ordered)
    found[inside] = ordered[places[inside]] == values[inside]
    return found

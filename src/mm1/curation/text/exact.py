r"""Keys under which equal texts and equal paragraphs meet, however their case, spacing and punctuation differ.

    text_hash(hash_words("Hello,  World")) == text_hash(hash_words("hello world"))
    paragraph_keys("Follow us!\n\nPage 3 of 12")          # one key a paragraph; digits and accents do not count

Keys are the first eight bytes of a SHA-1, as CCNet's (arXiv 1911.00359, section 3.1). Counting them is for others.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

import numpy as np
from numpy.typing import NDArray

from mm1.curation.text.characters import Words, hash_words, normalize

_DIGIT = re.compile(r"\d")


def text_hash(words: Words) -> int:
    """The key of a text, an unsigned 64-bit integer: of its words in order.

    Numbers and accents count here, unlike in `paragraph_keys`: two tables of other values are two texts.
    """
    return _key(words)


def paragraph_keys(text: str, domain: str = "") -> NDArray[np.uint64]:
    """The key of each paragraph: without case, punctuation and accents, every digit a 0 (CCNet, section 3.1).

    Args:
        text: paragraphs with a blank line between two.
        domain: makes the same paragraph on two domains two keys, as OBELICS counts them; empty counts over all.
    """
    prefix = f"{domain}\n".encode() if domain else b""
    keys = [_key(hash_words(_plain(paragraph)), prefix) for paragraph in text.split("\n\n")]
    return np.array(keys, np.uint64)


def keep_paragraphs(text: str, kept: NDArray[np.bool_]) -> str:
    """The text without the paragraphs that are not kept; `kept` is as long as the text's `paragraph_keys`."""
    return "\n\n".join(paragraph for paragraph, keep in zip(text.split("\n\n"), kept.tolist(), strict=True) if keep)


def _plain(paragraph: str) -> str:
    if not paragraph.isascii():
        decomposed = normalize("NFD", paragraph)
        paragraph = "".join(character for character in decomposed if unicodedata.category(character) != "Mn")
    return _DIGIT.sub("0", paragraph)


def _key(words: Words, prefix: bytes = b"") -> int:
    return int.from_bytes(hashlib.sha1(prefix + words.hashes.astype("<u8").tobytes()).digest()[:8], "big")

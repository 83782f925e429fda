"""Rules that tell text worth keeping from the rest by counting: each number in TextRules names its source.

    reason("Buy now! " * 400, TextRules())         # "repeated_ngrams"
    reason(article, TextRules(), language="en")    # None: kept

The cheapest rules come first, and the first that is broken is the reason. Where a rule makes no sense for a script
(length of words without spaces, final punctuation in Thai) it does not count. Knows nothing of other texts.
"""

from __future__ import annotations

import re
from functools import cache

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mm1.config import Config
from mm1.curation.text.characters import (
    DIGIT,
    PUNCTUATION,
    SPACE,
    SYMBOL,
    UNSPACED,
    Words,
    hash_words,
)
from mm1.curation.text.repetition import repeated_lines, repeated_ngram_share, top_ngram_share
from mm1.curation.text.words import FLAGGED_WORDS, STOP_WORDS


class TextRules(Config):
    """What a text must be like.

    CCNet: arXiv 1911.00359; Gopher: 2112.11446, appendix A.1.1; C4: 1910.10683, section 2.2; FineWeb: 2406.17557.
    """

    min_characters: int = Field(default=300, ge=0)
    """CCNet removes shorter documents."""
    max_characters: int = Field(default=1_000_000, ge=1)
    """Ours: longer ones are dumps; Gopher's 100,000 words are about 600,000 characters of English."""
    min_words: int = Field(default=50, ge=0)
    max_words: int = Field(default=100_000, ge=1)
    """Gopher. In scripts without spaces each character is a word."""
    min_word_len: float = 3.0
    max_word_len: float = 10.0
    """Mean length of a word, Gopher."""
    min_lettered_words: float = 0.8
    """Share of words with a letter in them, Gopher."""
    max_digits: float = 0.2
    """Share of characters but spaces, ours."""
    max_symbols: float = 0.25
    """Punctuation and symbols, share of characters but spaces; ours, near OBELICS' .275."""
    max_bullet_lines: float = 0.9
    """Share of lines that begin with a bullet, Gopher."""
    max_ellipsis_lines: float = 0.3
    """Share of lines that end in an ellipsis, Gopher."""
    min_punctuated_lines: float = 0.12
    """Share of lines that end as sentences do, FineWeb."""
    max_repeated_lines: float = 0.3
    max_repeated_line_characters: float = 0.2
    """Lines that were there before, Gopher; and paragraphs likewise."""
    max_top_ngrams: tuple[float, ...] = (0.2, 0.18, 0.16)
    """Share of characters in the commonest run of 2, 3 and 4 words, Gopher. In scripts without spaces two characters
    count as a word here and below."""
    max_repeated_ngrams: tuple[float, ...] = (0.15, 0.14, 0.13, 0.12, 0.11, 0.1)
    """Share of characters in runs of 5 to 10 words that were there before, Gopher."""
    min_stop_words: int = Field(default=2, ge=0)
    """Different stop words of the text's language, where it has a list; Gopher's two of eight."""
    max_flagged_words: float = 0.01
    """Share of words, OBELICS (huggingface/OBELICS)."""
    max_notices: float = 0.3
    """Share of characters in lines that speak of cookies or of JavaScript; C4 removes such lines, the share is ours."""
    allow_lorem_ipsum: bool = False
    """C4 removes documents with that filler."""


_SENTENCE_ENDS = frozenset(".!?…。！？．؟۔।॥։။។።:;：；\"'”’»›」』)）]")
_BULLETS = frozenset("•‣◦▪▫●○■□◆◇–—-*·➢✓")
_NO_FULL_STOP = frozenset({"th", "lo", "km", "my", "bo"})
"""Languages whose sentences end without a mark."""

_NOTICE = re.compile(
    r"\b(?:enable|activate|allow|turn on|requires?|without|aktivier\w*|activ\w*|attiva\w*)\b.{0,40}\bjavascript"
    r"|\bjavascript\b.{0,40}\b(?:enabled|disabled|required|turned off|switched off|aktiv\w*|activ\w*|attiv\w*)\b"
    r"|\b(?:uses?|using|use of|accept(?:ing)?|place|store|our|verwende[nt]|utilise|utiliza|utilizza|gebruikt)\b"
    r"(?: \w+){0,2} cookies\b"
    r"|\bcookies? (?:policy|settings|consent|notice|preferences|banner)\b"
)


def reason(text: str, rules: TextRules, language: str = "", words: Words | None = None) -> str | None:
    """The rule that a text breaks, or None.

    Args:
        text: paragraphs with a blank line between two.
        rules: what it must be like.
        language: of the text, by ISO 639-1 code: its stop words and flagged words count; with "" no stop words and
            the English flagged words.
        words: its `hash_words`, where they are known already.
    """
    if len(text) < rules.min_characters:
        return "too_short"
    if len(text) > rules.max_characters:
        return "too_long"
    words = words or hash_words(text)
    return (
        _words_reason(words, rules)
        or _characters_reason(words, rules)
        or _lines_reason(text, rules, language)
        or _vocabulary_reason(words, rules, language)
        or _notices_reason(text, rules)
        or _ngrams_reason(words, rules)
    )


def _words_reason(words: Words, rules: TextRules) -> str | None:
    count = len(words.hashes)
    if count < max(1, rules.min_words):
        return "too_few_words"
    if count > rules.max_words:
        return "too_many_words"
    if np.count_nonzero(words.letters) < rules.min_lettered_words * count:
        return "words_without_letters"
    if not words.unspaced:
        alone = int(words.classes[UNSPACED])
        mean = (int(words.classes[DIGIT:].sum()) - alone) / (count - alone)
        if not rules.min_word_len <= mean <= rules.max_word_len:
            return "word_length"
    return None


def _characters_reason(words: Words, rules: TextRules) -> str | None:
    total = int(words.classes.sum() - words.classes[SPACE])
    if words.classes[DIGIT] > rules.max_digits * total:
        return "digits"
    if words.classes[PUNCTUATION] + words.classes[SYMBOL] > rules.max_symbols * total:
        return "symbols"
    return None


def _lines_reason(text: str, rules: TextRules, language: str) -> str | None:
    lines = [line for line in map(str.strip, text.split("\n")) if line]
    bullets = sum(line[0] in _BULLETS for line in lines)
    if bullets > rules.max_bullet_lines * len(lines):
        return "bullets"
    if sum(line.endswith(("…", "...")) for line in lines) > rules.max_ellipsis_lines * len(lines):
        return "ellipses"
    ended = sum(line[-1] in _SENTENCE_ENDS for line in lines)
    if ended < rules.min_punctuated_lines * len(lines) and language not in _NO_FULL_STOP:
        return "unpunctuated"
    count, characters = repeated_lines(lines)
    if count > rules.max_repeated_lines or characters > rules.max_repeated_line_characters:
        return "repeated_lines"
    count, characters = repeated_lines([paragraph for paragraph in text.split("\n\n") if paragraph])
    if count > rules.max_repeated_lines or characters > rules.max_repeated_line_characters:
        return "repeated_paragraphs"
    return None


def _vocabulary_reason(words: Words, rules: TextRules, language: str) -> str | None:
    ordered = np.sort(words.hashes)
    if language in STOP_WORDS:
        known = _hashes(STOP_WORDS[language])
        if np.count_nonzero(_occurrences(known, ordered)) < min(rules.min_stop_words, len(known)):
            return "stop_words"
    flagged = FLAGGED_WORDS.get(language or "en")
    if flagged and _occurrences(_hashes(flagged), ordered).sum() > rules.max_flagged_words * len(ordered):
        return "flagged_words"
    return None


def _notices_reason(text: str, rules: TextRules) -> str | None:
    lowered = text.lower()
    if not rules.allow_lorem_ipsum and "lorem ipsum" in lowered:
        return "lorem_ipsum"
    if "cookie" not in lowered and "javascript" not in lowered:
        return None
    noticed = sum(len(line) for line in lowered.split("\n") if _NOTICE.search(line))
    return "notices" if noticed > rules.max_notices * len(lowered) else None


def _ngrams_reason(words: Words, rules: TextRules) -> str | None:
    each = 2 if words.unspaced else 1  # a word of Chinese or Japanese is about two characters
    for n, most in enumerate(rules.max_top_ngrams, start=2):
        if top_ngram_share(words, n * each) > most:
            return "top_ngrams"
    for n, most in enumerate(rules.max_repeated_ngrams, start=5):
        share = repeated_ngram_share(words, n * each)
        if share > most:
            return "repeated_ngrams"
        if share <= min(rules.max_repeated_ngrams):
            return None  # what lies in longer repeated runs lies in these
    return None


@cache
def _hashes(words: frozenset[str]) -> NDArray[np.uint64]:
    return hash_words(" ".join(sorted(words))).hashes


def _occurrences(of: NDArray[np.uint64], ordered: NDArray[np.uint64]) -> NDArray[np.int64]:
    """How often each hash is among the sorted ones."""
    return np.searchsorted(ordered, of, "right") - np.searchsorted(ordered, of, "left")

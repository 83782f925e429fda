"""Whether a text tells what is seen in an image, as far as the text alone can say.

    clean("Figure 3.1: A cat &amp; a dog")                   # "A cat & a dog"
    text_reason("IMG_20190402_1234.jpg", rules, identify)    # "file_name"
    text_reason("Click to enlarge image", rules, identify)   # "generic"
    text_reason("A cat & a dog", rules, identify)            # None

Half of the web's alt texts are names of files, of roles ("logo") or of the page. Knows nothing of images.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from typing import TypeAlias

from pydantic import Field

from mm1.config import Config
from mm1.curation.text.words import plain_words

LanguageOf: TypeAlias = Callable[[str], tuple[str, float]]
"""From a text to its language ("en") and the confidence in it, 0 to 1: curation/text/language.py's `identify`."""

_TAG = re.compile(r"</?[a-zA-Z][^<>]{0,200}>")
_LABEL = re.compile(
    r"(?:fig(?:ure|\.)?|image|photo|picture|plate|table|abb(?:ildung|\.)?)\s*\d[\d.\-]*[a-z]?\s*[:.)\-–—|]\s*(?=\S)",
    re.IGNORECASE,
)
"""What numbers a figure within its page tells nothing of it."""
_MARKUP = re.compile(r"<\w|/>|\{\{|\}\}|\[/?\w+[ =\]]|javascript:|\bfunction ?\(|\w=\"|&\w+;|%[0-9A-F]{2}")
_ADDRESS = re.compile(r"https?:|www\.|\S@[^\s@]+\.\w")
_FILE_NAME = re.compile(
    r".*\.(?:jpe?g|jfif|png|gif|webp|avif|heic|svg|bmp|tiff?|ico|pdf|psd|mp4|mov|webm)\b\W*\w{0,4}"
    r"|(?:img|dsc[nf]?|dcim|pxl|pict|mvc|wp|vid|mg|scan|screen ?shot|photo|image|pic|picture)[-_ ]?\d[\d\-_ ().]*\w?"
    r"|[^\s]*[a-z0-9][-_/.][a-z0-9][^\s]*"  # one run without spaces, of parts: red-shoe_final2
    r"|[0-9a-f\-]{16,}",
    re.IGNORECASE | re.DOTALL,
)
_GENERIC_WORDS = (
    "a ad advertisement alt an and arrow at author avatar background badge banner bild blank blog bullet button by"
    " caption click close company content cover credit decorative default description divider download embedded empty"
    " enlarge en expand facebook favicon feature featured figure file flag for foto from full gallery go graphic header"
    " here hero home homepage icon illustration image images img in instagram item larger learn left link linkedin"
    " loading logo main media menu more my nav navigation new next no none null of on open our page photo photograph"
    " photos pic picture pictures pinterest placeholder play post preview previous print profile rating read related"
    " right rss screenshot search see share show site size skip slide small social spacer sponsor star stars the this"
    " thumb thumbnail title to top twitter undefined unnamed untitled us user version video view website with x your"
    " youtube zoom"
)
_GENERIC = frozenset(_GENERIC_WORDS.split())
"""Words of which a text may consist and still tell nothing; with one word more it may tell something."""

_QUOTES = ('""', "“”", "„“", "«»")


class CaptionTextRules(Config):
    """What a text must be. MM1 names no numbers for its captions, which it took from others; these are ours."""

    min_words: int = Field(3, ge=1)
    """Fewer name a picture more often than they tell of it; in scripts without spaces each character is a word."""
    max_words: int = Field(256, ge=1)
    """Longer ones are articles that stand in a figure."""
    max_characters: int = Field(5_000, ge=1)
    """Longer ones of so few words are no words: keys, pictures in base64."""
    min_letters: int = Field(6, ge=0)
    min_letter_share: float = Field(0.6, ge=0, le=1)
    """Letters among the characters but spaces: "1920x1080 (2)" has few."""
    max_repeated_words: float = Field(0.5, ge=0, le=1)
    """Share of the words that came before in the text: "shoes cheap shoes buy shoes shoes"."""
    languages: tuple[str, ...] = ("en",)
    """By ISO 639-1 code; empty takes any."""
    max_other_language: float = Field(0.5, ge=0, le=1)
    """Confidence in a language that is none of these, from which a text is refused. The other way round, a bar for the
    wanted language, would refuse "A cat & a dog": of a few words no classifier is sure."""

    def or_of(self, other: CaptionTextRules) -> CaptionTextRules:
        """Rules that every text keeps which keeps these or the other ones."""
        lowest = ("min_words", "min_letters", "min_letter_share")
        highest = ("max_words", "max_characters", "max_repeated_words", "max_other_language")
        values = {name: min(getattr(self, name), getattr(other, name)) for name in lowest}
        values |= {name: max(getattr(self, name), getattr(other, name)) for name in highest}
        named = self.languages and other.languages
        values["languages"] = tuple(dict.fromkeys((*self.languages, *other.languages))) if named else ()
        return CaptionTextRules(**values)


def clean(text: str) -> str:
    """The text without what HTML left in it, quotation marks around all of it, and its figure's number; white space
    single.
    """
    if "&" in text:
        text = html.unescape(text)
    if "<" in text:
        text = _TAG.sub(" ", text)
    text = " ".join(text.replace("\0", " ").split())
    if len(text) > 1 and text[0] + text[-1] in _QUOTES and not set(text[1:-1]) & {text[0], text[-1]}:
        text = text[1:-1].strip()
    return _LABEL.sub("", text, count=1) if _LABEL.match(text) else text


def text_reason(text: str, rules: CaptionTextRules, language_of: LanguageOf) -> str | None:
    """Why a cleaned text is not fit to tell of an image, if so; the language is asked for last.

    `no_text`, `too_long`, `markup`, `address`, `file_name`, `generic`, `too_few_words`, `too_many_words`,
    `too_few_letters`, `repeated_words`, `language`.
    """
    if not text:
        return "no_text"
    if len(text) > rules.max_characters:
        return "too_long"
    words = plain_words(text)
    if len(words) > rules.max_words:
        return "too_many_words"
    return _kind_reason(text, words) or _count_reason(text, words, rules) or _language_reason(text, rules, language_of)


def _kind_reason(text: str, words: list[str]) -> str | None:
    if _MARKUP.search(text):
        return "markup"
    if _ADDRESS.search(text):
        return "address"
    if _FILE_NAME.fullmatch(text):
        return "file_name"
    if all(word in _GENERIC or word.isdecimal() for word in words):
        return "generic"
    return None


def _count_reason(text: str, words: list[str], rules: CaptionTextRules) -> str | None:
    if len(words) < rules.min_words:
        return "too_few_words"
    letters = sum(map(str.isalpha, text))
    if letters < rules.min_letters or letters < rules.min_letter_share * (len(text) - text.count(" ")):
        return "too_few_letters"
    if len(set(words)) < (1 - rules.max_repeated_words) * len(words):
        return "repeated_words"
    return None


def _language_reason(text: str, rules: CaptionTextRules, language_of: LanguageOf) -> str | None:
    if not rules.languages:
        return None
    language, score = language_of(text)
    return "language" if language not in rules.languages and score >= rules.max_other_language else None

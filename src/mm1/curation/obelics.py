"""The profile "obelics": interleaved documents by the rules of OBELICS (Laurençon et al. 2023; its published config).

    paragraphs and captions that break a rule are taken out, images likewise
        → the document's text, read as one, must keep stricter rules, be English, and read like prose
        → paragraphs repeated on the site are taken out (`without_paragraphs`), texts merged
        → one document an address (`address_key`), one a set of images (`image_set_key`)

The numbers are OBELICS's, each a field. What needs other pages comes in from outside: the vocabulary of the set
(`common`), and the counting of keys. The image classifier for nudity is not here. Knows nothing of files.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from typing import Literal
from urllib.parse import urldefrag, urlsplit

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mm1.config import Config
from mm1.curation.function_words import FUNCTION_WORDS, share_of
from mm1.curation.images import OBELICS_IMAGES, ImageRules, LookUp
from mm1.curation.interleaved import (
    SEPARATOR,
    Assembled,
    DocumentRules,
    DroppedDocument,
    PlacedImage,
    PlacedSegment,
    PlacedText,
    assemble,
    checked,
    merge_texts,
)
from mm1.curation.obelics_measures import (
    character_repetition,
    punctuation,
    special_characters,
    word_repetition,
    words_of,
)
from mm1.curation.page import Extracted, ImageRef, Paragraph
from mm1.curation.text.exact import keep_paragraphs, paragraph_keys
from mm1.curation.text.words import FLAGGED_WORDS


class TextLimits(Config):
    """What a run of text must be like; obelics_measures.py defines what is measured."""

    min_words: int
    max_words: int
    character_run: int = 10
    max_character_repetition: float = 0.1
    word_run: int = 5
    max_word_repetition: float
    max_special_characters: float
    min_stop_words: float
    max_flagged_words: float = 0.01
    min_punctuation: float
    punctuated_from: int = 0
    """Words and punctuation marks from which punctuation is asked for."""
    min_common_words: float


PARAGRAPH = TextLimits(
    min_words=4,
    max_words=1000,
    max_word_repetition=0.1,
    max_special_characters=0.3,
    min_stop_words=0.3,
    min_punctuation=0.001,
    punctuated_from=12,
    min_common_words=0.8,
)
DOCUMENT = TextLimits(
    min_words=10,
    max_words=2000,
    max_word_repetition=0.2,
    max_special_characters=0.275,
    min_stop_words=0.35,
    min_punctuation=0.03,
    min_common_words=0.9,
)


class ObelicsRules(DocumentRules):
    """What a document must be; English throughout, as OBELICS."""

    kind: Literal["obelics"] = "obelics"
    images: ImageRules = OBELICS_IMAGES
    count: Literal["found", "kept"] = "kept"
    paragraph: TextLimits = PARAGRAPH
    document: TextLimits = DOCUMENT
    min_language_score: float = 0.8
    max_perplexity: float = 1500
    min_common_documents: int = Field(10, ge=1)
    """A word is common if so many documents of the set have it. OBELICS took its list from a larger corpus."""


@dataclass(frozen=True, slots=True)
class Judges:
    """What the rules ask of others; None leaves a rule out."""

    language_of: Callable[[str], tuple[str, float]]
    """From a text to its language ("en") and the confidence in it, 0 to 1."""
    perplexity_of: Callable[[str], float] | None = None
    common: Collection[str] | None = None
    """The words of `words_of` that are common in the set. A few hundred pages have none that is worth asking for."""


def text_reason(text: str, limits: TextLimits, common: Collection[str] | None = None) -> str | None:
    """The first rule that a text breaks, in the order of OBELICS; None if it keeps them all."""
    words = words_of(text)
    if len(words) < limits.min_words:
        return "too_few_words"
    if len(words) > limits.max_words:
        return "too_many_words"
    if character_repetition(text, limits.character_run) > limits.max_character_repetition:
        return "character_repetition"
    if word_repetition(words, limits.word_run) > limits.max_word_repetition:
        return "word_repetition"
    if special_characters(text) > limits.max_special_characters:
        return "special_characters"
    if share_of(words, FUNCTION_WORDS) < limits.min_stop_words:
        return "stop_words"
    if share_of(words, FLAGGED_WORDS["en"]) > limits.max_flagged_words:
        return "flagged_words"
    if punctuation(text, limits.punctuated_from) < limits.min_punctuation:
        return "punctuation"
    if common is not None and share_of(words, common) < limits.min_common_words:
        return "uncommon_words"
    return None


def fit_paragraphs(page: Extracted, rules: ObelicsRules, judges: Judges) -> tuple[Extracted, Counter[str]]:
    """The page without the paragraphs and captions that break a rule, and how many broke which.

    A caption stands in the text like a paragraph, and keeps the same rules.
    """
    blocks: list[Paragraph | ImageRef] = []
    dropped: Counter[str] = Counter()
    for block in page.blocks:
        text = block.text if isinstance(block, Paragraph) else block.caption
        reason = text_reason(text, rules.paragraph, judges.common) if text else None
        if reason is None:
            blocks.append(block)
            continue
        dropped[reason] += 1
        if isinstance(block, ImageRef):
            blocks.append(replace(block, caption=""))
    return replace(page, blocks=tuple(blocks)), dropped


def assemble_obelics(page: Extracted, look_up: LookUp, rules: ObelicsRules, judges: Judges) -> Assembled:
    """The document of a page, before what only the whole set can say.

    Raises:
        DroppedDocument: as interleaved.assemble says; the reasons of `text_reason` for the whole text; `language`;
            `perplexity`.
    """
    page, dropped_paragraphs = fit_paragraphs(page, rules, judges)
    try:
        made = assemble(page, look_up, rules)
    except DroppedDocument as error:
        raise DroppedDocument(error.reason, error.dropped_images, dropped_paragraphs) from None
    text = SEPARATOR.join(segment.text for segment in made.segments if isinstance(segment, PlacedText))
    reason = text_reason(text, rules.document, judges.common) or _judged(text, rules, judges)
    if reason is not None:
        images = sum(isinstance(segment, PlacedImage) for segment in made.segments)
        raise DroppedDocument(reason, made.dropped_images + Counter(document_dropped=images), dropped_paragraphs)
    return replace(made, dropped_paragraphs=dropped_paragraphs)


def _judged(text: str, rules: ObelicsRules, judges: Judges) -> str | None:
    language, score = judges.language_of(text)
    if language != "en" or score < rules.min_language_score:
        return "language"
    if judges.perplexity_of is not None and judges.perplexity_of(text) > rules.max_perplexity:
        return "perplexity"
    return None


def site_keys(segments: Iterable[PlacedSegment], url: str) -> NDArray[np.uint64]:
    """The keys of a document's paragraphs on its site, in order, for counting over the set.

    OBELICS compares paragraphs letter by letter; here as text/exact.py does, without case, punctuation and digits.
    """
    return np.concatenate(
        [np.empty(0, np.uint64)]
        + [paragraph_keys(segment.text, site_of(url)) for segment in segments if isinstance(segment, PlacedText)]
    )


def without_paragraphs(document: Assembled, kept: NDArray[np.bool_], rules: ObelicsRules) -> Assembled:
    """The document without the paragraphs that are not `kept` (one for each of `site_keys`), texts merged again.

    Paragraphs that are repeated on a site are dropped wherever they stand, the first time as well.

    Raises:
        DroppedDocument: `no_text`.
    """
    segments: list[PlacedSegment] = []
    place = 0
    for segment in document.segments:
        if isinstance(segment, PlacedText):
            number = segment.text.count(SEPARATOR) + 1
            segments.append(PlacedText(keep_paragraphs(segment.text, kept[place : place + number])))
            place += number
        else:
            segments.append(segment)
    assert place == len(kept)
    dropped = document.dropped_paragraphs + Counter(repeated_on_site=int(np.count_nonzero(~kept)))
    return checked(merge_texts(segments), rules, document.dropped_images, dropped)


def site_of(url: str) -> str:
    """The host (and port) of an address, as OBELICS counts domains; of a local page nothing: all are one site."""
    return urlsplit(url).netloc.rpartition("@")[2].lower()


def address_key(url: str) -> int:
    """64 bits of a page's address without its fragment: of pages with one key, the latest crawled is kept."""
    return _key([urldefrag(url).url])


def image_set_key(document: Assembled) -> int:
    """64 bits of the set of a document's image addresses: of documents with one key, the latest crawled is kept."""
    return _key(sorted({segment.url for segment in document.segments if isinstance(segment, PlacedImage)}))


def _key(values: Iterable[str]) -> int:
    digest = hashlib.sha1(usedforsecurity=False)
    for value in values:
        data = value.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big") + data)
    return int.from_bytes(digest.digest()[:8], "big")

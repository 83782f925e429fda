"""Image-text pairs from what pages say of their images: alt texts and figure captions.

    img cat.jpg (alt "IMG_1234.jpg", caption "A cat asleep on a keyboard")
        → Pair(url, image, text="A cat asleep on a keyboard", chosen="caption", alt=…, caption=…)

A caption is written to be read beside its image, an alt text to stand in its place: of two that keep the rules the one
of more words is chosen, for it says more (`prefer` says otherwise), and both are kept. What only the whole set can say
comes in as a function (`common`, counted on `text_key`) or is done on its keys: repeated_images.py. Knows nothing of
the pages' text.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from pydantic import Field

from mm1.config import Config
from mm1.curation.caption_text import CaptionTextRules, LanguageOf, clean, text_reason
from mm1.curation.clip_score import ClipConfig
from mm1.curation.images import MM1_IMAGES, ImageRules, LookUp, StoredImage
from mm1.curation.interleaved import fit_image
from mm1.curation.page import Extracted, ImageRef
from mm1.curation.text.words import plain_words

Kind: TypeAlias = Literal["alt", "caption"]


class CaptionRules(Config):
    """What a pair must be."""

    images: ImageRules = MM1_IMAGES
    text: CaptionTextRules = CaptionTextRules()
    prefer: Literal["longer", "alt", "caption"] = "longer"
    """Which of two texts that both keep the rules is the pair's."""
    max_occurrences: int = Field(10, ge=1)
    """A text that stands with more different images of the set tells of none of them; counted by the pipeline."""
    max_distance: int = Field(6, ge=0)
    """Bits in which the perceptual hashes of one picture may differ, its colours agreeing as well."""
    clip: ClipConfig = ClipConfig()
    """Which of the pairs that keep all of this are kept by a CLIP."""


@dataclass(frozen=True, slots=True)
class Pair:
    """An image and the text chosen for it; `alt` and `caption` are all that the page says of it, cleaned."""

    url: str
    image: StoredImage
    text: str
    chosen: Kind
    alt: str
    caption: str


@dataclass(frozen=True, slots=True)
class Pairs:
    """The pairs of a page; with the pairs, `dropped` counts each image of the page once."""

    pairs: tuple[Pair, ...]
    dropped: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The text of an image, and both that it was chosen from."""

    text: str
    kind: Kind
    alt: str
    caption: str


def none(text: str) -> bool:
    """For a set whose texts were not counted: none is common; and without evaluations: none is theirs."""
    return False


def pairs(
    page: Extracted,
    look_up: LookUp,
    rules: CaptionRules,
    language_of: LanguageOf,
    common: Callable[[str], bool] = none,
    evaluated: Callable[[str], bool] = none,
) -> Pairs:
    """The image-text pairs of a page, in its order.

    An image is dropped, in this order, for the reason of its text (`choose`), as `repeated` (its address or its bytes
    made a pair earlier in the page), and for the reasons for which interleaved documents drop images. Images without a
    fit text are never looked up.

    Args:
        page: as extracted.
        look_up: the images.
        rules: what a pair must be.
        language_of: asked of texts that keep the other rules.
        common: whether a text stands with too many images of the set.
        evaluated: whether a text has words of evaluations in a row.
    """
    kept: list[Pair] = []
    dropped: Counter[str] = Counter()
    urls: set[str] = set()
    digests: set[bytes] = set()
    for image in page.images:
        chosen = choose(image, rules, language_of, common, evaluated)
        if isinstance(chosen, str):
            dropped[chosen] += 1
            continue
        found = "repeated" if image.url in urls else fit_image(image, look_up, rules.images)
        if isinstance(found, StoredImage) and found.picture.md5 in digests:
            found = "repeated"
        if isinstance(found, str):
            dropped[found] += 1
            continue
        urls.add(image.url)
        digests.add(found.picture.md5)
        kept.append(Pair(image.url, found, chosen.text, chosen.kind, chosen.alt, chosen.caption))
    return Pairs(tuple(kept), dropped)


def choose(
    image: ImageRef,
    rules: CaptionRules,
    language_of: LanguageOf,
    common: Callable[[str], bool] = none,
    evaluated: Callable[[str], bool] = none,
) -> Chosen | str:
    """The text of an image, or the reason why it has none; nothing is asked of the image itself.

    The reason is that of the caption, if it has one, else that of the alt text: caption_text.py's, or `common`. Where
    either of the two is `evaluated`, the reason is `evaluation_text`: both would stand in the set.
    """
    texts: dict[Kind, str] = {"caption": clean(image.caption), "alt": clean(image.alt)}
    reasons = {kind: _reason(text, rules, language_of, common) for kind, text in texts.items()}
    fit = [kind for kind, reason in reasons.items() if reason is None]
    if not fit:
        return next((reason for reason in reasons.values() if reason and reason != "no_text"), "no_text")
    if any(map(evaluated, texts.values())):
        return "evaluation_text"
    if rules.prefer in fit:
        fit = [kind for kind in fit if kind == rules.prefer]
    kind = max(fit, key=lambda kind: len(plain_words(texts[kind])))
    return Chosen(texts[kind], kind, texts["alt"], texts["caption"])


def _reason(text: str, rules: CaptionRules, language_of: LanguageOf, common: Callable[[str], bool]) -> str | None:
    reason = text_reason(text, rules.text, language_of)
    return "common" if reason is None and common(text) else reason


def text_key(text: str) -> int:
    """64 bits of the words of a text; case, punctuation and digits aside: "Photo 1 of 9" and "photo 2 of 9" are one.

    For counting: of the texts of a set that `choose` gives, those under a key with more than `max_occurrences`
    different images (by MD5) are common.
    """
    words = " ".join(word for word in plain_words(text) if not word.isdecimal())
    digest = hashlib.sha1(words.encode("utf-8", "surrogatepass"), usedforsecurity=False).digest()
    return int.from_bytes(digest[:8], "big")

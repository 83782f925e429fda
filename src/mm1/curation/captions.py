"""Image-text pairs from what pages say of their images: alt texts and figure captions.

    img cat.jpg (alt "IMG_1234.jpg", caption "A cat asleep on a keyboard")
        → Pair(url, image, text="A cat asleep on a keyboard", chosen="caption", alt=…, caption=…)

A caption was written to be read beside its image, an alt text to replace it: of two that pass the rules the longer one
is chosen, for it says more (`prefer` says otherwise), and both are kept as they were. Knows nothing of other pages:
repeats over a whole set are keys (`text_key`, the picture's MD5 and bands of its perceptual hash) that the pipeline
groups by, and `first_of_each` decides which pair of a group stays.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from pydantic import Field

from mm1.config import Config
from mm1.curation.images import MM1_IMAGES, ImageRules, LookUp, StoredImage
from mm1.curation.interleaved import fit_image
from mm1.curation.page import Extracted

Choice: TypeAlias = Literal["alt", "caption"]
LanguageOf: TypeAlias = Callable[[str], tuple[str, float]]
"""From a text to its language ("en") and the confidence in it, 0 to 1."""


class CaptionRules(Config):
    """What a pair must be. MM1 names no numbers for its captions; these are ours."""

    images: ImageRules = MM1_IMAGES
    min_words: int = Field(3, ge=1)
    max_words: int = Field(256, ge=1)
    min_letters: int = Field(8, ge=0)
    min_letter_share: float = Field(0.5, ge=0, le=1)
    """Letters among the characters that are no spaces: "1920x1080 (2)" has few."""
    max_repetition: float = Field(0.34, ge=0, le=1)
    """Share of the words that are repeats of pairs of words seen before in it; 1 never drops."""
    languages: tuple[str, ...] = ("en",)
    """Empty takes any."""
    min_language_score: float = Field(0.3, ge=0, le=1)
    """Of a classifier that sees a few words: a low bar."""
    max_occurrences: int = Field(10, ge=1)
    """A text that stands at more different images of the set is boilerplate; counted by the pipeline."""
    max_hash_distance: int = Field(4, ge=0)
    """Bits of the perceptual hash: images that differ in no more are one image."""
    prefer: Literal["longer", "alt", "caption"] = "longer"
    """Which of two texts that both pass is the pair's."""


@dataclass(frozen=True, slots=True)
class Pair:
    """An image and the text chosen for it, with all that the page says of it."""

    url: str
    image: StoredImage
    text: str
    chosen: Choice
    alt: str
    caption: str


@dataclass(frozen=True, slots=True)
class Pairs:
    """The pairs of a page; with the pairs, `dropped` counts each image of the page once."""

    pairs: tuple[Pair, ...]
    dropped: Counter[str] = field(default_factory=Counter)


def pairs(page: Extracted, look_up: LookUp, rules: CaptionRules, language_of: LanguageOf) -> Pairs:
    """The image-text pairs of a page, in its order."""
    kept: list[Pair] = []
    dropped: Counter[str] = Counter()
    for image in page.images:
        found = fit_image(image, look_up, rules.images)
        if isinstance(found, str):
            dropped[found] += 1
        elif not image.alt:
            dropped["no_text"] += 1
        else:
            kept.append(Pair(image.url, found, image.alt, "alt", image.alt, image.caption))
    return Pairs(tuple(kept), dropped)

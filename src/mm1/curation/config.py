"""How a set is curated: the configs of all rooms of curation in one, and the two profiles.

    config = override(PROFILES["mm1"], ["text.rules.min_words=30", "interleaved.images.min_side=150"])

Knows nothing of where the work is done: how many processes there are, and how much memory, changes nothing in a set.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from mm1.config import Config
from mm1.curation.caption_text import CaptionTextRules
from mm1.curation.captions import CaptionRules
from mm1.curation.decontaminate import DecontaminationRules
from mm1.curation.fetch import FetchConfig
from mm1.curation.images import ImageRules
from mm1.curation.interleaved import InterleavedRules
from mm1.curation.obelics import ObelicsRules
from mm1.curation.sources import SourcesConfig
from mm1.curation.text.language import THRESHOLD
from mm1.curation.text.minhash import MinHash
from mm1.curation.text.quality import QualityRules
from mm1.curation.text.rules import TextRules


class TextConfig(Config):
    """Which texts are kept (A.2)."""

    rules: TextRules = TextRules()
    languages: tuple[str, ...] = ("en",)
    """By ISO 639-1 code, as A.2's English; empty takes all."""
    min_language_score: float = Field(THRESHOLD, ge=0, le=1)
    near: MinHash | None = MinHash()
    """How near-duplicates are found; None keeps them."""
    quality: QualityRules = QualityRules()
    """By the models of `mm1 curate train-quality`; none are asked by default."""


class EvaluationsConfig(Config):
    """What is kept out of all sets, because models are evaluated on it."""

    paths: tuple[Path, ...] = ()
    """Files and folders of images, questions, answers (evaluation_files.py); none keep nothing out."""
    rules: DecontaminationRules = DecontaminationRules()


class CurateConfig(Config):
    """How a set is curated. The defaults are MM1's."""

    sources: SourcesConfig = SourcesConfig()
    text: TextConfig = TextConfig()
    interleaved: InterleavedRules | ObelicsRules = Field(InterleavedRules(), discriminator="kind")
    """Those of MM1 (A.1), or of OBELICS."""
    captions: CaptionRules = CaptionRules()
    worth_fetching: CaptionTextRules = CaptionTextRules(
        min_words=2,
        max_words=1000,
        max_characters=20_000,
        min_letters=4,
        min_letter_share=0.3,
        max_repeated_words=1.0,
        languages=(),
    )
    """What the text of an image must be for it to be fetched, where its page gives no document. Looser than
    `captions.text`, so that a change of those rules fetches nothing anew; where `captions.text` lets more through, that
    is fetched as well (`text_worth_fetching`)."""
    evaluations: EvaluationsConfig = EvaluationsConfig()
    download: bool = True
    """Whether pages and images are fetched from the network; without it, those that are not at hand are dropped."""
    fetch: FetchConfig = FetchConfig()
    download_buckets: int = Field(256, ge=1)
    """Hosts are spread over so many parts of downloading. Once a folder has downloads, it keeps this number."""
    pictures_a_part: int = Field(2048, ge=1)
    """Images that are decoded in one part, about; of those to download, all of a bucket are in one."""

    def in_languages(self, codes: tuple[str, ...]) -> CurateConfig:
        """The same for texts and captions in these languages; () takes all."""
        texts = self.captions.text.replace(languages=codes)
        return self.replace(text=self.text.replace(languages=codes), captions=self.captions.replace(text=texts))

    def keeping_out(self, paths: tuple[Path, ...]) -> CurateConfig:
        """The same, without what evaluations in these files ask."""
        return self.replace(evaluations=self.evaluations.replace(paths=paths))

    @property
    def text_worth_fetching(self) -> CaptionTextRules:
        """What the text of an image must be for it to be fetched: nothing that `captions.text` takes is missing."""
        return self.worth_fetching.or_of(self.captions.text)

    @property
    def stored_images(self) -> ImageRules:
        """What an image must be to be of use to either set."""
        one, other = self.interleaved.images, self.captions.images
        return ImageRules(
            formats=tuple(dict.fromkeys((*one.formats, *other.formats))),
            min_side=min(one.min_side, other.min_side),
            max_side=max(one.max_side, other.max_side),
            max_aspect=max(one.max_aspect, other.max_aspect),
            max_pixels=max(one.max_pixels, other.max_pixels),
        )


PROFILES = {
    "mm1": CurateConfig(),
    "obelics": CurateConfig(interleaved=ObelicsRules()),
}
"""By the name that `mm1 curate --profile` takes."""

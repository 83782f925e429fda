"""The recaptioned set: curation's documents, with both texts and who wrote them beside each.

    segments                          what `mm1 prepare` reads: the picture, then the text that was chosen
    alt_text                          the page's own
    visual_caption, fused_caption     as their models wrote them; null where there is none
    chosen                            "alt_text", "visual_caption" or "fused_caption"
    failed                            why there is no synthetic caption, as captioner_http_500; null where there is one
    captioner, captioner_prompt, fuser, fuser_prompt, mm1_version

A document whose caption failed keeps its own text and says so in `failed`. Knows nothing of models.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

import pyarrow as pa

from mm1 import __version__
from mm1.curation.documents import DocumentWriter, PictureSegment
from mm1.curation.recaption.pairs import Pair
from mm1.curation.recaption.prompts import Prompts
from mm1.data import templates
from mm1.types import Image, Text

_TEXTS = ("alt_text", "visual_caption", "fused_caption", "chosen", "failed")
_WHO = ("captioner", "captioner_prompt", "fuser", "fuser_prompt", "mm1_version")
COLUMNS = pa.schema([pa.field(name, pa.string()) for name in (*_TEXTS, *_WHO)])


@dataclass(frozen=True, slots=True)
class Captioned:
    """A pair with what was written of it; `failed` says why what should be there is not."""

    pair: Pair
    visual: str | None = None
    fused: str | None = None
    failed: str | None = None
    unheard: bool = False
    """Whether it failed because nobody was there to be asked: it is asked the next time, without being told."""
    captioner: str = ""
    """The model that was asked for `visual`, by its server's name for it if it answered."""
    fuser: str | None = None
    """Likewise; None where nothing was to be merged."""

    @property
    def synthetic(self) -> str | None:
        """The name of the synthetic caption's column: none where something failed on the way to it."""
        if self.failed is not None:
            return None
        return "visual_caption" if self.fused is None else "fused_caption"


def choose(captioned: Captioned, share: float) -> str | None:
    """The column of the text that the document is trained on; None where it has no text at all.

    The choice is drawn from the document's id: the same in every run, and a larger `share` only adds to the synthetic.
    """
    pair, synthetic = captioned.pair, captioned.synthetic
    if synthetic is None:
        return "alt_text" if pair.text else None
    drawn = int.from_bytes(hashlib.sha256(f"caption {pair.id}".encode()).digest()[:8], "big") / 2**64
    return synthetic if drawn < share or not pair.text else "alt_text"


def write(writer: DocumentWriter, captioned: Captioned, chosen: str, prompts: Prompts) -> None:
    """Writes a document.

    Raises:
        Dropped: document_too_large.
    """
    pair = captioned.pair
    texts = {"alt_text": pair.text, "visual_caption": captioned.visual, "fused_caption": captioned.fused}
    text = texts[chosen]
    assert text
    said = templates.answered(templates.caption_prompt(Image(pair.image)), text)
    parts = [part.text for part in said if isinstance(part, Text)]
    shown = PictureSegment(pair.image, pair.image_url, pair.image_alt)
    about = {
        **texts,
        "chosen": chosen,
        "failed": captioned.failed,
        "captioner": captioned.captioner,
        "captioner_prompt": prompts.caption,
        "fuser": captioned.fuser,
        "fuser_prompt": captioned.fuser and prompts.fusion,
        "mm1_version": __version__,
    }
    writer.write(pair.id, pair.url, [shown, *parts], about)


def reason(who: str, words: str) -> str:
    """Fit for counting: of captioner and HTTP 500, captioner_http_500."""
    return re.sub(r"[^a-z0-9]+", "_", f"{who} {words}".lower()).strip("_")

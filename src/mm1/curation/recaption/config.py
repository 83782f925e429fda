"""What is asked for each pair, and what is made of the answers.

RecaptionConfig(share=1.0)      # every document that has a synthetic caption is trained on it
"""

from __future__ import annotations

from pydantic import Field, PositiveInt

from mm1.config import Config


class RecaptionConfig(Config):
    """The same for the same set: `share` and `max_words` may be changed without a question being asked again."""

    share: float = Field(default=0.5, ge=0, le=1)
    """Of the documents whose text is the synthetic caption instead of the page's own, chosen by their ids. VeCLIP draws
    with p = 0.5 for every image it trains on."""
    max_words: PositiveInt = 80
    """A longer answer is no short sentence, and is not used."""
    chunk: PositiveInt = 256
    """Pairs in memory at once."""

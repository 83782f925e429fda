"""How a language model that was trained on good text likes a text: CCNet's perplexity, and its three buckets.

    model = PerplexityModel(folder)              # tokenizer.json and model.arpa, as training.py writes them
    model.perplexity(text)                       # 180.3; inf for a text without words
    bucket(180.3, (250.0, 900.0))                # "head"; "tail" is what the model likes least

As in CCNet (arXiv 1911.00359, section 3.3) a text is scored over the pieces of a tokenizer, paragraph by paragraph, by
a 5-gram model that KenLM reads; case does not count and each digit counts as 0. Knows nothing of what is kept.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from mm1.config import UserError
from mm1.curation.text.characters import without_surrogates
from mm1.data.tokenizer import Tokenizer

Bucket: TypeAlias = Literal["head", "middle", "tail"]

TOKENIZER, ARPA = "tokenizer.json", "model.arpa"
MAX_CHARACTERS = 20_000
"""Of a text are read; what comes later changes its perplexity little."""

_DIGIT = re.compile(r"\d")


class PerplexityModel:
    """A tokenizer and an n-gram model.

    Raises:
        UserError: kenlm is not installed, or `folder` is not what training writes.
    """

    def __init__(self, folder: Path) -> None:
        try:
            import kenlm
        except ImportError:
            raise UserError("perplexity needs kenlm, which is not installed: pip install 'mm1[curate]'") from None
        self._tokenizer = Tokenizer(folder / TOKENIZER)
        config = kenlm.Config()
        config.show_progress = False
        config.arpa_complain = kenlm.ARPALoadComplain.NONE
        try:
            self._model: Any = kenlm.Model(str(folder / ARPA), config)
        except OSError as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"{folder / ARPA} can not be read ({reason}): train it again") from None

    def perplexity(self, text: str) -> float:
        """Of a text's pieces and the ends of its paragraphs: 10 ** (- log10 probability / their number)."""
        score, count = 0.0, 0
        for ids in sentences(text[:MAX_CHARACTERS], self._tokenizer):
            score += self._model.score(" ".join(map(str, ids)))
            count += len(ids) + 1
        return 10 ** (-score / count) if count else math.inf


def sentences(text: str, tokenizer: Tokenizer) -> Iterator[Sequence[int]]:
    """The paragraphs of a text as ids of pieces."""
    for paragraph in normalized(text).split("\n"):
        if ids := tokenizer.encode(paragraph):
            yield ids


def normalized(text: str) -> str:
    """Lower case, digits as 0, single spaces; what both the tokenizer and the model see."""
    plain = _DIGIT.sub("0", without_surrogates(text).lower())
    lines = (" ".join(line.split()) for line in plain.split("\n"))
    return "\n".join(filter(None, lines))


def bucket(perplexity: float, cutoffs: tuple[float, float]) -> Bucket:
    """Where a perplexity stands between the two cut-offs, both inclusive."""
    return "head" if perplexity <= cutoffs[0] else "middle" if perplexity <= cutoffs[1] else "tail"

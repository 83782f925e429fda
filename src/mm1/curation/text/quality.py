"""The two judges of quality as one folder, which `mm1 curate train-quality` writes (training.py) and this reads.

    quality = Quality(folder, QualityRules())
    quality.judge(words, text)                 # Judgement(perplexity=180.3, bucket="head", score=0.93)
    quality.reason("page-17", judgement)       # None, "perplexity", or "classifier"

    quality.json             QualityRecord: cut-offs, what was held out, how it was made
    tokenizer.json           of the pieces
    model.arpa               the n-gram model over them
    classifier.safetensors   where raw texts were given

Nothing is unpickled. Knows nothing of how the models were trained.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydantic import Field

from mm1.config import Config, UserError, load_json
from mm1.curation.text import classifier
from mm1.curation.text.characters import Words
from mm1.curation.text.perplexity import ARPA, TOKENIZER, Bucket, PerplexityModel, bucket

RECORD, CLASSIFIER = "quality.json", "classifier.safetensors"


class QualityRules(Config):
    """What quality a text must have."""

    model: Path | None = None
    """A folder of `mm1 curate train-quality`; None asks nothing."""
    buckets: tuple[Bucket, ...] = Field(default=("head", "middle"), min_length=1)
    """Which thirds by perplexity are kept; CCNet's authors train on head and middle."""
    pareto_alpha: float | None = Field(default=classifier.PARETO_ALPHA, gt=0)
    """Of the rule of chance by the classifier's score, GPT-3's 9; None does not ask the classifier."""


class QualityRecord(Config):
    """What training says of its result."""

    cutoffs: tuple[float, float]
    """Perplexities: up to the first is the head, up to the second the middle."""
    vocab_size: int
    order: int
    prune: tuple[int, ...]
    discounts: tuple[tuple[float, float, float], ...]
    good_texts: int
    raw_texts: int
    dropped: dict[str, int]
    """Texts that could not be read, by reason."""
    held_out: dict[str, float]
    """Figures on texts that were kept from training."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the models say of a text."""

    perplexity: float
    bucket: Bucket
    score: float | None
    """None without a classifier."""


class Quality:
    """The models of a folder.

    Raises:
        UserError: the folder lacks a file, or one of them is something else.
    """

    def __init__(self, folder: Path, rules: QualityRules) -> None:
        if not (folder / RECORD).is_file():
            raise UserError(f"{folder} has no {RECORD}: make the folder with mm1 curate train-quality")
        self._rules = rules
        self._cutoffs = load_json(QualityRecord, folder / RECORD).cutoffs
        self._perplexity = PerplexityModel(folder)
        weights = folder / CLASSIFIER
        self._classifier = classifier.load(weights) if weights.is_file() else None

    def judge(self, text: str, words: Words) -> Judgement:
        """What the models say of a text and its `hash_words`."""
        perplexity = self._perplexity.perplexity(text)
        score = None if self._classifier is None else self._classifier.score(classifier.features(words))
        return Judgement(perplexity, bucket(perplexity, self._cutoffs), score)

    def reason(self, document: str, judgement: Judgement) -> str | None:
        """Why the document of that id is dropped, or None."""
        if judgement.bucket not in self._rules.buckets:
            return "perplexity"
        alpha = self._rules.pareto_alpha
        if alpha is None or judgement.score is None or classifier.chosen(document, judgement.score, alpha):
            return None
        return "classifier"


@cache
def open_quality(rules: QualityRules) -> Quality | None:
    """The judges that the rules name, read once a process; None where they name none.

    Raises:
        UserError: as `Quality`.
    """
    return None if rules.model is None else Quality(rules.model, rules)


def digest(folder: Path) -> str:
    """A hash of the models, for whoever keeps results that depend on them.

    Raises:
        UserError: the folder lacks a file.
    """
    total = hashlib.sha256()
    for name in (RECORD, TOKENIZER, ARPA, CLASSIFIER):
        path = folder / name
        if path.is_file():
            with path.open("rb") as file:  # an n-gram model may be gigabytes
                total.update(hashlib.file_digest(file, "sha256").digest())
        elif name != CLASSIFIER:
            raise UserError(f"{folder} has no {name}: make the folder with mm1 curate train-quality")
    return total.hexdigest()

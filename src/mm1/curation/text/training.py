"""`mm1 curate train-quality`: from good texts, and raw ones of the crawl, to the folder that quality.py reads.

    record = train_quality([Path("wikipedia/")], [Path("crawl/text/")], Path("quality"), TrainQualityConfig())
    record.held_out         # {"median perplexity, good": 95.2, "median perplexity, raw": 310.4, …}

Any format that `mm1 prepare` reads will do; a document's texts count together. A tenth of the texts, chosen by what
they say so that a copy is on the same side, is held out of all training. The n-gram model learns from good texts
alone, and its cut-offs divide the raw ones into three equal parts, as in CCNet. Knows nothing of curation's steps.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydantic import Field

from mm1.config import Config, UserError, save_json
from mm1.curation.text import classifier
from mm1.curation.text.characters import hash_words
from mm1.curation.text.classifier import Classifier, Features, area_under_curve
from mm1.curation.text.exact import text_hash
from mm1.curation.text.kneser_ney import estimate, write_arpa
from mm1.curation.text.ngram_counts import NgramCounter
from mm1.curation.text.perplexity import ARPA, TOKENIZER, PerplexityModel, normalized, sentences
from mm1.curation.text.quality import CLASSIFIER, RECORD, QualityRecord
from mm1.data.formats.catalog import FORMATS
from mm1.data.formats.files import find, sources_of
from mm1.data.formats.reading import Drop, Item
from mm1.data.tokenizer import train_tokenizer
from mm1.types import Text

_HELD_OUT = 10
"""One text of so many is held out."""
_LEAST = 20
"""Held-out texts of either kind; with fewer, neither cut-offs nor figures mean anything."""
_MOST_JUDGED = 20_000
"""Texts of either kind whose perplexity is taken: enough for cut-offs and figures of two digits."""


class TrainQualityConfig(Config):
    """How the judges of quality are trained."""

    vocab_size: int = Field(default=16_384, ge=260)
    """Pieces of the tokenizer; CCNet has 65,536 a language, for models of tens of gigabytes of text."""
    order: int = Field(default=5, ge=2)
    """Of the n-gram model, CCNet's 5."""
    prune: tuple[int, ...] = (0, 0, 1)
    """Runs of 1, 2, … pieces that occur at most so often are left out, the last for all longer ones."""
    max_characters: int = Field(default=100_000_000, ge=1)
    """Of texts of either kind; what comes after is not read. Training takes some 40 bytes of memory for each."""


@dataclass(slots=True)
class _Texts:
    """Texts of one kind."""

    learned: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    """By reason."""


def train_quality(
    good: Sequence[Path],
    raw: Sequence[Path],
    out: Path,
    config: TrainQualityConfig,
    say: Callable[[str], None] = lambda line: None,
) -> QualityRecord:
    """Trains and writes the folder `out`, whole or not at all.

    Args:
        good: files or folders of texts as one would like them.
        raw: of texts as they come; without any there is no classifier, and the cut-offs are the median and the 95th
            percentile of the held-out good texts.
        out: must not be there yet.
        config: as said there.
        say: is told what is done, a line each.

    Raises:
        UserError: files that can not be read, too few texts, or `out` is there.
    """
    if out.exists():
        raise UserError(f"{out} is there already: remove it or name another --out")
    texts = _read("good", good, config.max_characters)
    crawl = _read("raw", raw, config.max_characters) if raw else _Texts()
    say(f"{len(texts.learned):,} good texts and {len(crawl.learned):,} raw ones to learn from")
    partial = out.with_name(f".{out.name}.{os.getpid()}")
    partial.mkdir(parents=True)
    try:
        record = _fill(partial, texts, crawl, config, say)
        save_json(record, partial / RECORD)
        os.replace(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return record


def _read(kind: str, paths: Sequence[Path], most: int) -> _Texts:
    """The texts of files, up to `most` characters."""
    texts, characters = _Texts(), 0
    for item in _items(paths):
        if isinstance(item, Drop):
            texts.dropped[f"{kind}: {item.reason}"] += item.count if item.what == "document" else 0
            continue
        text = "\n\n".join(segment.text for segment in item.segments if isinstance(segment, Text))
        words = hash_words(text)
        if len(words.hashes) == 0:
            texts.dropped[f"{kind}: no words"] += 1
            continue
        (texts.learned if text_hash(words) % _HELD_OUT else texts.held).append(text)
        characters += len(text)
        if characters >= most:
            break
    if len(texts.held) < _LEAST or not texts.learned:
        raise UserError(
            f"of {len(texts.held) + len(texts.learned)} {kind} texts {len(texts.held)} fall into the tenth that is "
            f"held out, where {_LEAST} are needed to measure by: give more different ones"
        )
    return texts


def _items(paths: Sequence[Path]) -> Iterator[Item]:
    for source in sources_of([str(path) for path in paths]):
        found = find(source)
        for path in found.files:
            yield from FORMATS[found.format.format].read(path, source.options)


def _fill(
    folder: Path, good: _Texts, raw: _Texts, config: TrainQualityConfig, say: Callable[[str], None]
) -> QualityRecord:
    """Trains and measures; writes all but the record."""
    tokenizer = train_tokenizer(map(normalized, good.learned), config.vocab_size, folder / TOKENIZER)
    counter = NgramCounter(config.order, tokenizer.vocab_size)
    for text in good.learned:
        for ids in sentences(text, tokenizer):
            counter.add(ids)
    model = estimate(*counter.finish(), tokenizer.vocab_size, config.prune)
    write_arpa(model, folder / ARPA)
    listed = sum(int(np.count_nonzero(estimates.kept)) for estimates in model.estimates)
    say(f"a {config.order}-gram model of {listed:,} runs over {tokenizer.vocab_size:,} pieces")
    cutoffs, figures = _measure_perplexity(PerplexityModel(folder), good, raw)
    if raw.learned:
        judge = classifier.train([_features(text) for text in good.learned], [_features(text) for text in raw.learned])
        judge.save(folder / CLASSIFIER)
        figures |= _measure_classifier(judge, good, raw)
    for name, value in figures.items():
        say(f"{name}: {value:.3g}")
    return QualityRecord(
        cutoffs=cutoffs,
        vocab_size=tokenizer.vocab_size,
        order=config.order,
        prune=config.prune,
        discounts=model.discounts,
        good_texts=len(good.learned),
        raw_texts=len(raw.learned),
        dropped={reason: count for reason, count in sorted((good.dropped + raw.dropped).items()) if count},
        held_out=figures,
    )


def _measure_perplexity(
    model: PerplexityModel, good: _Texts, raw: _Texts
) -> tuple[tuple[float, float], dict[str, float]]:
    """The cut-offs, and figures on texts that the model has not seen: raw ones are no part of its training."""
    liked = [model.perplexity(text) for text in good.held[:_MOST_JUDGED]]
    judged = [model.perplexity(text) for text in [*raw.held, *raw.learned][:_MOST_JUDGED]]
    first, second = np.quantile(judged, (1 / 3, 2 / 3)) if judged else np.quantile(liked, (0.5, 0.95))
    figures = {"median perplexity, good": float(np.median(liked))}
    if judged:
        figures["median perplexity, raw"] = float(np.median(judged))
    figures["share of good in head and middle"] = float(np.mean(np.array(liked) <= second))
    return (float(first), float(second)), figures


def _measure_classifier(judge: Classifier, good: _Texts, raw: _Texts) -> dict[str, float]:
    liked = [judge.score(_features(text)) for text in good.held]
    judged = [judge.score(_features(text)) for text in raw.held]
    kept = {
        kind: [classifier.chosen(f"{kind} {number}", score) for number, score in enumerate(scores)]
        for kind, scores in (("good", liked), ("raw", judged))
    }
    return {
        "area under the classifier's curve": area_under_curve(liked, judged),
        "share of good that the Pareto rule keeps": float(np.mean(kept["good"])),
        "share of raw that the Pareto rule keeps": float(np.mean(kept["raw"])),
    }


def _features(text: str) -> Features:
    return classifier.features(hash_words(text))

"""Extracted pages → which of their texts keep the rules, and the keys by which equal and like texts meet.

A page with words of evaluations in a row, in its paragraphs or its figures' captions, is dropped whole: it comes into
neither the text set nor the interleaved documents, whatever their profile.

PART/texts.npy              for each page of the part 0, or its place among the kept ones from 1
PART/exact-00000.parquet    groups.py's keys of the texts
PART/near.arrow             signatures of the texts (text/key_files.py)
PART/tally.json
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from mm1.curation.config import TextConfig
from mm1.curation.decontaminate import open_index
from mm1.curation.engine import Values
from mm1.curation.extracted import read_extracted
from mm1.curation.groups import KEYS, RunWriter
from mm1.curation.page import Extracted, Paragraph
from mm1.curation.samples import excerpt
from mm1.curation.steps.extract import PAGE, PAGES
from mm1.curation.steps.inputs import PartInputs
from mm1.curation.tally import Tally
from mm1.curation.text.characters import hash_words
from mm1.curation.text.exact import text_hash
from mm1.curation.text.key_files import write_keys
from mm1.curation.text.language import identify
from mm1.curation.text.minhash import signature
from mm1.curation.text.quality import open_quality
from mm1.curation.text.rules import reason

STEP = "text rules"
KEPT = "texts.npy"
NEAR = "near.arrow"
EXACT = "exact"


def judge_part(part: PartInputs, folder: Path, config: TextConfig, evaluations: Path | None) -> Values:
    """Fills the folder of a part; `evaluations` is the folder of their index, if there are any."""
    tally = Tally()
    places, signatures, lengths = [], [], []
    quality, index = open_quality(config.quality), open_index(evaluations)
    with RunWriter(folder, EXACT, KEYS) as exact:
        for row in read_extracted(part.folders["extract"] / PAGES):
            tally.enter(STEP, PAGE)
            text = row.page.text
            words = hash_words(text)
            language, score = identify(text)
            tally.statistics.word("language", language)
            broken = reason(text, config.rules, language, words) or _language_reason(language, score, config)
            if broken is None and index is not None:
                broken = index.text_reason(text, words) or index.text_reason(_with_captions(row.page))
            note = f"{language} {score:.2f}"
            if broken is None and quality is not None:
                judged = quality.judge(text, words)
                broken, note = quality.reason(row.id, judged), f"{note}, perplexity {judged.perplexity:.0f}"
                tally.statistics.size("perplexity", judged.perplexity)
            sample = partial(excerpt, row.url or row.id, [text], note)
            if broken is not None:
                places.append(0)
                tally.drop(STEP, PAGE, broken, row.id, sample)
                continue
            tally.keep(STEP, PAGE, row.id, sample)
            exact.add({"key": text_hash(words), "order": part.order(row.number), "weight": 1})
            lengths.append(len(text))
            places.append(len(lengths))
            if config.near is not None:
                signatures.append(signature(words, config.near))
    np.save(folder / KEPT, np.array(places, np.uint32))
    if config.near is not None:
        found = np.array(signatures, np.uint32).reshape(len(lengths), config.near.permutations)
        write_keys(folder / NEAR, found, np.array(lengths, np.int64), config.near)
    counts = tally.of(STEP, PAGE)
    tally.save(folder)
    return {"in": counts.entered, "out": counts.kept}


def _with_captions(page: Extracted) -> str:
    """The text as interleaved documents have it; empty where no figure has a caption, and `text` is all."""
    texts = [block.text if isinstance(block, Paragraph) else block.caption for block in page.blocks]
    return "\n\n".join(texts) if any(image.caption for image in page.images) else ""


def _language_reason(language: str, score: float, config: TextConfig) -> str | None:
    if score < config.min_language_score:
        return "no_language"
    return "language" if config.languages and language not in config.languages else None

"""Curves of a stage."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from mm1.chain.page.results import Run, Stage
from mm1.chain.page.stages import smooth, stage_sections


def test_smoothing_keeps_a_constant_a_gap_and_a_short_line() -> None:
    assert smooth([1.0, 5.0, 2.0]) == [1.0, 5.0, 2.0]
    level = np.full(300, 2.0)
    level[150] = np.nan
    smoothed = smooth(list(level))
    assert math.isnan(smoothed[150])
    assert np.allclose(np.delete(smoothed, 150), 2.0)


def _keys(page: str, around: str) -> dict[str, str]:
    """Colour by source, of the keys in the first piece of `page` that `around` matches."""
    (piece,) = re.findall(around, page, flags=re.DOTALL)[:1]
    return {name: colour for colour, name in re.findall(r'<i class="(?:key )?([^"]*)"></i>([^<]*)<', piece)}


def test_a_source_has_one_colour_in_all_figures_and_is_keyed_where_it_is_drawn(tmp_path: Path) -> None:
    shares = {"captions": 0.5, "never": 0.2, "text": 0.3}
    losses = [{"text": 3.0}, {"text": 2.0, "captions": 1.0}, {"text": 1.0}]
    rows = tuple({"step": step, "loss": 2.0, "loss_by_source": by} for step, by in enumerate(losses))
    stage = Stage("pretrain", {"seconds": 1.0, "declared": shares, "realised": shares}, rows, ())
    page = stage_sections(Run(tmp_path, {}, (stage,), (), (), tmp_path))
    mixture = _keys(page, r"<table.*</table>")
    loss = _keys(page, r"<figcaption>loss by source</figcaption>.*?</ul>")
    assert list(mixture) == list(shares)
    assert len(set(mixture.values())) == 3
    assert loss == {"captions": mixture["captions"], "text": mixture["text"], "all": "muted broken"}
    (drawn,) = re.findall(r'aria-label="pretrain: loss by source".*?</svg>', page, flags=re.DOTALL)
    assert len(re.findall(rf"<use [^>]*fill: var\(--{mixture['captions']}\)", drawn)) == 1
    assert re.search(rf"<path [^>]*stroke: var\(--{mixture['text']}\)", drawn)

"""The step in the pipeline: the better half of the pairs, counted, and redone only when it changes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from mm1.config import override
from mm1.curation.clip_models import open_scorer
from mm1.curation.config import PROFILES
from mm1.curation.funnel import Funnel
from mm1.curation.pipeline import curate
from mm1.curation.runner import Runner
from tests.curation.clips import own_clip
from tests.curation.site import page, picture, write_site

CAPTIONS = [f"A {colour} {thing} beside the river" for colour in ("red", "blue") for thing in ("house", "boat", "tree")]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    tags = [[f'<img src="{3 * n + m}.png" alt="{CAPTIONS[3 * n + m]}">' for m in range(3)] for n in range(2)]
    pictures = {f"{number}.png": picture(number) for number in range(6)}
    return write_site(tmp_path / "site", {f"{n}.html": page(n, tags[n]) for n in range(2)}, pictures)


def captions(out: Path) -> list[dict[str, Any]]:
    return [row for path in sorted((out / "captions").glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def run(site: Path, out: Path, *changes: str) -> dict[str, Any]:
    config = override(PROFILES["mm1"], ["download=false", "sources.part_files=1", *changes])
    curate([site], out, config, Runner())
    steps = json.loads((out / "funnel.json").read_text())
    Funnel.from_json(steps)
    return {step["name"]: step for step in steps["steps"]}


def test_the_better_share_of_the_whole_set_is_kept(site: Path, tmp_path: Path) -> None:
    model = own_clip(tmp_path / "run")
    out = tmp_path / "set"
    assert "caption scores" not in run(site, out)
    before = captions(out)
    scores = {
        row["id"]: open_scorer(model).score([(row["segments"][0]["image"], row["segments"][1]["text"].strip())])[0]
        for row in before
    }
    assert len(scores) == 6
    step = run(site, out, f"captions.clip.model={model}", "captions.clip.keep=0.5")["caption scores"]
    assert (step["in"], step["out"], step["dropped"]) == (6, 3, {"low_clip_score": 3})
    best = sorted(scores, key=lambda name: -scores[name])[:3]
    assert captions(out) == [row for row in before if row["id"] in best]

    lowest = float(np.sort(list(scores.values()))[1]) + 1e-4
    step = run(site, out, f"captions.clip.model={model}", f"captions.clip.threshold={lowest}")["caption scores"]
    assert step["out"] == 4
    steps = [path.name.rpartition("-")[0] for path in (out / "work" / "steps").iterdir() if path.is_dir()]
    assert (steps.count("captions"), steps.count("images"), steps.count("clip")) == (1, 1, 2)
    run(site, out)
    assert captions(out) == before

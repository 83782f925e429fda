"""Every pipeline reads the same documents within the same budgets; what is not installed is said, not guessed."""

import importlib.util
import json
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm1.bench import loading
from mm1.bench.data import DataBenchConfig, bench_data, lines, tables
from mm1.bench.loading import MAX_IMAGES, OPEN_PACKS, SEQ_LEN, first_fit, make_material, pipelines
from mm1.cli import main
from mm1.types import Sample

PEERS = ("webdataset", "grain")


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    return make_material(30, tmp_path_factory.mktemp("material"))


def sample(length: int) -> Sample:
    nothing = np.zeros(length, np.int32)
    return Sample(nothing, nothing.astype(bool), nothing, nothing[:0], nothing[:0], ())


@given(lengths=st.lists(st.integers(1, SEQ_LEN), max_size=60), short=st.integers(0, 200))
def test_first_fit_keeps_the_budgets_and_loses_nothing(lengths: list[int], short: int) -> None:
    lengths = random.Random(0).sample([*lengths, *[7] * short], len(lengths) + short)
    rows = list(first_fit(map(sample, lengths)))
    assert sorted(len(one) for row in rows for one in row) == sorted(lengths)
    assert all(sum(len(one) for one in row) <= SEQ_LEN and len(row) <= MAX_IMAGES for row in rows)
    if sum(lengths) > 4 * OPEN_PACKS * SEQ_LEN and max(lengths) < SEQ_LEN / 8:
        assert sum(lengths) / (len(rows) * SEQ_LEN) > 0.8


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset leaves its tar open
def test_every_pipeline_makes_the_same_of_the_documents(material):
    """Those of the peers that are installed; mm1's always."""
    made = {name: run() for name, run in pipelines(material, say=lambda line: None).items()}
    tokens = sum(len(material.encoder.encode(document)) for document in material.documents)
    for name, one in made.items():
        assert (one.documents, one.filled) == (30, tokens), name
        assert one.fill == tokens / (one.batches * SEQ_LEN)


def test_decoders_agree_but_for_rounding(material):
    for document in material.documents[:3]:
        ours, pillows = (decode(document.images[0].data) for decode in (loading.with_mm1, loading.with_pillow))
        assert ours.shape == pillows.shape == (378, 378, 3)
        assert np.abs(ours.astype(int) - pillows).max() <= 3


def test_a_missing_peer_is_said_in_one_sentence(material, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    said: list[str] = []
    assert [*pipelines(material, said.append)] == ["mm1"]
    assert said == [f"{name} is not installed, so it is not measured: pip install {name}" for name in PEERS]


def test_ratios_are_of_tokens_and_of_medians(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    figures = bench_data(DataBenchConfig(documents=8, repetitions=2), say=lambda line: None)
    assert figures.ratio("mm1") == 1
    assert {*figures.preparing} == {"all", "reading", "checking pictures", "tokenising"}
    values = json.loads(json.dumps(figures.to_json()))
    assert values["decoding"]["ratio"] == figures.decoding_ratio()
    assert values["loading"]["mm1"]["batches_per_second"] > 0
    assert len(tables(figures)) == 2
    assert any("8 JPEGs" in line for line in lines(figures))


def test_the_command_writes_its_figures(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    out = tmp_path / "figures.json"
    assert main(["bench", "data", "--documents", "6", "--repetitions", "1", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    for part in ("rows/s", "fill", "photos/s to 378 x 378", "prepared MB/s", "share of tokenising"):
        assert part in printed
    assert json.loads(out.read_text())["documents"] == 6

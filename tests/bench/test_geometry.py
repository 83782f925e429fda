from __future__ import annotations

from pathlib import Path

import pytest

from mm1.bench import geometry, geometry_run
from mm1.config import UserError
from mm1.models.counts import flops_forward
from mm1.train.costs import flops_per_sequence, parameters
from mm1.train.run import build_loader
from mm1.train.stage import StageConfig


def test_models_are_of_the_sizes_that_they_are_named_for() -> None:
    stages = geometry.stages()
    assert parameters(stages["mm1-3b"])["decoder_active_non_embedding"] == pytest.approx(2.9e9, rel=0.02)
    assert parameters(stages["llama-8b-12"])["decoder_active_non_embedding"] == pytest.approx(2.62e9, rel=0.01)
    sparse, dense = stages["experts-8"], stages["experts-8-dense"]
    assert parameters(sparse)["total"] > 2 * parameters(dense)["total"]
    assert flops_per_sequence(sparse)["total"] == pytest.approx(flops_per_sequence(dense)["total"], rel=0.001)
    for stage in stages.values():
        stage.check_layout(1)
        stage.check_parts(1000)
        assert stage.rows_at_once(1)


def operations(stage: StageConfig, folder: Path, windows: list[tuple[int, int]]) -> int:
    """Of the training steps in `windows`, each document by its real length, of batches that are made again."""
    tokenizer = geometry.tokenizer_at(folder / "tokenizer.json")
    loader = build_loader(stage, geometry.sources_of(stage, tokenizer), tokenizer)
    total = 0
    for batch in (batch for start, end in windows for batch in loader.batches(start, end)):
        lengths = [row.count(segment) for row in batch.segment_ids.tolist() for segment in {*row} - {-1}]
        pairs = sum(length * (length + 1) // 2 for length in lengths)
        targets = int((batch.targets >= 0).sum())
        total += 3 * flops_forward(stage.model, sum(lengths), batch.num_images, pairs, targets)["total"]
    return total


def test_an_unknown_model_and_a_small_disk_are_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = geometry_run.GeometryBenchConfig(names=("huge",), device="cpu")
    with pytest.raises(UserError, match="'huge'"):
        geometry_run.bench_geometry(config, print)
    usage = geometry_run.shutil.disk_usage(tmp_path)._replace(free=10**6)
    monkeypatch.setattr(geometry_run.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(UserError, match="0 GB free, but the weights of small"):
        geometry_run.bench_geometry(config.replace(names=("small",), folder=tmp_path), print)


def test_a_run_is_interrupted_in_the_middle_and_goes_on(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    config = geometry_run.GeometryBenchConfig(
        names=("small",), device="cpu", steps=40, folder=tmp_path, overrides=("data.rows=2", "data.max_images=2")
    )
    said: list[str] = []
    measured = geometry_run.bench_geometry(config, said.append)
    (one,) = measured.trained
    assert sorted(one.losses) == [10, 20, 30, 40]
    assert 0 < one.text_tokens_per_second < one.tokens_per_second
    expected = operations(
        StageConfig.model_validate(one.config), tmp_path_factory.mktemp("again"), [(10, 20), (30, 40)]
    )
    assert one.flops["total"] == expected
    assert one.flops_per_second == pytest.approx(expected / (20 * one.seconds))
    assert one.mfu is None
    assert 0 < one.fill <= 1
    assert one.first_step_seconds > 0
    assert one.stop_seconds is not None
    assert one.stop_seconds > 0
    assert one.resumed_seconds is not None
    assert one.resumed_seconds > 0
    assert one.peak_bytes > 1e8
    assert list(tmp_path.iterdir()) == []
    assert geometry_run.table(measured).row_count == len(geometry_run.ROWS)
    assert geometry_run.to_json(measured)["trained"][0]["config"]["steps"] == 40


def test_where_the_disk_has_no_room_for_a_checkpoint_it_trains_without_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = geometry_run.shutil.disk_usage(tmp_path)._replace(free=2 * 10**6)
    monkeypatch.setattr(geometry_run.shutil, "disk_usage", lambda path: usage)
    overrides = ("data.rows=2", "data.max_images=2")
    config = geometry_run.GeometryBenchConfig(
        names=("small",), device="cpu", steps=40, folder=tmp_path, overrides=overrides
    )
    said: list[str] = []
    (one,) = geometry_run.bench_geometry(config, said.append).trained
    assert any("without an interruption" in line for line in said)
    assert one.stop_seconds is None
    assert one.resumed_seconds is None
    assert sorted(one.losses) == [10, 20, 30, 40]

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from mm1.distributed.mesh import World
from mm1.models.counts import flops_forward
from mm1.train.optimizer import OptimizerConfig, freeze
from mm1.train.run import build_loader, run_stage
from mm1.train.speed import UNKNOWN, hardware_named, speed_of
from mm1.train.state import Tally
from mm1.types import IGNORE, Batch, Losses

PARTS = ("image_encoder", "connector", "decoder", "output")


def hand_made() -> Batch:
    """Row 0: documents of 3 and 2 positions, 1 of padding. Row 1: one document of 4, 2 of padding. Two images."""
    segments = torch.tensor([[0, 0, 0, 1, 1, -1], [0, 0, 0, 0, -1, -1]])
    positions = torch.tensor([[0, 1, 2, 0, 1, 0], [0, 1, 2, 3, 0, 0]])
    targets = torch.tensor([[5, 5, IGNORE, 5, IGNORE, IGNORE], [IGNORE, 5, 5, IGNORE, IGNORE, IGNORE]])
    some, two = torch.zeros_like(segments), torch.zeros(2, dtype=torch.int64)
    return Batch(
        tokens=some,
        positions=positions,
        segment_ids=segments,
        image_index=some,
        targets=targets,
        target_index=(targets.flatten() != IGNORE).nonzero().flatten(),
        source_ids=some,
        images=torch.zeros(2, 3, 16, 16, dtype=torch.uint8),
        image_rows=two,
        image_segments=two,
        image_seeds=two,
        source_names=("a",),
    )


def tallied(*batches: Batch) -> dict[str, float]:
    tally = Tally()
    for batch in batches:
        one, each = torch.ones(()), torch.ones(len(batch.source_names))
        tally.add(Losses(total=one, count=one, source_totals=each, source_counts=each), batch)
    return tally.read()


def test_a_batch_counted_by_hand(tiny: ModuleType) -> None:
    """Width 32, 2 layers, 2 heads of 16, MLP 64, vocabulary 320: all matrices of the decoder written out."""
    config = tiny.stage()
    totals = tallied(hand_made())
    assert totals["tokens"] == 9
    assert totals["attended_pairs"] == (1 + 2 + 3) + (1 + 2) + (1 + 2 + 3 + 4)
    assert totals["logits"] == 5
    flops = speed_of(config, config.build(), World()).flops(totals)
    assert flops is not None
    matrices = 2 * (4 * 32 * 32 + 2 * 32 * 64)  # query, key, value, output; up, down
    assert flops["decoder"] == 3 * (2 * matrices * 9 + 2 * 2 * (2 * 32) * 19)  # queries by keys, and weights by values
    assert flops["output"] == 3 * 2 * 32 * 320 * 5
    alone = flops_forward(config.model, tokens=0, images=1, attended_pairs=0)
    assert flops["image_encoder"] == 3 * 2 * alone["image_encoder"] > 0
    assert flops["total"] == sum(flops[part] for part in PARTS)


def test_padding_is_no_work() -> None:
    batch = hand_made()
    wider = replace(
        batch,
        **{
            name: torch.nn.functional.pad(getattr(batch, name), (0, 7), value=fill)
            for name, fill in {"tokens": 0, "positions": 3, "segment_ids": -1, "targets": IGNORE}.items()
        },
    )
    before, after = tallied(batch), tallied(wider)
    assert after.pop("positions") == before.pop("positions") + 14
    assert after == before


def test_pairs_are_those_of_a_count_one_by_one_in_batches_of_the_loader(tiny: ModuleType, tmp_path: Path) -> None:
    config = tiny.stage()
    tokenizer, sources = tiny.world_of(tmp_path)
    for batch in build_loader(config, sources, tokenizer).batches(0, 2, 0, 1, 0):
        pairs = 0
        for row in batch.segment_ids.numpy():
            seen: dict[int, int] = {}
            for segment in row[row >= 0].tolist():
                seen[segment] = seen.get(segment, 0) + 1
                pairs += seen[segment]
        assert len(np.unique(batch.segment_ids)) > 2
        assert tallied(batch)["attended_pairs"] == pairs


@pytest.mark.parametrize(
    ("frozen", "factors"),
    [
        ((), (3, 3, 3, 3)),
        (("image_encoder",), (1, 3, 3, 3)),
        (("decoder",), (3, 3, 2, 2)),
        (("image_encoder", "decoder"), (1, 3, 2, 2)),
        (("image_encoder", "connector"), (1, 1, 3, 3)),
        (("connector", "decoder"), (3, 2, 2, 2)),
    ],
)
def test_what_is_frozen_costs_less(tiny: ModuleType, frozen: tuple[str, ...], factors: tuple[int, ...]) -> None:
    config = tiny.stage()
    model = config.build()
    freeze(model, OptimizerConfig(frozen=frozen))
    speed = speed_of(config, model, World())
    assert tuple(speed.factors[part] for part in PARTS) == factors
    forward = flops_forward(config.model, tokens=9, images=2, attended_pairs=19, targets=5)
    expected = {part: factor * forward[part] for part, factor in zip(PARTS, factors, strict=True)}
    assert speed.flops(tallied(hand_made())) == {**expected, "total": sum(expected.values())}


@pytest.mark.parametrize(
    ("board", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H200", "h200"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA A100-PCIE-40GB", "a100"),
        ("NVIDIA B200", "b200"),
        ("NVIDIA H100 PCIe", None),
        ("NVIDIA H200 NVL", None),
        ("NVIDIA GH200 480GB", None),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", None),
        ("NVIDIA GeForce RTX 4090", None),
    ],
)
def test_a_board_is_known_by_its_name_and_slower_ones_are_not_taken_for_it(board: str, name: str | None) -> None:
    found = hardware_named(board)
    assert (found.name if found else None) == name


def test_mfu_is_a_share_of_all_ranks_peaks(tiny: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100 80GB HBM3")
    config = tiny.stage(precision="bf16")
    speed = speed_of(config, config.build(), World(size=4, device=torch.device("cuda", 0)))
    assert speed.mfu(989e12 * 3, 1.5) == pytest.approx(0.5)
    full = tiny.stage(precision="fp32")
    assert speed_of(full, full.build(), World(device=torch.device("cuda", 0))).peak == 67e12


def test_on_a_cpu_and_for_other_models_it_says_why_there_is_no_mfu(tiny: ModuleType) -> None:
    config = tiny.stage()
    speed = speed_of(config, config.build(), World())
    assert speed.mfu(1e12, 1.0) is None
    assert "the peak of a CPU" in speed.why
    clip = tiny.stage("clip")
    other = speed_of(clip, clip.build(), World())
    assert other.flops({}) is None
    assert "not for clip" in other.why
    assert UNKNOWN.flops({}) is None


def test_a_stage_tells_its_work_before_the_first_step_and_in_every_line(tiny: ModuleType, tmp_path: Path) -> None:
    said: list[str] = []
    tokenizer, sources = tiny.world_of(tmp_path)
    (tmp_path / "run").mkdir()
    run_stage(tiny.stage(), tmp_path / "run", sources, tokenizer, say=said.append)
    assert "FLOP/s are told instead of MFU: the peak of a CPU is in no table" in said
    records: list[dict[str, Any]] = [
        json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()
    ]
    done, seconds = 0, 0.0
    for record in records:
        rate = (record["flops"]["total"] - done) / (record["seconds"] - seconds)
        assert record["flops_per_second"] == pytest.approx(rate)
        assert record["mfu"] is None
        done, seconds = record["flops"]["total"], record["seconds"]
    assert all("GFLOP/s" in line for line in said if "tokens/s" in line)

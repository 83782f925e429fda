"""By `row_cost` ranks are dealt equal work: it agrees with how operations are counted, and the loader goes by it."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from mm1.config import override
from mm1.data.dealing import ALIKE
from mm1.distributed.mesh import World
from mm1.recipes.catalog import load_recipe
from mm1.train.costs import row_cost
from mm1.train.optimizer import freeze
from mm1.train.run import build_loader
from mm1.train.speed import speed_of

NOTHING = {"tokens": 0, "images": 0, "attended_pairs": 0, "logits": 0}


@pytest.mark.parametrize("frozen", [[], ["image_encoder"], ["image_encoder", "connector"], ["decoder"]])
def test_a_rows_cost_is_what_training_is_said_to_compute(tiny: ModuleType, frozen: list[str]) -> None:
    config = override(tiny.stage(), [f"optimizer.frozen={frozen}".replace("'", '"')])
    model = config.build()
    freeze(model, config.optimizer)
    speed = speed_of(config, model, World())
    cost = row_cost(config)
    for total, each in [("images", cost.image), ("attended_pairs", cost.attended_pair), ("logits", cost.text_token)]:
        flops = speed.flops({**NOTHING, total: 1})
        assert flops is not None
        assert each == flops["total"] > 0


def test_rows_of_what_is_no_mm1_are_alike() -> None:
    assert row_cost(load_recipe("tiny").stage("encoder")) == ALIKE


def test_ranks_of_a_stage_are_dealt_as_many_images_in_a_microbatch(tiny: ModuleType, tmp_path: Path) -> None:
    config = override(tiny.stage(), ["data.rows=16", "microbatch_rows=4"])
    tokenizer, sources = tiny.world_of(tmp_path, config.model.num_image_tokens)
    loader = build_loader(config, sources, tokenizer)
    dealt = in_turn = 0
    for step in range(8):
        of_rows = np.array([sum(unit.num_images for unit in row) for row in loader.plan.rows(step)])
        batches = [loader.batch(step, rank, 2) for rank in range(2)]
        of_ranks = np.stack([np.bincount(batch.image_rows // 4, minlength=2) for batch in batches])
        assert of_ranks.sum() == of_rows.sum()
        dealt += np.abs(np.diff(of_ranks, axis=0)).sum()
        in_turn += np.abs(np.diff(of_rows.reshape(2, 4, 2).sum(axis=1), axis=1)).sum()
    assert dealt < in_turn / 2

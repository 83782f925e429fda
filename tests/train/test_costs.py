"""By `document_cost` ranks are dealt equal work: it agrees with how operations are counted; the loader goes by it."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from mm1.config import override
from mm1.data.dealing import Cost
from mm1.distributed.mesh import World
from mm1.recipes.catalog import load_recipe
from mm1.train.costs import document_cost
from mm1.train.microbatch import split
from mm1.train.optimizer import freeze
from mm1.train.run import build_loader
from mm1.train.speed import speed_of
from mm1.types import Batch

NOTHING = {"tokens": 0, "images": 0, "attended_pairs": 0, "logits": 0}


@pytest.mark.parametrize("frozen", [[], ["image_encoder"], ["image_encoder", "connector"], ["decoder"]])
def test_a_rows_cost_is_what_training_is_said_to_compute(tiny: ModuleType, frozen: list[str]) -> None:
    config = override(tiny.stage(), [f"optimizer.frozen={frozen}".replace("'", '"')])
    model = config.build()
    freeze(model, config.optimizer)
    speed = speed_of(config, model, World())
    cost = document_cost(config)
    costs = {
        "images": cost.image,
        "attended_pairs": cost.attended_pair,
        "tokens": cost.token,
        "logits": cost.text_token,
    }
    for total, each in costs.items():
        flops = speed.flops({**NOTHING, total: 1})
        assert flops is not None
        assert each == flops["total"] > 0


def test_padding_that_is_computed_costs_every_row_the_same(tiny: ModuleType) -> None:
    assert document_cost(tiny.stage(keep_padding=True)).token == 0
    capacity = tiny.MODELS["moe"].decoder.moe.replace(capacity_factor=1.0)
    moe = tiny.MODELS["moe"].replace(decoder=tiny.DECODER.replace(moe=capacity))
    assert document_cost(tiny.stage().replace(model=moe)).token == 0


def test_rows_of_what_is_no_mm1_are_alike() -> None:
    assert document_cost(load_recipe("tiny").stage("encoder")) == Cost()


def test_ranks_of_a_stage_have_equal_work_in_a_microbatch(tiny: ModuleType, tmp_path: Path) -> None:
    config = override(tiny.stage(), ["data.rows=16", "microbatch_rows=4"])
    tokenizer, sources = tiny.world_of(tmp_path, config.model.num_image_tokens)
    loader, cost = build_loader(config, sources, tokenizer), document_cost(config)

    def work(batch: Batch) -> float:
        real = batch.segment_ids >= 0
        pairs, tokens = int((batch.positions + 1)[real].sum()), int(real.sum())
        text = tokens - 4 * batch.num_images
        return batch.num_images * cost.image + pairs * cost.attended_pair + tokens * cost.token + text * cost.text_token

    for step in range(8):
        given = [loader.batch(step, rank, 2) for rank in range(2)]
        assert {batch.tokens.shape for batch in given} == {(2, 4 * config.data.seq_len)}, "a row a microbatch"
        ranks = [[work(part) for part in split(batch, 2)] for batch in given]
        documents = [unit for row in loader.plan.rows(step) for unit in row]
        assert sum(map(sum, ranks)) == pytest.approx(sum(cost.of(unit, 4) for unit in documents))
        assert max(map(max, ranks)) < 1.1 * min(map(min, ranks))

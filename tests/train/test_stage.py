from __future__ import annotations

from types import ModuleType

import pytest
import torch

from mm1.config import UserError, from_json, override, to_json
from mm1.train.stage import StageConfig


@pytest.mark.parametrize("model", ["mm1", "clip"])
def test_goes_through_json_and_back(tiny: ModuleType, model: str) -> None:
    config = tiny.stage(model)
    assert from_json(StageConfig, to_json(config)) == config


def test_leaves_of_the_model_union_can_be_overridden(tiny: ModuleType) -> None:
    changed = override(
        tiny.stage(), ["model.decoder.num_layers=3", "optimizer.learning_rate_scales.image_encoder=0.25"]
    )
    assert changed.model.decoder.num_layers == 3
    assert changed.optimizer.learning_rate_scales == {"image_encoder": 0.25}


def test_building_is_a_function_of_the_seed_and_leaves_the_generator_alone(tiny: ModuleType) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one, same, other = tiny.stage().build(), tiny.stage().build(), tiny.stage(seed=1).build()
    assert torch.equal(torch.get_rng_state(), before)
    for name, tensor in one.state_dict().items():
        assert torch.equal(same.state_dict()[name], tensor), name
    assert not torch.equal(one.decoder.embedding.weight, other.decoder.embedding.weight)


def test_rows_at_once(tiny: ModuleType) -> None:
    assert tiny.stage(rows=8).rows_at_once(2) == 4
    assert tiny.stage(rows=8, microbatch_rows=2).rows_at_once(2) == 2
    with pytest.raises(UserError, match=r"data.rows is 8, which 3 ranks"):
        tiny.stage(rows=8).rows_at_once(3)
    with pytest.raises(UserError, match=r"has 4 of the 8 data.rows, which microbatch_rows=3"):
        tiny.stage(rows=8, microbatch_rows=3).rows_at_once(2)


def test_contrastive_stages_do_not_accumulate(tiny: ModuleType) -> None:
    assert tiny.stage("clip", microbatch_rows=4).rows_at_once(1) == 4
    with pytest.raises(UserError, match=r"all pairs.*microbatch_rows=2 would cut the 4 rows of a rank in 2"):
        tiny.stage("clip", microbatch_rows=2).rows_at_once(1)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"objective": "contrastive"}, "objective=contrastive trains model.kind=clip, not mm1"),
        ({"model": "clip", "objective": "next_token"}, "objective=next_token trains model.kind=mm1, not clip"),
        ({"model": "aim", "objective": "contrastive"}, "objective=contrastive trains model.kind=clip, not aim"),
        ({"objective": "autoregressive_pixels"}, "objective=autoregressive_pixels trains model.kind=aim, not mm1"),
    ],
)
def test_an_objective_for_another_model_is_refused(tiny: ModuleType, changes: dict[str, str], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        tiny.stage(**changes).check_parts(300)


def test_loss_weights_that_would_weigh_nothing_are_refused(tiny: ModuleType) -> None:
    override(tiny.stage(), ["loss.output_z=1e-4"]).check_parts(300)
    with pytest.raises(UserError, match="objective=contrastive has no auxiliary losses to weigh"):
        override(tiny.stage("clip"), ["loss.output_z=1e-4"]).check_parts(300)


@pytest.mark.parametrize("model", ["clip", "aim"])
def test_encoders_learn_from_whole_pictures(tiny: ModuleType, model: str) -> None:
    cut = ["data.sub_images.grid.rows=2", "data.sub_images.grid.columns=2"]
    override(tiny.stage(), cut).check_parts(300)
    override(tiny.stage(model), ["data.sub_images.fit=pad"]).check_parts(300)
    with pytest.raises(UserError, match="learns from whole pictures"):
        override(tiny.stage(model), cut).check_parts(300)


def test_a_model_that_reads_no_text_fits_any_tokenizer(tiny: ModuleType) -> None:
    tiny.stage("aim").check_parts(1_000_000)


def test_parts_that_do_not_fit_are_refused_with_both_numbers(tiny: ModuleType) -> None:
    tiny.stage().check_parts(320)
    with pytest.raises(UserError, match="tokenizer has 321 ids, but the model's vocab_size is 320"):
        tiny.stage().check_parts(321)
    config = override(tiny.stage(), ["data.image_size=24"])
    with pytest.raises(UserError, match=r"data.image_size is 24, but the image encoder's is 16"):
        config.check_parts(320)


def test_a_capacity_without_a_slot_is_refused_before_anything_runs(tiny: ModuleType) -> None:
    def factor(value: float) -> StageConfig:
        return override(tiny.stage("moe"), [f"model.decoder.moe.capacity_factor={value}"])

    factor(1.0).check_parts(300)
    with pytest.raises(UserError, match="no slot"):
        factor(0.01).check_parts(300)

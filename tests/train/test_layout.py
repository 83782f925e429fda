from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import torch

from mm1.config import UserError
from mm1.models.decoder import DecoderConfig
from mm1.models.moe import MoEConfig
from mm1.train.layout import ParallelConfig
from mm1.train.parallelize import gather_dtype

SPARSE = DecoderConfig(vocab_size=320, dim=32, mlp_dim=48, moe=MoEConfig(num_experts=8))


@pytest.mark.parametrize(
    ("layout", "processes", "sentence"),
    [
        ({"replicate": 3}, 4, "parallel.replicate=3 does not divide the 4 processes"),
        (
            {"replicate": 2, "shard": 4},
            4,
            "parallel.replicate=2 times parallel.shard=4 is 8, but there are 4 processes",
        ),
        ({"shard": 2}, 1, "parallel.replicate=1 times parallel.shard=2 is 2, but there are 1 processes"),
        ({"experts": 3}, 3, "parallel.experts=3 does not divide the 8 experts"),
        ({"experts": 4, "replicate": 2}, 4, "parallel.experts=4 does not divide the 2 processes of a shard"),
        ({"experts": 2}, 1, "parallel.experts=2 does not divide the 1 processes of a shard"),
        ({"experts": 2}, 64, "32 processes share each expert .*, which does not divide its sizes 32 and 48"),
    ],
)
def test_a_layout_without_a_place_for_all_is_refused(layout: dict[str, Any], processes: int, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as error:
        ParallelConfig(**layout).check(processes, SPARSE)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("layout", "processes"),
    [({}, 1), ({}, 7), ({"replicate": 2}, 4), ({"replicate": 2, "shard": 2, "experts": 2}, 4), ({"experts": 8}, 8)],
)
def test_a_layout_with_a_place_for_all_is_taken(layout: dict[str, Any], processes: int) -> None:
    ParallelConfig(**layout).check(processes, SPARSE)


def test_experts_are_dealt_out_only_where_there_are_some(tiny: ModuleType) -> None:
    for model in ("mm1", "clip", "aim"):
        with pytest.raises(UserError, match=r"parallel.experts=2 deals experts out, but this model has none"):
            tiny.stage(model, parallel=ParallelConfig(experts=2)).check_layout(2)
    tiny.stage("moe", parallel=ParallelConfig(experts=2)).check_layout(2)


def test_weights_are_gathered_in_half_precision_on_cuda_only() -> None:
    cuda, cpu = torch.device("cuda"), torch.device("cpu")
    assert gather_dtype(ParallelConfig(), cuda, "bf16") == torch.bfloat16
    for config, device, precision in (
        (ParallelConfig(), cpu, "bf16"),
        (ParallelConfig(), cuda, "fp32"),
        (ParallelConfig(gather_precision="fp32"), cuda, "bf16"),
    ):
        assert gather_dtype(config, device, precision) is None


@pytest.mark.parametrize(("mode", "crossings"), [("none", 4), ("selective", 6), ("full", 6)])
def test_bytes_by_hand(mode: Any, crossings: int) -> None:
    """200 choices, of which 3 of 4 are elsewhere; vectors of 8 numbers of 2 bytes."""
    dealt = ParallelConfig(experts=4, activation_checkpointing=mode)
    assert dealt.all_to_all_bytes(200, dim=8, element_size=2) == 150 * 16 * crossings
    assert dealt.replace(experts=1).all_to_all_bytes(200, dim=8, element_size=2) == 0


def test_only_blocks_whose_experts_are_elsewhere_are_checkpointed_in_full() -> None:
    for experts, sparse, becomes in ((1, True, "selective"), (2, False, "selective"), (2, True, "full")):
        layout = ParallelConfig(experts=experts, activation_checkpointing="selective")
        assert layout.block_checkpointing(sparse) == becomes

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from mm1.config import UserError
from mm1.data.encode import DocumentEncoder
from mm1.data.loader import Loader
from mm1.data.plan import build_plan
from mm1.train.parallelize import autocast, resolve_precision
from mm1.train.run import run_stage

CASES: dict[str, dict[str, Any]] = {
    "adamw": {"optimizer": {"kind": "adamw"}, "rows": 2},
    "muon": {"rows": 2},
    # The gradient of keys' biases is rounding; Adafactor would make whole steps of it, and their RMS is clipped by.
    "adafactor, average": {
        "optimizer": {
            "kind": "adafactor",
            "factor_from": 8,
            "frozen": ["image_encoder.blocks.0.qkv", "image_encoder.blocks.1.qkv"],
        },
        "ema": {"decay": 0.3},
        "rows": 2,
    },
    # A router's losses are means over a microbatch: the one process is given the ranks' microbatches.
    "moe": {"model": "moe", "rows": 2, "microbatch_rows": 1},
    "contrastive": {"model": "clip", "optimizer": {"kind": "adamw"}, "text_share": 0.0, "max_grad_norm": 1e6},
    "autoregressive_pixels": {"model": "aim", "optimizer": {"kind": "adamw"}, "rows": 2},
}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def results(
    tiny: ModuleType, start: Callable[..., list[int]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Path, Path]]:
    """Folders of each case, trained by one process and by two."""
    root = tmp_path_factory.mktemp("ranks")
    tiny.world_of(root)
    folders = {name: (root / f"{name}-1", root / f"{name}-2") for name in CASES}
    for name, changes in CASES.items():
        config, (folder, _) = tiny.stage(**changes), folders[name]
        folder.mkdir()
        tokenizer, sources = tiny.world_of(root, config.model.num_image_tokens)
        run_stage(config, folder, sources, tokenizer, say=lambda line: None)
    assert start([[folders[name][1], changes, None] for name, changes in CASES.items()], ranks=2) == [0, 0]
    return folders


def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "model.safetensors")


def last_line(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])


@pytest.mark.parametrize("case", CASES)
def test_two_ranks_reach_the_weights_of_one_process_to_rounding(
    results: dict[str, tuple[Path, Path]], case: str
) -> None:
    """Except the biases of keys: attention does not see them, so their gradient is rounding, which AdamW enlarges."""
    one, two = (weights(folder) for folder in results[case])
    for name, tensor in one.items():
        atol = 5e-5 if name.endswith("qkv.bias") else 5e-6
        torch.testing.assert_close(two[name], tensor, rtol=1e-4, atol=atol, msg=lambda text, at=name: f"{at}: {text}")


@pytest.mark.parametrize("case", CASES)
def test_two_ranks_log_what_one_process_logs(results: dict[str, tuple[Path, Path]], case: str) -> None:
    one, two = (last_line(folder) for folder in results[case])
    for key in ("tokens", "target_tokens", "images", "target_tokens_by_source", "skipped_steps"):
        assert two[key] == one[key], key
    routing = ("load_balance", "router_z", "router_entropy", "max_load", "dropped") if case == "moe" else ()
    for key in ("loss", "grad_norm", "loss_by_source", *routing):
        assert two[key] == pytest.approx(one[key], rel=1e-3), key


def test_among_those_steps_is_one_where_a_rank_has_no_image(tiny: ModuleType, tmp_path: Path) -> None:
    config = tiny.stage(**CASES["adamw"])
    tokenizer, sources = tiny.world_of(tmp_path)
    loader = Loader(build_plan(config.data, sources, 4), DocumentEncoder(tokenizer, 4, 16), sources)
    images = [[loader.batch(step, rank, 2).num_images for rank in (0, 1)] for step in range(config.steps)]
    assert any(0 in counts and max(counts) > 0 for counts in images)


def test_precision_is_refused_where_it_would_crawl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert resolve_precision("auto", CPU) == "fp32"
    with pytest.raises(UserError, match="avx512_bf16"):
        resolve_precision("bf16", CPU)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert resolve_precision("auto", CPU) == "bf16"
    assert resolve_precision("fp32", CPU) == "fp32"


def test_autocast_takes_products_in_bfloat16_and_leaves_weights_alone() -> None:
    layer = torch.nn.Linear(4, 4)
    with autocast("bf16", CPU):
        assert layer(torch.ones(1, 4)).dtype == torch.bfloat16
    with autocast("fp32", CPU):
        assert layer(torch.ones(1, 4)).dtype == torch.float32
    assert layer.weight.dtype == torch.float32

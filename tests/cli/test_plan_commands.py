from __future__ import annotations

import json

import pytest

from mm1.cli.main import EXIT_USER_ERROR, main
from mm1.config import override
from mm1.recipes.catalog import load_recipe
from mm1.train.layout import ParallelConfig

FIXED = ["pretrain.parallel.shard=2", "pretrain.microbatch_rows=2"]


def test_the_page_fits_in_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "tiny", "--gpus", "2", *FIXED]) == 0
    printed = capsys.readouterr().out
    tables = printed[printed.index("part ") :].splitlines()
    assert max(len(line.rstrip()) for line in tables) <= 80
    for word in ("fits: yes", "image encoder", "kept for the backward", "reduce-scatter", "in all"):
        assert word in printed


def test_the_layout_can_be_typed_as_overrides(capsys: pytest.CaptureFixture[str]) -> None:
    parallel = {
        "replicate": 2,
        "shard": 2,
        "experts": 2,
        "activation_checkpointing": "full",
        "gather_precision": "fp32",
    }
    given = [f"pretrain.parallel.{key}={value}" for key, value in parallel.items()]
    assert main(["plan", "tiny-moe", "--gpus", "4", *given]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("to train so: "))
    stage = override(load_recipe("tiny-moe"), line.removeprefix("to train so: ").split()).pretrain
    assert stage.microbatch_rows == 1
    assert stage.parallel == ParallelConfig(**parallel)


def test_json_is_one_object_and_takes_overrides(capsys: pytest.CaptureFixture[str]) -> None:
    days = []
    for steps in (100, 200):
        assert (
            main(["plan", "tiny", "--gpus", "1", "--json", "pretrain.parallel.shard=1", f"pretrain.steps={steps}"]) == 0
        )
        days.append(json.loads(capsys.readouterr().out)["days"])
    assert days[1] == pytest.approx(2 * days[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gpus", "0"], "--gpus is 0"),
        (["--gpus", "99999999999999999999"], "--gpus is 99999999999999999999: give 1 to 1,000,000"),
        (["--gpus", "2", "--gpu", "cpu"], "--gpus is 2"),
        (["--gpus", "1", "--gpu", "cpu", "--mfu", "0.4"], "--mfu has no meaning"),
        (["--gpus", "1", "--mfu", "40"], "as 0.4"),
        (["--gpus", "1", "--stage", "encoder"], "not clip"),
        (["--gpus", "1", "--gpu", "tpu"], "tpu is not known"),
        (["--gpus", "2", "pretrain.parallel.shard=3"], "but there are 2 processes"),
        (["--gpus", "3", "pretrain.parallel.shard=3"], "3 ranks cannot share equally"),
        (["--gpus", "2", "pretrain.microbatch_rows=3"], "microbatch_rows=3"),
        (["--gpus", "2", "pretrain.parallel.experts=2"], "this model has none"),
        (["--gpus", "1", "--gpu", "cpu", "pretrain.parallel.compile=true"], "leave it out"),
        (["--gpus", "1", "--stage", "nothing"], "nothing"),
        (["--gpus", "1", "pretrain=null"], "pretrain"),
    ],
)
def test_mistakes_are_one_sentence(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "tiny", *arguments]) == EXIT_USER_ERROR
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1

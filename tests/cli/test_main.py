from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import mm1
from mm1.cli import commands, tables
from mm1.cli.main import EXIT_INTERRUPTED, EXIT_USER_ERROR, main
from mm1.config import UserError, override
from mm1.recipes.tiny import tiny, tiny_avgpool
from mm1.steps import Outcome
from mm1.train.watch import Watch

TOO_LARGE_TO_ALLOCATE = ["pretrain.model.decoder.dim=65536", "pretrain.model.decoder.num_layers=100"]


def python(code: str, folder: Path) -> str:
    """What `code` prints in a fresh process whose working folder and home are `folder`."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HOME": str(folder), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, env=environment, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout


def test_show_prints_every_leaf_then_parameters_and_mixture_of_each_stage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "tiny"]) == 0
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert f"pretrain.steps={tiny().pretrain.steps}" in lines
    assert "pretrain.model.connector.kind=attention_pool" in lines
    stages = printed[printed.index("\ntiny\n") :]
    assert [stages.index(f"── {name}  ") for name in ("encoder", "language", "pretrain", "sft")] == sorted(
        stages.index(f"── {name}  ") for name in ("encoder", "language", "pretrain", "sft")
    )
    assert stages.count("── parameters") == stages.count("── mixture") == 4
    assert "interleaved  45.0%" in stages
    assert "[bold]" not in printed


def test_what_show_prints_can_be_typed_as_overrides() -> None:
    assert override(tiny_avgpool(), tables.leaves(tiny())) == tiny()


def test_show_counts_the_parameters_of_a_model_that_no_machine_could_hold(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "tiny", "--json", *TOO_LARGE_TO_ALLOCATE]) == 0
    described = json.loads(capsys.readouterr().out)
    parts = described["parameters"]
    assert parts["decoder_non_embedding"] > 1e12
    counted = ("image_encoder", "connector", "decoder_embedding", "decoder_non_embedding")
    assert sum(parts[part] for part in counted) == parts["total"]
    assert described["config"]["pretrain.model.decoder.dim"] == 65536
    assert described["stages"]["language"]["parameters"]["image_encoder"] == 0
    assert sum(described["stages"]["pretrain"]["mixture"].values()) == pytest.approx(1)


def test_an_unknown_key_is_one_line_with_the_nearest_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "tiny", "pretrain.stepz=3"]) == EXIT_USER_ERROR == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "mm1: unknown key 'pretrain.stepz': did you mean 'pretrain.steps'?\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["show", "tiny", "seed=99999999999999999999999"], "'seed' is 99999999999999999999999: input should be less"),
        (["show", "tiny", "seed=-1"], "'seed' is -1: input should be greater"),
        (["show", "tiny", f"seed={'9' * 5000}"], "'seed' is '999"),
        (["show", "tiny", "pretrain.steps=99999999999999999999"], "'pretrain.steps' is 99999999999999999999: input"),
        (["show", "tiny", "pretrain.data.rows=99999999999999999999"], "'pretrain.data.rows' is 99999999999999999999:"),
        (["upcycle", "none", "--num-experts", "2", "--out", "up", "--seed", "9" * 23], "mm1: --seed is 999999999999"),
        (["import", "--decoder", "none", "--out", "up", "--seed", "9" * 23], "mm1: --seed is 999999999999"),
    ],
    ids=lambda value: None if isinstance(value, str) else "_".join(value)[:40],
)
def test_a_number_past_all_bounds_is_one_sentence(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == EXIT_USER_ERROR
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_an_unknown_recipe_is_one_line_with_the_nearest_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "tinny"]) == EXIT_USER_ERROR
    assert capsys.readouterr().err.startswith("mm1: no recipe is named 'tinny': did you mean 'tiny'?")


@pytest.mark.parametrize("arguments", [["--debug", "show", "tinny"], ["show", "tinny", "--debug"]])
def test_debug_shows_where_a_mistake_was_found(arguments: list[str]) -> None:
    with pytest.raises(UserError, match="tinny"):
        main(arguments)


def test_diff_lists_exactly_the_leaves_of_the_connector(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "tiny", "tiny-avgpool"]) == 0
    header, *rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert header == ["key", "tiny", "tiny-avgpool"]
    assert rows == [
        [f"{stage}.model.connector.{leaf}", *values]
        for stage in ("pretrain", "sft")
        for leaf, *values in (("kind", "attention_pool", "avg_pool"), ("num_heads", "4", "(absent)"))
    ]


def test_diff_of_equal_recipes_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "tiny", "tiny"]) == 0
    assert capsys.readouterr().out == "tiny and tiny do not differ\n"


def test_scores_are_whole_on_a_narrow_page(capsys: pytest.CaptureFixture[str]) -> None:
    cell = {"score": 0.5, "low": 0.44, "high": 0.56, "chance": 0.25, "n": 200}
    table = {name: dict.fromkeys(("0", "4", "8"), cell) for name in ("naming_pictures", "told_binding")}
    table["told_binding"]["8"] = {**cell, "blind": 0.21}
    Console(width=80, soft_wrap=True).print(tables.scores(table))
    printed = capsys.readouterr().out
    assert "…" not in printed
    assert printed.count("0.44–0.56") == 6
    assert "0.21" in printed
    assert all(name in printed for name in table)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--version"])
    assert left.value.code == 0
    assert capsys.readouterr().out == f"mm1 {mm1.__version__}\n"


def test_overrides_may_stand_after_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "tiny", "pretrain.steps=5", "--json", "seed=3"]) == 0
    config = json.loads(capsys.readouterr().out)["config"]
    assert (config["pretrain.steps"], config["seed"]) == (5, 3)


@pytest.mark.parametrize("arguments", [["chat", "run", "--image", ""], ["show", "tiny", "--run", " "]])
def test_an_empty_path_is_not_the_folder_one_is_in(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert f"argument {arguments[-2]}: the path is empty" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["show", "tiny", "--jsn"], ["diff", "tiny", "tiny", "seed=1"]])
def test_arguments_that_nobody_takes_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    assert f"unrecognized arguments: {arguments[-1]}" in capsys.readouterr().err


def test_an_interrupted_command_ends_without_a_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tables, "tree", interrupted)
    assert main(["show", "tiny"]) == EXIT_INTERRUPTED
    assert "Traceback" not in capsys.readouterr().err


def test_a_package_of_an_extra_is_named_with_the_extra(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in [name for name in sys.modules if name.startswith(("mm1.curation", "mm1.cli.curate_commands"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "selectolax.lexbor", None)
    monkeypatch.setitem(sys.modules, "selectolax", None)
    assert main(["curate", str(tmp_path), "--out", str(tmp_path / "set")]) == 2
    message = "mm1: `mm1 curate` needs selectolax, which is not installed: pip install 'mm1[curate]'"
    assert capsys.readouterr().err.splitlines() == [message]


@pytest.mark.parametrize("below", ["", "/run"])
def test_a_file_in_the_place_of_the_run_folder_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], below: str
) -> None:
    out = tmp_path / "taken"
    out.write_text("mine")
    arguments = ["run", "tiny", "--smoke", "--out", f"{out}{below}"]
    assert main(arguments) == EXIT_USER_ERROR
    error = capsys.readouterr().err
    assert error.startswith(f"mm1: {out}")
    assert error.count("\n") == 1
    with pytest.raises(OSError, match="taken"):
        main([*arguments, "--debug"])
    assert out.read_text() == "mine"


def test_a_reader_that_leaves_early_is_no_error() -> None:
    command = f"{sys.executable} -m mm1.cli show tiny --json | head -n 1"
    done = subprocess.run(command, shell=True, check=True, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("{\n", "")


def test_the_command_line_is_parsed_without_torch(tmp_path: Path) -> None:
    assert python("import mm1.cli.main, sys; print('torch' in sys.modules)", tmp_path) == "False\n"


IMPORT_ALL = """
import pkgutil, signal, sys, threading
import torch._dynamo, torch._inductor.utils  # transformers brings them in, and they make folders of their own

written = []

def watch(event, arguments):
    if event == "open" and any(letter in str(arguments[1]) for letter in "wax+"):
        written.append(arguments[0])
    if event in ("subprocess.Popen", "os.fork", "os.mkdir", "os.remove", "os.rename", "socket.connect"):
        written.append((event, arguments))

before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
sys.addaudithook(watch)
import mm1
names = [module.name for module in pkgutil.walk_packages(mm1.__path__, "mm1.")]
names.remove("mm1.eval.lmms_eval_model")  # lmms-eval has an environment of its own
for name in names:
    __import__(name)
assert len(names) > 80, names
assert not written, written
assert threading.enumerate() == [threading.main_thread()], threading.enumerate()
assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
"""


def test_importing_any_module_writes_nothing_starts_nothing_and_prints_nothing(tmp_path: Path) -> None:
    assert python("import sys; sys.dont_write_bytecode = True\n" + IMPORT_ALL, tmp_path) == ""
    assert not list(tmp_path.iterdir())


def test_tracking_and_profiling_reach_the_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Watch] = []

    def stage(*arguments: Any, watch: Watch, **_: Any) -> Outcome:
        asked.append(watch)
        return Outcome(folder=tmp_path, seconds=0)

    def recipe(*arguments: Any, watch: Watch, **_: Any) -> Path:
        asked.append(watch)
        (tmp_path / "summary.json").write_text('{"eval": [], "seconds": 1}')
        return tmp_path

    monkeypatch.setattr(commands, "train_stage", stage)
    monkeypatch.setattr(commands, "run_recipe", recipe)
    out = ["--out", str(tmp_path)]
    assert main(["train", "tiny", "--stage", "sft", "--profile", "--track", "wandb", *out]) == 0
    assert main(["run", "tiny", "--track", "tensorboard", *out]) == 0
    assert asked == [Watch(profile=True, track="wandb"), Watch(track="tensorboard")]
    with pytest.raises(SystemExit):
        main(["run", "tiny", "--track", "paper", *out])

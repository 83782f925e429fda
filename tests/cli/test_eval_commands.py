"""`mm1 eval` on benchmarks: a checkpoint, official files, the paper's table, a page, and what is missing."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from mm1.checkpoint import CheckpointConfig, save_checkpoint
from mm1.cli.eval_commands import trained_length
from mm1.cli.main import main
from mm1.config import save_json
from mm1.data.tokenizer import train_tokenizer
from mm1.models.connector import AvgPoolConfig
from mm1.models.decoder import DecoderConfig
from mm1.models.image_encoder import ImageEncoderConfig
from mm1.models.mm1 import MM1, MM1Config
from mm1.recipes.catalog import load_recipe
from tests.eval.official.benchmarks import WORDS, write

TEXTS = ["Question: What is it? Short answer: dax\n", "A photo of wug\n", *WORDS]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    tokenizer = train_tokenizer(iter(TEXTS * 5), 300, folder / "made.json")
    config = MM1Config(
        decoder=DecoderConfig(vocab_size=384, dim=32, num_layers=1, mlp_dim=64),
        image_encoder=ImageEncoderConfig(image_size=16, patch_size=8, dim=16, num_layers=1, num_heads=2, mlp_dim=32),
        connector=AvgPoolConfig(num_image_tokens=4),
    )
    torch.manual_seed(0)
    save_checkpoint(folder / "model", CheckpointConfig(model=config), MM1(config).state_dict(), tokenizer.path)
    return folder / "model"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in ("vqav2", "nocaps", "coco_captions"):
        write(name, tmp_path / name)
    return tmp_path


def test_benchmarks_of_a_checkpoint_as_the_papers_table_and_as_a_page(
    checkpoint: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    next((data / "vqav2/val2014").iterdir()).unlink()
    tasks = f"vqav2:{data}/vqav2,nocaps:{data}/nocaps"
    asked = ["eval", str(checkpoint), "--tasks", tasks, "--shots", "0,4", "--seeds", "0,1", "--out", str(data / "out")]
    assert main([*asked, "--blind"]) == 0
    said = capsys.readouterr().out
    table = [line.split() for line in said.splitlines() if line.startswith(("model", "this model", "MM1", "Flamingo"))]
    assert table[0] == ["model", "shots", "NoCaps", "VQAv2", "certainty"]
    assert [row[:3] for row in table if row[0] == "this"] == [["this", "model", "0"], ["this", "model", "4"]]
    assert ["MM1-3B", "4", "99.7", "57.9", "found"] in table
    assert ["MM1-30B", "0", "54.6", "48.9", "recalled,", "fairly", "sure"] in table
    assert not any(row[0] == "MM1-30B" and row[1] == "4" for row in table), "neither found nor recalled"
    assert "vqav2, 4 shots: 1 of 8 questions are missing (1 with 'missing image')" in said
    result = json.loads((data / "out/vqav2-4shot.json").read_text())
    assert (result["n"], list(result["by_seed"]), result["missing"]) == (7, ["0", "1"], {"missing image": 1})
    page = (data / "out/report.html").read_text()
    assert "vqav2" in page
    assert page.count("<img") > 20
    assert "1 missing" in page
    assert "Question: What is it? Short answer:" in page

    before = {path: path.stat().st_mtime_ns for path in (data / "out").glob("*shot.json")}
    assert main([*asked, "--blind"]) == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before, "the same question is not asked again"


def test_a_model_that_computes_in_half_the_bits_is_another_model(checkpoint: Path, data: Path) -> None:
    asked = ["eval", str(checkpoint), "--tasks", f"vqav2:{data}/vqav2", "--shots", "0", "--out", str(data / "out")]
    names = []
    for dtype in ("float32", "bfloat16"):
        assert main([*asked, "--dtype", dtype, "--device", "cpu"]) == 0
        names.append(json.loads((data / "out/vqav2-0shot.json").read_text())["model"])
    assert names[1] == f"{names[0]} bfloat16"


def test_nearest_examples_are_chosen_by_the_models_own_encoder(checkpoint: Path, data: Path) -> None:
    out = data / "out"
    tasks = f"coco_captions:{data}/coco_captions"
    assert (
        main(["eval", str(checkpoint), "--tasks", tasks, "--shots", "2", "--examples", "nearest", "--out", str(out)])
        == 0
    )
    result = json.loads((out / "coco_captions-nearest-2shot.json").read_text())
    assert result["n"] == 8
    lines = [json.loads(line) for line in (out / "coco_captions-nearest-2shot.samples.jsonl").read_text().splitlines()]
    for line in lines:  # a random encoder still tells red from green
        assert f"A photo of {line['references'][1]}\n‹image 2›" in line["prompt"]


def test_prompts_longer_than_the_model_lose_their_oldest_shots(
    checkpoint: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["eval", str(checkpoint), "--tasks", f"vqav2:{data}/vqav2", "--shots", "4", "--out", str(data / "out")]
    assert main([*asked, "--max-len", "48"]) == 0
    assert "vqav2, 4 shots: 8 prompts went without their oldest shots to fit the model" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--tasks", "vqa2:/nowhere"], "no benchmark is named 'vqa2'"),
        (["--tasks", "vqav2:/nowhere"], "/nowhere is no folder"),
        (["--tasks", "binding"], "is not a run folder (it has no recipe.json): give one that `mm1 run` made, or"),
        (["--tasks", "vqav2:/nowhere", "--shots", "a"], "--shots is 'a': give numbers"),
        (["--tasks", "vqav2:/nowhere", "--shots", "4,-1"], "--shots is -1: give at least 0"),
        (["--tasks", "vqav2:/nowhere", "--max-len", "0"], "--max-len is 0: give at least 1"),
        (["--tasks", "binding", "--episodes", "0"], "--episodes is 0: give at least 1"),
        (["--tasks", "vqav2:/nowhere", "--examples", "fixed:/nowhere/ids"], "/nowhere"),
        (
            ["--tasks", "vqav2:/nowhere", "--examples", "similar"],
            "mm1: --examples is 'similar': input should be 'random'",
        ),
        (["--tasks", "vqav2:/nowhere", "--ways", "0"], "mm1: --ways is 0: input"),
        (["--tasks", "vqav2:/nowhere", "--max-len", "9" * 23], "--max-len is 99999999999999999999999: give at most"),
        (["--tasks", "vqav2:/nowhere", "--device", "abacus"], "--device is 'abacus': give cpu or cuda"),
        (["--tasks", "vqav2:/nowhere", "--device", "meta"], "--device is 'meta': give cpu or cuda"),
        (
            ["--tasks", "vqav2:/nowhere", "--out", __file__],
            f"--out is {__file__}, but {__file__} is a file: name a folder",
        ),
        (["--tasks", "vqav2:/nowhere", "--baseline", "/nowhere"], "--baseline is /nowhere, which holds no results"),
    ],
)
def test_mistakes_are_one_sentence(
    checkpoint: Path, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", str(checkpoint), *arguments]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1


def test_a_run_is_asked_no_more_than_its_sequences_held_unless_told(tmp_path: Path) -> None:
    recipe = load_recipe("tiny")
    save_json(recipe, tmp_path / "recipe.json")
    assert trained_length(tmp_path, "pretrain") == recipe.pretrain.data.seq_len
    assert trained_length(tmp_path, None) == recipe.stage(recipe.stages[-1]).data.seq_len
    assert trained_length(tmp_path / "elsewhere", None) == 8192


def test_a_short_list_of_examples_and_a_short_model_are_said(
    checkpoint: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "ids").write_bytes(b"1010\n1020\n1010\n")
    asked = ["eval", str(checkpoint), "--tasks", f"vqav2:{data}/vqav2", "--out", str(data / "out")]
    fixed = ["--examples", f"fixed:{data}/ids", "--shots"]
    assert main([*asked, *fixed, "2"]) == 0
    assert main([*asked, *fixed, "3"]) == 2
    assert "has 2 rows that may be examples, 3 were asked for" in capsys.readouterr().err
    (data / "ids").write_bytes(b"\xff\xfe\x00")
    assert main([*asked, *fixed, "1"]) == 2
    assert "of 1 fixed examples 1 are not among the 8" in capsys.readouterr().err
    assert main([*asked, "--shots", "0", "--max-len", "5"]) == 2
    assert "8 with 'prompt too long'; raise the limit (--max-len)" in capsys.readouterr().err


def test_a_runs_report_is_written_again_only_for_its_own_evaluations(checkpoint: Path, data: Path) -> None:
    run = data / "run"
    shutil.copytree(checkpoint, run)
    (run / "report.html").write_text("as it was")
    asked = ["eval", str(run), "--tasks", f"vqav2:{data}/vqav2", "--shots", "0"]
    assert main([*asked, "--out", str(data / "elsewhere")]) == 0
    assert (run / "report.html").read_text() == "as it was"
    assert "mm1 evaluation" in (data / "elsewhere/report.html").read_text()
    (run / "summary.json").write_text('{"recipe": "tiny"}')
    assert main(asked) == 0
    assert "evaluations/report.html" in (run / "report.html").read_text()


def test_a_baseline_is_another_folder_of_results(
    checkpoint: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["eval", str(checkpoint), "--tasks", f"vqav2:{data}/vqav2", "--shots", "0", "--out"]
    assert main([*asked, str(data / "base")]) == 0
    path = data / "base/vqav2-0shot.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "score": 0.5}))
    capsys.readouterr()
    assert main([*asked, str(data / "out"), "--baseline", str(data / "base")]) == 0
    score = json.loads((data / "out/vqav2-0shot.json").read_text())["score"]
    assert f"Mean of ratios to {data}/base: {score / 0.5:.3f} over vqav2 (0)" in capsys.readouterr().out
    path.write_text("{}")
    assert main([*asked, str(data / "out"), "--baseline", str(data / "base")]) == 2
    assert "is no result of this version of mm1" in capsys.readouterr().err

"""A whole run: what it leaves, that it is skipped when done, and that killing it anywhere changes nothing."""

import json
import math
import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from mm1.chain.plans import prepared_plans
from mm1.chain.prepare import ShardsConfig, open_sources
from mm1.chain.recipe import STAGES
from mm1.chain.run import run_recipe
from mm1.cli import main
from mm1.config import UserError, override
from mm1.data.embedded import caption_records
from mm1.data.plan import build_plan, load_plan
from mm1.eval.naming import naming_tasks
from mm1.recipes.catalog import load_recipe
from mm1.recipes.smoke import smoke
from mm1.types import Image
from tests.chain.conftest import start_run


def weights(folder: Path) -> dict[str, bytes]:
    return {stage: (folder / stage / "model.safetensors").read_bytes() for stage in STAGES}


def tensor_names(stage: Path) -> set[str]:
    with safe_open(stage / "model.safetensors", framework="pt") as file:
        return set(file.keys())


def test_a_run_prints_the_scores_and_where_the_report_is(smoke_run):
    folder, output = smoke_run
    for word in ("binding", "listing", "caption", "vqa", "text", "naming", "style", "chat_vqa"):
        assert word in output
    assert str(folder / "report.html") in output
    assert "Traceback" not in output


def test_the_summary_has_every_number_that_was_promised(smoke_run):
    summary = json.loads((smoke_run[0] / "summary.json").read_text())
    assert set(summary) >= {"recipe", "seconds", "stages", "parameters", "eval", "environment"}
    assert set(summary["eval"]) >= {"binding", "listing", "caption", "vqa", "text"}
    for task in ("binding", "listing", "caption", "vqa", "text"):
        assert set(summary["eval"][task]) == {"0", "4", "8"}
        for cell in summary["eval"][task].values():
            assert set(cell) >= {"score", "low", "high", "n", "chance"}
            assert cell["low"] <= cell["score"] <= cell["high"]
    for stage in STAGES:
        assert set(summary["stages"][stage]) >= {"seconds", "steps", "tokens", "images"}
    assert summary["parameters"]["total"] == sum(
        count for part, count in summary["parameters"].items() if part != "total" and "active" not in part
    )
    prepared = summary["stages"]["prepare"]
    assert prepared["documents"] == sum(counts["documents"] for counts in prepared["sources"].values())


def test_no_real_picture_that_is_evaluated_is_one_that_is_trained_on():
    """Among shots or queries. Scenes are drawn anew each time: tests/eval/test_world.py compares what they show."""
    recipe = load_recipe("tiny")
    trained = {record.image for record in caption_records("train")}
    evaluated = {
        part.data
        for task in naming_tasks(recipe.eval.naming)
        for episode in task.episodes
        for segments in [episode.query, *episode.shots]
        for part in segments
        if isinstance(part, Image)
    }
    assert len(evaluated) > 200
    assert not evaluated & trained


def test_a_stage_leaves_the_plan_by_which_it_read(smoke_run):
    folder = smoke_run[0]
    config = smoke(load_recipe("tiny")).stage("pretrain")
    sources = open_sources(folder / "prepare")
    kept = load_plan(folder / "pretrain", sources)
    planned = build_plan(config.data, sources, config.model.num_image_tokens)
    assert [kept.rows(step) for step in range(8)] == [planned.rows(step) for step in range(8)]
    stage = json.loads((folder / "pretrain" / "stage.json").read_text())
    assert kept.declared == stage["declared"]
    assert kept.realised(config.steps) == stage["realised"]


def test_show_draws_a_prepared_mixture_with_sizes_epochs_and_fill(smoke_run, tmp_path, monkeypatch, capsys):
    recipe = smoke(load_recipe("tiny"))
    monkeypatch.setattr("mm1.cli.commands.load_recipe", lambda name: recipe)
    plans = prepared_plans(recipe, smoke_run[0])
    assert set(plans) == set(recipe.stages)
    assert main(["show", "tiny", "--run", str(smoke_run[0])]) == 0
    shown = capsys.readouterr().out
    expected = plans["pretrain"].outlook(recipe.pretrain.steps)
    for name, one in expected.items():
        assert (
            f"{name}  {plans['pretrain'].declared[name]:.1%}, {one.sequences:,} sequences, {one.fill:.1%} full" in shown
        )
        assert one.epochs == pytest.approx(plans["pretrain"].epochs(recipe.pretrain.steps)[name], abs=0.02)
    assert "60 documents, read" in shown
    assert "shares only" not in shown
    assert main(["show", "tiny", "--run", str(smoke_run[0]), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["stages"]["pretrain"]["sources"]["pictures"]["documents"] == 60

    assert prepared_plans(recipe, tmp_path) == {}
    assert main(["show", "tiny", "--run", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "documents, read" not in shown
    assert f"shares only: sizes, epochs and fill are known once the sources are prepared in {tmp_path}" in shown


def test_a_finished_run_is_skipped_stage_by_stage(smoke_run):
    folder, _ = smoke_run
    before = {path: path.stat().st_mtime_ns for path in folder.glob("steps/*/*")}
    summary = json.loads((folder / "summary.json").read_text())
    elsewhere = {**summary, "environment": {"gpu": "A Big One", "date": "2026-02-03T10:20:30+00:00"}}
    (folder / "summary.json").write_text(json.dumps(elsewhere))
    output, _ = (process := start_run(folder)).communicate(timeout=200)
    assert process.returncode == 0, output
    assert output.count("finished before, skipped") == 2 + len(STAGES)
    assert {path: path.stat().st_mtime_ns for path in folder.glob("steps/*/*")} == before
    assert json.loads((folder / "summary.json").read_text()) == elsewhere, "nothing was made on this machine"
    assert "A Big One" in (folder / "report.html").read_text()


def test_killed_in_every_stage_and_started_again_it_ends_with_the_same_bits(smoke_run, tmp_path):
    folder = tmp_path / "killed"
    signs = {"prepare": "tokenizer.json", **dict.fromkeys(STAGES, "metrics.jsonl"), "eval": "*shot.json"}
    killed = []
    for stage, sign in signs.items():
        process = start_run(folder)
        while process.poll() is None:
            if any(folder.glob(f"steps/{stage}-*.partial/{sign}")):
                process.send_signal(signal.SIGKILL)
                killed.append(stage)
                break
            time.sleep(0.02)
        process.communicate()
    assert set(killed) >= set(STAGES)
    output, _ = (process := start_run(folder)).communicate(timeout=300)
    assert process.returncode == 0, output
    assert weights(folder) == weights(smoke_run[0])
    scores = [json.loads((run / "summary.json").read_text())["eval"] for run in (folder, smoke_run[0])]
    assert scores[0] == scores[1]


def test_another_config_gets_other_folders_and_leaves_the_old_ones(smoke_run):
    from mm1.chain.run import build_steps

    base = smoke(load_recipe("tiny"))
    changed = base.replace(pretrain=base.pretrain.replace(steps=base.pretrain.steps + 1))
    old, new = (build_steps(recipe, smoke_run[0], print) for recipe in (base, changed))
    same = {name for name in old if old[name].digest == new[name].digest}
    assert same == {"prepare", "encoder", "language"}


def test_how_often_a_run_tells_of_itself_and_keeps_checkpoints_makes_it_no_other_run(tmp_path):
    from mm1.chain.run import build_steps

    base = smoke(load_recipe("tiny"))
    quiet = override(base, ["pretrain.log_every=3", "language.checkpoint_every=2", "sft.parallel.compile=true"])
    old, new = (build_steps(recipe, tmp_path, print) for recipe in (base, quiet))
    assert {name: step.digest for name, step in old.items()} == {name: step.digest for name, step in new.items()}


def test_a_stage_needs_the_stages_before_it(tmp_path):
    from mm1.chain.run import train_stage
    from mm1.distributed.mesh import World

    with pytest.raises(UserError, match="'pretrain' begins with 'prepare', which is not finished"):
        train_stage(smoke(load_recipe("tiny")), "pretrain", tmp_path, World())


@pytest.mark.parametrize("stage", ["encodr", "sft", "prepare", "pretrain"])
def test_a_stage_begins_only_with_the_weights_of_one_before_it_or_a_checkpoints(stage, tmp_path):
    from mm1.chain.run import build_steps

    recipe = override(smoke(load_recipe("tiny")), [f"pretrain.init.image_encoder={stage}"])
    said = rf"^pretrain.*image_encoder is '{stage}'.*: name one of encoder, language, or a checkpoint$"
    with pytest.raises(UserError, match=said):
        build_steps(recipe, tmp_path, print)


def test_what_an_outside_checkpoint_holds_decides_not_where_it_lies(tmp_path):
    from mm1.chain.run import build_steps

    def digests(path: Path) -> dict[str, str]:
        recipe = override(smoke(load_recipe("tiny")), [f"pretrain.init.decoder={path}"])
        return {name: step.digest for name, step in build_steps(recipe, tmp_path, print).items()}

    for name, content in (("a", b"one"), ("b", b"two"), ("c", b"one")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(content)
    a, b, c = (digests(tmp_path / name) for name in "abc")
    assert a == c
    assert {name for name in a if a[name] != b[name]} == {"pretrain", "sft", "eval"}


def test_a_stage_is_the_same_one_watched_or_not(tmp_path):
    from mm1.chain.run import build_steps
    from mm1.train.watch import UNWATCHED, Watch

    plain, watched = (
        {
            name: step.digest
            for name, step in build_steps(smoke(load_recipe("tiny")), tmp_path, print, watch=watch).items()
        }
        for watch in (UNWATCHED, Watch(profile=True, track="wandb"))
    )
    assert plain == watched


@pytest.mark.parametrize(
    ("name", "fresh", "logged"),
    [
        ("tiny-aim", {"encoder", "pretrain"}, set()),
        ("tiny-moe", {"language", "pretrain"}, {"load_balance", "router_z", "router_entropy", "max_load", "dropped"}),
    ],
)
def test_other_encoders_and_decoders_are_pretrained_and_taken_over(smoke_run, tmp_path, name, fresh, logged):
    """AIM's encoder and a sparse decoder go the whole road; what they share with the smoke run is not done again."""
    recipe = smoke(load_recipe(name)).replace(sft=None, eval=None)
    run_recipe(recipe, tmp_path, say=lambda line: None, store=smoke_run[0])
    ours = {stage for stage in recipe.stages if (tmp_path / stage).resolve() != (smoke_run[0] / stage).resolve()}
    assert ours == fresh
    rows = [json.loads(line) for line in (tmp_path / "pretrain" / "metrics.jsonl").read_text().splitlines()]
    assert all(math.isfinite(row["loss"]) and math.isfinite(row["grad_norm"]) for row in rows)
    assert set(rows[-1]) >= logged
    trained = tensor_names(tmp_path / "pretrain")
    for part, stage in recipe.pretrain.init.items():
        assert {name for name in trained if name.startswith(part)} == {
            name for name in tensor_names(tmp_path / stage) if name.startswith(part)
        }


@pytest.fixture(scope="module")
def short_run(smoke_run, tmp_path_factory):
    """A run of one stage alone, whose data, tokenizer and initial weights come from the smoke run's folder."""
    made, folder = smoke_run[0], tmp_path_factory.mktemp("short")
    base = smoke(load_recipe("tiny"))
    sources = tuple(
        ShardsConfig(name=name, path=made / "prepare" / "shards" / name) for name in base.pretrain.data.mixture.shares()
    )
    recipe = base.replace(
        name="short",
        prepare=base.prepare.replace(sources=sources, tokenizer=made / "prepare" / "tokenizer.json"),
        encoder=None,
        language=None,
        pretrain=base.pretrain.replace(
            init={"image_encoder": str(made / "encoder"), "decoder": str(made / "language")}
        ),
        sft=None,
        eval=None,
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the smoke run has
    report = run_recipe(recipe, folder, say=lambda line: None)
    torch.set_num_threads(threads)
    return folder, report


def test_a_run_of_one_stage_from_checkpoints_and_shards_made_elsewhere(smoke_run, short_run):
    """It trains to the same bits as the run that made them, and asks, reports and summarises what there is."""
    folder, report = short_run
    trained = folder / "pretrain" / "model.safetensors"
    assert trained.read_bytes() == (smoke_run[0] / "pretrain" / "model.safetensors").read_bytes()
    summary = json.loads((folder / "summary.json").read_text())
    assert list(summary["stages"]) == ["prepare", "pretrain"]
    assert summary["eval"] == {}
    assert summary["parameters"]["total"] > 0
    assert "Nothing has been evaluated" in report.read_text()
    assert all(path.is_symlink() for path in (folder / "prepare" / "shards").iterdir())


def test_a_run_without_fine_tuning_is_asked_what_it_can_answer(short_run, tmp_path, capsys, monkeypatch):
    folder, _ = short_run
    arguments = ["eval", str(folder), "--shots", "0", "--episodes", "8", "--out", str(tmp_path)]
    assert main([*arguments, "--tasks", "vqa"]) == 0
    assert [path.name for path in tmp_path.glob("*shot.json")] == ["vqa-0shot.json"]
    assert main([*arguments, "--tasks", "chat_vqa"]) == 2
    assert "no task is named 'chat_vqa'" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin.readline", lambda: "", raising=False)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    assert main(["chat", str(folder)]) == 0
    assert main(["train", "tiny", "--stage", "encodr"]) == 2
    assert "no stage 'encodr': it has encoder, language, pretrain, sft" in capsys.readouterr().err


def test_every_stage_shows_its_own_name(smoke_run):
    shown = [line.split()[0] for line in smoke_run[1].splitlines() if "tokens/s" in line]
    assert list(dict.fromkeys(shown)) == list(STAGES)


def test_eval_report_and_chat_work_on_a_run(smoke_run, tmp_path, capsys, monkeypatch):
    folder, _ = smoke_run
    arguments = ["eval", str(folder), "--tasks", "vqa,chat_vqa", "--shots", "0,2", "--episodes", "40"]
    assert main([*arguments, "--out", str(tmp_path / "again")]) == 0
    assert sorted(path.name for path in (tmp_path / "again").glob("*shot.json")) == [
        "chat_vqa-0shot.json", "vqa-0shot.json", "vqa-2shot.json",
    ]  # fmt: skip
    assert main(["report", str(folder)]) == 0
    assert "report.html" in capsys.readouterr().out
    lines = iter(["what is 3 plus 4?\n", "/image nowhere.png\n", "/new\n", "/quit\n"])
    monkeypatch.setattr("sys.stdin.readline", lambda: next(lines, ""), raising=False)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    assert main(["chat", str(folder)]) == 0
    assert "nowhere.png can not be read" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["eval", "{run}", "--tasks", "vga"], "no task is named 'vga'"),
        (["eval", "{run}", "--shots", "four"], "--shots is 'four'"),
        (["eval", "nowhere"], "nowhere is not a run folder"),
        (["chat", "{run}", "--stage", "encoderr"], "has no finished stage 'encoderr'"),
        (["report", "nowhere"], "nowhere"),
    ],
)
def test_mistakes_are_one_sentence(smoke_run, capsys, arguments, said):
    filled = [argument.format(run=smoke_run[0]) for argument in arguments]
    assert main(filled) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1

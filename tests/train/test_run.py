from __future__ import annotations

import contextlib
import json
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mm1.config import UserError, override
from mm1.data.stream import SourceStream
from mm1.data.tokenizer import TOKENIZER_CONFIG, Tokenizer
from mm1.distributed import checkpoint
from mm1.distributed.mesh import World
from mm1.models.weights import save_weights
from mm1.train.checkpoints import Interrupted
from mm1.train.objectives import next_token
from mm1.train.run import build_loader, initial_state, run_stage
from mm1.train.stage import StageConfig


def run(
    tiny: ModuleType, folder: Path, hooks: tuple[Any, ...] = (), config: StageConfig | None = None
) -> dict[str, Any]:
    """Trains a tiny stage in this process."""
    folder.mkdir(exist_ok=True)
    config = config or tiny.stage()
    tokenizer, sources = tiny.world_of(folder.parent, config.model.num_image_tokens)
    return run_stage(config, folder, sources, tokenizer, hooks=hooks, say=lambda line: None)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(tiny: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stage that ran without interruption."""
    folder: Path = tmp_path_factory.mktemp("stage") / "whole"
    run(tiny, folder)
    return folder


def assert_same(a: Path, b: Path) -> None:
    """Weights equal to the bit; logs equal but for times."""
    assert (a / "model.safetensors").read_bytes() == (b / "model.safetensors").read_bytes()
    for left, right in zip(lines(a), lines(b), strict=True):
        for key in left.keys() - {"seconds", "time", "flops_per_second", "mfu", "data_pauses"}:
            assert left[key] == pytest.approx(right[key], rel=1e-12), key


def test_a_finished_stage_leaves_weights_config_metrics_and_an_account(tiny: ModuleType, whole: Path) -> None:
    assert StageConfig.model_validate_json((whole / "config.json").read_text()) == tiny.stage()
    model = tiny.stage().build()
    model.load_state_dict(load_file(whole / "model.safetensors"))
    assert [line["step"] for line in lines(whole)] == [2, 4, 6]
    account = json.loads((whole / "stage.json").read_text())
    last = lines(whole)[-1]
    assert account["steps"] == 6
    assert account["tokens"] == last["tokens"]
    assert account["images"] == last["images"] > 0
    assert sum(last["target_tokens_by_source"].values()) == last["target_tokens"] == account["target_tokens"]
    assert account["parameters"]["total"] == sum(p.numel() for p in model.parameters())
    assert account["declared"] == {"captions": 0.5, "text": 0.5}
    assert account["precision"] == "fp32"


def test_killed_twice_the_same_command_gives_the_same_weights_to_the_bit(
    tiny: ModuleType, start: Callable[..., list[int]], whole: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "killed"
    assert start([[folder, {}, 3]]) == [-signal.SIGKILL]
    assert [line["step"] for line in lines(folder)] == [2]
    assert start([[folder, {}, 5]]) == [-signal.SIGKILL]
    run(tiny, folder)
    assert_same(whole, folder)


@pytest.mark.parametrize("moment", ["while writing tensors", "before the manifest", "before the rename"])
def test_a_kill_inside_a_checkpoint_leaves_the_one_before(
    tiny: ModuleType, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    class Killed(BaseException):
        """Nothing in the product catches it, as nothing catches SIGKILL."""

    target = {
        "while writing tensors": (checkpoint, "_hashes"),
        "before the manifest": (checkpoint, "write_atomically"),
        "before the rename": (checkpoint.os, "replace"),
    }[moment]
    real = getattr(*target)
    calls = 0

    def die_in_the_second_checkpoint(*arguments: Any) -> Any:
        nonlocal calls
        calls += str(arguments[0]).endswith((".partial", "manifest.json"))
        if calls == 2:
            if moment == "while writing tensors":
                next(arguments[0].glob("*.distcp")).write_bytes(b"torn")
            raise Killed
        return real(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(*target, die_in_the_second_checkpoint)
        with pytest.raises(Killed):
            run(tiny, tmp_path / "killed")
    found = checkpoint.latest(tmp_path / "killed" / "checkpoints", print)
    assert found is not None
    assert found.step == 2
    run(tiny, tmp_path / "killed")
    assert_same(whole, tmp_path / "killed")


def test_sigterm_saves_and_exits_with_75_and_the_same_call_goes_on(
    tiny: ModuleType, whole: Path, tmp_path: Path
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted) as stopped:
        run(tiny, tmp_path / "stopped", (tiny.SignalAt(3, signal.SIGTERM),))
    assert stopped.value.code == 75
    assert signal.getsignal(signal.SIGTERM) == before
    found = checkpoint.latest(tmp_path / "stopped" / "checkpoints", print)
    assert found is not None
    assert found.step == 3
    run(tiny, tmp_path / "stopped")
    assert_same(whole, tmp_path / "stopped")


def test_a_damaged_checkpoint_is_passed_over(tiny: ModuleType, whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    with pytest.raises(Interrupted):
        run(tiny, folder, (tiny.SignalAt(5, signal.SIGTERM),))
    tensors = next((folder / "checkpoints" / "step-00000005").glob("*.distcp"))
    content = bytearray(tensors.read_bytes())
    content[len(content) // 2] ^= 1
    tensors.write_bytes(content)
    run(tiny, folder)
    assert_same(whole, folder)


@pytest.mark.parametrize("torn", ["", '{"model": {"kind'])
def test_a_config_that_was_cut_off_in_writing_does_not_stop_the_stage(
    tiny: ModuleType, whole: Path, tmp_path: Path, torn: str
) -> None:
    folder = tmp_path / "torn"
    with pytest.raises(Interrupted):
        run(tiny, folder, (tiny.SignalAt(3, signal.SIGTERM),))
    (folder / "config.json").write_text(torn)
    run(tiny, folder)
    assert_same(whole, folder)
    assert StageConfig.model_validate_json((folder / "config.json").read_text()) == tiny.stage()


def test_an_equal_config_is_not_written_again(tiny: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "again"
    with pytest.raises(Interrupted):
        run(tiny, folder, (tiny.SignalAt(3, signal.SIGTERM),))
    before = (folder / "config.json").stat()
    run(tiny, folder)
    after = (folder / "config.json").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_the_mixture_is_told_and_kept_declared_and_realised(tiny: ModuleType, tmp_path: Path) -> None:
    said: list[str] = []
    tokenizer, sources = tiny.world_of(tmp_path, 4)
    (tmp_path / "run").mkdir()
    account = run_stage(tiny.stage(steps=3), tmp_path / "run", sources, tokenizer, say=said.append)
    assert account["measure"] == "sequences"
    assert account["source_documents"] == {name: len(source) for name, source in sources.items()}
    off = max(abs(account["realised"][name] - share) for name, share in account["declared"].items())
    (number,) = [number for number, line in enumerate(said) if line.startswith("mixture by sequences")]
    assert f"within {100 * off:.1f} points" in said[number]
    assert all(f"({name})" in said[number + 1] for name in account["declared"])


def test_what_the_plan_counted_is_kept_beside_the_checkpoints(
    tiny: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that goes on counts no block again, and not with data that changed under it."""
    with pytest.raises(Interrupted):
        run(tiny, tmp_path / "run", (tiny.SignalAt(5, signal.SIGTERM),))
    restored: list[int] = []
    real = SourceStream.restore
    monkeypatch.setattr(
        SourceStream, "restore", lambda self, counts: (restored.append(counts.shape[1] - 1), real(self, counts))[1]
    )
    run(tiny, tmp_path / "run")
    assert len(restored) == 2
    assert min(restored) >= 1

    with pytest.raises(Interrupted):
        run(tiny, tmp_path / "changed", (tiny.SignalAt(5, signal.SIGTERM),))
    counts = dict(np.load(tmp_path / "changed" / "plan.npz"))
    counts["text"][1, 1:] += 1
    np.savez(tmp_path / "changed" / "plan.npz", **counts)
    with pytest.raises(UserError, match=r"source 'text' begins with .* the data changed under the plan"):
        run(tiny, tmp_path / "changed")


def test_dropped_documents_are_counted_through_an_interruption(tiny: ModuleType, tmp_path: Path) -> None:
    tokenizer, sources = tiny.world_of(tmp_path)
    good = tiny.documents("captions")
    bad = [
        replace(d, segments=(tiny.Image(b"no image"), *d.segments[1:])) if i % 4 == 0 else d for i, d in enumerate(good)
    ]
    broken = tiny.MeasuredSource(tiny.ListSource("captions", bad), tiny.DocumentEncoder(tokenizer, 4, 16))
    dropped = {}
    for name, hooks in (("whole", ()), ("stopped", (tiny.SignalAt(3, signal.SIGTERM),)), ("stopped", ())):
        (tmp_path / name).mkdir(exist_ok=True)
        with contextlib.suppress(Interrupted):
            account = run_stage(
                tiny.stage(),
                tmp_path / name,
                {**sources, "captions": broken},
                tokenizer,
                hooks=hooks,
                say=lambda line: None,
            )
            dropped[name] = account["dropped"]
    assert dropped["whole"] == dropped["stopped"]
    assert sum(dropped["whole"].values()) > 1


def test_the_log_and_worker_settings_do_not_change_the_weights(tiny: ModuleType, whole: Path, tmp_path: Path) -> None:
    run(tiny, tmp_path / "other", config=tiny.stage(log_every=3, checkpoint_every=100, num_workers=2))
    assert (whole / "model.safetensors").read_bytes() == (tmp_path / "other" / "model.safetensors").read_bytes()


def test_microbatches_give_the_weights_of_the_whole_batch_to_rounding(tiny: ModuleType, tmp_path: Path) -> None:
    adamw = tiny.OptimizerConfig(learning_rate=3e-3)
    run(tiny, tmp_path / "whole", config=tiny.stage(optimizer=adamw))
    run(tiny, tmp_path / "cut", config=tiny.stage(optimizer=adamw, microbatch_rows=1))
    whole, cut = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    for name, tensor in whole.items():
        torch.testing.assert_close(cut[name], tensor, rtol=1e-4, atol=2e-6)
    assert lines(tmp_path / "cut")[-1]["loss"] == pytest.approx(lines(tmp_path / "whole")[-1]["loss"], rel=1e-5)
    assert lines(tmp_path / "cut")[-1]["tokens"] == lines(tmp_path / "whole")[-1]["tokens"]


def test_a_folder_begun_with_another_config_is_refused(tiny: ModuleType, whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "begun"
    shutil.copytree(whole, folder)
    shutil.copy(whole.parent / "tokenizer.json", tmp_path)
    with pytest.raises(UserError, match=r"seed was 0 and is now 7"):
        run(tiny, folder, config=tiny.stage(seed=7))


def test_initial_weights_are_taken_by_prefix_and_frozen_ones_stay(
    tiny: ModuleType, whole: Path, tmp_path: Path
) -> None:
    optimizer = tiny.OptimizerConfig(kind="muon", frozen=("image_encoder",))
    config = tiny.stage(optimizer=optimizer, init={"image_encoder": "first"}, seed=5)
    tokenizer, sources = tiny.world_of(tmp_path)
    (tmp_path / "next").mkdir()
    weights = whole / "model.safetensors"
    run_stage(config, tmp_path / "next", sources, tokenizer, {"image_encoder": weights}, say=lambda line: None)
    old, new, drawn = (
        load_file(weights),
        load_file(tmp_path / "next" / "model.safetensors"),
        config.build().state_dict(),
    )
    for name in old:
        if name.startswith("image_encoder."):
            assert torch.equal(new[name], old[name]), name
        elif new[name].ndim == 2:
            assert not torch.equal(new[name], drawn[name]), name


@pytest.mark.parametrize("pretrained", ["clip", "aim"])
def test_an_encoder_is_taken_up_to_the_layer_that_is_used(tiny: ModuleType, pretrained: str, tmp_path: Path) -> None:
    """What CLIP or AIM trained beyond it is dropped, and nothing else may be missing or too much."""
    encoder = tiny.stage(pretrained).build()
    save_weights(encoder, tmp_path / "model.safetensors")
    model = tiny.MODELS["mm1"]
    part = model.replace(image_encoder=model.image_encoder.replace(num_layers_used=1, image_size=24, position_size=16))
    config = tiny.stage(init={"image_encoder": pretrained}).replace(model=part)
    state = initial_state(config, {"image_encoder": tmp_path / "model.safetensors"}, World())
    taken = state.model.image_encoder.state_dict()
    assert len(taken) < len(encoder.image_encoder.state_dict())
    assert all(torch.equal(tensor, encoder.image_encoder.state_dict()[name]) for name, tensor in taken.items())
    shorter = part.replace(image_encoder=part.image_encoder.replace(num_layers=3, num_layers_used=3))
    with pytest.raises(UserError, match=r"blocks.2.attention_norm.weight is missing"):
        initial_state(tiny.stage().replace(model=shorter), {"image_encoder": tmp_path / "model.safetensors"}, World())


def test_missing_initial_weights_and_unknown_parts_are_refused(tiny: ModuleType, whole: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"init names \['image_encoder'\], but weights were given for \[\]"):
        run(tiny, tmp_path / "a", config=tiny.stage(init={"image_encoder": "first"}))
    tokenizer, sources = tiny.world_of(tmp_path)
    (tmp_path / "b").mkdir()
    with pytest.raises(UserError, match=r"'vision'.*\['image_encoder', 'connector', 'decoder'\]"):
        run_stage(
            tiny.stage(init={"vision": "first"}),
            tmp_path / "b",
            sources,
            tokenizer,
            {"vision": whole / "model.safetensors"},
        )


def test_a_stage_trains_on_sub_images_and_documents_with_bos(tiny: ModuleType, tmp_path: Path) -> None:
    tokenizer, sources = tiny.world_of(tmp_path)
    names = {"pad_token": "<|pad|>", "eos_token": "<|endoftext|>", "image_token": "<|image|>"}
    (tmp_path / TOKENIZER_CONFIG).write_text(json.dumps({**names, "bos_token": "<|endoftext|>"}))
    tokenizer = Tokenizer(tokenizer.path)
    config = override(tiny.stage(text_share=0.0), ["data.sub_images.grid.columns=2", "data.sub_images.overview=last"])
    batch = build_loader(config, sources, tokenizer).batch(0)
    begins = (batch.positions == 0) & (batch.segment_ids >= 0)
    assert (batch.tokens[begins] == tokenizer.bos_id).all()
    assert (batch.num_images, int((batch.image_index >= 0).sum())) == (3 * begins.sum(), 12 * begins.sum())
    model = config.build()
    next_token(model, batch).total.backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())

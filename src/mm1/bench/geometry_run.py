"""`mm1 bench geometry`: models of real size for some steps on one device, interrupted in the middle.

    process 1   steps 1 … 30, SIGTERM, checkpoint, exit code 75    ┐ metrics.jsonl → speed, MFU by real lengths,
    process 2   goes on from step 30 … 60, weights                 ┘ share of waiting for data, peak memory, pauses

Operations and MFU are those of the log (train/speed.py). The first steps of each process are left out: they compile.
Knows nothing of what a step costs.
"""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from pydantic import Field
from rich.table import Table

from mm1.bench.children import environment
from mm1.bench.geometry import INTERRUPTED, stages
from mm1.config import Config, UserError, override, save_json
from mm1.distributed.mesh import default_device
from mm1.train.checkpoints import EX_TEMPFAIL
from mm1.train.costs import parameters
from mm1.train.run import METRICS
from mm1.train.stage import StageConfig

LEFT_OUT = 10
"""Steps after each start that speed is not told of."""
BYTES_OF_WEIGHTS, BYTES_OF_CHECKPOINT = 4, 12
"""A parameter, on disk: what is written in the end; and a checkpoint, which has AdamW's two averages besides."""


class GeometryBenchConfig(Config):
    """What is trained, where, how long."""

    names: tuple[str, ...]
    """Of `geometry.stages()`."""
    overrides: tuple[str, ...] = ()
    """`key.path=value`, of every stage."""
    device: Literal["cpu", "cuda"] | None = None
    """CUDA where there is one when None."""
    steps: int = Field(default=60, ge=4 * LEFT_OUT, multiple_of=2 * LEFT_OUT)
    """Half of them before the interruption."""
    folder: Path | None = None
    """Where checkpoints lie meanwhile; the system's folder for temporary files when None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """One model."""

    name: str
    parameters: int
    seconds: float
    """Of a step."""
    tokens_per_second: float
    """Places of images included, padding not."""
    text_tokens_per_second: float
    images_per_second: float
    flops: dict[str, int]
    """Of the steps that speed is told of, by part."""
    flops_per_second: float
    mfu: float | None
    """Of the data sheet's peak, by real lengths; None where it is not known."""
    data_share: float
    """Of the time, waiting for batches."""
    fill: float
    peak_bytes: int
    """The larger of both processes'."""
    first_step_seconds: float
    """From the first process's start."""
    stop_seconds: float | None
    """Where it is interrupted: from SIGTERM's step to the end of the process: a checkpoint of everything."""
    resumed_seconds: float | None
    """From the second process's start to its first step."""
    losses: dict[int, float]
    """By step."""
    config: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometries:
    """All that was measured."""

    device: str
    torch: str
    trained: list[Trained]


def bench_geometry(config: GeometryBenchConfig, say: Callable[[str], None]) -> Geometries:
    """Trains one after another.

    Raises:
        UserError: no model has such a name, the disk is too small, or training failed.
    """
    known = stages()
    if unknown := [name for name in config.names if name not in known]:
        raise UserError(f"mm1 bench geometry knows no model '{unknown[0]}': choose of {', '.join(known)}")
    device = config.device or default_device().type
    trained = []
    for name in config.names:
        stage = override(known[name], config.overrides).replace(
            steps=config.steps,
            log_every=LEFT_OUT,
            checkpoint_every=config.steps,
            checkpoints_kept=1,
            num_workers=4 if device == "cuda" else 0,
        )
        with tempfile.TemporaryDirectory(dir=config.folder) as folder:
            trained.append(_train(name, stage, Path(folder), device, say))
    title = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    return Geometries(device=title, torch=torch.__version__, trained=trained)


def _train(name: str, stage: StageConfig, folder: Path, device: str, say: Callable[[str], None]) -> Trained:
    count = parameters(stage)["total"]
    save_json(stage, folder / "stage.json")
    say(f"{name}: {count / 1e9:.2f}B parameters, {stage.steps} steps")
    half = stage.steps // 2 if _can_be_interrupted(name, count, folder, say) else 0
    first, leg = _leg(folder, device, half)
    say(f"{name}: first step after {first:.1f} s")
    peak_bytes, windows, stop, resumed = leg["peak_bytes"], [(LEFT_OUT, half or stage.steps)], None, None
    if half:
        stop = leg["stop"]
        resumed, leg = _leg(folder, device, 0)
        say(f"{name}: stopped in {stop:.1f} s, next step after {resumed:.1f} s")
        assert leg["first_step"] == half + 1, f"went on with step {leg['first_step']}, not {half + 1}"
        peak_bytes = max(peak_bytes, leg["peak_bytes"])
        windows.append((half + LEFT_OUT, stage.steps))
    lines = {line["step"]: line for line in map(json.loads, (folder / "run" / METRICS).read_text().splitlines())}
    return Trained(
        name=name,
        parameters=count,
        **_speed(stage, lines, windows),
        peak_bytes=peak_bytes,
        first_step_seconds=first,
        stop_seconds=stop,
        resumed_seconds=resumed,
        losses={step: line["loss"] for step, line in lines.items()},
        config=stage.model_dump(mode="json"),
    )


def _can_be_interrupted(name: str, count: int, folder: Path, say: Callable[[str], None]) -> bool:
    """Whether it is one of those that are, and the disk has room for a checkpoint besides the weights.

    Raises:
        UserError: there is no room for the weights.
    """
    free = shutil.disk_usage(folder).free
    weights, both = count * BYTES_OF_WEIGHTS, count * (BYTES_OF_WEIGHTS + BYTES_OF_CHECKPOINT)
    if free < weights:
        raise UserError(
            f"{folder.parent} has {free / 1e9:.0f} GB free, but the weights of {name} need {weights / 1e9:.0f} GB: "
            "give --folder on a larger disk"
        )
    if name in INTERRUPTED and free < both:
        say(
            f"{name}: goes through without an interruption, because {folder.parent} has {free / 1e9:.0f} GB free and a "
            f"checkpoint with the weights needs {both / 1e9:.0f} GB: give --folder on a larger disk"
        )
    return name in INTERRUPTED and free >= both


def _leg(folder: Path, device: str, stop: int) -> tuple[float, dict[str, Any]]:
    """Seconds to the first step of a process, and what it wrote with the seconds of its "stop"."""
    leg = folder / "leg.json"
    command = [sys.executable, "-m", "mm1.bench.geometry_leg", str(folder / "stage.json"), str(folder / "run")]
    began = time.time()
    done = subprocess.run(
        [*command, str(leg), device, str(stop)], env=environment(), capture_output=True, text=True, check=False
    )
    expected = EX_TEMPFAIL if stop else 0
    if done.returncode != expected:
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-30:])
        raise UserError(f"training ended with exit code {done.returncode}, not {expected}: {last}")
    values: dict[str, Any] = json.loads(leg.read_text())
    return values["first_step_at"] - began, {**values, "stop": time.time() - leg.stat().st_mtime}


def _speed(stage: StageConfig, lines: dict[int, dict[str, Any]], windows: list[tuple[int, int]]) -> dict[str, Any]:
    """Of the steps in `windows`, each (after step, to step), both of them logged."""

    def gained(*path: str) -> float:
        """What a cumulative value of the log grew by."""

        def at(step: int) -> float:
            return float(functools.reduce(lambda value, key: value[key], path, cast("Any", lines[step])))

        return sum(at(end) - at(start) for start, end in windows)

    seconds, tokens, images = gained("seconds"), gained("tokens"), gained("images")
    steps, last = sum(end - start for start, end in windows), lines[stage.steps]
    flops = {part: int(gained("flops", part)) for part in last["flops"]}
    speed = flops["total"] / seconds
    return {
        "seconds": seconds / steps,
        "tokens_per_second": tokens / seconds,
        "text_tokens_per_second": (tokens - images * stage.model.num_image_tokens) / seconds,
        "images_per_second": images / seconds,
        "flops": flops,
        "flops_per_second": speed,
        "mfu": None if last["mfu"] is None else speed * last["mfu"] / last["flops_per_second"],
        "data_share": gained("time", "data") / seconds,
        "fill": tokens / (steps * stage.data.rows * stage.data.seq_len),
    }


ROWS: dict[str, Callable[[Trained], str]] = {
    "parameters": lambda one: f"{one.parameters / 1e6:,.1f} M",
    "seconds a step": lambda one: f"{one.seconds:.3f}",
    "MFU": lambda one: "unknown peak" if one.mfu is None else f"{one.mfu:.1%}",
    "TFLOP/s": lambda one: f"{one.flops_per_second / 1e12:.4g}",
    "tokens/s": lambda one: f"{one.tokens_per_second:,.0f}",
    "text tokens/s": lambda one: f"{one.text_tokens_per_second:,.0f}",
    "images/s": lambda one: f"{one.images_per_second:,.1f}",
    "fill": lambda one: f"{one.fill:.1%}",
    "waiting for data": lambda one: f"{one.data_share:.1%}",
    "peak memory": lambda one: f"{one.peak_bytes / 1e9:.2f} GB",
    "seconds to step 1": lambda one: f"{one.first_step_seconds:.1f}",
    "seconds to stop": lambda one: _seconds(one.stop_seconds),
    "seconds to go on": lambda one: _seconds(one.resumed_seconds),
}


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def table(measured: Geometries) -> Table:
    """Models side by side."""
    result = Table(title=f"{measured.device}, PyTorch {measured.torch}", title_justify="left", box=None, pad_edge=False)
    result.add_column("")
    for one in measured.trained:
        result.add_column(one.name, justify="right")
    for row, show in ROWS.items():
        result.add_row(row, *map(show, measured.trained))
    return result


def to_json(measured: Geometries) -> dict[str, Any]:
    """For scripts."""
    return asdict(measured)

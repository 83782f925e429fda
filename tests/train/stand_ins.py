"""Packages of trackers, made up: what they are told they write down, so that nothing is installed or sent."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

WANDB = """
import json, os
class Error(Exception): pass
class Run:
    def __init__(self, path): self.path = path
    def write(self, **values):
        with open(self.path, "a") as file: file.write(json.dumps(values) + "\\n")
    def log(self, scalars, step): self.write(step=step, scalars=scalars)
    def finish(self, exit_code): self.write(finish=exit_code)
def init(**options):
    if os.environ.get("WANDB_MODE") != "offline": raise Error("api_key not configured (no-tty)")
    run = Run(os.path.join(options["dir"], "calls.jsonl"))
    run.write(init=options)
    return run
"""
TENSORBOARD = """
import json, os
class SummaryWriter:
    def __init__(self, folder, purge_step):
        os.makedirs(folder, exist_ok=True)
        self.path = os.path.join(folder, "calls.jsonl")
        self.write(purge_step=purge_step)
    def write(self, **values):
        with open(self.path, "a") as file: file.write(json.dumps(values) + "\\n")
    def add_scalar(self, name, value, step): self.write(name=name, value=value, step=step)
    def flush(self): self.write(flush=True)
    def close(self): self.write(close=True)
"""


def modules() -> dict[str, ModuleType]:
    """By the names under which they are imported."""
    made = {}
    for name, source in (("wandb", WANDB), ("torch.utils.tensorboard", TENSORBOARD), ("tensorboard", "")):
        made[name] = ModuleType(name)
        exec(source, made[name].__dict__)
    return made


def calls(path: Path) -> list[dict[str, Any]]:
    """What was written down, or any other lines of JSON."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def logged(folder: Path) -> list[dict[str, Any]]:
    return calls(folder / "metrics.jsonl")

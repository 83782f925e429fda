"""Kills a training run of several ranks again and again, and sees whether it ends as one that nobody disturbed.

python tests/faults/kill.py FOLDER --kills 20 [--steps 40] [--ranks 2] [--seed 0]

    SIGKILL to all ranks      at a random moment
    SIGKILL to one rank       the others have to notice and leave by themselves
    SIGKILL to all ranks      while a checkpoint is being written: a folder NAME.partial is there

in turn, each time followed by the same command. A run that ends before all kills are spent is begun anew. In the end
weights and log must be those of the undisturbed run, to the bit; exit code 0 says that they are.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

CHANGES = {"log_every": 5, "checkpoint_every": 3, "rows": 4, "optimizer": {"kind": "adamw"}}
ENDS_WITHIN = 60
"""Seconds in which the ranks that live on must have noticed that one is gone."""


def load_tiny() -> ModuleType:
    """tests/train/tiny.py, whose stage is trained."""
    spec = importlib.util.spec_from_file_location("tiny_stage", Path(__file__).parents[1] / "train" / "tiny.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["tiny_stage"] = module
    spec.loader.exec_module(module)
    return module


class Run:
    """One folder's training by many ranks."""

    def __init__(self, tiny: ModuleType, folder: Path, ranks: int, steps: int) -> None:
        self.tiny, self.folder, self.ranks, self.steps = tiny, folder, ranks, steps
        self.children: list[int] = []

    def start(self) -> None:
        self.children = self.tiny.fork_ranks(self.ranks, self._train)

    def _train(self) -> None:
        """In a child: what it says goes to a file."""
        log = os.open(self.folder.with_suffix(".txt"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        self.tiny.train([[str(self.folder), {**CHANGES, "steps": self.steps}, None]])

    @property
    def is_finished(self) -> bool:
        return (self.folder / "stage.json").exists()

    def step(self) -> int:
        """Of the newest checkpoint; 0 before the first."""
        return max((int(path.name[-8:]) for path in self.folder.glob("checkpoints/step-*")), default=0)

    def kill(self, ranks: list[int]) -> float:
        """Kills some, and returns how many seconds later all had ended."""
        for rank in ranks:
            os.kill(self.children[rank], signal.SIGKILL)
        began = time.monotonic()
        left = set(self.children)
        while left and time.monotonic() - began < ENDS_WITHIN:
            left -= {child for child in left if os.waitpid(child, os.WNOHANG)[0]}
            time.sleep(0.01)
        for child in left:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        assert not left, f"{len(left)} ranks were still waiting {ENDS_WITHIN} s after another was killed"
        return time.monotonic() - began

    def wait(self) -> None:
        codes = self.tiny.exit_codes(self.children)
        assert codes == [0] * self.ranks, f"{codes}; see {self.folder.with_suffix('.txt')}"


def wait_for_moment(run: Run, kind: str, seconds: float) -> bool:
    """Whether the moment came before the run's end."""
    end = time.monotonic() + seconds
    while not run.is_finished:
        if time.monotonic() >= end and (kind != "writing" or any(run.folder.glob("checkpoints/.step-*"))):
            return True
        time.sleep(0.0005)
    return False


def torment(run: Run, kills: int, seconds: float, rng: random.Random) -> Counter[str]:
    """Kills until all kills are spent, then lets the run end; how often each kind was."""
    done: Counter[str] = Counter()
    kinds = ("all", "one", "writing")
    while done.total() < kills:
        kind = kinds[done.total() % len(kinds)]
        run.start()
        if not wait_for_moment(run, kind, rng.uniform(0, seconds / 3)):
            run.wait()
            shutil.rmtree(run.folder)
            continue
        before = run.step()
        took = run.kill([rng.randrange(run.ranks)] if kind == "one" else list(range(run.ranks)))
        done[kind] += 1
        print(f"kill {done.total():3} ({kind:7}) newest checkpoint {before:3}; all gone after {took:.1f} s", flush=True)
    run.start()
    run.wait()
    return done


def lines(folder: Path) -> list[dict[str, Any]]:
    """The log without times and what is reckoned from them."""
    times = {"seconds", "time", "flops_per_second", "mfu", "data_pauses"}
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in record.items() if key not in times} for record in records]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    tiny = load_tiny()
    given.folder.mkdir(parents=True, exist_ok=True)
    whole, killed = (Run(tiny, given.folder / name, given.ranks, given.steps) for name in ("whole", "killed"))
    began = time.monotonic()
    whole.start()
    whole.wait()
    seconds = time.monotonic() - began
    print(f"undisturbed: {seconds:.1f} s", flush=True)
    done = torment(killed, given.kills, seconds, random.Random(given.seed))
    weights = [(run.folder / "model.safetensors").read_bytes() for run in (whole, killed)]
    assert weights[0] == weights[1], "the weights differ"
    assert lines(whole.folder) == lines(killed.folder), "the logs differ"
    print(f"{done.total()} kills ({dict(done)}), {time.monotonic() - began:.0f} s: the same weights and log")


if __name__ == "__main__":
    main()

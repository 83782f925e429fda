"""One stage as a user starts it on two ranks: it is run once, told once, and ends as on one."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mm1.chain.run import build_steps
from mm1.recipes.catalog import load_recipe
from mm1.recipes.smoke import smoke
from mm1.steps import execute

LAUNCHER = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def train(folder: Path, *arguments: str, ranks: int = 2) -> tuple[int, str]:
    """Exit code and output of `mm1 train tiny --smoke …`."""
    command = ["-m", "mm1.cli", "train", "tiny", "--smoke", "--out", str(folder), *arguments]
    started = subprocess.run(
        [sys.executable, *(LAUNCHER if ranks > 1 else []), *command],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=200,
    )
    return started.returncode, started.stdout


def start_rank(folder: Path, rank: int, port: int, *arguments: str) -> subprocess.Popen[str]:
    """One of two, without a launcher that would end the other when one dies."""
    launcher = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    return subprocess.Popen(
        [sys.executable, "-m", "mm1.cli", "train", "tiny", "--smoke", "--out", str(folder), *arguments],
        env={**os.environ, **launcher, "RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    execute(build_steps(smoke(load_recipe("tiny")), folder, print)["prepare"], folder)
    return folder


def test_two_ranks_train_once_and_skip_together(prepared: Path, tmp_path: Path) -> None:
    code, output = train(prepared, "--stage", "language")
    assert code == 0, output
    assert output.count("language finished →") == 1, output
    link = prepared / "language"
    written = {path: path.stat().st_mtime_ns for path in link.resolve().iterdir()}
    assert json.loads((link / "stage.json").read_text())["steps"] == 6
    assert not list(prepared.glob("steps/*.partial"))

    code, output = train(prepared, "--stage", "language")
    assert code == 0, output
    assert output.count("language finished before, skipped →") == 1, output
    assert {path: path.stat().st_mtime_ns for path in link.resolve().iterdir()} == written

    (tmp_path / "steps").mkdir()
    for place in ("prepare", "steps/" + (prepared / "prepare").resolve().name):
        (tmp_path / place).symlink_to((prepared / "prepare").resolve())
    code, output = train(tmp_path, "--stage", "language", "--profile", ranks=1)
    assert code == 0, output
    assert (tmp_path / "language" / "trace.json.gz").exists(), output
    one, two = (
        [json.loads(line) for line in (folder / "language/metrics.jsonl").read_text().splitlines()]
        for folder in (tmp_path, prepared)
    )
    assert [row["tokens"] for row in one] == [row["tokens"] for row in two]
    assert [row["loss"] for row in one] == pytest.approx([row["loss"] for row in two], rel=0.02)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--stage", "pretrain"], "'pretrain' begins with 'encoder', which is not finished"),
        (["--stage", "encoder", "encoder.data.rows=7"], "7"),
    ],
)
def test_a_mistake_is_told_once(prepared: Path, arguments: list[str], said: str) -> None:
    code, output = train(prepared, *arguments)
    assert code != 0
    assert output.count("mm1: ") == 1, output
    assert said in output
    assert "/src/mm1/" not in output.replace(str(prepared), ""), "a traceback of ours, not the launcher's own"


def test_when_the_first_rank_is_killed_the_other_leaves_with_69_and_one_sentence(prepared: Path) -> None:
    """The first keeps what the ranks share, so the other finds nobody to agree with on who tells."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    changes = ("language.steps=100000", "language.checkpoint_every=1")
    ranks = [start_rank(prepared, rank, port, "--stage", "language", *changes) for rank in (0, 1)]
    while not any(prepared.glob("steps/language-*.partial/checkpoints/step-*")):
        assert all(rank.poll() is None for rank in ranks)
        time.sleep(0.02)
    ranks[0].send_signal(signal.SIGKILL)
    _, said = (rank.communicate(timeout=100)[1] for rank in ranks)
    assert ranks[1].returncode == 69, said
    assert said.count("mm1: another rank ended in the middle of the work") == 1, said
    assert "frame #" not in said

"""One undisturbed smoke run of the tiny recipe, shared by the tests that look at what a run leaves behind."""

import os
import subprocess
import sys

import pytest


def start_run(folder, *arguments):
    """`mm1 run tiny --smoke` as a user starts it, in a process of its own with one thread."""
    command = [sys.executable, "-m", "mm1.cli", "run", "tiny", "--smoke", "--out", str(folder), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.fixture(scope="session")
def smoke_run(tmp_path_factory):
    """(run folder, what the command printed)."""
    folder = tmp_path_factory.mktemp("runs") / "smoke"
    process = start_run(folder)
    output, _ = process.communicate(timeout=500)
    assert process.returncode == 0, output
    return folder, output

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mm1.bench.children import environment


def test_a_child_imports_what_this_process_can_and_sees_the_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "only_here.py").write_text("import os\nprint(os.environ['A'], os.environ['B'])\n")
    monkeypatch.setenv("A", "kept")
    monkeypatch.setenv("B", "changed by what is asked for")
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), *sys.path])
    said = subprocess.run(
        [sys.executable, "-m", "only_here"],
        env=environment(B="new"),
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.split() == ["kept", "new"]
    assert "" not in environment()["PYTHONPATH"].split(":")

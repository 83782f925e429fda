"""What changes with the code and what does not: hashes of a copy of it that is edited."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import mm1
from mm1.eval import provenance
from mm1.eval.provenance import ANSWERING, SCORES_ONLY, answering_version, code_version, reached, scoring_version

CACHED = (code_version, answering_version, scoring_version, provenance._bare)
FILES = {
    "eval/metrics/vqa.py": (True, False, True),
    "eval/official/extraction.py": (True, False, True),
    "eval/official/templates.py": (True, True, False),
    "generate/engine.py": (True, True, False),
    "cli/tables.py": (True, False, False),
}
"""Which of the three versions a change of its code changes."""


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of mm1's code, of which the versions are."""
    copy = tmp_path / "mm1"
    shutil.copytree(Path(mm1.__file__).parent, copy, ignore=shutil.ignore_patterns("sample", "__pycache__"))
    monkeypatch.setattr(provenance, "files", lambda name: copy)
    yield copy
    forget()


def forget() -> None:
    for function in CACHED:
        function.cache_clear()


def versions() -> tuple[str, str, str]:
    forget()
    return code_version(), answering_version(), scoring_version()


def test_what_a_change_makes_stale(source: Path) -> None:
    before = versions()
    for file, expected in FILES.items():
        text = (source / file).read_text()
        (source / file).write_text(text + "\n\ndef another(number: int) -> int:\n    return number + 1\n")
        assert tuple(a != b for a, b in zip(before, versions(), strict=True)) == expected, file
        (source / file).write_text(text)


def test_words_for_people_make_nothing_stale(source: Path) -> None:
    before = versions()
    for file in FILES:
        text = (source / file).read_text()
        (source / file).write_text(text.replace('"""', '"""Otherwise said. ', 1) + '\n\n# a remark\n"""And more."""\n')
    after = versions()
    assert after[0] != before[0]
    assert after[1:] == before[1:]


def test_what_decides_what_is_said_imports_no_training_and_scores_come_last() -> None:
    forget()
    names = reached(ANSWERING)
    assert "mm1.generate.engine" in names
    assert "mm1.eval.instruct.readers" in names, "through the catalog"
    assert not [name for name in names if name.startswith(("mm1.train", "mm1.chain", "mm1.cli"))]
    assert all(name in reached([name]) for name in SCORES_ONLY), "all of them are modules"
    assert reached(["mm1.no_such_module"]) == []

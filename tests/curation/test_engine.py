"""Parts are worked on once each, whole or not at all, however many processes there are and whatever ends them."""

import errno
import logging
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from mm1.config import UserError
from mm1.curation.engine import map_parts
from mm1.curation.runner import Runner
from tests.curation import work
from tests.curation.work import Piece

pytestmark = pytest.mark.filterwarnings(
    # Daft leaves the pipe of each process that it started to the garbage collector.
    "ignore:Exception ignored in. <_io.FileIO:pytest.PytestUnraisableExceptionWarning",
    "ignore:unclosed file:ResourceWarning",
)
PIECES = [Piece(f"part-{number}", number) for number in range(6)]
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine's processes import the tests' work wherever pytest was started."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("processes", [1, 3])
def test_each_part_has_what_its_call_wrote_and_counts_come_in_order(tmp_path: Path, processes: int) -> None:
    told: list[tuple[int, int]] = []
    counts = map_parts(
        work.square, PIECES, tmp_path, Runner(processes=processes), lambda *told_of: told.append(told_of[:2])
    )
    assert [values["square"] for values in counts] == [0, 1, 4, 9, 16, 25]
    assert files(tmp_path).keys() == {f"part-{n}/{name}" for n in range(6) for name in ("square", "counts.json")}
    assert (tmp_path / "part-3" / "square").read_text() == "9"
    assert told == [(number, 6) for number in range(7)], "how many there are is told before one is finished"


def test_what_a_part_freed_goes_back_before_the_next(tmp_path: Path) -> None:
    first, second, _ = map_parts(work.scatter, PIECES[:3], tmp_path, Runner())
    assert first["taken"] > 70 << 20
    assert second["before"] - first["before"] < first["taken"] / 2


def test_files_do_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    for processes in (1, 2):
        map_parts(work.square, PIECES, tmp_path / str(processes), Runner(processes=processes))
    assert files(tmp_path / "1") == files(tmp_path / "2")


def test_finished_parts_are_not_done_again_and_unfinished_ones_are_begun_anew(tmp_path: Path) -> None:
    journal, folder = tmp_path / "journal", tmp_path / "parts"
    journal.mkdir()
    work_of = partial(work.record, journal=journal)
    map_parts(work_of, PIECES[:2], folder, Runner())
    (folder / ".part-3.elsewhere.7").mkdir()
    (folder / ".part-3.elsewhere.7" / "square").write_text("tor")
    told: list[tuple[int, int]] = []
    counts = map_parts(work_of, PIECES, folder, Runner(), lambda *told_of: told.append(told_of[:2]))
    assert [values["square"] for values in counts] == [0, 1, 4, 9, 16, 25]
    assert {path.name: path.read_text() for path in journal.iterdir()} == {piece.name: "called\n" for piece in PIECES}
    assert not list(folder.glob(".*"))
    assert told == [(number, 6) for number in range(1, 7)]


@pytest.mark.parametrize("processes", [1, 2])
def test_what_a_user_can_mend_is_one_sentence_and_the_rest_goes_on_after_it(tmp_path: Path, processes: int) -> None:
    runner = Runner(processes=processes)
    with pytest.raises(UserError, match=r"^part 1 is not to be had: give another$"):
        map_parts(partial(work.refuse, number=1), PIECES, tmp_path, runner)
    assert not (tmp_path / "part-1").exists()
    assert (tmp_path / "part-0" / "counts.json").exists()
    if processes == 1:
        assert not (tmp_path / "part-2").exists(), "parts after a failed one are not begun"
    assert len(map_parts(work.square, PIECES, tmp_path, runner)) == 6


@pytest.mark.parametrize("processes", [1, 2])
def test_a_full_disk_is_the_systems_own_error_with_a_place(tmp_path: Path, processes: int) -> None:
    with pytest.raises(OSError, match="File too large") as error:
        map_parts(partial(work.fill, number=2), PIECES, tmp_path, Runner(processes=processes))
    assert (error.value.errno, error.value.filename) == (errno.EFBIG, str(tmp_path))


@pytest.mark.parametrize("processes", [1, 2])
def test_a_mistake_in_the_program_shows_its_part_and_its_traceback(tmp_path: Path, processes: int) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)part-4:.*in stumble.*ZeroDivisionError"):
        map_parts(partial(work.stumble, number=4), PIECES, tmp_path, Runner(processes=processes))


def test_a_process_that_is_ended_from_outside_is_one_sentence_and_a_rerun_goes_on(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"ended from outside.*fewer --processes"):
        map_parts(partial(work.die, number=2), PIECES, tmp_path, Runner(processes=2))
    assert not (tmp_path / "part-2").exists(), "half a part is none"
    counts = map_parts(work.square, PIECES, tmp_path, Runner(processes=2))
    assert [values["square"] for values in counts] == [0, 1, 4, 9, 16, 25]
    assert not list(tmp_path.glob(".*"))


def test_an_interrupt_ends_all_processes_without_a_word_of_daft_s(tmp_path: Path) -> None:
    program = (
        "import sys; from functools import partial; from pathlib import Path\n"
        "from mm1.curation.engine import map_parts; from mm1.curation.runner import Runner\n"
        "from tests.curation.work import Piece, wait\n"
        "pieces = [Piece(f'part-{number}', number) for number in range(4)]\n"
        "try: map_parts(partial(wait, number=3), pieces, Path(sys.argv[1]), Runner(processes=2))\n"
        "except KeyboardInterrupt: print('interrupted')\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    until = time.monotonic() + 60
    while len(list(tmp_path.glob("part-*"))) < 3 and time.monotonic() < until:
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    assert running.communicate(timeout=30) == ("interrupted\n", "")
    counts = map_parts(work.square, PIECES[:4], tmp_path, Runner())
    assert [found["square"] for found in counts] == [0, 1, 4, 9]


def test_daft_tells_nobody_and_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    map_parts(work.square, PIECES, tmp_path, Runner(processes=2))
    from daft.scarf_telemetry import opted_out

    assert opted_out()
    assert logging.getLogger("daft_local_execution").level == logging.CRITICAL
    assert capfd.readouterr() == ("", "")

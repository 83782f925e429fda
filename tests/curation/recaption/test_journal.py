"""What was said is there again, to the letter, whatever else stands in the file."""

from pathlib import Path

import pytest

from mm1.curation.recaption.journal import Journal
from mm1.eval.chat_api import Answer, NoAnswer
from tests.full_disk import room_for

SAID = Answer(' "A\u2028cat\n\x85', "m", "stop")


def test_answers_are_kept_to_the_letter_and_failures_until_they_are_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with Journal(path) as journal:
        journal.put("a", SAID)
        journal.put("b", NoAnswer("HTTP 500", "busy"))
        journal.put("c", NoAnswer("not reached", hopeless=True))
        assert journal.get("c") is not None
    again = Journal(path)
    found = again.get("b")
    assert isinstance(found, NoAnswer)
    assert (again.get("a"), found.reason, found.detail, again.get("c")) == (SAID, "HTTP 500", "busy", None)
    forgotten = Journal(path, again=True)
    assert (forgotten.get("a"), forgotten.get("b")) == (SAID, None)


@pytest.mark.parametrize(
    "torn", [b'{"asked": "b", "said"', b"\0\0\xff\n", b"[1]\n", b'{"asked": 1, "error": 2, "detail": 3}\n']
)
def test_what_a_kill_or_a_hand_left_harms_no_line_before_or_after_it(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "a.jsonl"
    with Journal(path) as journal:
        journal.put("a", SAID)
    path.write_bytes(path.read_bytes() + torn)
    with Journal(path) as journal:
        journal.put("z", SAID)
    assert [Journal(path).get(key) for key in "abz"] == [SAID, None, SAID]


def test_a_full_disk_names_the_file_and_loses_no_answer_before(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    written = []
    with room_for(5_000), pytest.raises(OSError, match="too large") as caught, Journal(path) as journal:  # noqa: PT012
        for number in range(500):
            journal.put(str(number), SAID)
            written.append(str(number))
    assert caught.value.filename == str(path)
    assert written
    assert all(Journal(path).get(key) == SAID for key in written)

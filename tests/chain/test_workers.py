"""Processes that write parts: what they tell, and what becomes of them when something goes wrong."""

import json
import multiprocessing
import os
import signal

import pytest

from mm1.chain.parts import parts_of
from mm1.chain.workers import write_parts
from mm1.config import UserError
from mm1.data.formats.files import FilesConfig
from mm1.data.tokenizer import train_tokenizer


@pytest.fixture
def tokenizer(tmp_path):
    train_tokenizer(iter(["a"]), 300, tmp_path / "tokenizer.json")
    return tmp_path / "tokenizer.json"


def parts_in(folder, monkeypatch, numbers, rows):
    monkeypatch.setattr("mm1.chain.parts.group", lambda files: [(path,) for path in files])
    folder.mkdir()
    for number in range(numbers):
        lines = [json.dumps({"text": f"{number}/{row}"}) for row in range(rows)]
        (folder / f"{number}.jsonl").write_text("\n".join([*lines, "no JSON"]))
    return parts_of(FilesConfig(name="texts", paths=(folder,)))


def test_progress_is_told_and_ends_with_all_that_was_done(tmp_path, monkeypatch, tokenizer):
    parts = parts_in(tmp_path / "in", monkeypatch, 3, 5)
    finished, states = [], []
    write_parts(parts, lambda part: tmp_path / "out", tokenizer, 1, finished.append, states.append)
    assert finished == parts
    last = states[-1]
    assert (last.documents, last.dropped, last.bytes, last.parts, last.total_parts) == (15, 3, 45, 3, 3)


def test_a_process_that_is_killed_is_one_sentence_and_finished_parts_stay(tmp_path, monkeypatch, tokenizer):
    parts = parts_in(tmp_path / "in", monkeypatch, 6, 200)

    def kill_one(part):
        os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)

    states = []
    with pytest.raises(UserError, match="ended from outside, perhaps for want of memory"):
        write_parts(parts, lambda part: tmp_path / "out", tokenizer, 2, kill_one, states.append)
    done = [part for part in parts if part.is_finished(tmp_path / "out")]
    assert done
    assert not multiprocessing.active_children()


def test_an_error_in_one_process_ends_the_others_and_is_raised_as_it_is(tmp_path, monkeypatch, tokenizer):
    parts = parts_in(tmp_path / "in", monkeypatch, 4, 3)
    (tmp_path / "in" / "0.jsonl").unlink()
    with pytest.raises(FileNotFoundError, match=r"0\.jsonl"):
        write_parts(parts, lambda part: tmp_path / "out", tokenizer, 2, lambda part: None)
    assert not multiprocessing.active_children()

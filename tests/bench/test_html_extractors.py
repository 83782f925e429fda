"""The other end of the processes that are measured."""

import io
import pickle
import sys

import pytest

from mm1.bench import html_extractors


def test_what_can_be_imported_answers_with_its_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 2.0, 2.0, 5.0])
    monkeypatch.setattr("mm1.bench.html_extractors.time.process_time", lambda: next(clock))
    answers = io.BytesIO()
    html_extractors.serve("mm1", io.BytesIO(pickle.dumps([b"<p>one", b"\x00no page"]) + b"\n\n"), answers)
    assert answers.getvalue() == b"ready\n2.0\n3.0\n"


def test_what_can_not_be_imported_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trafilatura", None)
    answers = io.BytesIO()
    html_extractors.serve("trafilatura", io.BytesIO(pickle.dumps([b"<p>one"])), answers)
    assert answers.getvalue() == html_extractors.MISSING

"""What is said where daft or Ray is not to be had."""

import socket
import sys

import pytest

from mm1.config import UserError
from mm1.curation import runner
from mm1.curation.runner import Runner, cpus_of, start


@pytest.fixture(autouse=True)
def not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_started", None)


def test_without_daft_the_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "daft", None)
    with pytest.raises(UserError, match=r"pip install 'mm1\[curate\]'"):
        start(Runner(processes=2))


def test_without_ray_the_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    for ask in (lambda: start(Runner(ray="local")), lambda: cpus_of("local")):
        with pytest.raises(UserError, match=r"pip install 'mm1\[curate,ray\]'"):
            ask()


def test_where_no_ray_answers_the_sentence_comes_at_once() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
    with pytest.raises(UserError, match=f"^no Ray answers at {address} .*--ray local$"):
        start(Runner(ray=address))

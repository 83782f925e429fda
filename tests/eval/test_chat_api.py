"""The client against a server that misbehaves in every way; time is a number here."""

import email.utils
import json
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm1.config import UserError
from mm1.eval import chat_api
from mm1.eval.chat_api import Answer, ChatClient, ChatConfig, NoAnswer, message
from mm1.eval.pace import Pace
from tests.eval.chat_server import ChatServer, Raw, serving

HELLO = [message("user", "Hello?")]


class Time:
    """Goes on only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with serving() as made:
        yield made


@pytest.fixture
def asked(server: ChatServer) -> Callable[..., Any]:
    """Asks once; returns the answer or what came instead, and the time that passed."""

    def ask(*said: object, **settings: Any) -> tuple[Answer | NoAnswer, Time]:
        left = list(said)
        server.says = lambda body: left.pop(0) if len(left) > 1 else left[0]
        passed = Time()
        config = ChatConfig(**{"address": server.address, "model": "m", **settings})
        client = ChatClient(config, clock=passed.clock, sleep=passed.sleep)
        try:
            return client.ask(HELLO), passed
        except NoAnswer as error:
            return error, passed

    return ask


def reply(said: str, **more: Any) -> bytes:
    return json.dumps({"choices": [{"message": {"content": said}, **more.pop("choice", {})}], **more}).encode()


def test_an_answer_is_kept_to_the_letter_with_what_the_server_says_of_it(asked: Any, server: ChatServer) -> None:
    answer, _ = asked(reply(' "A cat"\n', model="m-2024-05", choice={"finish_reason": "length"}))
    assert answer == Answer(' "A cat"\n', "m-2024-05", "length")
    assert asked("Yes")[0] == Answer("Yes", "m", "")
    assert (server.bodies[0]["model"], server.bodies[0]["messages"]) == ("m", HELLO)
    assert server.paths[0] == "/v1/chat/completions"


def test_a_picture_stands_before_the_words(asked: Any, server: ChatServer) -> None:
    shown = message("user", "What?", ["data:image/png;base64,AA"])["content"]
    assert shown == [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}, {"type": "text", "text": "What?"}
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("said", "reason", "questions", "hopeless"),
    [
        (500, "HTTP 500", 3, False), (503, "HTTP 503", 3, False), (429, "HTTP 429", 3, False),
        (400, "HTTP 400", 1, False), (413, "HTTP 413", 1, False), (401, "HTTP 401", 1, True),
        (404, "HTTP 404", 1, True), (None, "not reached", 3, True), (b"<html>", "not in the form of the API", 3, False),
        (b'{"choices": []}', "not in the form of the API", 3, False), (b"[" * 9999, "not in the form of the API", 3, 0),
        (b'{"choices": [{"message": {"content": null}}]}', "empty", 3, False), (" \n", "empty", 3, False),
        (b"\xff\xfe", "not in the form of the API", 3, False), ("x" * 5000, "too long", 1, False),
    ],
)  # fmt: skip
def test_what_is_no_answer_is_told_and_asked_again_where_that_may_help(
    asked: Any, server: ChatServer, monkeypatch: pytest.MonkeyPatch, said: Any, reason: str, questions: int,
    hopeless: bool,
) -> None:  # fmt: skip
    monkeypatch.setattr(chat_api, "MAX_ANSWER_BYTES", 4000 if isinstance(said, str) else 99999)
    error, passed = asked(said)
    assert isinstance(error, NoAnswer)
    assert (error.reason, len(server.bodies), error.hopeless) == (reason, questions, bool(hopeless))
    assert passed.slept == [2.0, 4.0][: questions - 1]


def test_a_question_is_put_again_until_it_is_answered(asked: Any, server: ChatServer) -> None:
    answer, passed = asked(500, b"{}", "There", retries=4, wait=1)
    assert (answer.text, len(server.bodies), passed.slept) == ("There", 3, [1, 2])


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_server_that_wants_to_be_left_alone_is(asked: Any, form: str) -> None:
    after = "37" if form == "seconds" else email.utils.formatdate(time.time() + 37, usegmt=True)
    answer, passed = asked(Raw(429, headers={"Retry-After": after}), "There")
    assert answer.text == "There"
    assert 35 <= passed.now - 100 <= 38


def test_a_server_that_wants_to_be_left_alone_is_by_all_who_share_the_client(server: ChatServer) -> None:
    said: list[Raw | str] = [Raw(429, headers={"Retry-After": "30"}), "There"]
    server.says = lambda body: said.pop(0)
    passed = Time()
    client = ChatClient(
        ChatConfig(address=server.address, model="m", retries=0), clock=passed.clock, sleep=passed.sleep
    )
    with pytest.raises(NoAnswer, match="HTTP 429"):
        client.ask(HELLO)
    assert (client.ask(HELLO).text, passed.now) == ("There", 130)


def test_no_server_can_make_us_wait_for_ever(asked: Any) -> None:
    for after in ("99999999999", "nonsense", "-5", "Thu, 01 Jan 9999 00:00:00 GMT"):
        _, passed = asked(Raw(503, headers={"Retry-After": after}), "There", max_wait=60)
        assert passed.now - 100 <= 60


def test_a_server_that_says_nothing_or_trickles_is_given_up(server: ChatServer) -> None:
    for raw in (Raw(seconds=1.0, body=b"x"), Raw(seconds=0.05, body=b" " * 60)):
        server.says = lambda body, raw=raw: raw  # type: ignore[misc]
        config = ChatConfig(address=server.address, model="m", retries=0, timeout=0.3)
        with pytest.raises(NoAnswer, match="timeout"):
            ChatClient(config).ask(HELLO)


def test_a_redirect_gets_neither_the_key_nor_the_question(asked: Any, server: ChatServer, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("secret\n")
    with serving() as other:
        for status in (301, 302, 307, 308):
            error, _ = asked(Raw(status, headers={"Location": f"{other.address}/steal"}), key_file=tmp_path / "key")
            assert error.reason == f"HTTP {status}"
        assert server.headers[0]["Authorization"] == "Bearer secret"
        assert other.methods == []


@given(st.floats(0.1, 50), st.lists(st.floats(0, 3), max_size=40))
def test_no_more_requests_begin_in_a_second_than_are_allowed(per_second: float, pauses: list[float]) -> None:
    passed = Time()
    pace = Pace(per_second, passed.clock, passed.sleep)
    begun = []
    for pause in pauses:
        passed.now += pause
        pace.wait()
        begun.append(passed.now)
    assert all(later - earlier >= 1 / per_second - 1e-9 for earlier, later in pairwise(begun))
    # A pause longer than the gap saves nothing up, and is not made longer either.
    assert len(passed.slept) <= sum(pause < 1 / per_second for pause in pauses)


def test_the_pace_holds_for_retries_and_for_all_questions_of_a_client(server: ChatServer) -> None:
    server.says = lambda body: 500
    passed, begun = Time(), []
    client = ChatClient(
        ChatConfig(address=server.address, model="m", per_second=0.5, wait=0, retries=2),
        clock=passed.clock,
        sleep=passed.sleep,
    )
    for _ in range(3):
        with pytest.raises(NoAnswer):
            client.ask(HELLO)
        begun.append(passed.now)
    assert (len(server.bodies), passed.now - 100) == (9, 16)


def test_stopping_ends_the_waiting(server: ChatServer) -> None:
    client = ChatClient(ChatConfig(address=server.address, model="m", per_second=0.001))
    client.ask(HELLO)
    client.stop()
    with pytest.raises(NoAnswer, match="stopped"):
        client.ask(HELLO)
    assert len(server.bodies) == 1


def test_mistakes_are_one_sentence(tmp_path: Path) -> None:
    for key in ("", "two\nlines", "schlüssel"):
        (tmp_path / "key").write_text(key)
        with pytest.raises(UserError, match="holds no key"):
            ChatClient(ChatConfig(address="http://x", model="x", key_file=tmp_path / "key"))
    with pytest.raises(UserError, match="begin it with http"):
        ChatClient(ChatConfig(address="file:///etc/passwd", model="x"))
    for host in ("", "[::1", "a b", "a:port", "a:99999", f"ü{'x' * 70}"):
        with pytest.raises(UserError, match="give it as http://localhost:8000/v1") as caught:
            ChatClient(ChatConfig(address=f"http://{host}/v1", model="x"))
        assert "\n" not in str(caught.value)

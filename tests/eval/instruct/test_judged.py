"""A judge on this machine, scripted: its marks become the official scores, and what it does not say is counted."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from mm1.config import UserError
from mm1.eval.chat_api import ChatClient, ChatConfig
from mm1.eval.instruct.free_answers import LLAVA_PROMPT, VET_PROMPT
from mm1.eval.instruct.judged import judged
from mm1.types import Document
from tests.eval.chat_server import ChatServer, serving
from tests.eval.instruct.files import picture, put


@pytest.fixture
def fake() -> Iterator[ChatServer]:
    with serving() as server:
        yield server


class Answers:
    """Says which picture it saw."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def generate(self, documents: Sequence[Document], max_new_tokens: int, stop: tuple[str, ...]) -> list[str]:
        self.asked += [document.id for document in documents]
        return [f" {len(document.images)} picture in {document.id}\n"[:-1] for document in documents]

    def loglikelihood(self, pairs: Sequence[tuple[Document, str]]) -> list[float]:
        raise AssertionError


def llava_bench(folder: Path, rule: bool = False) -> Path:
    rows = [(n, ["conv", "detail", "complex"][n % 3]) for n in range(4)]
    for n, _ in rows:
        put(folder / "images" / f"{n:03d}.jpg", picture(n))
    write(folder / "questions.jsonl", [
        {"question_id": n, "image": f"{n:03d}.jpg", "text": f"What of {n}?", "category": kind} for n, kind in rows
    ])  # fmt: skip
    write(folder / "context.jsonl", [{"id": n, "image": f"{n:03d}.jpg", "caption": f"It shows {n}."} for n, _ in rows])
    write(folder / "answers_gpt4.jsonl", [{"question_id": n, "text": f"Reference {n}"} for n, _ in rows])
    if rule:
        put(folder / "rule.json", json.dumps({"llava_bench_conv": {"role": "Assistant", "prompt": "Official words."}}))
    return folder


def mm_vet(folder: Path) -> Path:
    questions = {
        f"v1_{n}": {"imagename": f"v1_{n}.png", "question": f"What is\n{n}?", "answer": f"a <AND> {n}",
                    "capability": ["rec", "ocr"][: n + 1]} for n in range(2)
    }  # fmt: skip
    for n in range(2):
        put(folder / "images" / f"v1_{n}.png", picture(n))
    put(folder / "mm-vet.json", json.dumps(questions))
    return folder


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    put(path, "".join(json.dumps(row) + "\n" for row in rows))


def ask(name: str, folder: Path, fake: ChatServer, model: Answers | None = None, **settings: Any) -> dict[str, Any]:
    config = ChatConfig(**{"address": fake.address, "model": "judge-1", "retries": 0, "wait": 0, **settings})
    return judged(name, folder, model or Answers(), "m", ChatClient(config), folder / "out.json")


def test_llavas_score_is_the_ratio_of_the_sums_of_marks(fake: ChatServer, tmp_path: Path) -> None:
    marks = {"0": "10 5", "1": "8, 8", "2": "5 1", "3": "7 2\nbecause 9 9"}
    fake.says = lambda body: marks[body["messages"][1]["content"].split("What of ")[1][0]]
    result = ask("llava_bench", llava_bench(tmp_path), fake)
    assert result["score"] == pytest.approx(100 * (5 + 8 + 1 + 2) / (10 + 8 + 5 + 7))
    assert {kind: row["n"] for kind, row in result["by_kind"].items()} == {"complex": 1, "conv": 2, "detail": 1}
    assert result["by_kind"]["conv"]["score"] == pytest.approx(100 * 7 / 17)
    assert (result["n"], result["missing"]) == (4, {})
    assert fake.question(1) == (
        "[Context]\nIt shows 1.\n\n[Question]\nWhat of 1?\n\n[Assistant 1]\nReference 1\n\n[End of Assistant 1]\n\n"
        f"[Assistant 2]\n1 picture in 1\n\n[End of Assistant 2]\n\n[System]\n{LLAVA_PROMPT}\n\n"
    )
    assert (fake.paths[0], fake.bodies[0]["model"], fake.bodies[0]["temperature"]) == (
        "/v1/chat/completions",
        "judge-1",
        0,
    )
    assert "Authorization" not in fake.headers[0]


def test_mm_vets_score_is_the_mean_mark_also_by_capability(fake: ChatServer, tmp_path: Path) -> None:
    fake.says = lambda body: "0.8" if "What is 0?" in body["messages"][1]["content"] else " 0.2 |"
    result = ask("mm_vet", mm_vet(tmp_path), fake)
    assert result["score"] == pytest.approx(50)
    assert {kind: row["score"] for kind, row in result["by_kind"].items()} == pytest.approx(
        {"rec": 50, "ocr": 20, "ocr,rec": 20}
    )
    assert fake.question(1) == f"{VET_PROMPT}\nWhat is 1? | a <AND> 1 | 1 picture in v1_1 | "


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("What a fine answer!", "no verdict: unreadable"), ("8", "no verdict: unreadable"),
        ("80 40", "no verdict: unreadable"), ("", "no answer: empty"), (503, "no answer: HTTP 503"),
        (b"<html>", "no answer: not in the form of the API"),
        (b'{"choices": []}', "no answer: not in the form of the API"),
        (None, "no answer: not reached"),
    ],
)  # fmt: skip
def test_a_judge_that_says_nothing_usable_is_counted(
    fake: ChatServer, tmp_path: Path, said: str | int | bytes | None, reason: str
) -> None:
    fake.says = lambda body: said if "What of 2" in body["messages"][1]["content"] else "10 5"
    result = ask("llava_bench", llava_bench(tmp_path), fake)
    assert (result["score"], result["n"], result["missing"]) == (50, 3, {reason: 1})
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line.get("error") for line in lines] == [None, None, reason, None]


def test_a_question_is_put_again_before_it_is_given_up(fake: ChatServer, tmp_path: Path) -> None:
    said: list[str | int] = [500, 500, "10 5", "10 5", "10 5", "10 5"]
    fake.says = lambda body: said.pop(0)
    assert ask("llava_bench", llava_bench(tmp_path), fake, retries=2)["n"] == 4


def test_a_judge_that_is_never_reached_is_said(tmp_path: Path) -> None:
    config = ChatConfig(address="http://127.0.0.1:9/v1", model="x", retries=0, timeout=1)
    with pytest.raises(UserError, match="not one answer was marked \\(4 with 'no answer: not reached'\\)"):
        judged("llava_bench", llava_bench(tmp_path), Answers(), "m", ChatClient(config), tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()


def test_a_verdict_that_is_there_is_not_asked_again(fake: ChatServer, tmp_path: Path) -> None:
    fake.says = lambda body: "?" if "What of 2" in body["messages"][1]["content"] else "10 5\nyes\u2028so"
    folder = llava_bench(tmp_path)
    ask("llava_bench", folder, fake)
    with (tmp_path / "out.jsonl").open("a") as file:
        file.write('17\n["marks"]\n{"marks": [1]}\n{"torn": ')
    fake.says, asked, model = (lambda body: "10 5"), len(fake.bodies), Answers()
    result = ask("llava_bench", folder, fake, model)
    assert (result["n"], result["missing"], len(fake.bodies) - asked, model.asked) == (4, {}, 1, [])
    ask("llava_bench", folder, fake, model, temperature=0.5)
    assert len(fake.bodies) - asked == 5  # a judge with other settings is another judge
    assert model.asked == []  # but the answers are the same


def test_a_judge_that_is_gone_ends_the_run_and_no_answer_is_lost(
    fake: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mm1.eval.chat_api.HOPELESS", 2)
    fake.says = lambda body: "10 5" if "What of 0" in body["messages"][1]["content"] else 401
    folder, model = llava_bench(tmp_path), Answers()
    with pytest.raises(UserError, match=r"judge-1 answers nothing any more \(HTTP 401"):
        ask("llava_bench", folder, fake, model)
    assert len(fake.bodies) == 3
    fake.says, again = (lambda body: "10 5"), Answers()
    assert ask("llava_bench", folder, fake, again)["n"] == 4
    assert (model.asked, again.asked, len(fake.bodies)) == (["0", "1", "2", "3"], [], 6)


def test_the_judge_is_on_record_and_its_key_is_not(fake: ChatServer, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("secret\n")
    result = ask("llava_bench", llava_bench(tmp_path), fake, key_file=tmp_path / "key")
    assert fake.headers[0]["Authorization"] == "Bearer secret"
    assert (result["judge"]["address"], result["judge"]["model"]) == (fake.address, "judge-1")
    assert result["judge"]["prompt"] == LLAVA_PROMPT
    for name in ("out.json", "out.jsonl"):
        assert "secret" not in (tmp_path / name).read_text()


def test_official_words_are_taken_from_their_file(fake: ChatServer, tmp_path: Path) -> None:
    ask("llava_bench", llava_bench(tmp_path, rule=True), fake)
    assert fake.question(0).endswith("[System]\nOfficial words.\n\n")
    assert LLAVA_PROMPT in fake.question(1)


def test_what_can_not_be_asked_is_counted(fake: ChatServer, tmp_path: Path) -> None:
    folder = llava_bench(tmp_path)
    (folder / "images" / "001.jpg").unlink()
    write(folder / "answers_gpt4.jsonl", [{"question_id": n, "text": "x"} for n in (0, 1, 2)])
    result = ask("llava_bench", folder, fake)
    assert (result["n"], result["missing"]) == (2, {"no answer": 1, "missing image": 1})


def test_mistakes_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="begin it with http"):
        ChatClient(ChatConfig(address="localhost:8000", model="x"))
    with pytest.raises(UserError, match="key can not be read"):
        ChatClient(ChatConfig(address="http://x", model="x", key_file=tmp_path / "key"))
    (tmp_path / "questions.jsonl").write_text("{}\nbroken\n")
    (tmp_path / "context.jsonl").write_text("")
    (tmp_path / "answers_gpt4.jsonl").write_text("")
    judge = ChatClient(ChatConfig(address="http://x", model="x"))
    with pytest.raises(UserError, match=r"questions\.jsonl:2 is no JSON object"):
        judged("llava_bench", tmp_path, Answers(), "m", judge, tmp_path / "out.json")

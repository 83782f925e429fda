"""From a set to a set: both texts kept, nothing asked twice, nothing lost, whatever the models do."""

import base64
import io
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from mm1 import __version__
from mm1.config import UserError
from mm1.curation.documents import DocumentWriter, PictureSegment
from mm1.curation.recaption.addresses import AddressWriter
from mm1.curation.recaption.config import RecaptionConfig
from mm1.curation.recaption.counts import Recaptioned
from mm1.curation.recaption.prompts import CAPTION, FUSION, Prompts
from mm1.curation.recaption.run import recaption
from mm1.curation.recaption.writers import Question, Writer
from mm1.data.formats.catalog import FORMATS, recognise
from mm1.data.formats.reading import ReadOptions
from mm1.eval.chat_api import Answer, ChatClient, ChatConfig, NoAnswer
from mm1.types import Text
from tests.curation.recaption.sets import Script, rows, text_of, write_set
from tests.curation.site import picture
from tests.eval.chat_server import ChatServer, Raw, serving
from tests.eval.chat_server import text_of as question_of


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_set(tmp_path / "set", 12, 5)


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with serving() as made:
        yield made


def eyes() -> Script:
    return Script(lambda question: f"a picture of {len(question.picture or b'')} bytes", "eyes")


def hands() -> Script:
    return Script(lambda question: f"merged: {question.text.split('<page>')[1].split('</page>')[0].strip()}", "hands")


def run(
    source: Path, out: Path, captioner: Writer, fuser: Writer | None = None, again: bool = False, **config: Any
) -> Recaptioned:
    prompts = config.pop("prompts", Prompts())
    return recaption([source], out, captioner, fuser, RecaptionConfig(**config), prompts, again=again)


def address(server: ChatServer, max_side: int = 768, at_once: int = 4, **settings: Any) -> AddressWriter:
    config = ChatConfig(**{"address": server.address, "model": "m", "retries": 0, "timeout": 5, **settings})
    return AddressWriter(client=ChatClient(config), at_once=at_once, max_side=max_side)


def sees_picture(body: dict[str, Any]) -> bool:
    return isinstance(body["messages"][0]["content"], list)


def test_every_row_keeps_both_texts_and_who_wrote_them(source: Path, tmp_path: Path) -> None:
    done = run(source, tmp_path / "out", eyes(), hands(), share=1)
    assert done.to_json() == {"in": 17, "out": 17, "chosen": {"fused_caption": 17}, "failed": {}, "dropped": {}}
    before = [row for path in sorted(source.iterdir()) for row in pq.read_table(path).to_pylist()]
    after = rows(tmp_path / "out")
    for old, new in zip(before, after, strict=True):
        assert (new["id"], new["url"], new["segments"][0]) == (old["id"], old["url"], old["segments"][0])
        assert new["alt_text"] == text_of(old).strip()
        assert new["visual_caption"] == f"a picture of {len(old['segments'][0]['image'])} bytes"
        assert new["fused_caption"] == f"merged: {new['alt_text']}"
        assert text_of(new) == f" {new['fused_caption']}\n"
        about = [new[name] for name in ("captioner", "captioner_prompt", "fuser", "fuser_prompt", "mm1_version")]
        assert about == ["eyes-2", CAPTION, "hands-2", FUSION, __version__]
        assert (new["chosen"], new["failed"]) == ("fused_caption", None)
    record = json.loads((tmp_path / "out" / "recaption.json").read_text())
    assert (record["counts"]["in"], record["fuser"]["prompt"], record["captioner"]["name"]) == (17, FUSION, "eyes")


def test_prepare_reads_what_comes_out(source: Path, tmp_path: Path) -> None:
    run(source, tmp_path / "out", eyes(), share=1)
    for path in sorted((tmp_path / "out" / "recaptioned").iterdir()):
        found = list(FORMATS[recognise(path).format].read(path, ReadOptions()))
        assert len(found) == pq.read_metadata(path).num_rows
        assert all(document.segments[1].text.startswith(" a picture of") for document in found)
        assert all(isinstance(document.segments[1], Text) for document in found)


def test_a_share_of_the_documents_is_trained_on_the_synthetic_caption(tmp_path: Path) -> None:
    source, asked = write_set(tmp_path / "set", 200), eyes()
    chosen: dict[float, set[str]] = {}
    for share in (0, 0.3, 0.5, 1):
        run(source, tmp_path / "out", asked, share=share)
        found = rows(tmp_path / "out")
        for row in found:
            assert text_of(row) == f" {row[row['chosen']]}\n"
        chosen[share] = {row["id"] for row in found if row["chosen"] == "visual_caption"}
    assert (len(chosen[0]), len(chosen[1])) == (0, 200)
    assert chosen[0.3] < chosen[0.5]  # the choice is the document's, not the run's
    assert 40 < len(chosen[0.3]) < 80
    assert 75 < len(chosen[0.5]) < 125
    assert len(asked.asked) == 200  # and no share is asked for again


def test_what_fails_is_counted_and_keeps_its_own_text(source: Path, tmp_path: Path) -> None:
    failures: dict[str, Any] = {
        "number 1 ": NoAnswer("HTTP 500"), "number 2 ": Answer("cut", "h", "length"), "number 3 ": "I'm sorry, no",
        "number 4 ": "???", "number 5 ": "word " * 99,
    }  # fmt: skip
    hand = Script(lambda q: next((said for words, said in failures.items() if words in q.text), "merged"), "hands")
    done = run(source, tmp_path / "out", eyes(), hand, share=1)
    reasons = {"http_500": 2, "cut_short": 2, "refused": 2, "no_words": 2, "too_many_words": 1}
    assert done.failed == {f"fuser_{name}": number for name, number in reasons.items()}
    assert done.chosen == {"alt_text": 9, "fused_caption": 8}
    for row in rows(tmp_path / "out"):
        assert (row["failed"] is None) == (row["chosen"] == "fused_caption")
        assert row["visual_caption"] is not None
        if row["failed"]:
            assert row["fused_caption"] is None
            assert text_of(row) == f" {row['alt_text']}\n"


def test_pictures_without_words_need_no_fuser_and_without_captions_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    with DocumentWriter(tmp_path / "set" / "a.parquet") as writer:
        for name, seed in (("good", 1), ("bad", 2)):
            writer.write(name, "", [PictureSegment(picture(seed))])
        writer.write("page", "", ["words alone"])
    hand = hands()
    eye = Script(lambda q: "a thing" if q.picture == picture(1) else NoAnswer("empty"))
    done = run(tmp_path / "set", tmp_path / "out", eye, hand, share=0)
    assert done.to_json() == {
        "in": 3, "out": 1, "chosen": {"visual_caption": 1}, "failed": {},
        "dropped": {"captioner_empty": 1, "not_one_picture": 1},
    }  # fmt: skip
    assert hand.asked == []
    assert [text_of(row) for row in rows(tmp_path / "out")] == [" a thing\n"]


def test_nothing_is_asked_twice_and_changes_ask_only_what_is_new(source: Path, tmp_path: Path) -> None:
    eye, hand, out = eyes(), hands(), tmp_path / "out"
    run(source, out, eye, hand)
    before = {path.name: path.read_bytes() for path in (out / "recaptioned").iterdir()}
    run(source, out, eye, hand)
    run(source, out, eye, hand, chunk=2, share=0.9)
    run(source, out, eye, hand)
    assert (len(eye.asked), len(hand.asked)) == (17, 17)
    assert {path.name: path.read_bytes() for path in (out / "recaptioned").iterdir()} == before
    run(source, out, eye, hand, prompts=Prompts(fusion="Join {caption} and <page>{alt_text}</page>"))
    assert (len(eye.asked), len(hand.asked)) == (17, 34)
    run(source, out, Script(eye.says, "other eyes"), hand)
    assert len(eye.asked) == 17
    assert {row["captioner"] for row in rows(out)} == {"other eyes-2"}


def test_one_picture_under_two_texts_is_described_once(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    with DocumentWriter(tmp_path / "set" / "a.parquet") as writer:
        for number in range(4):
            writer.write(str(number), "", [PictureSegment(picture(1)), f"text {number // 2}"])
    eye, hand = eyes(), hands()
    assert run(tmp_path / "set", tmp_path / "out", eye, hand, chunk=3).entered == 4
    assert (len(eye.asked), len(hand.asked)) == (1, 2)


def test_what_failed_is_asked_again_only_when_told(source: Path, tmp_path: Path) -> None:
    broken = Script(lambda q: NoAnswer("HTTP 500") if len(broken.asked) <= 3 else "fine", "eyes")
    assert run(source, tmp_path / "out", broken).failed == {"captioner_http_500": 3}
    run(source, tmp_path / "out", broken)
    assert len(broken.asked) == 17
    assert run(source, tmp_path / "out", broken, again=True).failed == {}
    assert len(broken.asked) == 20


def test_a_model_that_nobody_hears_ends_the_run_and_loses_nothing(source: Path, tmp_path: Path) -> None:
    gone = Script(lambda q: "fine" if len(gone.asked) <= 4 else NoAnswer("not reached", "refused", hopeless=True))
    with pytest.raises(UserError, match=r"script answers nothing any more \(not reached: refused\)"):
        run(source, tmp_path / "out", gone)
    assert len(gone.asked) == 14
    back = Script(lambda q: "fine")
    assert run(source, tmp_path / "out", back).failed == {}
    assert len(back.asked) == 13


def test_a_folder_of_something_else_is_not_written_into(source: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "recaptioned").mkdir(parents=True)
    (tmp_path / "out" / "recaptioned" / "mine.parquet").write_text("mine")
    with pytest.raises(UserError, match="give another --out"):
        run(source, tmp_path / "out", eyes())
    (tmp_path / "out" / "recaption.json").write_text("[")
    with pytest.raises(UserError, match="is damaged"):
        run(source, tmp_path / "out", eyes())


def test_files_that_went_from_the_source_go_from_the_set(source: Path, tmp_path: Path) -> None:
    run(source, tmp_path / "out", eyes())
    (source / "part-1.parquet").unlink()
    assert run(source, tmp_path / "out", eyes()).entered == 12
    assert [path.name for path in (tmp_path / "out" / "recaptioned").iterdir()] == ["part-0.parquet"]


def test_a_server_that_misbehaves_in_every_way(source: Path, tmp_path: Path, server: ChatServer) -> None:
    bad: list[Any] = [500, b"<html>", "", "!!!", "word " * 300, b'{"choices": []}', Raw(body=b"x", seconds=9), 400]
    left = list(bad)

    def says(body: dict[str, Any]) -> Any:
        return left.pop(0) if sees_picture(body) and left else "a fine thing"

    server.says = says
    done = run(source, tmp_path / "out", address(server, timeout=0.4, at_once=1), address(server), share=1)
    assert done.failed == {
        "captioner_http_500": 1, "captioner_not_in_the_form_of_the_api": 2, "captioner_empty": 1,
        "captioner_no_words": 1, "captioner_too_many_words": 1, "captioner_timeout": 1, "captioner_http_400": 1,
    }  # fmt: skip
    assert done.chosen == {"alt_text": 8, "fused_caption": 9}
    assert sum(map(sees_picture, server.bodies)) == 17


def test_requests_carry_the_visible_prompt_and_a_picture_no_larger_than_allowed(
    source: Path, tmp_path: Path, server: ChatServer
) -> None:
    server.says = lambda body: "seen" if sees_picture(body) else "merged"
    prompts = Prompts(caption="What is it?", fusion="{caption} + {alt_text}")
    run(source, tmp_path / "out", address(server, max_side=64), address(server), prompts=prompts, share=1)
    for body in filter(sees_picture, server.bodies):
        shown, asked = body["messages"][0]["content"]
        data = base64.b64decode(shown["image_url"]["url"].removeprefix("data:image/jpeg;base64,"))
        assert Image.open(io.BytesIO(data)).size == (64, 48)
        assert asked == {"type": "text", "text": "What is it?"}
    merged = {question_of(body) for body in server.bodies if not sees_picture(body)}
    assert merged == {f"seen + {row['alt_text']}" for row in rows(tmp_path / "out")}
    assert {row["fuser_prompt"] for row in rows(tmp_path / "out")} == {"{caption} + {alt_text}"}


def test_a_picture_that_can_not_be_read_is_never_sent(tmp_path: Path, server: ChatServer) -> None:
    (tmp_path / "set").mkdir()
    with DocumentWriter(tmp_path / "set" / "a.parquet") as writer:
        writer.write("cut", "", [PictureSegment(picture(1)[:200]), "words"])
    assert run(tmp_path / "set", tmp_path / "out", address(server)).failed == {"captioner_image_corrupt": 1}
    assert server.bodies == []


PROGRAM = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from tests.curation.recaption.test_run import address, run
    class Server: address = sys.argv[3]
    run(Path(sys.argv[1]), Path(sys.argv[2]), address(Server, at_once=2), address(Server, at_once=2), chunk=5)
    """
)


def test_a_killed_run_goes_on_and_ends_as_if_nothing_had_been(source: Path, tmp_path: Path, server: ChatServer) -> None:
    def said(body: dict[str, Any]) -> str:
        return "seen" if sees_picture(body) else f"merged {question_of(body).split('<page>')[1][:30].split()}"

    answered = Counter[str]()
    reached: list[bool] = []
    lock = threading.Lock()

    def until_some(body: dict[str, Any]) -> str:
        with lock:
            enough = sum(answered.values()) >= 16
            if enough:
                reached.append(True)
            else:
                answered[json.dumps(body)] += 1
        time.sleep(20 * enough)
        return said(body)

    server.says = until_some
    command = [sys.executable, "-c", PROGRAM, str(source), str(tmp_path / "out"), server.address]
    with subprocess.Popen(command, cwd=Path(__file__).parents[3], env={**os.environ, "OMP_NUM_THREADS": "1"}) as one:
        while len(reached) < 2 and one.poll() is None:
            time.sleep(0.02)
        # Both threads wait for an answer, so all that came before are written down.
        one.send_signal(signal.SIGKILL)
    assert len(answered) == 16

    def counting(body: dict[str, Any]) -> str:
        with lock:
            answered[json.dumps(body)] += 1
        return said(body)

    server.says = counting
    with next((tmp_path / "out" / "answers").glob("part-0.jsonl")).open("a") as file:
        file.write('{"asked": "torn')
    assert run(source, tmp_path / "out", address(server), address(server), chunk=5).entered == 17
    run(source, tmp_path / "out", address(server), address(server), chunk=5, share=0.9)
    assert set(answered.values()) == {1}
    run(source, tmp_path / "out", address(server), address(server), chunk=5)
    run(source, tmp_path / "whole", address(server), address(server), chunk=5)
    for path in (tmp_path / "whole" / "recaptioned").iterdir():
        assert path.read_bytes() == (tmp_path / "out" / "recaptioned" / path.name).read_bytes()


def test_progress_is_told(source: Path, tmp_path: Path) -> None:
    told: list[tuple[int, ...]] = []
    recaption(
        [source], tmp_path / "out", eyes(), None, RecaptionConfig(chunk=6), Prompts(),
        progress=lambda *now: told.append(now),
    )  # fmt: skip
    assert told == [(0, 2, 6, 6), (0, 2, 12, 12), (1, 2, 12, 12), (1, 2, 17, 17), (2, 2, 17, 17)]


def test_a_question_without_words_shows_the_picture_alone(source: Path, tmp_path: Path) -> None:
    eye = eyes()
    run(source, tmp_path / "out", eye, prompts=Prompts(caption=""))
    assert eye.asked[0] == Question("", picture(0, 80, 60))
    assert {row["captioner_prompt"] for row in rows(tmp_path / "out")} == {""}

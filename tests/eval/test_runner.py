"""The runner with scripted models whose scores are known beforehand."""

import hashlib
import json
import random
import statistics
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mm1.config import UserError
from mm1.distributed.mesh import World
from mm1.eval.episodes import Episode, Unaskable, digest_of
from mm1.eval.model import PromptTooLong
from mm1.eval.results import Result, by_task, read_results
from mm1.eval.runner import evaluate
from mm1.eval.tasks import Task, exact_match
from mm1.files import write_atomically
from mm1.types import Document, Image, Segment, Text

NAMES = ("dax", "wug")


def binding(number: int) -> Episode:
    """A made-up word for each of two pictures, which only the shots explain.

    Four consecutive numbers take every pairing of word and asked picture once, so that over 200 of them a model that
    always says one word is right in exactly half: chance is by design, not by the luck of a draw.
    """
    rng = random.Random(number)
    names = dict(zip((b"circle", b"square"), NAMES[:: 1 if number % 2 else -1], strict=True))
    shown = [*names, *rng.choices(list(names), k=2)]
    shots = tuple((Image(b"\x89PNG %d %d " % (number, i) + s), Text(f" {names[s]}\n")) for i, s in enumerate(shown))
    asked = list(names)[number // 2 % 2]
    return Episode(
        id=f"e{number}",
        query=(Image(b"\x89PNG %d q " % number + asked), Text("")),
        references=(names[asked],),
        kind=asked.decode(),
        header=(Text("names:\n"),),
        shots=shots,
        candidates=tuple(f" {name}" for name in NAMES),
        chance=0.5,
    )


FILES = ("binding-4shot.json", "blind/binding-4shot.json")
EPISODES = tuple(binding(number) for number in range(200))


class ReadsTheShots:
    """Answers with the word that follows a picture of the same shape; without one it says its favourite word."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def generate(self, documents: Sequence[Document], max_new_tokens: int, stop: tuple[str, ...]) -> list[str]:
        self.calls.append(len(documents))
        return [f" {self.answer(document)}\nand so on" for document in documents]

    def loglikelihood(self, pairs: Sequence[tuple[Document, str]]) -> list[float]:
        self.calls.append(len(pairs))
        return [-1.0 if continuation.strip() == self.answer(document) else -2.0 for document, continuation in pairs]

    def answer(self, document: Document) -> str:
        *before, query = (shape(s) for s in document.segments if isinstance(s, Image))
        words = [s.text.strip() for s in document.segments if isinstance(s, Text) and s.text.strip() in NAMES]
        return dict(zip(before, words, strict=True)).get(query, "dax")


class IgnoresImages(ReadsTheShots):
    """Says whatever the last shot said."""

    def answer(self, document: Document) -> str:
        return next((s.text.strip() for s in document.segments[::-1] if isinstance(s, Text) and s.text.strip()), "")


def shape(image: Image) -> bytes:
    return image.data.rpartition(b" ")[2]


def task(**changes: Any) -> Task:
    return Task(**{"name": "binding", "episodes": EPISODES, "metric": exact_match, "max_new_tokens": 4, **changes})


@pytest.mark.parametrize("mode", ["generate", "choose"])
def test_a_model_that_reads_the_shots_is_right_with_them_and_at_chance_without(tmp_path: Path, mode: str) -> None:
    zero, four = evaluate(ReadsTheShots(), [task(mode=mode)], [0, 4], tmp_path)
    assert four.score == 1
    assert zero.score == zero.chance == 0.5
    (blind,) = evaluate(ReadsTheShots(), [task(mode=mode)], [4], tmp_path, blind=True)
    # The exchange is random: four standard errors of 200 coin tosses around chance.
    assert abs(blind.score - 0.5) < 4 * 0.5 / 200**0.5


@pytest.mark.parametrize("mode", ["generate", "choose"])
def test_a_model_that_ignores_images_scores_the_same_blind(tmp_path: Path, mode: str) -> None:
    seeing = evaluate(IgnoresImages(), [task(mode=mode)], [2, 4], tmp_path)
    blind = evaluate(IgnoresImages(), [task(mode=mode)], [2, 4], tmp_path, blind=True)
    for a, b in zip(seeing, blind, strict=True):
        assert (a.score, a.low, a.high, a.by_kind) == (b.score, b.low, b.high, b.by_kind)
        assert b.blind
    for cells in by_task([*seeing, *blind]).values():
        assert all(cell["blind"] == cell["score"] for cell in cells.values())
    assert by_task(read_results(tmp_path)) == by_task([*seeing, *blind])
    assert [json.loads((tmp_path / name).read_text())["blind"] for name in FILES] == [False, True]


def test_the_result_file_holds_the_result_and_its_kinds(tmp_path: Path) -> None:
    (result,) = evaluate(IgnoresImages(), [task()], [2], tmp_path, seed=3, model_name="tiny")
    written = json.loads((tmp_path / "binding-2shot.json").read_text())
    lines = [json.loads(line) for line in (tmp_path / "binding-2shot.samples.jsonl").read_text().splitlines()]
    assert written["score"] == result.score == sum(line["score"] for line in lines) / 200
    assert written["low"] <= written["score"] <= written["high"]
    assert {key: written[key] for key in ("task", "shots", "n", "chance", "metric", "mode", "seed", "model")} == {
        "task": "binding", "shots": 2, "n": 200, "chance": 0.5, "metric": "exact_match", "mode": "generate",
        "seed": 3, "model": "tiny",
    }  # fmt: skip
    for kind in ("circle", "square"):
        scores = [line["score"] for line in lines if line["kind"] == kind]
        assert written["by_kind"][kind] == {"score": sum(scores) / len(scores), "n": len(scores), "chance": 0.5}
    assert sum(kind["n"] for kind in written["by_kind"].values()) == 200


def test_a_sample_tells_all_that_was_asked_and_answered(tmp_path: Path) -> None:
    evaluate(ReadsTheShots(), [task()], [1], tmp_path, pictured=2)
    first, second, third, *_ = (tmp_path / "binding-1shot.samples.jsonl").read_text().splitlines()
    sample, episode = json.loads(first), EPISODES[0]
    word = episode.shots[0][1]
    assert isinstance(word, Text)
    assert sample["prompt"] == f"names:\n‹image 0›{word.text}‹image 1›"
    assert sample["output"] == f" {sample['answer']}\nand so on"
    assert sample["references"] == list(episode.references)
    assert sample["shots"] == 1
    assert [(tmp_path / name).read_bytes() for name in sample["images"]] == [
        image.data for image in (*_images(episode.shots[0]), *_images(episode.query))
    ]
    assert all(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() in name for name in sample["images"])
    assert all(name.endswith(".png") for name in sample["images"])
    assert len(json.loads(second)["images"]) == 2
    assert json.loads(third)["images"] == []
    assert len(json.loads(third)["image_sha256"]) == 2
    assert len(list((tmp_path / "images").iterdir())) == 4


def _images(segments: tuple[Segment, ...]) -> list[Image]:
    return [segment for segment in segments if isinstance(segment, Image)]


def test_a_finished_result_is_read_back_and_an_interrupted_evaluation_goes_on(tmp_path: Path) -> None:
    class Dies(ReadsTheShots):
        def generate(self, documents: Sequence[Document], max_new_tokens: int, stop: tuple[str, ...]) -> list[str]:
            if len(self.calls) == 2:
                raise KeyboardInterrupt
            return super().generate(documents, max_new_tokens, stop)

    with pytest.raises(KeyboardInterrupt):
        evaluate(Dies(), [task()], [0, 2], tmp_path, chunk=150)
    assert (tmp_path / "binding-0shot.json").exists()
    assert not (tmp_path / "binding-2shot.json").exists()

    model = ReadsTheShots()
    resumed = evaluate(model, [task()], [0, 2], tmp_path, chunk=150)
    assert model.calls == [150, 50], "only the second result was missing"
    assert evaluate(model, [task()], [0, 2], tmp_path, chunk=150) == resumed
    assert model.calls == [150, 50]

    whole = evaluate(ReadsTheShots(), [task()], [0, 2], tmp_path / "other")
    assert [replace(r, seconds=0) for r in whole] == [replace(r, seconds=0) for r in resumed]
    samples = [folder / "binding-2shot.samples.jsonl" for folder in (tmp_path, tmp_path / "other")]
    assert samples[0].read_bytes() == samples[1].read_bytes()


DAMAGES = {
    "empty": "",
    "cut": '{"task": ',
    "a list": "[1]",
    "of another version": '{"fingerprint": null}',
    "zeros": "\0" * 40,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_result_is_made_anew(tmp_path: Path, damage: str) -> None:
    (whole,) = evaluate(ReadsTheShots(), [task()], [1], tmp_path)
    (tmp_path / "binding-1shot.json").write_text(damage)
    model = ReadsTheShots()
    (again,) = evaluate(model, [task()], [1], tmp_path)
    assert replace(again, seconds=0) == replace(whole, seconds=0)
    assert model.calls
    assert json.loads((tmp_path / "binding-1shot.json").read_text())["score"] == whole.score


@pytest.mark.parametrize(
    ("changes", "arguments"),
    [
        ({"max_new_tokens": 5}, {}),
        ({"mode": "choose"}, {}),
        ({"stop": ("\n", ".")}, {}),
        ({"episodes": (replace(EPISODES[0], references=("zup",)), *EPISODES[1:])}, {}),
        ({"episodes": (replace(EPISODES[0], query=(Image(b"other circle"), Text(""))), *EPISODES[1:])}, {}),
        ({}, {"seed": 1}),
        ({}, {"model_name": "another"}),
    ],
)
def test_a_result_of_another_question_is_not_taken_for_this_one(
    tmp_path: Path, changes: dict[str, Any], arguments: dict[str, Any]
) -> None:
    evaluate(ReadsTheShots(), [task()], [1], tmp_path)
    model = ReadsTheShots()
    evaluate(model, [task(**changes)], [1], tmp_path, **arguments)
    assert model.calls


@pytest.mark.parametrize("shots", [0, 2])
def test_other_scoring_code_scores_what_was_said_and_asks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shots: int
) -> None:
    drawn = Drawn(name="drawn", episodes=EPISODES, metric=exact_match, seeds=(3, 5), missing={"no answer": 2})
    (before,) = evaluate(Forgetful(2), [drawn], [shots], tmp_path)
    samples = (tmp_path / f"drawn-{shots}shot.samples.jsonl").read_text()
    monkeypatch.setattr("mm1.eval.runner.scoring_version", lambda: "another")
    monkeypatch.setattr(Task, "extract", lambda task, output: "dax")  # which is what the other code does
    model = ReadsTheShots()
    (after,) = evaluate(model, [drawn], [shots], tmp_path)
    assert not model.calls
    assert (after.asked, after.n, after.missing) == (before.asked, 199, {"no answer": 2, "missing image": 1})
    assert after.fingerprint != before.fingerprint
    assert after.score == statistics.fmean(e.references == ("dax",) for e in EPISODES if e.id != "e7")
    again = [json.loads(line) for line in (tmp_path / f"drawn-{shots}shot.samples.jsonl").read_text().splitlines()]
    scored_anew = ("answer", "score")
    assert [{**line, **dict.fromkeys(scored_anew)} for line in again] == [
        {**json.loads(line), **dict.fromkeys(scored_anew)} for line in samples.splitlines()
    ]
    assert {line["answer"] for line in again} == {"dax"}
    assert evaluate(model, [drawn], [shots], tmp_path) == [after]


def test_samples_that_are_not_whole_are_asked_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "binding-1shot.samples.jsonl"
    spoilt: list[Callable[[str], str]] = [
        lambda text: text[: len(text) // 2],
        lambda text: "".join(text.splitlines(keepends=True)[:-1]),
        lambda text: text.replace('"id": "e3"', '"id": "other"'),
        lambda text: text + text.splitlines()[0],
    ]
    for number, spoil in enumerate(spoilt):
        evaluate(ReadsTheShots(), [task()], [1], tmp_path)
        path.write_text(spoil(path.read_text()))
        monkeypatch.setattr("mm1.eval.runner.scoring_version", lambda number=number: f"another {number}")
        model = ReadsTheShots()
        (result,) = evaluate(model, [task()], [1], tmp_path)
        assert model.calls
        assert result.n == 200


def test_code_that_puts_or_answers_questions_otherwise_asks_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate(ReadsTheShots(), [task()], [1], tmp_path)
    monkeypatch.setattr("mm1.eval.runner.answering_version", lambda: "another")
    model = ReadsTheShots()
    evaluate(model, [task()], [1], tmp_path)
    assert model.calls


def test_a_result_never_stands_beside_anothers_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate(ReadsTheShots(), [task()], [1], tmp_path, model_name="first")

    def killed(path: Path, data: bytes) -> None:
        if path.suffix == ".json":
            raise KeyboardInterrupt
        write_atomically(path, data)

    monkeypatch.setattr("mm1.eval.results.write_atomically", killed)
    with pytest.raises(KeyboardInterrupt):
        evaluate(IgnoresImages(), [task()], [1], tmp_path, model_name="second")
    assert not (tmp_path / "binding-1shot.json").exists()


def test_progress_tells_task_shots_and_counts(tmp_path: Path) -> None:
    told: list[tuple[str, int, int, int]] = []
    evaluate(ReadsTheShots(), [task()], [0, 1], tmp_path, chunk=120, progress=lambda *step: told.append(step))
    assert told == [("binding", k, done, 200) for k in (0, 1) for done in (120, 200)]
    told.clear()
    evaluate(ReadsTheShots(), [task()], [1], tmp_path, blind=True, progress=lambda *step: told.append(step))
    assert {title for title, *_ in told} == {"binding, blind"}


def test_ties_do_not_favour_a_place_in_the_list(tmp_path: Path) -> None:
    class Undecided(ReadsTheShots):
        def loglikelihood(self, pairs: Sequence[tuple[Document, str]]) -> list[float]:
            return [-1.0] * len(pairs)

    chosen = []
    for order in (1, -1):
        episodes = tuple(replace(e, candidates=e.candidates[::order]) for e in EPISODES)
        evaluate(Undecided(), [task(mode="choose", episodes=episodes)], [0], tmp_path)
        lines = (tmp_path / "binding-0shot.samples.jsonl").read_text().splitlines()
        chosen.append([json.loads(line)["answer"] for line in lines])
    assert chosen[0] == chosen[1]
    assert set(chosen[0]) == set(NAMES), "nor one answer over all questions"


@pytest.mark.parametrize(("normalised", "score"), [(False, 0.0), (True, 1.0)])
def test_length_normalisation_compares_per_byte(tmp_path: Path, normalised: bool, score: float) -> None:
    class PerByte(ReadsTheShots):
        def loglikelihood(self, pairs: Sequence[tuple[Document, str]]) -> list[float]:
            return [-len(c.encode()) * (0.7 if "é" in c else 1.0) for _, c in pairs]

    episodes = (replace(EPISODES[0], candidates=(" ééé", " b"), references=("ééé",)),)
    tasks = [task(mode="choose", episodes=episodes, length_normalised=normalised)]
    assert evaluate(PerByte(), tasks, [0], tmp_path)[0].score == score


def test_user_errors_come_before_the_first_question(tmp_path: Path) -> None:
    model = ReadsTheShots()
    with pytest.raises(UserError, match="'e0' has 4 shots, 5 were asked for"):
        evaluate(model, [task()], [0, 5], tmp_path)
    with pytest.raises(UserError, match="different names"):
        evaluate(model, [task(), task()], [0], tmp_path)
    text = tuple(replace(e, query=(Text("?" + e.id),), shots=()) for e in EPISODES)
    with pytest.raises(UserError, match="0 of 200 have any"):
        evaluate(model, [task(episodes=text)], [0], tmp_path, blind=True)
    assert not model.calls


def test_a_model_that_loses_answers_or_counts_nan_is_caught(tmp_path: Path) -> None:
    class Loses(ReadsTheShots):
        def generate(self, documents: Sequence[Document], max_new_tokens: int, stop: tuple[str, ...]) -> list[str]:
            return ["dax"] * (len(documents) - 1)

        def loglikelihood(self, pairs: Sequence[tuple[Document, str]]) -> list[float]:
            return [float("nan")] * len(pairs)

    with pytest.raises(AssertionError, match="63 answers to 64"):
        evaluate(Loses(), [task()], [0], tmp_path)
    with pytest.raises(AssertionError, match="NaN in episode 'e0'"):
        evaluate(Loses(), [task(mode="choose")], [0], tmp_path)


class Forgetful(ReadsTheShots):
    """Has room for so many pictures."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    def generate(self, documents: Sequence[Document], max_new_tokens: int, stop: tuple[str, ...]) -> list[str]:
        if too_long := {d.id: len(d.images) for d in documents if len(d.images) > self.room}:
            raise PromptTooLong(too_long, self.room)
        return super().generate(documents, max_new_tokens, stop)


def test_a_prompt_that_does_not_fit_loses_its_oldest_shots_and_is_counted(tmp_path: Path) -> None:
    (result,) = evaluate(Forgetful(3), [task()], [4], tmp_path)
    assert (result.n, result.missing, result.shortened) == (200, {}, 200)
    line = json.loads((tmp_path / "binding-4shot.samples.jsonl").read_text().splitlines()[0])
    assert (line["shots"], line["examples"], line["dropped_shots"]) == (4, 2, 2)
    kept = [*EPISODES[0].shots[2], *EPISODES[0].shots[3], *EPISODES[0].query]
    assert line["image_sha256"] == [digest_of(part) for part in kept if isinstance(part, Image)]
    assert by_task([result])["binding"]["4"]["shortened"] == 200


def test_a_question_that_does_not_fit_at_all_is_missing_and_the_others_are_scored(tmp_path: Path) -> None:
    wide = replace(EPISODES[0], query=(*EPISODES[0].query, Image(b"\x89PNG another circle")))
    (result,) = evaluate(Forgetful(1), [task(episodes=(wide, *EPISODES[1:]))], [2], tmp_path)
    assert (result.n, result.missing, result.shortened) == (199, {"prompt too long": 1}, 199)
    assert by_task([result])["binding"]["2"]["missing"] == 1
    with pytest.raises(UserError, match=r"no question of task 'binding' .*200 with 'prompt too long'"):
        evaluate(Forgetful(0), [task()], [2], tmp_path)


class Drawn(Task):
    """Draws other shots for every seed; one of its pictures is gone."""

    def episode(self, number: int, shots: int, seed: int) -> Episode:
        if number == 7:
            raise Unaskable("missing image")
        episode = self.episodes[number]
        return replace(episode, shots=tuple(random.Random(f"{seed}/{episode.id}").sample(episode.shots, shots)))


def test_seeds_draw_other_shots_and_their_scores_are_told_apart(tmp_path: Path) -> None:
    drawn = Drawn(name="drawn", episodes=EPISODES, metric=exact_match, seeds=(3, 5, 6), missing={"no answer": 2})
    zero, one = evaluate(ReadsTheShots(), [drawn], [0, 1], tmp_path)
    assert (zero.by_seed, zero.deviation) == ({"3": zero.score}, None), "without shots there is nothing to draw"
    assert list(one.by_seed) == ["3", "5", "6"]
    assert one.score == pytest.approx(statistics.fmean(one.by_seed.values()))
    assert one.deviation == pytest.approx(statistics.stdev(one.by_seed.values()))
    assert one.deviation
    assert (one.n, one.missing) == (199, {"no answer": 2, "missing image": 1})
    lines = [json.loads(line) for line in (tmp_path / "drawn-1shot.samples.jsonl").read_text().splitlines()]
    assert [line["seed"] for line in lines] == [3] * 199 + [5] * 199 + [6] * 199
    assert [line["id"] for line in lines[:199]] == [line["id"] for line in lines[-199:]]


def test_a_killed_evaluation_goes_on_from_its_answers(tmp_path: Path) -> None:
    class Dies(ReadsTheShots):
        def generate(self, documents: Sequence[Document], max_new_tokens: int, stop: tuple[str, ...]) -> list[str]:
            if len(self.calls) == 2:
                raise KeyboardInterrupt
            return super().generate(documents, max_new_tokens, stop)

    with pytest.raises(KeyboardInterrupt):
        evaluate(Dies(), [task()], [2], tmp_path, chunk=70)
    (journal,) = tmp_path.glob(".asked/*/*.jsonl")
    with journal.open("a") as file:
        file.write('{"number": 199, "see')  # torn
    model = ReadsTheShots()
    told: list[int] = []
    evaluate(model, [task()], [2], tmp_path, chunk=70, progress=lambda *step: told.append(step[2]))
    assert model.calls == [60], "two chunks of 70 were answered before"
    assert told == [200]
    assert not (tmp_path / ".asked").exists()


def test_processes_share_the_work_and_write_what_one_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads for processes, which share nothing but the folder."""
    meeting = threading.Barrier(2, timeout=30)
    for module in ("asking", "runner"):
        monkeypatch.setattr(f"mm1.eval.{module}.wait_for_all", meeting.wait)
    models = Asked(), Asked()

    def run(rank: int) -> list[Result]:
        world = World(rank=rank, size=2)
        return evaluate(models[rank], [task()], [0, 2], tmp_path / "two", chunk=30, world=world)

    with ThreadPoolExecutor() as pool:
        first, second = pool.map(run, (0, 1))
    monkeypatch.undo()
    one = evaluate(ReadsTheShots(), [task()], [0, 2], tmp_path / "one", chunk=30)
    for results in (first, second):
        assert [replace(result, seconds=0) for result in results] == [replace(result, seconds=0) for result in one]
    assert not models[0].ids & models[1].ids
    assert len(models[0].ids) == 110, "every second chunk of thirty: 0, 2, 4, and the rest of 20"
    samples = [tmp_path / folder / "binding-2shot.samples.jsonl" for folder in ("one", "two")]
    assert samples[0].read_bytes() == samples[1].read_bytes()


class Asked(ReadsTheShots):
    """Remembers whom it answered."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()

    def generate(self, documents: Sequence[Document], max_new_tokens: int, stop: tuple[str, ...]) -> list[str]:
        self.ids |= {document.id for document in documents}
        return super().generate(documents, max_new_tokens, stop)


def test_a_result_for_less_room_is_not_taken_for_one_with_more(tmp_path: Path) -> None:
    (short,) = evaluate(Forgetful(3), [task()], [4], tmp_path, max_len=3)
    (whole,) = evaluate(Forgetful(9), [task()], [4], tmp_path, max_len=9)
    assert (short.shortened, whole.shortened) == (200, 0)
    assert whole.conditions == {"max_len": 9}


def test_a_blind_question_shows_the_others_question_when_shots_are_dropped(tmp_path: Path) -> None:
    evaluate(Forgetful(3), [task()], [4], tmp_path, blind=True)
    for line in map(json.loads, (tmp_path / "blind/binding-4shot.samples.jsonl").read_text().splitlines()):
        assert line["image_sha256"][-1] in QUERIES, "a shot of the other episode stands where its question should"


QUERIES = {digest_of(part) for episode in EPISODES for part in episode.query if isinstance(part, Image)}


def test_of_two_evaluations_at_once_one_answer_counts(tmp_path: Path) -> None:
    class AlsoAskedElsewhere(ReadsTheShots):
        def generate(self, documents: Sequence[Document], max_new_tokens: int, stop: tuple[str, ...]) -> list[str]:
            for path in list(tmp_path.glob(".asked/*/*.jsonl")):
                path.with_name(f"copy-{len(self.calls)}.jsonl").write_bytes(path.read_bytes())
            return super().generate(documents, max_new_tokens, stop)

    (result,) = evaluate(AlsoAskedElsewhere(), [task()], [2], tmp_path, chunk=70)
    assert (result.n, result.score) == (200, 1.0)

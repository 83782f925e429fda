"""Every benchmark from files in its authors' format, asked of a model that can only look at its examples."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mm1.config import UserError
from mm1.distributed.mesh import World
from mm1.eval.instruct.catalog import BENCHMARKS as CHATS
from mm1.eval.official.catalog import BENCHMARKS, NAMES, FewShotConfig, build_tasks
from mm1.eval.official.features import pool_features
from mm1.eval.official.selection import Nearest
from mm1.eval.results import Result
from mm1.eval.runner import evaluate
from mm1.eval.tasks import Task
from mm1.types import Document, Image, Text
from tests.eval.official.benchmarks import EACH, WORDS, WRITERS, picture, word, write
from tests.eval.official.looking import Looks, features


def task(name: str, folder: Path, **settings: Any) -> Task:
    def nearest(name: str, pool: Any, pictures: Any) -> Nearest:
        known = pool_features(pool, pictures, features, folder / ".features", "looks", World())
        return Nearest(pool, pictures, features, known)

    (built,) = build_tasks([(name, folder)], FewShotConfig(**settings), nearest)
    return built


def right(folder: Path, result: Result) -> float:
    """The share of answers that are one of the references."""
    lines = (folder / f"{result.task}-{result.shots}shot.samples.jsonl").read_text().splitlines()
    samples = [json.loads(line) for line in lines]
    return sum(sample["answer"] in {r.strip() for r in sample["references"]} for sample in samples) / len(samples)


def test_every_benchmark_is_written_here() -> None:
    assert set(WRITERS) | set(CHATS) == set(NAMES)


@pytest.mark.parametrize("name", list(BENCHMARKS))
def test_a_model_that_looks_at_the_shots_is_right_with_them_and_at_chance_without(tmp_path: Path, name: str) -> None:
    asked = task(name, write(name, tmp_path / "data"), selection="nearest")
    assert len(asked.episodes) == 2 * EACH
    zero, one, two = evaluate(Looks(), [asked], [0, 1, 2], tmp_path / "out")
    lines = (tmp_path / "out" / f"{asked.name}-2shot.samples.jsonl").read_text().splitlines()
    for sample in map(json.loads, lines):
        assert len(set(sample["shot_ids"])) == 2
        assert sample["id"] not in sample["shot_ids"]
    shares = [right(tmp_path / "out", result) for result in (zero, one, two)]
    assert shares == [0.5, 1.0, 1.0]
    assert zero.missing == one.missing == {}
    if asked.metric.__name__ != "cider":
        assert (zero.score, two.score) == (0.5, 1.0)


@pytest.mark.parametrize("ways", [2, 5])
def test_omniglot_episodes_teach_words_that_only_the_drawings_tell(tmp_path: Path, ways: int) -> None:
    asked = task("omniglot", write("omniglot", tmp_path / "data"), ways=ways, num_questions=40, seeds=(0, 1))
    model = Looks()
    zero, two = evaluate(model, [asked], [0, 2], tmp_path / "out")
    assert two.score == 1.0
    assert two.by_seed == {"0": 1.0, "1": 1.0}
    assert zero.chance == pytest.approx(1 / ways)
    assert zero.score < 0.8
    with_shots = [document for document in model.seen if len(document.images) > 1]
    assert {len(document.images) for document in with_shots} == {2 * ways + 1}
    shown = {image.data for image in model.seen[-1].images}
    (blind,) = evaluate(model, [asked], [2], tmp_path / "out", blind=True)
    assert blind.score < 0.8
    assert len({image.data for image in model.seen[-1].images}) == len(shown), "the pictures of a whole other episode"
    with pytest.raises(UserError, match=r"a class of 5 pictures, 5 a class"):
        asked.check_shots(5)


PROMPTS = {
    "coco_captions": ("A photo of dax\n", "A photo of"),
    "vqav2": ("Question: What is it? Short answer: dax\n", "Question: What is it? Short answer:"),
    "gqa": ("Question: What is it? Short answer: dax\n", "Question: What is it? Short answer:"),
    "classification": ("This is dax\n", "This is"),
    "multiple_choice": ("Question: What is it? Answer: dax\n", "Question: What is it? Answer:"),
}


@pytest.mark.parametrize("name", list(PROMPTS))
def test_the_prompt_is_each_examples_picture_and_text_then_the_questions(tmp_path: Path, name: str) -> None:
    asked = task(name, write(name, tmp_path), selection="same")
    model = Looks()
    evaluate(model, [asked], [2], tmp_path / "out")
    shot, query = PROMPTS[name]
    for document in model.seen:
        kinds = [type(segment) for segment in document.segments]
        assert kinds == [Image, Text] * 3
        *shots, last = (segment.text for segment in document.segments if isinstance(segment, Text))
        assert last == query
        # Each example's text tells the word of the picture just before it.
        assert [text.replace("wug", "dax") for text in shots] == [shot, shot]
        for image, text in zip(document.images, shots, strict=False):
            number = next(n for n in range(300) if image.data in {picture(n % 256, w) for w in WORDS})
            assert (word(number) + "\n") in text


def test_text_only_examples_have_no_pictures_and_another_name(tmp_path: Path) -> None:
    asked = task("vqav2", write("vqav2", tmp_path), text_only=True)
    model = Looks()
    (result,) = evaluate(model, [asked], [2], tmp_path / "out")
    assert result.task == "vqav2-text_only"
    assert result.conditions["text_only"] is True
    assert {len(document.images) for document in model.seen} == {1}
    *examples, picture_, _ = model.seen[0].segments
    assert [type(segment) for segment in (*examples, picture_)] == [Text, Text, Image]
    assert all(isinstance(part, Text) and "Short answer: " in part.text for part in examples)
    assert right(tmp_path / "out", result) == 0.5, "what the pictures were is not told"


def test_only_the_last_examples_are_cut_into_sub_images(tmp_path: Path) -> None:
    asked = task("vqav2", write("vqav2", tmp_path), last_in_sub_images=1)
    model = Looks()
    (result,) = evaluate(model, [asked], [3], tmp_path / "out")
    assert result.task == "vqav2-last1"
    assert all([image.whole for image in d.images] == [True, True, False, False] for d in model.seen)


class Reasons(Looks):
    """Thinks aloud."""

    def generate(self, documents: Sequence[Document], max_new_tokens: int, stop: tuple[str, ...]) -> list[str]:
        self.seen += documents
        return [f" The answer is not zib. So the answer is {self.answer(d)}.\n" for d in documents]


def test_chain_of_thought_shows_rationales_and_takes_the_last_answer(tmp_path: Path) -> None:
    asked = task("vqa_exact", write("vqa_exact", tmp_path), reasoning=True, selection="nearest")
    model = Reasons()
    zero, two = evaluate(model, [asked], [0, 2], tmp_path / "out")
    assert (zero.score, two.score) == (0.5, 1.0)
    shot = model.seen[-1].segments[1]
    assert isinstance(shot, Text)
    assert shot.text.startswith("Question: What is it? Let's think step by step. It is as it is. The answer is ")
    assert asked.max_new_tokens >= 200
    with pytest.raises(UserError, match="no question that could be reasoned about"):
        task("coco_captions", write("coco_captions", tmp_path / "coco"), reasoning=True)


def test_choices_are_told_where_they_are_reasoned_about(tmp_path: Path) -> None:
    asked = task("multiple_choice", write("multiple_choice", tmp_path), reasoning=True)
    assert asked.mode == "generate"
    text = asked.episode(0, 0, 0).query[1]
    assert isinstance(text, Text)
    assert text.text.startswith("Question: What is it? Choices: dax, wug. Let's")


def test_fixed_examples_stand_in_their_order_without_the_question_itself(tmp_path: Path) -> None:
    write("nocaps", tmp_path / "data")
    (tmp_path / "ids").write_text("3\n0\n5\n")
    asked = task("nocaps", tmp_path / "data", selection="fixed", fixed=tmp_path / "ids")
    for number in range(2 * EACH):
        shots = asked.episode(number, 2, seed=9).shots
        shown = [next(s.data for s in shot if isinstance(s, Image)) for shot in shots]
        expected = [n for n in (3, 0, 5) if n != number][:2]
        assert shown == [picture(n, word(n)) for n in expected]
    (tmp_path / "ids").write_text("3\n77\n")
    with pytest.raises(UserError, match=r"of 2 fixed examples 1 are not among the 8 .* '77' the first"):
        task("nocaps", tmp_path / "data", selection="fixed", fixed=tmp_path / "ids")
    with pytest.raises(UserError, match="give both or neither"):
        task("nocaps", tmp_path / "data", selection="fixed")


def test_a_limited_number_of_questions_is_the_same_every_time(tmp_path: Path) -> None:
    write("vqav2", tmp_path)
    some, again, all_ = (task("vqav2", tmp_path, num_questions=n) for n in (3, 3, None))
    assert [e.id for e in some.episodes] == [e.id for e in again.episodes]
    assert {e.id for e in some.episodes} < {e.id for e in all_.episodes}


def test_names_and_settings_that_do_not_go_together(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no benchmark is named 'vqa2': there are coco_captions, "):
        task("vqa2", tmp_path)
    with pytest.raises(UserError, match="is no folder"):
        task("vqav2", tmp_path / "nowhere")
    for wrong in ({"seeds": (0, 1, 0)}, {"seeds": ()}, {"last_in_sub_images": -1}):
        with pytest.raises(ValueError, match=r"different ones|at least 1|greater than or equal to 0"):
            FewShotConfig(**wrong)
    with pytest.raises(UserError, match="leave the other settings out"):
        task("omniglot", write("omniglot", tmp_path / "o"), text_only=True)
    with pytest.raises(UserError, match="8 rows that may be examples, 9 were asked for"):
        task("vqav2", write("vqav2", tmp_path / "v")).check_shots(9)


def test_the_record_holds_what_one_needs_to_ask_again(tmp_path: Path) -> None:
    asked = task("vqav2", write("vqav2", tmp_path), seeds=(0, 1))
    (result,) = evaluate(Looks(), [asked], [1], tmp_path / "out")
    told = json.loads((tmp_path / "out/vqav2-1shot.json").read_text())["conditions"]
    assert told["template"]["prompt"] == "Question: {question} Short answer:"
    assert set(told["files"]) == {
        f"v2_{kind}mscoco_{split}2014_{what}.json"
        for split in ("val", "train")
        for kind, what in (("OpenEnded_", "questions"), ("", "annotations"))
    }
    assert told["selection"] == "random"
    assert list(result.by_seed) == ["0", "1"]
    assert result.deviation is not None

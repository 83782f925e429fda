"""Every chat benchmark from files as published: who sees the pictures gets all, who does not gets what chance gives."""

import csv
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path

import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mm1.config import UserError
from mm1.eval.episodes import Unaskable
from mm1.eval.instruct.catalog import BENCHMARKS, instruct_task
from mm1.eval.instruct.questions import Question, put
from mm1.eval.official.catalog import FewShotConfig, build_tasks
from mm1.eval.results import Result
from mm1.eval.runner import evaluate
from mm1.eval.tasks import vqa_accuracy
from mm1.types import Document, Image, Text
from tests.eval.instruct.files import COLOURS, WRITERS
from tests.eval.official.benchmarks import write


class Looks:
    """Answers by the picture's colour, in whatever form the prompt asks for."""

    def generate(self, documents: Sequence[Document], max_new_tokens: int, stop: tuple[str, ...]) -> list[str]:
        return [f" {self.answer(document)}\n" for document in documents]

    def loglikelihood(self, pairs: Sequence[tuple[Document, str]]) -> list[float]:
        raise AssertionError("chat benchmarks generate")

    def answer(self, document: Document) -> str:
        text = "".join(part.text for part in document.segments if isinstance(part, Text))
        colour = self.colour(document)
        if asked := re.search(r"Is it (\w+)\?", text):
            return "Yes, it is." if asked[1] == colour else "No"
        if option := re.search(rf"^([A-D])\. {colour}$", text, re.MULTILINE):
            return f"{option[1]}. {colour}"
        if number := re.search(r"which, (\d)\?", text):
            letter = "AB"[COLOURS.index(colour)]
            return [f"The answer is ({letter})", f"({letter})", "So it is 4.0", "about 1.254 m"][int(number[1])]
        return f"It is {colour}"

    def colour(self, document: Document) -> str:
        (image,) = document.images
        red, green, _ = PIL.Image.open(io.BytesIO(image.data)).convert("RGB").getpixel((0, 0))
        return COLOURS[int(green > red)]


class AlwaysRed(Looks):
    def colour(self, document: Document) -> str:
        return "red"


def ask(name: str, folder: Path, model: Looks) -> Result:
    (task,) = build_tasks([(name, folder)], FewShotConfig())
    (result,) = evaluate(model, [task], (0,), folder / "results" / type(model).__name__)
    return result


@pytest.fixture(params=sorted(WRITERS))
def benchmark(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    WRITERS[request.param](tmp_path)
    return request.param, tmp_path


QUESTIONS = {"scienceqa": 4, "mmmu": 4, "mathvista": 4, "mme": 8, "mmbench": 2 + 3 * 3, "seed_bench": 4, "pope": 8}


def test_who_looks_gets_everything(benchmark: tuple[str, Path]) -> None:
    result = ask(*benchmark, Looks())
    assert (result.score, result.n, result.missing) == (1.0, QUESTIONS[benchmark[0]], {})


def test_who_does_not_look_gets_half_of_it(benchmark: tuple[str, Path]) -> None:
    name = benchmark[0]
    result = ask(*benchmark, AlwaysRed())
    assert csv.field_size_limit() == 131_072, "a limit of the whole process is as it was"
    assert result.score == pytest.approx({"mathvista": 0.75, "mmbench": 5 / 11}.get(name, 0.5))


@pytest.mark.parametrize("options", ["['red', ", "[red]", "[" * 1000, "-" * 100_000 + "1", "{}['a']"])
def test_choices_that_are_no_list_cost_their_own_question_alone(tmp_path: Path, options: str) -> None:
    WRITERS["mmmu"](tmp_path)
    (path,) = tmp_path.rglob("*.parquet")
    rows = pq.read_table(path).to_pylist()
    rows[0]["options"] = options
    pq.write_table(pa.Table.from_pylist(rows), path)
    result = ask("mmmu", tmp_path, Looks())
    assert (result.n, result.missing) == (3, {"damaged row": 1})


def test_official_figures(tmp_path: Path) -> None:
    def figures(name: str, model: Looks) -> dict[str, float]:
        folder = tmp_path / name
        if not folder.exists():
            WRITERS[name](folder)
        return ask(name, folder, model).figures

    assert figures("mme", Looks()) == {"color": 200, "existence": 200}
    assert figures("mme", AlwaysRed()) == {"color": 100, "existence": 100}
    assert figures("pope", Looks())["f1"] == 1
    red = figures("pope", AlwaysRed())
    assert red["f1"] == red["random f1"] == pytest.approx(0.5)
    assert set(red) >= {"random accuracy", "adversarial recall", "adversarial yes"}
    assert figures("mmbench", Looks())["circular"] == 1
    assert figures("mmbench", AlwaysRed()) == {
        "circular": 0.5,
        "circular colour": pytest.approx(1 / 3),
        "circular hue": 1,
    }
    assert figures("seed_bench", AlwaysRed()) == {"all": 0.5, "image": pytest.approx(2 / 3), "video": 0}
    assert figures("scienceqa", Looks()) == {}


def prompts(name: str, folder: Path) -> list[str]:
    """As they are read, an image as its place."""
    WRITERS[name](folder)
    task = instruct_task(name, folder)
    return [
        "".join("<>" if isinstance(part, Image) else part.text for part in task.episode(number, 0, 0).query)
        for number in range(len(task.episodes))
    ]


SHORT = "Answer the question using a single word or phrase.\nassistant:"
LETTER = "Answer with the option's letter from the given choices directly.\nassistant:"


@pytest.mark.parametrize(
    ("name", "number", "prompt"),
    [
        ("scienceqa", 0, f"user: <>Which colour?\nA. red\nB. green\n{LETTER}"),
        ("scienceqa", 1, f"user: <>Context: Look closely.\nWhich colour?\nA. red\nB. green\n{LETTER}"),
        ("mmmu", 0, f"user: <> Which colour is it?\nA. red\nB. green\n{LETTER}"),
        ("mmmu", 3, f"user: Which colour has <>?\n{SHORT}"),
        ("mathvista", 2, "user: <>Hint: answer.\nQuestion: which, 2?\nassistant:"),
        ("mme", 0, f"user: <>Is it red?\n{SHORT}"),
        ("mmbench", 0, f"user: <>Look.\nWhich colour?\nA. red\nB. green\n{LETTER}"),
        ("mmbench", 3, f"user: <>Which colour?\nA. green\nB. blue\nC. red\n{LETTER}"),
        ("seed_bench", 0, f"user: <>Which colour?\nA. red\nB. green\nC. c\nD. d\n{LETTER}"),
        ("pope", 0, f"user: <>Is it red?\n{SHORT}"),
    ],
)  # fmt: skip
def test_prompts_are_llavas(name: str, number: int, prompt: str, tmp_path: Path) -> None:
    assert prompts(name, tmp_path)[number] == prompt


def test_what_can_not_be_asked_is_counted(tmp_path: Path) -> None:
    WRITERS["seed_bench"](tmp_path)
    path = tmp_path / "SEED-Bench.json"
    whole = json.loads(path.read_text())
    whole["questions"] += [whole["questions"][0], {**whole["questions"][1], "question_id": "x", "answer": "Z"}, {}]
    path.write_text(json.dumps(whole))
    (tmp_path / "SEED-Bench-video-image" / "q3.png").unlink()
    (tmp_path / "SEED-Bench-image" / "1454426_2").write_bytes(b"broken")
    result = ask("seed_bench", tmp_path, Looks())
    assert result.missing == {
        "duplicate id": 1, "no answer": 1, "damaged row": 1, "missing image": 1, "unreadable image": 1
    }  # fmt: skip
    assert (result.n, result.score) == (2, 1.0)


def test_a_part_keeps_together_what_is_judged_together(tmp_path: Path) -> None:
    WRITERS["mme"](tmp_path)
    task = instruct_task("mme", tmp_path, num_questions=3)
    assert len(task.questions) == 4
    assert {len([q for q in task.questions if q.group == one.group]) for one in task.questions} == {2}
    assert instruct_task("mme", tmp_path, num_questions=3).questions == task.questions


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_another_folder_is_said_in_one_sentence(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        instruct_task(name, tmp_path)
    assert "\n" not in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_examples_are_refused(tmp_path: Path) -> None:
    WRITERS["pope"](tmp_path)
    with pytest.raises(UserError, match="give --shots 0"):
        evaluate(Looks(), [instruct_task("pope", tmp_path)], (4,), tmp_path / "results")
    with pytest.raises(UserError, match="leave the settings of examples out"):
        build_tasks([("pope", tmp_path)], FewShotConfig(selection="same"))


def test_pictures_stand_where_the_question_names_them() -> None:
    one, two = Image(b"1"), Image(b"2")
    question = Question(id="q", text="Is <image 2> like <image 1>?", references=("A",), choices=("<image 1>", "no"))
    parts = put(question, [one, two])
    assert parts == (
        Text("user: Is ", target=False), two, Text(" like ", target=False), one, Text("?\nA. ", target=False), one,
        Text("\nB. no\nassistant:", target=False),
    )  # fmt: skip
    with pytest.raises(Unaskable, match="is not there"):
        put(question, [one])


@pytest.mark.parametrize("name", ["vqav2", "textvqa"])
def test_few_shot_benchmarks_are_put_as_a_chats(name: str, tmp_path: Path) -> None:
    task = instruct_task(f"chat_{name}", write(name, tmp_path))
    parts = task.episode(0, 0, 0).query
    assert isinstance(parts[1], Image)
    assert parts[2].text.endswith(f"?\n{SHORT}")
    assert task.metric is vqa_accuracy
    assert {*WRITERS, "chat_vqav2", "chat_textvqa"} == set(BENCHMARKS)

"""What evaluations ask is in none of the sets, what they do not ask is not lost, and both are told."""

import io
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from mm1.cli.main import main
from mm1.config import UserError, override
from mm1.curation.config import PROFILES, CurateConfig
from mm1.curation.pipeline import curate
from mm1.curation.runner import Runner
from mm1.curation.steps.finish import Finished
from tests.curation.site import page, picture, prose, write_site

pytestmark = pytest.mark.filterwarnings(
    # Daft leaves the pipe of each process that it started to the garbage collector.
    "ignore:Exception ignored in. <_io.FileIO:pytest.PytestUnraisableExceptionWarning",
    "ignore:unclosed file:ResourceWarning",
)
OFFLINE = override(PROFILES["mm1"], ["download=false"])
QUESTION = "How many of the seven red boats in the harbour have a white sail, and which of them is the largest?"
CAPTION = "Two small children play chess in a park at night"
SAID = "A brown dog with a stick in its mouth"


def image(name: str, alt: str = "") -> str:
    return f'<img src="{name}" alt="{alt}">'


def as_jpeg(data: bytes) -> bytes:
    """The same picture smaller, and in another format."""
    made = io.BytesIO()
    Image.open(io.BytesIO(data)).resize((120, 90), Image.Resampling.BICUBIC).save(made, "JPEG", quality=85)
    return made.getvalue()


def documents(out: Path, name: str) -> dict[str, list[str]]:
    """The id of each document, and its texts and images' addresses."""
    return {
        row["id"]: [part["text"] or part["url"] for part in row["segments"]]
        for path in sorted((out / name).glob("*.parquet"))
        for row in pq.read_table(path).to_pylist()
    }


def dropped(out: Path, step: str, unit: str) -> dict[str, int]:
    steps = json.loads((out / "funnel.json").read_text())["steps"]
    return next((found["dropped"] for found in steps if (found["name"], found["unit"]) == (step, unit)), {})


def made(tmp_path: Path, pages: dict[str, str], config: CurateConfig) -> tuple[Path, Finished]:
    """A set of pages that show pictures named by their seeds."""
    site = write_site(tmp_path / "site", pages, {f"{seed}.png": picture(seed) for seed in range(8)})
    return tmp_path / "set", curate([site], tmp_path / "set", config, Runner())


def evaluation(tmp_path: Path, *questions: str, images: tuple[int, ...] = ()) -> Path:
    """A folder as people have them."""
    folder = tmp_path / "vqa"
    folder.mkdir(exist_ok=True)
    (folder / "questions.jsonl").write_text("\n".join(json.dumps({"question": one}) for one in questions))
    for seed in images:
        (folder / f"{seed}.jpg").write_bytes(as_jpeg(picture(seed)))
    return folder


def test_an_image_in_another_size_and_format_is_in_no_set_and_its_page_stays(tmp_path: Path) -> None:
    pages = {"p.html": page(1, [image("1.png", "A red boat on a lake"), image("2.png", "A grey cat on a roof")])}
    out, _ = made(tmp_path, pages, OFFLINE.keeping_out((evaluation(tmp_path, images=(1,)),)))
    assert [part for part in documents(out, "interleaved")["site/p.html"] if ".png" in part] == ["local:2.png"]
    assert list(documents(out, "captions").values()) == [["local:2.png", " A grey cat on a roof\n"]]
    assert list(documents(out, "text")) == ["site/p.html"]
    assert dropped(out, "images", "image") == {"evaluation_image": 1}
    assert dropped(out, "interleaved", "image in a page") == {"evaluation_image": 1}
    assert dropped(out, "captions", "image of a page") == {"evaluation_image": 1}


@pytest.mark.parametrize("profile", ["mm1", "obelics"])
def test_a_page_with_a_question_gives_no_text_and_no_document(tmp_path: Path, profile: str) -> None:
    inside = page(1, [image("1.png")]).replace("</p>", f" {QUESTION.upper()}</p>", 1)
    figure = page(2, [f"<figure>{image('2.png')}<figcaption>{QUESTION}</figcaption></figure>"])
    pages = {"inside.html": inside, "figure.html": figure, "other.html": page(3, [image("3.png")])}
    rules = ["download=false"]
    if profile == "obelics":  # rules that drawn words would not keep
        rules += [f"interleaved.{one}.{key}" for one in ("paragraph", "document") for key in
                  ("max_word_repetition=1", "min_stop_words=0", "max_character_repetition=1")]  # fmt: skip
        rules += ["interleaved.min_language_score=0", "interleaved.images.min_side=100"]
    config = override(PROFILES[profile], rules)
    out, _ = made(tmp_path, pages, config)
    assert set(documents(out, "text")) == set(documents(out, "interleaved")) == {f"site/{name}" for name in pages}
    out, _ = made(tmp_path, pages, config.keeping_out((evaluation(tmp_path, QUESTION),)))
    assert list(documents(out, "text")) == list(documents(out, "interleaved")) == ["site/other.html"]
    assert dropped(out, "text rules", "page") == {"evaluation_text": 2}


def test_an_image_of_which_a_caption_of_an_evaluation_is_said_makes_no_pair(tmp_path: Path) -> None:
    """Neither where it is chosen nor where it stands beside what is."""
    both = f"<figure>{image('2.png', CAPTION)}<figcaption>{SAID} on the way to its home</figcaption></figure>"
    pages = {"gallery.html": "<body>" + image("1.png", CAPTION) + both + image("3.png", SAID)}
    config = OFFLINE.keeping_out((evaluation(tmp_path, CAPTION),))
    out, _ = made(tmp_path, pages, config)
    assert list(documents(out, "captions").values()) == [["local:3.png", f" {SAID}\n"]]
    assert dropped(out, "captions", "image of a page") == {"evaluation_text": 2}


def test_what_is_looked_for_and_what_is_not_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site, out = write_site(tmp_path / "site", {"a.html": page(1)}, {}), tmp_path / "set"
    folder = evaluation(tmp_path, QUESTION, "What color is the cat?", images=(1, 2))
    (folder / "half.jpg").write_bytes(as_jpeg(picture(3))[:-200])
    more = tmp_path / "more.txt"
    more.write_text("Where is the dog?\n")
    words = ["curate", str(site), "--out", str(out), "--offline", "--processes", "1"]
    assert main([*words, "--keep-out", str(folder), "--keep-out", str(more), "text.rules.min_words=40"]) == 0
    told = "2 images and 9 runs of words of evaluations; not looked for: short_text 2, corrupt 1"
    assert f"Kept out: {told}\n" in capsys.readouterr().out
    assert told in (out / "report.html").read_text()


def test_a_change_of_the_evaluations_redoes_what_asks_them(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site", {"a.html": page(1, [image("1.png")])}, {"1.png": picture(1)})

    def made_by(config: CurateConfig) -> set[str]:
        steps = tmp_path / "set" / "work" / "steps"
        before = set(steps.iterdir()) if steps.exists() else set()
        curate([site], tmp_path / "set", config, Runner())
        return {path.name.partition("-")[0] for path in set(steps.iterdir()) - before if path.is_dir()}

    asked = {"texts", "duplicates", "addresses", "images", "interleaved", "captions"}
    assert made_by(OFFLINE) == {"extract", *asked}
    assert made_by(override(OFFLINE, ["evaluations.rules.words=9"])) == set(), "nothing is kept out: nothing changes"
    folder = evaluation(tmp_path, QUESTION, images=(2,))
    config = OFFLINE.keeping_out((folder,))
    assert made_by(config) == {"evaluations", *asked}
    moved = folder.rename(tmp_path / "elsewhere")
    config = OFFLINE.keeping_out((moved,))
    assert made_by(config) == set(), "the same evaluations, wherever they lie"
    (moved / "2.jpg").write_bytes(as_jpeg(picture(3)))
    assert made_by(config) == {"evaluations", *asked}
    assert made_by(override(config, ["evaluations.rules.words=9"])) == {"evaluations", *asked}
    assert made_by(override(config, ["captions.text.min_words=5"])) == {"captions"}
    assert made_by(OFFLINE) == set()


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("gone.jsonl", None, r"gone\.jsonl is not there: name files or folders of evaluation images and questions"),
        ("model.bin", "x", r"model\.bin holds no evaluation that can be read: give files that end in "),
        ("short.txt", "What color is the cat?", r"short\.txt: 0 images and 0 .* not looked for: short_text 1: name "),
        ("empty.txt", "", r"empty\.txt: 0 images and 0 .* not looked for: none: name files with images, or"),
        ("broken.jsonl", "{", r"broken\.jsonl: 0 images and 0 .* not looked for: .* 1: name files with images, or"),
    ],
)
def test_files_that_keep_nothing_out_are_refused(tmp_path: Path, name: str, content: str | None, told: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=told):
        made(tmp_path, {"a.html": page(1)}, OFFLINE.keeping_out((tmp_path / name,)))
    assert not (tmp_path / "set" / "text").exists()


def test_sets_are_not_made_among_the_evaluations(tmp_path: Path) -> None:
    """What they hold would be kept out of the next run."""
    with pytest.raises(UserError, match=r"lies in the evaluation .*: choose an --out beside it"):
        made(tmp_path, {"a.html": page(1, text=prose(1))}, OFFLINE.keeping_out((tmp_path,)))

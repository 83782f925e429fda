"""Which examples a question gets: never itself, by id or by picture; by seed, by list, or by likeness."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mm1.config import UserError
from mm1.data.embedded import caption_records
from mm1.data.image import read_image
from mm1.distributed.mesh import World
from mm1.eval.episodes import Unaskable
from mm1.eval.official import features as features_module
from mm1.eval.official.features import pool_features
from mm1.eval.official.pictures import Pictures
from mm1.eval.official.rows import Folder, Row
from mm1.eval.official.selection import MAX_PASSED_OVER, Drawn, Fixed, Nearest, Selection
from mm1.types import Image
from tests.eval.official.benchmarks import picture


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pictures, each under two names; one broken; one cut short."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(6):
        for name in ("a", "b"):
            (folder / f"{name}{number}.png").write_bytes(picture(40 * number, "dax"))
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "short.png").write_bytes(picture(3, "dax")[:-30])
    return folder


def row(id_: str, name: str) -> Row:
    return Row(id=id_, picture=(name,), answers=("x",), shown="x")


files = st.sampled_from([f"{name}{number}.png" for name in "ab" for number in range(6)] + ["broken.png", "gone.png"])


def features(images: Sequence[Image]) -> np.ndarray:
    return np.array([[len(image.data), image.data[50]] for image in images], np.float32)


def selections(pool: Sequence[Row], pictures: Pictures) -> list[Selection]:
    known = np.ones((len(pool), 2), np.float32)
    return [
        Drawn(pool, pictures),
        Drawn(pool, pictures, common=True),
        Fixed([row.id for row in pool], pool, pictures),
        Nearest(pool, pictures, features, known),
    ]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9), files), max_size=9),
    files,
    st.integers(0, 9),
    st.integers(1, 4),
    st.integers(0, 3),
)
def test_the_question_is_never_among_its_examples(
    folder: Path, entries: list[tuple[int, str]], asked: str, id_: int, shots: int, seed: int
) -> None:
    pictures = Pictures(Folder(folder))
    pool = [row(str(number), name) for number, name in dict(entries).items()]
    question = row(str(id_), asked)
    unreadable = ("broken.png", "gone.png")
    # Both names of a picture end in its number.
    others = [r.picture[0] for r in pool if r.id != str(id_) and r.picture[0] not in unreadable]
    usable = {name[1:] for name in others} - {asked[1:]}
    for selection in selections(pool, pictures):
        if asked in unreadable or len(usable) < shots:
            with pytest.raises(Unaskable):
                selection.draw(question, shots, seed)
            continue
        chosen = selection.draw(question, shots, seed)
        assert len(chosen) == shots
        shown = [pictures.digest(example) for example in chosen]
        assert pictures.digest(question) not in shown
        assert str(id_) not in [example.id for example in chosen]
        assert len(set(shown)) == shots


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve drawings, as they are published."""
    folder = tmp_path_factory.mktemp("drawings")
    different = list({record.image: None for record in caption_records("test")})[:12]
    for number, data in enumerate(different):
        (folder / f"{number}.png").write_bytes(data)
    return folder


@settings(max_examples=30, deadline=None)
@given(
    number=st.integers(0, 11),
    format=st.sampled_from(["JPEG", "WEBP"]),
    quality=st.integers(60, 95),
    scale=st.floats(0.75, 2.0),
    place=st.integers(0, 11),
)
def test_a_copy_in_another_format_and_size_is_no_example(
    drawings: Path, number: int, format: str, quality: int, scale: float, place: int
) -> None:
    picture = read_image((drawings / f"{number}.png").read_bytes(), 1000)
    size = (round(picture.width * scale), round(picture.height * scale))
    picture.resize(size).save(drawings / "copy.jpg", format, quality=quality)
    pool = [row(f"p{n}", f"{n}.png") for n in range(12) if n != number]
    pool.insert(place, row("the copy", "copy.jpg"))
    pictures = Pictures(Folder(drawings))
    for selection in selections(pool, pictures):
        chosen = selection.draw(row("asked", f"{number}.png"), 11, 0)
        assert {example.id for example in chosen} == {r.id for r in pool} - {"the copy"}


def test_seeds_draw_and_fewer_shots_begin_like_more(folder: Path) -> None:
    pictures = Pictures(Folder(folder))
    pool = [row(f"p{n}", f"a{n}.png") for n in range(5)]
    asked = [row(f"q{n}", "a5.png") for n in range(30)]
    random_, same = Drawn(pool, pictures), Drawn(pool, pictures, common=True)
    for selection in (random_, same):
        assert selection.draw(asked[0], 4, 1)[:2] == selection.draw(asked[0], 2, 1)
        draws = {tuple(example.id for example in selection.draw(asked[0], 2, seed)) for seed in range(30)}
        assert len(draws) > 10
    assert len({same.draw(question, 3, 0)[0].id for question in asked}) == 1
    first = [random_.draw(question, 3, 0)[0].id for question in asked]
    assert set(first) == {example.id for example in pool}, "every row comes up"


def test_the_nearest_come_last_and_closest_to_the_question(folder: Path, tmp_path: Path) -> None:
    pictures = Pictures(Folder(folder))

    def angle(images: Sequence[Image]) -> np.ndarray:
        number = {picture(40 * n, "dax"): n for n in range(6)}
        return np.array([[np.cos(number[i.data] / 4), np.sin(number[i.data] / 4)] for i in images], np.float32)

    pool = [row(f"p{n}", f"a{n}.png") for n in (5, 0, 2, 3, 4)] + [row("x", "broken.png")]
    known = pool_features(pool, pictures, angle, tmp_path, "angle", World())
    assert known.shape == (6, 2)
    assert known[5].tolist() == [0, 0]
    chosen = Nearest(pool, pictures, angle, known).draw(row("q", "a1.png"), 4, 0)
    names = [example.picture[0] for example in chosen]
    assert names[:2] == ["a4.png", "a3.png"]
    assert set(names[2:]) == {"a0.png", "a2.png"}, "equally far on both sides"


def test_features_are_computed_once_by_all_processes_in_shares(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features_module, "BLOCK", 2)
    pictures = Pictures(Folder(folder))
    pool = [row("gone", "gone.png"), row("broken", "broken.png"), *(row(f"p{n}", f"a{n}.png") for n in range(5))]
    alone = pool_features(pool, pictures, features, tmp_path / "one", "m", World())
    asked: list[int] = []

    def counting(images: Sequence[Image]) -> np.ndarray:
        asked.append(len(images))
        return features(images)

    for rank in (1, 0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(np, "load", lambda path: np.zeros((1, 2)))  # blocks of the other process are not there yet
            pool_features(pool, pictures, counting, tmp_path / "two", "m", World(rank=rank, size=2))
        assert sum(asked) == (3 if rank else 5)
    np.testing.assert_array_equal(pool_features(pool, pictures, counting, tmp_path / "two", "m", World()), alone)
    assert sum(asked) == 5
    with pytest.raises(UserError, match="not one picture of the 1 rows"):
        pool_features(pool[:1], pictures, features, tmp_path, "m", World())


def test_a_picture_is_read_or_the_reason_said(folder: Path) -> None:
    pictures = Pictures(Folder(folder))
    assert pictures.read(row("q", "a1.png")).data == (folder / "a1.png").read_bytes()
    reasons = {
        "gone.png": "missing image",
        "broken.png": "unreadable image",
        "short.png": "unreadable image",
        f"../{folder.name}/a1.png": "image outside its folder",
    }
    for name, reason in reasons.items():
        with pytest.raises(Unaskable) as caught:
            pictures.read(row("q", name))
        assert caught.value.reason == reason


def test_a_folder_without_the_examples_pictures_is_said_to_be_the_wrong_one(folder: Path) -> None:
    pool = [row(f"p{n}", f"{n}.jpg") for n in range(MAX_PASSED_OVER + 5)]
    with pytest.raises(UserError, match=r"1000 rows that may be examples.*have no picture"):
        Drawn(pool, Pictures(Folder(folder))).draw(row("q", "a1.png"), 1, 0)

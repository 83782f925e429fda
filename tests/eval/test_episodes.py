"""Prompts, leaks and the blind exchange of images."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm1.config import UserError
from mm1.eval.episodes import Episode, assert_no_leak, exchange, prompt, with_images
from mm1.types import Document, Image, Segment, Text

HEADER = (Text("name it.\n"),)
SHOTS: tuple[tuple[Segment, ...], ...] = ((Image(b"a"), Text(" it is red\n")), (Image(b"b"), Text(" it is blue\n")))
EPISODE = Episode(
    id="e", query=(Image(b"q"), Text(" it is")), references=("red",), kind="colour", header=HEADER, shots=SHOTS
)


@pytest.mark.parametrize("k", [0, 1, 2])
def test_a_prompt_is_header_then_the_first_shots_then_the_query(k: int) -> None:
    flat = tuple(segment for shot in SHOTS[:k] for segment in shot)
    assert prompt(EPISODE, k) == Document("e", HEADER + flat + EPISODE.query)


@pytest.mark.parametrize("k", [-1, 3])
def test_asking_for_more_shots_than_there_are_names_both_numbers(k: int) -> None:
    with pytest.raises(UserError, match=rf"'e' has 2 shots, {k} were asked for"):
        prompt(EPISODE, k)


def test_a_query_image_among_the_shots_is_refused() -> None:
    with pytest.raises(UserError, match=r"episode 'e'.*image.*shot 1"):
        assert_no_leak(replace(EPISODE, query=(Image(b"b"), Text(" what colour is this one?"))))


def test_the_same_wording_with_another_image_is_no_leak() -> None:
    assert_no_leak(EPISODE)


@pytest.mark.parametrize("shot", ["2+3=5\n", " 2+3=5", "2+3="])
def test_a_text_query_that_a_shot_answers_is_refused(shot: str) -> None:
    with pytest.raises(UserError, match=r"'e'.*text '2\+3='.*shot 0"):
        assert_no_leak(replace(EPISODE, query=(Text("2+3="),), shots=((Text(shot),),)))


def test_another_text_question_is_no_leak() -> None:
    assert_no_leak(replace(EPISODE, query=(Text("2+3="),), shots=((Text("2+4=6\n"),), (Text("12+3=15\n"),))))


pages = st.lists(st.integers(0, 4), min_size=0, max_size=12)


@given(pages, st.integers(0, 2**32))
def test_blind_prompts_show_only_other_episodes_images_and_change_nothing_else(counts: list[int], seed: int) -> None:
    prompts = [
        Document(f"d{i}", (Text(f"t{i}"), *(Image(f"{i}/{j}".encode()) for j in range(count)), Text("?")))
        for i, count in enumerate(counts)
    ]
    if sum(count > 0 for count in counts) < 2:
        with pytest.raises(UserError, match="needs 2"):
            exchange([count > 0 for count in counts], seed)
        return
    donor_of = exchange([count > 0 for count in counts], seed)
    assert donor_of == exchange([count > 0 for count in counts], seed)
    result = [with_images(d, prompts[donor_of[i]].images) if i in donor_of else d for i, d in enumerate(prompts)]
    donors = []
    for i, (before, after) in enumerate(zip(prompts, result, strict=True)):
        assert after.id == before.id
        assert [type(s) for s in after.segments] == [type(s) for s in before.segments]
        assert [s for s in after.segments if isinstance(s, Text)] == [s for s in before.segments if isinstance(s, Text)]
        owners = {image.data.split(b"/")[0] for image in after.images}
        assert str(i).encode() not in owners
        assert len(owners) == (len(before.images) > 0)
        donors += owners
    assert len(set(donors)) == len(donors), "every episode gives its images to one other"

"""The synthetic world: splits never meet, answers are true, pages teach what they claim."""

import io
import random
import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage

from mm1.data.synthetic import pages, vocabulary
from mm1.data.synthetic.render import render
from mm1.data.synthetic.scenes import World, sample_scene, split_of
from mm1.data.synthetic.source import MAKERS, SyntheticConfig, SyntheticSource, make_page
from mm1.types import Image, Text

WORLD = World()
seeds = st.integers(0, 10**9)


def config(page, **changes):
    return SyntheticConfig(name=page, page=page, num_documents=50, num_items=(2, 5), **changes)


def text_of(segments):
    return "".join(part.text if isinstance(part, Text) else "[image]" for part in segments)


@given(seeds, st.sampled_from(["train", "test"]))
@settings(max_examples=60, deadline=None)
def test_a_scene_is_of_the_split_its_own_words_say(seed, split):
    scene = sample_scene(WORLD, random.Random(seed), split)
    assert split_of(scene.caption) == split
    assert 1 <= len(scene.things) <= WORLD.max_things
    assert len({thing.position for thing in scene.things}) == len(scene.things)


@pytest.mark.parametrize("page", list(MAKERS))
def test_a_document_is_a_pure_function_of_seed_name_and_number(page):
    source = SyntheticSource(config(page))
    assert source.document(3) == SyntheticSource(config(page)).document(3)
    assert source.document(3) != source.document(4)
    assert source.document(3) != SyntheticSource(config(page, seed=1)).document(3)
    assert source.document(3) != SyntheticSource(config(page).replace(name="other")).document(3)


def test_what_is_held_out_is_never_trained():
    """Captions of every test picture, sums and asked facts, against a large draw of training documents."""
    for page in ("captions", "sums", "facts"):
        trained = {
            item.segments() if page == "captions" else text_of(item.segments())
            for index in range(400)
            for item in make_page(config(page), index, "train").items
        }
        if page == "captions":
            trained = {text_of(segments) for segments in trained}
        tested = {
            text_of(item.segments()) for index in range(100) for item in make_page(config(page), index, "test").items
        }
        assert len(tested) > 8
        assert not trained & tested


def test_a_held_out_sum_or_fact_was_trained_behind_other_openings():
    for kind in ("sums", "facts"):
        trained = [text_of(i.segments()) for n in range(600) for i in make_page(config(kind), n, "train").items]
        for index in range(30):
            for item in make_page(config(kind), index, "test").items:
                core = " ".join(text_of(item.segments()).split()[-3:])
                assert any(line.endswith(core + "\n") for line in trained)


def test_chats_never_ask_the_sums_that_are_kept_for_testing():
    source = SyntheticSource(config("sums", chat=True).replace(num_documents=300))
    asked = {
        line.removeprefix("user: ")
        for index in range(300)
        for line in text_of(source.document(index).segments).splitlines()
        if line.startswith("user: ")
    }
    assert len(asked) > 50
    assert {split_of(question) for question in asked} == {"train"}


@given(seeds, st.integers(1, 9))
@settings(max_examples=40, deadline=None)
def test_novel_words_are_balanced_and_bound_to_one_value(seed, num_items):
    page = pages.binding(WORLD, random.Random(seed), "test", num_items)
    names = text_of(page.header).removeprefix("words: ").split()
    assert len(page.items) == num_items
    assert {item.answer for item in page.items} <= set(names)
    assert set(names) <= set(vocabulary.NOVEL_WORDS)
    for even in range(2, num_items, 2):
        counts = Counter(item.answer for item in page.items[:even])
        assert counts[names[0]] == counts[names[1]]


def test_position_of_a_word_in_the_header_says_nothing_of_its_answer():
    first = [
        text_of(page.header).split()[1] == page.items[-1].answer
        for index in range(400)
        for page in [make_page(config("binding"), index, "test", 5)]
    ]
    assert 0.4 < np.mean(first) < 0.6


@pytest.mark.parametrize("num_items", [5, 6])
def test_neither_the_last_shot_nor_the_rarer_word_tells_the_answer(num_items):
    found = [make_page(config("binding"), index, "test", num_items).items for index in range(400)]
    as_before = [items[-1].answer == items[-2].answer for items in found]
    shown = [[item.answer for item in items[:-1]] for items in found]
    as_rarer = [words.count(items[-1].answer) < len(words) / 2 for words, items in zip(shown, found, strict=True)]
    assert 0.4 < np.mean(as_before) < 0.6
    assert np.mean(as_rarer) == 0 if num_items % 2 else 0.4 < np.mean(as_rarer) < 0.6


def test_counts_and_digits_in_questions_are_true_of_the_picture():
    item = pages.question(WORLD, random.Random(1), "train", "digits")
    assert item.answer in vocabulary.DIGITS
    assert "sign" in item.question
    for seed in range(20):
        item = pages.question(WORLD, random.Random(seed), "train", "count")
        assert vocabulary.COUNTS.index(item.answer) < WORLD.max_things


def test_contrasts_differ_and_share_their_layout():
    page = pages.contrasts(WORLD, random.Random(5), "train", 4)
    captions = [item.answer for item in page.items]
    assert len(set(captions)) == len(captions) > 1
    assert len({caption.count(",") for caption in captions}) == 1


def test_the_picture_shows_the_scene():
    """The colour at a large thing's centre is the colour the caption says; a digit changes the pixels of its sign."""
    rng = random.Random(0)
    scene = sample_scene(
        WORLD, rng, "train", 1, False, lambda s: s.things[0].size == "large" and s.things[0].shape == "circle"
    )
    thing = scene.things[0]
    pixels = np.asarray(PillowImage.open(io.BytesIO(render(scene, rng))).convert("RGB")).astype(int)
    assert pixels.shape == (48, 48, 3)
    rows = slice(0, 24) if thing.row == "top" else slice(24, 48)
    columns = slice(0, 24) if thing.column == "left" else slice(24, 48)
    centre = pixels[rows, columns][12, 12]
    assert np.abs(centre - np.array(vocabulary.COLOURS[thing.colour])).max() <= 12
    empty = pixels[24:, :] if thing.row == "top" else pixels[:24, :]
    assert empty.min() > 200


def test_chat_documents_have_loss_on_answers_only():
    source = SyntheticSource(config("questions", chat=True))
    document = source.document(0)
    targets = [part.text for part in document.segments if isinstance(part, Text) and part.target]
    assert targets
    for text in targets:
        assert text.startswith(" ")
        assert text.endswith("\n")
        assert "user" not in text
    assert sum(isinstance(part, Image) for part in document.segments) == len(targets)


def test_making_a_document_does_not_depend_on_when_it_is_made():
    source = SyntheticSource(config("questions"))
    before = source.document(7)
    random.seed(time.time())
    np.random.default_rng(1)
    assert source.document(7) == before

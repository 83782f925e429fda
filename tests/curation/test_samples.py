"""Which samples are taken depends on names alone, and a sample is small whatever it is of."""

import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mm1.curation.samples import KEPT, MOST_PICTURES, MOST_TEXT, Picture, Sample, Samples, excerpt, thumbnail


def of(names, most=4):
    samples = Samples(most)
    for name in names:
        samples.offer("step", KEPT if len(name) % 2 else "small", name, lambda name=name: Sample(name, (name,)))
    return samples


def png(size, mode="RGB", format="PNG"):
    made = io.BytesIO()
    Image.new(mode, size, "red").save(made, format)
    return made.getvalue()


@settings(deadline=None)
@given(st.lists(st.text(max_size=5), unique=True, max_size=40), st.randoms(), st.integers(0, 40))
def test_samples_are_the_same_in_any_order_and_cut_anywhere(names, random, cut):
    shuffled = random.sample(names, len(names))
    whole = of(names)
    assert (of(shuffled[:cut]) + of(shuffled[cut:])).to_json() == whole.to_json()
    assert of(shuffled).to_json() == whole.to_json()


def test_no_more_are_kept_than_asked_and_few_are_made():
    made = []
    samples = Samples(3)
    for number in range(5000):
        samples.offer("step", KEPT, str(number), lambda number=number: made.append(number) or Sample("", ()))
    assert len(samples.of("step", KEPT)) == 3
    assert len(made) < 60  # 3 (1 + ln(5000 / 3)) on average: 25


def test_outcomes_are_kept_apart():
    samples = Samples()
    samples.offer("a", KEPT, "1", lambda: Sample("1", ()))
    samples.offer("a", "small", "1", lambda: Sample("2", ()))
    samples.offer("b", KEPT, "1", lambda: Sample("3", ()))
    assert samples.outcomes("a") == [KEPT, "small"]
    assert [sample.url for _, sample in samples.of("a", "small")] == ["2"]
    assert samples.of("b", "small") == []


def test_json_gives_the_same_samples_back():
    samples = Samples()
    parts = ("a\ud800", Picture("https://a.example/a.png", "ü", b"\0\xff"))
    samples.offer("step", "small", "name\ud800", lambda: Sample("local:a", parts, "note"))
    again = Samples.from_json(json.loads(json.dumps(samples.to_json())))
    assert again.of("step", "small") == samples.of("step", "small")
    assert again.to_json() == samples.to_json()


def test_an_excerpt_is_bounded_whatever_it_is_of():
    long = [Picture("data:" + "a" * 10_000_000, "b" * 100_000)] * 50 + ["x" * 100_000] * 50
    sample = excerpt("u" * 100_000, long, "n" * 100_000)
    assert len(json.dumps([str(part) for part in sample.parts])) < 20_000
    assert sum(isinstance(part, Picture) for part in sample.parts) == MOST_PICTURES
    assert sum(len(part) for part in sample.parts if isinstance(part, str)) == MOST_TEXT + len(" …")
    assert max(len(sample.url), len(sample.note)) <= MOST_TEXT


def test_a_thumbnail_is_small_and_in_the_shape_of_the_picture():
    image = Image.open(io.BytesIO(thumbnail(png((2000, 500)))))
    assert (image.format, image.size) == ("WEBP", (192, 48))
    assert Image.open(io.BytesIO(thumbnail(png((3, 5000))))).size == (1, 192)


def test_pictures_with_a_key_are_drawn_later():
    samples = Samples()
    parts = ("a", Picture("u", "v", key=7), Picture("w", key=8), Picture("x"))
    samples.offer("step", KEPT, "name", lambda: Sample("page", parts))
    kept = Samples.from_json(json.loads(json.dumps(samples.to_json())))
    assert kept.of("step", KEPT) == samples.of("step", KEPT)
    [(_, drawn)] = kept.drawn({7: png((400, 300))}.get).of("step", KEPT)
    assert drawn.parts[0] == "a"
    assert drawn.parts[1] == Picture("u", "v", thumbnail(png((400, 300))))
    assert drawn.parts[2:] == parts[2:]


@pytest.mark.parametrize("data", [b"", b"<svg>", png((500, 500))[:80]])
def test_what_can_not_be_decoded_has_no_thumbnail(data):
    assert thumbnail(data) == b""

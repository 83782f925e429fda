"""What a Document becomes: special ids, masks, segments, ranges."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm1.config import UserError
from mm1.data.encode import IMAGE_LENGTH, DocumentEncoder
from mm1.data.image import BadImage
from mm1.data.sub_images import BestGridConfig, FixedGridConfig, SubImagesConfig, cut
from mm1.types import Document, Image, Text


def test_an_image_takes_its_positions_and_only_text_and_eos_are_targets(encoder: DocumentEncoder, make) -> None:
    question, answer = encoder.tokenizer.encode("what is it?"), encoder.tokenizer.encode(" red")
    segments = (Text("what is it?", target=False), make.picture(5), Text(" red"))
    sample = encoder.encode(Document("d", segments, "chats"))
    image_id, eos_id = encoder.tokenizer.image_id, encoder.tokenizer.eos_id
    assert sample.tokens.tolist() == [*question, *[image_id] * 4, *answer, eos_id]
    assert sample.loss_mask.tolist() == [False] * (len(question) + 4) + [True] * (len(answer) + 1)
    assert set(sample.segment_ids.tolist()) == {0}
    assert sample.image_starts.tolist() == [len(question)]
    assert sample.images[0][0, 0].tolist() == [5, 0, 7]
    assert sample.source == "chats"
    assert [array.dtype for array in (sample.tokens, sample.segment_ids, sample.image_starts)] == [np.int32] * 3


def test_without_end_there_is_no_eos(encoder: DocumentEncoder) -> None:
    document = Document("d", (Text("a red"),))
    assert encoder.encode(document, end=False).tokens.tolist() == encoder.tokenizer.encode("a red")


def test_text_can_not_make_an_image_or_an_end(encoder: DocumentEncoder) -> None:
    sample = encoder.encode(Document("d", (Text("<|image|><|endoftext|><|pad|>"),)), end=False)
    special = {encoder.tokenizer.image_id, encoder.tokenizer.eos_id, encoder.tokenizer.pad_id}
    assert not special & set(sample.tokens.tolist())
    assert sample.images == ()


def test_segment_lengths_add_up_to_the_sample(encoder: DocumentEncoder, make) -> None:
    document = make.web(1, 3)
    lengths = encoder.segment_lengths(document)
    assert lengths.count(IMAGE_LENGTH) == 3
    text = sum(length for length in lengths if length != IMAGE_LENGTH)
    assert len(encoder.encode(document)) == text + 3 * 4 + 1


@pytest.mark.parametrize("num_image_tokens", [0, 4])
def test_pairs_become_segments_of_their_own(encoder: DocumentEncoder, make, num_image_tokens: int) -> None:
    encoder = DocumentEncoder(encoder.tokenizer, num_image_tokens, encoder.image_size)
    segments = (make.picture(1), Text("a red"), make.picture(2), Text("a blue"), Text(" circle"))
    sample = encoder.encode(Document("d", segments), pairs=True)
    eos, image = encoder.tokenizer.eos_id, [encoder.tokenizer.image_id] * num_image_tokens
    texts = [encoder.tokenizer.encode(text) for text in ("a red", "a blue", " circle")]
    first, second = [*image, *texts[0], eos], [*image, *texts[1], *texts[2], eos]
    assert sample.tokens.tolist() == first + second
    assert sample.segment_ids.tolist() == [0] * len(first) + [1] * len(second)
    assert sample.image_starts.tolist() == [0, len(first)]
    assert sample.image_segments.tolist() == [0, 1]


def test_a_long_pair_is_shortened_before_its_eos(encoder: DocumentEncoder, make) -> None:
    document = Document("d", (make.picture(1), Text("a red circle above the blue square"), make.picture(2)))
    whole = encoder.encode(document, pairs=True)
    sample = encoder.encode(document, pairs=True, max_pair_len=7)
    assert sample.tokens.tolist() == [*whole.tokens[:6], encoder.tokenizer.eos_id, *whole.tokens[-5:]]
    assert sample.segment_ids.tolist() == [0] * 7 + [1] * 5


def test_pairs_need_an_image_first(encoder: DocumentEncoder, make) -> None:
    with pytest.raises(UserError, match="'web/3' of 'web' begins with text"):
        encoder.encode(make.web(3, 2), pairs=True)


def test_images_for_a_model_without_them_are_refused(encoder: DocumentEncoder, make) -> None:
    blind = DocumentEncoder(encoder.tokenizer, num_image_tokens=0, image_size=8)
    with pytest.raises(UserError, match="'captions/1' has images"):
        blind.encode(make.caption(1))
    assert len(blind.encode(make.text(1))) > 1


@given(data=st.data(), num_images=st.integers(0, 4), use_lengths=st.booleans())
def test_a_range_is_that_slice_of_the_whole(
    encoder: DocumentEncoder, make, data: st.DataObject, num_images: int, use_lengths: bool
) -> None:
    document = make.web(2, num_images)
    whole = encoder.encode(document)
    inside = {start + k for start in whole.image_starts.tolist() for k in range(1, 4)}
    cuts = [cut for cut in range(len(whole) + 1) if cut not in inside]
    start, stop = sorted(data.draw(st.tuples(st.sampled_from(cuts), st.sampled_from(cuts))))
    lengths = encoder.segment_lengths(document) if use_lengths else None
    part = encoder.encode(document, start=start, stop=stop, lengths=lengths)
    np.testing.assert_array_equal(part.tokens, whole.tokens[start:stop])
    np.testing.assert_array_equal(part.loss_mask, whole.loss_mask[start:stop])
    kept = [k for k, place in enumerate(whole.image_starts) if start <= place < stop]
    np.testing.assert_array_equal(part.image_starts, whole.image_starts[kept] - start)
    assert len(part.images) == len(part.image_segments) == len(kept)
    assert not part.segment_ids.any()


def test_a_range_of_pairs_counts_its_segments_from_zero(encoder: DocumentEncoder, make) -> None:
    document = Document("d", (make.picture(1), Text("a"), make.picture(2), Text("a"), make.picture(3), Text("a")))
    part = encoder.encode(document, pairs=True, start=6)
    assert part.segment_ids.tolist() == [0] * 6 + [1] * 6
    assert part.image_segments.tolist() == [0, 1]
    assert [int(image[0, 0, 0]) for image in part.images] == [2, 3]


def test_only_images_and_texts_of_the_range_are_looked_at(encoder: DocumentEncoder, make, monkeypatch) -> None:
    document = Document("d", (Text("a red"), Image(b"broken"), Text("a blue"), Text("the circle")))
    lengths = encoder.segment_lengths(document)
    seen: list[str] = []
    encode = encoder.tokenizer.encode
    monkeypatch.setattr(
        encoder.tokenizer, "encode", lambda text, beginning: seen.append(text) or encode(text, beginning)
    )
    encoder.encode(document, start=lengths[0] + 4, stop=lengths[0] + 4 + lengths[2], lengths=lengths)
    assert seen == ["a blue"]
    with pytest.raises(BadImage, match="unreadable"):
        encoder.encode(document)


CUT = SubImagesConfig(grid=BestGridConfig(min_tiles=1, max_tiles=4), overview="last")


def test_a_picture_becomes_its_sub_images_one_after_another(encoder: DocumentEncoder, make) -> None:
    encoder = DocumentEncoder(encoder.tokenizer, 4, image_size=8, sub_images=CUT)
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    document = Document("d", (Text("a"), Image(make.file(pixels)), Text("red"), make.picture(7)))
    sample = encoder.encode(document)
    (a,), (red,) = encoder.tokenizer.encode("a"), encoder.tokenizer.encode("red")
    image_id = encoder.tokenizer.image_id
    assert sample.tokens.tolist() == [a, *[image_id] * 20, red, *[image_id] * 4, encoder.tokenizer.eos_id]
    assert sample.image_starts.tolist() == [1, 5, 9, 13, 17, 22]
    assert sample.image_segments.tolist() == [0] * 6
    for image, expected in zip(sample.images, [*cut(pixels, CUT, 8), np.full((8, 8, 3), (7, 0, 7))], strict=True):
        np.testing.assert_array_equal(image, expected)
    # With the lengths at hand, a range knows its place without looking at pictures outside it.
    broken = Document("d", (Text("a"), Image(b"broken"), Text("red"), make.picture(7)))
    part = encoder.encode(broken, start=21, lengths=[1, -5, 1, -1])
    np.testing.assert_array_equal(part.tokens, sample.tokens[21:])
    assert part.image_starts.tolist() == [1]


def test_a_picture_marked_whole_is_one_image_among_cut_ones(encoder: DocumentEncoder, make) -> None:
    grid = SubImagesConfig(grid=FixedGridConfig(rows=2, columns=2), fit="pad", background=(9, 9, 9))
    encoder = DocumentEncoder(encoder.tokenizer, 4, image_size=8, sub_images=grid)
    wide = Image(make.file(np.full((8, 16, 3), 200, np.uint8)))
    sample = encoder.encode(Document("d", (replace(wide, whole=True), Text("a"), wide)), end=False)
    assert sample.image_starts.tolist() == [0, *range(5, 25, 4)]
    assert [int(sample.images[0][row, 4, 0]) for row in (0, 4)] == [9, 200], "filled as the policy says"
    np.testing.assert_array_equal(sample.images[0], sample.images[1])  # the overview of the cut one


@pytest.fixture(scope="module")
def beginning(encoder: DocumentEncoder, tmp_path_factory: pytest.TempPathFactory, make) -> DocumentEncoder:
    """An encoder whose tokenizer has a BOS."""
    return DocumentEncoder(make.tokenizer_with_bos(encoder.tokenizer, tmp_path_factory.mktemp("bos")), 4, 8)


def test_a_document_begins_with_the_tokenizers_bos(beginning: DocumentEncoder, make) -> None:
    tokenizer = beginning.tokenizer
    text = tokenizer.encode("a red")
    sample = beginning.encode(Document("d", (make.picture(1), Text("a red"))))
    assert sample.tokens.tolist() == [tokenizer.bos_id, *[tokenizer.image_id] * 4, *text, tokenizer.eos_id]
    assert sample.loss_mask.tolist() == [False] * 5 + [True] * (len(text) + 1)
    assert sample.image_starts.tolist() == [1]
    assert beginning.encode(Document("d", ()), end=False).tokens.tolist() == [tokenizer.bos_id]


def test_every_pair_begins_with_one(beginning: DocumentEncoder, make) -> None:
    tokenizer = beginning.tokenizer
    a, long = tokenizer.encode("a"), tokenizer.encode("a red circle above the blue square")
    document = Document("d", (make.picture(1), Text("a"), make.picture(2), Text("a red circle above the blue square")))
    sample = beginning.encode(document, pairs=True, max_pair_len=9)
    image, bos, eos = [tokenizer.image_id] * 4, tokenizer.bos_id, tokenizer.eos_id
    assert sample.tokens.tolist() == [bos, *image, *a, eos, bos, *image, *long[:3], eos]
    assert sample.segment_ids.tolist() == [0] * 7 + [1] * 9
    assert sample.image_starts.tolist() == [1, 8]


@given(data=st.data(), use_lengths=st.booleans())
def test_a_range_with_bos_is_that_slice_of_the_whole(
    beginning: DocumentEncoder, make, data: st.DataObject, use_lengths: bool
) -> None:
    """So what goes on with a document begins without one."""
    document = make.web(2, 2)
    whole = beginning.encode(document)
    inside = {start + k for start in whole.image_starts.tolist() for k in range(1, 4)}
    cuts = [place for place in range(len(whole) + 1) if place not in inside]
    start, stop = sorted(data.draw(st.tuples(st.sampled_from(cuts), st.sampled_from(cuts))))
    lengths = beginning.segment_lengths(document) if use_lengths else None
    part = beginning.encode(document, start=start, stop=stop, lengths=lengths)
    np.testing.assert_array_equal(part.tokens, whole.tokens[start:stop])
    np.testing.assert_array_equal(part.loss_mask, whole.loss_mask[start:stop])

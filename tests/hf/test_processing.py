"""Prompts and pictures become the tokens and pixels that mm1's own loader makes."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pictures
from transformers import AutoImageProcessor, AutoProcessor

from mm1.config import UserError
from mm1.data.image import decode_sub_images
from mm1.data.sub_images import SubImagesConfig
from mm1.hf.image_processing import MM1ImageProcessor
from mm1.hf.processing import MM1Processor
from mm1.types import Document, Image, Text
from tests.hf.exported import PROMPTS, VARIANTS, document, inputs, picture, png, prompt

GRID = {"grid": {"kind": "fixed", "rows": 2, "columns": 2}}


@pytest.mark.parametrize("name", ["tied", "sparse", "window"])
@pytest.mark.parametrize("parts", PROMPTS, ids=["0 images", "1 image", "3 images"])
def test_tokens_and_pixels_are_those_of_the_loader(variant, name, parts):
    exported = variant(name)
    sample = exported.own.encoder.encode(document(*parts), end=False)
    got = inputs(exported, parts)
    assert got["input_ids"].tolist() == [sample.tokens.tolist()]
    assert got["attention_mask"].all()
    assert set(got) == {"input_ids", "attention_mask", *(["pixel_values"] if sample.images else [])}
    if sample.images:
        assert got["pixel_values"].dtype == torch.uint8
        assert torch.equal(got["pixel_values"].permute(0, 2, 3, 1), torch.from_numpy(np.stack(sample.images)))


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.tuples(st.integers(1, 80), st.integers(1, 80)), min_size=1, max_size=3))
def test_the_count_for_vllm_is_what_happens(variant, sizes):
    exported = variant("window")
    pictures = [picture(0, width, height) for width, height in sizes]
    given = inputs(exported, tuple(pictures))
    tokens = exported.processor._get_num_multimodal_tokens(image_sizes=[(height, width) for width, height in sizes])
    assert sum(tokens["num_image_tokens"]) == given["input_ids"].shape[1]
    assert sum(tokens["num_image_patches"]) == len(given["pixel_values"])


@pytest.mark.parametrize(
    "policy",
    [
        {},
        GRID,
        {"grid": {"kind": "best", "min_tiles": 1, "max_tiles": 7}},
        {"grid": {"kind": "best", "min_tiles": 2, "max_tiles": 6}, "overview": "none"},
    ],
)
def test_the_largest_picture_that_vllm_plans_for_makes_the_most_sub_images(policy):
    processor = MM1ImageProcessor(image_size=16, sub_images=policy)
    size = (processor.size["height"], processor.size["width"])
    assert processor.num_sub_images([size]) == [SubImagesConfig.model_validate(policy).max_sub_images]


def test_vllm_finds_each_pictures_place(variant):
    exported = variant("sparse")
    text, pictures = prompt(*PROMPTS[2])
    got = exported.processor(text=text, images=pictures, return_text_replacement_offsets=True)
    tokenizer, places = exported.processor.tokenizer, got["text_replacement_offsets"][0]
    assert [place["type"] for place in places] == ["image"] * 3
    own = exported.checkpoint.tokenizer
    for place in places:
        ids = tokenizer.encode(place["replacement"], add_special_tokens=False)
        assert ids == [own.image_id] * (5 * 4)
    assert tokenizer.encode(exported.processor.image_token, add_special_tokens=False) == [own.image_id]
    assert exported.processor.image_token_id == exported.model.config.image_token_id == own.image_id


def test_token_types_mark_images(variant):
    exported = variant("tied")
    text, pictures = prompt(*PROMPTS[2])
    got = exported.processor(text=text, images=pictures, return_mm_token_type_ids=True, return_tensors="pt")
    assert torch.equal(got["mm_token_type_ids"] == 1, got["input_ids"] == exported.processor.image_token_id)
    exported.model(**got)  # takes them, too


def test_rows_of_a_batch_are_padded_on_the_left(variant):
    exported = variant("tied")
    got = inputs(exported, *PROMPTS)
    for row, parts in enumerate(PROMPTS):
        alone = inputs(exported, parts)["input_ids"][0]
        assert torch.equal(got["input_ids"][row, -len(alone) :], alone)
        assert got["attention_mask"][row].tolist() == [0] * (got["input_ids"].shape[1] - len(alone)) + [1] * len(alone)


@pytest.mark.parametrize(
    ("text", "images", "message"),
    [
        ("<|image|> and <|image|>", [picture(0)], "the text has 2 '<.image.>', but there are 1 images"),
        ("nothing", [picture(0)], "the text has 0 '<.image.>', but there are 1 images"),
        ("<|image|>", None, "the text has 1 '<.image.>', but there are 0 images"),
        ("<|image|>", picture(0).resize((1, 1)), None),
        ("<|image|><|image|>", np.zeros((2, 8, 8, 3), np.uint8), None),
        (["<|image|>", "<|image|>"], [[], [picture(0), picture(1)]], r"text 0 \(counted from 0\) has 1 .* 0 images"),
        (["<|image|>"], [[picture(0)], [picture(1)]], "there are 1 texts, but 2 rows of images: give each its own"),
        (["<|image|>", "a"], [[picture(0)]], "there are 2 texts, but 1 rows of images"),
        ("a cat", [], "there are 0 images: give at least 1, or leave `images` out"),
    ],
)
def test_pictures_and_placeholders_must_agree(variant, text, images, message):
    processor = variant("tied").processor
    if message is None:
        processor(text=text, images=images)
        return
    with pytest.raises(UserError, match=message):
        processor(text=text, images=images)


def jpeg(image: Pictures.Image) -> bytes:
    buffer = io.BytesIO()
    exif = Pictures.Exif()
    exif[0x0112] = 6  # lies on its side
    image.save(buffer, "JPEG", quality=90, exif=exif)
    return buffer.getvalue()


@pytest.mark.parametrize("policy", [{}, GRID])
def test_encoded_pictures_give_the_pixels_of_training_however_they_come(policy, tmp_path):
    """A JPEG so large that it is read at a quarter of its size, and turned."""
    data = jpeg(picture(0, 300, 200).resize((1200, 800)))
    (tmp_path / "a.jpg").write_bytes(data)
    expected = np.stack(decode_sub_images(data, SubImagesConfig.model_validate(policy), 16))
    processor = MM1ImageProcessor(image_size=16, sub_images=policy)
    encoded = base64.b64encode(data).decode()
    ways: list[Any] = [
        data,
        tmp_path / "a.jpg",
        str(tmp_path / "a.jpg"),
        encoded,
        f"data:image/jpeg;base64,{encoded}",
        Pictures.open(io.BytesIO(data)),
    ]
    for way in ways:
        got = processor(way)["pixel_values"].permute(0, 2, 3, 1).numpy()
        assert (got == expected).all(), way
    with Pictures.open(tmp_path / "a.jpg") as image:
        got = processor(image)["pixel_values"].permute(0, 2, 3, 1).numpy()
        image.load()  # can still be
        loaded = processor([[image], [image]])["pixel_values"].permute(0, 2, 3, 1).numpy()
    assert (got == expected).all()
    assert len(loaded) == 2 * len(expected)
    # From full size, not from a quarter: alike, and not equal.
    assert 0 < np.abs(loaded[: len(expected)].astype(int) - expected).max() < 24


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "I;16", "CMYK", "YCbCr"])
def test_decoded_pictures_of_any_mode_are_read_as_encoded_ones(mode):
    image = picture(0, 20, 12)
    if mode in ("RGBA", "LA"):
        image.putalpha(picture(1, 20, 12).convert("L"))
    image = Pictures.fromarray(np.arange(240, dtype=np.uint16).reshape(12, 20) * 257) if mode == "I;16" else image
    image = image if image.mode == mode else image.convert(mode)
    processor = MM1ImageProcessor(image_size=16)
    got = processor(image)["pixel_values"]
    lossless = image if mode not in ("CMYK", "YCbCr") else image.convert("RGB")
    assert torch.equal(got, processor(png(lossless))["pixel_values"])


def test_arrays_are_pictures_too():
    image = picture(0, 20, 12)
    processor = MM1ImageProcessor(image_size=16)
    expected = processor(image)["pixel_values"]
    array = np.asarray(image)
    for way in (array, array.transpose(2, 0, 1), torch.from_numpy(array.copy()), array.astype(np.float32) / 255):
        assert torch.equal(processor(way)["pixel_values"], expected)
    assert len(processor(np.stack([array, array]))["pixel_values"]) == 2
    with pytest.raises(UserError, match="an array of float64 is no picture"):
        processor(array.astype(np.float64))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (b"no picture", "is no picture of these formats: PNG, JPEG"),
        ("no such file", "is neither a file, nor a URL, nor base64"),
        ("http://127.0.0.1:9/a.png", "can not be read .*refused"),
        (png(picture(0))[:-40], r"image 0 \(counted from 0\) is corrupt: replace it"),
        ([], "there are 0 images: give at least 1"),
        ([[]], "there are 0 images: give at least 1"),
        (Pictures.new("1", (9000, 8000)), "is too_many_pixels"),
    ],
)
def test_what_is_no_picture_is_one_sentence(source, message):
    with pytest.raises(UserError, match=message):
        MM1ImageProcessor(image_size=16)(source)


def test_arguments_that_would_change_pixels_are_refused(variant):
    with pytest.raises(UserError, match="does not take 'do_resize'"):
        variant("tied").processor(text="<|image|>", images=picture(0), do_resize=False)


@pytest.mark.parametrize("name", VARIANTS)
def test_processors_are_saved_and_opened_again(variant, name, tmp_path):
    exported = variant(name)
    assert type(exported.processor) is MM1Processor
    exported.processor.save_pretrained(tmp_path)
    again = AutoProcessor.from_pretrained(tmp_path)
    assert again.chat_template == exported.processor.chat_template
    assert again.to_dict() == exported.processor.to_dict()
    first, second = inputs(exported, *PROMPTS), None
    text, pictures = zip(*(prompt(*parts) for parts in PROMPTS), strict=True)
    second = again(text=list(text), images=list(pictures), padding=True, return_tensors="pt")
    assert all(torch.equal(first[key], second[key]) for key in first)
    images = AutoImageProcessor.from_pretrained(exported.folder)
    assert type(images) is MM1ImageProcessor
    assert torch.equal(images(list(pictures))["pixel_values"], first["pixel_values"])


def test_documents_and_prompts_have_the_same_special_tokens(variant):
    """A prompt given as it is, is markup: what spells a special token is that token."""
    exported = variant("tied")
    own = exported.checkpoint.tokenizer
    ids = exported.processor(text="a<|endoftext|>")["input_ids"][0]
    assert ids[-1] == own.eos_id
    spelled = exported.own.encoder.encode(Document("d", (Text("a<|endoftext|>"), Image(png(picture(0))))), end=False)
    assert own.eos_id not in spelled.tokens

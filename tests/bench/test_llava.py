"""The peer: of equal size, fed with the same documents, its loss over the same tokens."""

import sys

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from mm1.bench.documents import with_image_tokens
from mm1.bench.llava import BATCH_SIZE, PaddedTraining, by_length, equal_llava, padded, settings
from mm1.bench.packed import without_pooling
from mm1.bench.size import nearest_width
from mm1.config import UserError
from mm1.models.counts import parameters_by_part
from mm1.models.mm1 import MM1
from mm1.recipes.tiny import tiny
from mm1.types import IGNORE

MODEL = tiny().pretrain.model


def test_all_contestants_have_the_same_number_of_parameters_within_5_percent(contestants):
    totals = {key: one.description.parameters["total"] for key, one in contestants.items()}
    for total in totals.values():
        assert total == pytest.approx(totals["mm1"], rel=0.05)
    for one in contestants.values():
        parts = one.description.parameters
        assert parts["total"] == sum(count for part, count in parts.items() if part != "total")


def test_the_peer_has_the_recipes_shape(workload):
    config = equal_llava(MODEL, workload.tokenizer).config
    vision, text = config.vision_config, config.text_config
    encoder, decoder = MODEL.image_encoder, MODEL.decoder
    assert (vision.hidden_size, vision.num_hidden_layers) == (encoder.dim, encoder.num_layers)
    assert (text.hidden_size, text.num_hidden_layers, text.vocab_size) == (
        decoder.dim,
        decoder.num_layers,
        decoder.vocab_size,
    )
    assert config.image_seq_length == encoder.num_patches == without_pooling(MODEL).num_image_tokens


def test_without_pooling_only_connector_and_mlp_change():
    changed = without_pooling(MODEL)
    assert changed.image_encoder == MODEL.image_encoder
    assert changed.decoder.replace(mlp_dim=MODEL.decoder.mlp_dim) == MODEL.decoder
    assert parameters_by_part(MM1(changed))["connector"] < parameters_by_part(MM1(MODEL))["connector"]


@given(slope=st.integers(1, 5000), offset=st.integers(0, 10**6), target=st.integers(0, 10**7))
def test_nearest_width_is_nearest(slope, offset, target):
    width = nearest_width(lambda width: offset + slope * width, target)
    assert width >= 8
    assert width % 8 == 0
    error = abs(offset + slope * width - target)
    assert all(abs(offset + slope * other - target) >= error for other in (width - 8, width + 8) if other >= 8)


def test_padding_keeps_every_document_and_its_targets(contestants, workload):
    image_id, pad_id = workload.tokenizer.image_id, workload.tokenizer.pad_id
    samples = by_length(workload.samples)
    assert [len(sample) for sample in samples] == sorted((len(sample) for sample in samples), reverse=True)
    batches = padded(samples, workload.tokenizer, MODEL.image_encoder)
    rows = [
        {name: batch[name][row] for name in ("input_ids", "labels", "attention_mask")}
        for batch in batches
        for row in range(len(batch["input_ids"]))
    ]
    assert max(len(batch["input_ids"]) for batch in batches) == BATCH_SIZE
    for sample, row in zip(samples, rows, strict=True):
        length = len(sample)
        assert row["attention_mask"].tolist() == [1] * length + [0] * (len(row["labels"]) - length)
        assert row["input_ids"].tolist() == [*sample.tokens, *[pad_id] * (len(row["labels"]) - length)]
        expected = [
            int(token) if counts else IGNORE for token, counts in zip(sample.tokens, sample.loss_mask, strict=True)
        ]
        assert row["labels"][:length].tolist() == expected
        assert not ((row["input_ids"] == image_id) & (row["labels"] != IGNORE)).any()


def test_pixels_are_those_that_mm1_sees(workload):
    encoder = MM1(MODEL).image_encoder
    batch = padded(workload.samples, workload.tokenizer, MODEL.image_encoder)[0]
    images = [image for sample in workload.samples[:BATCH_SIZE] for image in sample.images]
    pixels = torch.stack([torch.from_numpy(image).permute(2, 0, 1) for image in images])
    torch.testing.assert_close(batch["pixel_values"], encoder.normalise(pixels), rtol=0, atol=1e-5)


def test_its_loss_is_the_mean_over_the_supervised_tokens(workload):
    """So its gradient is of the same tokens as mm1's, and the counts that rates are made of are both sides'."""
    torch.manual_seed(0)
    model = equal_llava(MODEL, workload.tokenizer)
    of_each_kind = [next(s for s in workload.samples if len(s.images) == number) for number in (0, 1, 3)]
    samples = [with_image_tokens(sample, 36, workload.tokenizer.image_id) for sample in of_each_kind]
    batch = padded(samples, workload.tokenizer, MODEL.image_encoder)[0]
    output = model(**batch)
    total = torch.zeros(())
    for row, sample in enumerate(samples):
        for place in range(1, len(sample)):
            if sample.loss_mask[place]:
                total += F.cross_entropy(output.logits[row, place - 1], torch.tensor(int(sample.tokens[place])))
    count = sum(int(sample.loss_mask.sum()) for sample in samples)
    torch.testing.assert_close(output.loss * count, total, rtol=1e-4, atol=1e-3)


def test_a_batch_of_texts_has_no_pixels_and_trains(workload):
    model = equal_llava(MODEL, workload.tokenizer)
    texts = [sample for sample in workload.samples if not sample.images]
    batches = padded(texts, workload.tokenizer, MODEL.image_encoder)
    assert all("pixel_values" not in batch for batch in batches)
    contestant = PaddedTraining("texts", model, batches, torch.device("cpu"))
    contestant.warm_up()
    tried = contestant.description.tried
    assert list(tried) == [str(setting) for setting in settings(torch.device("cpu"))]
    assert contestant.description.precision == min(tried, key=lambda setting: tried[setting])
    before = [parameter.clone() for parameter in model.model.language_model.parameters()]
    assert contestant.run().seconds > 0
    after = list(model.model.language_model.parameters())
    assert not any(torch.equal(x, y) for x, y in zip(before, after, strict=True))


def test_missing_transformers_is_one_sentence_with_the_remedy(workload, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r"pip install mm1\[hf\]"):
        equal_llava(MODEL, workload.tokenizer)

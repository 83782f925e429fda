"""CLIP: which text belongs to which image, unit vectors, and a bounded temperature."""

import pytest
import torch
from pydantic import ValidationError

from mm1.models.clip import CLIP, CLIPConfig, last_positions
from mm1.models.decoder import DecoderConfig
from mm1.models.image_encoder import ImageEncoderConfig


def build():
    torch.manual_seed(0)
    model = CLIP(
        CLIPConfig(
            image_encoder=ImageEncoderConfig(image_size=16, patch_size=4, dim=16, num_layers=2, mlp_dim=32),
            text_tower=DecoderConfig(vocab_size=64, dim=32, num_layers=2, mlp_dim=64),
            embed_dim=24,
        )
    )
    for name, parameter in model.named_parameters():
        if name != "logit_scale":
            torch.nn.init.normal_(parameter, mean=0.5 * (parameter.dim() == 1), std=0.2)
    return model


@pytest.fixture
def batch(make_batch):
    return make_batch([[(1, 3), (1, 6)], [(1, 5), (1, 2), (1, 1)]], num_image_tokens=1, length=14)


def test_the_text_of_an_image_ends_where_its_segment_ends(batch):
    expected = []
    for row, segment in zip(batch.image_rows.tolist(), batch.image_segments.tolist(), strict=True):
        columns = [column for column in range(14) if batch.segment_ids[row, column] == segment]
        expected.append(row * 14 + columns[-1])
    assert last_positions(batch).tolist() == expected


def test_a_pair_embeds_in_a_pack_as_it_does_alone(make_batch, batch):
    model = build()
    packed = model(batch)
    for pair in range(batch.num_images):
        row, segment = int(batch.image_rows[pair]), int(batch.image_segments[pair])
        own = batch.segment_ids[row] == segment
        alone = make_batch([[(1, int(own.sum()) - 1)]], num_image_tokens=1)
        changed = {"tokens": batch.tokens[row][own][None], "images": batch.images[pair : pair + 1]}
        output = model(type(alone)(**({name: getattr(alone, name) for name in alone.__slots__} | changed)))
        torch.testing.assert_close(output.text_embeddings[0], packed.text_embeddings[pair], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(output.image_embeddings[0], packed.image_embeddings[pair], atol=1e-5, rtol=1e-4)
    assert packed.text_embeddings.unique(dim=0).shape[0] == batch.num_images


def test_text_embeddings_do_not_see_the_images(batch):
    model = build()
    changed = {name: getattr(batch, name) for name in batch.__slots__} | {"images": 255 - batch.images}
    before, after = model(batch), model(type(batch)(**changed))
    assert torch.equal(before.text_embeddings, after.text_embeddings)
    assert not torch.allclose(before.image_embeddings, after.image_embeddings)


@pytest.mark.parametrize("autocast", [False, True])
def test_embeddings_are_float32_of_length_1(batch, autocast):
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        output = build()(batch)
    for embeddings in (output.image_embeddings, output.text_embeddings):
        assert embeddings.shape == (5, 24)
        assert embeddings.dtype == torch.float32
        torch.testing.assert_close(embeddings.norm(dim=-1), torch.ones(5))


def test_the_scale_starts_at_the_papers_temperature_and_is_bounded_by_100(batch):
    model = build()
    assert model(batch).logit_scale.item() == pytest.approx(1 / 0.07)
    model.logit_scale.data.fill_(model.upper_bounds["logit_scale"])
    scale = model(batch).logit_scale
    assert scale.item() == pytest.approx(100)
    scale.backward()
    assert model.logit_scale.grad.item() == pytest.approx(100), "at its bound it still hears which way to go"


@pytest.mark.parametrize("rows", [[[(0, 5)]], [[(1, 5), (1, 3)]]])
def test_every_parameter_has_a_gradient_with_and_without_images(make_batch, rows):
    model = build()
    output = model(make_batch(rows, num_image_tokens=1))
    (output.image_embeddings @ output.text_embeddings.T * output.logit_scale).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert model.config.num_image_tokens == 1


def test_a_text_tower_with_experts_is_refused():
    tower = DecoderConfig(vocab_size=8, moe={"num_experts": 4})
    with pytest.raises(ValidationError, match="no terms that keep routers balanced"):
        CLIPConfig(image_encoder=ImageEncoderConfig(), text_tower=tower)

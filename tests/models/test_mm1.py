"""MM1: images in their places, no leaks between packed documents, and batches without images."""

import pytest
import torch
from pydantic import ValidationError

from mm1.config import UserError, from_json, override, to_json
from mm1.models.connector import AttentionPoolConfig, AvgPoolConfig, CAbstractorConfig
from mm1.models.decoder import DecoderConfig
from mm1.models.image_encoder import ImageEncoderConfig
from mm1.models.mm1 import MM1, MM1Config

CONNECTORS = [
    AvgPoolConfig(num_image_tokens=4),
    AttentionPoolConfig(num_image_tokens=4),
    CAbstractorConfig(num_image_tokens=4, hidden_dim=16, depth=1),
]
DECODER = DecoderConfig(vocab_size=64, dim=32, num_layers=2, mlp_dim=64, smeared_keys=True)
ENCODER = ImageEncoderConfig(image_size=16, patch_size=4, dim=16, num_layers=2, mlp_dim=32)


def build(connector=CONNECTORS[0], **encoder):
    """A model whose weights are large enough that what stands before a token matters."""
    torch.manual_seed(0)
    model = MM1(MM1Config(decoder=DECODER, image_encoder=ENCODER.replace(**encoder), connector=connector))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, mean=0.5 * (parameter.dim() == 1), std=0.2)
    return model


@pytest.mark.parametrize("connector", CONNECTORS, ids=lambda config: config.kind)
def test_image_tokens_take_their_places_among_the_text(make_batch, connector):
    model = build(connector)
    batch = make_batch([[(1, 3), (0, 2)], [(2, 1)]])
    features = model.encode_images(batch.images)
    embedded = model.embed(batch.tokens, batch.image_index, features)
    text = model.decoder.embed(batch.tokens)
    for row in range(2):
        for column in range(batch.tokens.shape[1]):
            index = int(batch.image_index[row, column])
            expected = text[row, column] if index < 0 else features[index // 4, index % 4]
            assert torch.equal(embedded[row, column], expected)


@pytest.mark.parametrize("connector", CONNECTORS, ids=lambda config: config.kind)
@pytest.mark.parametrize("precision", ["float32", "autocast"])
def test_neither_text_nor_image_of_a_document_changes_a_bit_of_another(make_batch, connector, precision):
    model = build(connector)
    batch = make_batch([[(1, 7), (1, 9), (0, 5)]], length=40)
    second = (batch.segment_ids == 1)[0]
    images, tokens = batch.images.clone(), batch.tokens.clone()
    images[1] = 255 - images[1]
    tokens[0, second & (batch.image_index[0] < 0)] += 1

    def run(images, tokens):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "autocast"):
            changed = {name: getattr(batch, name) for name in batch.__slots__} | {"images": images, "tokens": tokens}
            return model.logits(model(type(batch)(**changed)).hidden)[0]

    before = run(batch.images, batch.tokens)
    for after in (run(images, batch.tokens), run(batch.images, tokens)):
        assert torch.equal(before[~second], after[~second])
        assert not torch.equal(before[second], after[second])


@pytest.mark.parametrize("connector", CONNECTORS, ids=lambda config: config.kind)
def test_packed_documents_read_as_they_do_alone(make_batch, connector):
    model = build(connector)
    documents = [(1, 7), (2, 3), (0, 5)]
    packed = make_batch([documents], length=40)
    hidden = model(packed).hidden[0]
    column = image = 0
    for images, text in documents:
        size = images * 4 + text
        alone = make_batch([[(images, text)]])
        tokens = packed.tokens[:, column : column + size]
        changed = {"tokens": tokens, "images": packed.images[image : image + images]}
        values = {name: getattr(alone, name) for name in alone.__slots__} | changed
        torch.testing.assert_close(
            hidden[column : column + size], model(type(alone)(**values)).hidden[0], atol=1e-4, rtol=1e-4
        )
        column, image = column + size, image + images


@pytest.mark.parametrize("connector", CONNECTORS, ids=lambda config: config.kind)
@pytest.mark.parametrize("stem", ["patch", "conv"])
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("images", [0, 1])
def test_every_parameter_has_a_gradient_with_and_without_images(make_batch, connector, stem, autocast, images):
    """Without images the encoder's and the connector's are zero, not absent, so that ranks take the same steps."""
    model = build(connector, stem=stem)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        logits = model.logits(model(make_batch([[(images, 6), (images, 9)]])).hidden)
    logits.float().logsumexp(-1).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        if not name.startswith("decoder."):
            assert bool(parameter.grad.any()) == bool(images), name


def test_layers_that_the_features_do_not_use_are_not_part_of_the_model(make_batch):
    whole, model = build(), build(num_layers_used=1)
    missing = set(whole.state_dict()) - set(model.state_dict())
    assert missing
    assert all(name.startswith(("image_encoder.blocks.1.", "image_encoder.post_norm.")) for name in missing)
    model(make_batch([[(1, 5)]])).hidden.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters() if parameter is not model.decoder.head)


def test_training_is_reproducible_to_the_bit(make_batch):
    def gradients():
        model = build(CONNECTORS[2], stem="conv")
        with torch.autocast("cpu", torch.bfloat16):
            logits = model.logits(model(make_batch([[(2, 6), (1, 9)], [(3, 4)]])).hidden)
        logits.float().logsumexp(-1).sum().backward()
        return [parameter.grad for parameter in model.parameters()]

    torch.use_deterministic_algorithms(True)
    try:
        assert all(torch.equal(first, second) for first, second in zip(gradients(), gradients(), strict=True))
    finally:
        torch.use_deterministic_algorithms(False)


def test_too_few_or_too_many_images_are_refused_with_both_numbers(make_batch):
    model = build()
    batch = make_batch([[(2, 5)]])
    for count in (1, 3):
        features = torch.zeros(count, 4, 32)
        with pytest.raises(
            UserError, match=f"8 places for image tokens, but {count} images of 4 tokens make {4 * count}"
        ):
            model.embed(batch.tokens, batch.image_index, features)


def test_a_text_model_reads_text_and_refuses_images(make_batch):
    model = MM1(MM1Config(decoder=DECODER))
    assert model.config.num_image_tokens == 0
    assert model(make_batch([[(0, 5)]])).hidden.shape == (1, 5, 32)
    with pytest.raises(UserError, match="1 images were given to a text model"):
        model(make_batch([[(1, 5)]]))


def test_weights_stand_under_the_three_parts():
    model = build()
    assert {name.split(".")[0] for name in model.state_dict()} == {"image_encoder", "connector", "decoder"}
    assert model.config.num_image_tokens == 4


def test_config_survives_json_and_overrides():
    config = build(CONNECTORS[2]).config
    assert from_json(MM1Config, to_json(config)) == config
    changed = override(config, ["connector.kind=avg_pool", "connector.num_image_tokens=9"])
    assert changed.connector == AvgPoolConfig(num_image_tokens=9)


def test_an_encoder_without_a_connector_is_refused():
    with pytest.raises(ValidationError, match="set connector, or neither"):
        MM1Config(decoder=DECODER, image_encoder=ENCODER)


def test_a_meta_model_holds_no_memory_and_computes_shapes(make_batch):
    with torch.device("meta"):
        model = MM1(build().config)
    assert all(parameter.is_meta for parameter in model.parameters())
    assert model.logits(model(make_batch([[(1, 5)]]).to("meta")).hidden).shape == (1, 9, 64)

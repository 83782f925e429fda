"""The image encoder by itself: no images, other grids, fewer layers, both stems, and CLIP's pooled output.

What each option computes is held against transformers in tests/hf/test_image_encoders.py.
"""

import pytest
import torch
import transformers
from pydantic import ValidationError

from mm1.models.image_encoder import ImageEncoder, ImageEncoderConfig

CLIP_SHAPE = ImageEncoderConfig(
    image_size=42,
    patch_size=14,
    dim=32,
    num_layers=3,
    num_heads=4,
    mlp_dim=80,
    mlp="quick_gelu",
    class_token=True,
    pre_norm=True,
    post_norm=False,
)


def peer_and_ours(activation="quick_gelu", **options):
    """A random Hugging Face CLIP vision model, and our encoder holding its weights."""
    torch.manual_seed(0)
    config = transformers.CLIPVisionConfig(
        image_size=42,
        patch_size=14,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=80,
        hidden_act=activation,
    )
    peer = transformers.CLIPVisionModel(config).eval()
    for parameter in peer.parameters():
        torch.nn.init.normal_(parameter, mean=0.5 * (parameter.dim() == 1), std=0.3)
    weights = {name.removeprefix("vision_model."): tensor for name, tensor in peer.state_dict().items()}
    ours = ImageEncoder(CLIP_SHAPE.replace(mlp=activation, **options))
    tensors = from_peer(weights, ours.config)
    kept = {name: tensor for name, tensor in tensors.items() if not ours.config.leaves_out(name)}
    ours.load_state_dict(kept, strict=True)
    return peer, ours


def from_peer(weights, config):
    """Our names and merged matrices, from Hugging Face's."""
    ours = {
        "stem.weight": weights["embeddings.patch_embedding.weight"],
        "class_token": weights["embeddings.class_embedding"],
        "positions": weights["embeddings.position_embedding.weight"],
    }
    for kind in ("weight", "bias"):
        ours[f"pre_norm.{kind}"] = weights[f"pre_layrnorm.{kind}"]
        if config.post_norm:
            ours[f"post_norm.{kind}"] = weights[f"post_layernorm.{kind}"]
        for layer in range(config.num_layers):
            theirs, mine = f"encoder.layers.{layer}.", f"blocks.{layer}."
            names = {
                "output": "self_attn.out_proj",
                "up": "mlp.fc1",
                "down": "mlp.fc2",
                "attention_norm": "layer_norm1",
                "mlp_norm": "layer_norm2",
            }
            ours |= {f"{mine}{name}.{kind}": weights[f"{theirs}{other}.{kind}"] for name, other in names.items()}
            parts = [weights[f"{theirs}self_attn.{part}_proj.{kind}"] for part in "qkv"]
            ours[f"{mine}qkv.{kind}"] = torch.cat(parts)
    return ours


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
@pytest.mark.parametrize("num_layers_used", [3, 2])
def test_features_equal_hugging_face_clip(activation, num_layers_used):
    peer, ours = peer_and_ours(activation, num_layers_used=num_layers_used)
    pixels = torch.randn(2, 3, 42, 42)
    with torch.no_grad():
        expected = peer(pixels, output_hidden_states=True).hidden_states[num_layers_used][:, 1:].unflatten(1, (3, 3))
        features = ours(pixels)
    assert expected.std() > 0.5
    torch.testing.assert_close(features, expected, atol=1e-4, rtol=1e-4)


def test_pooled_class_token_equals_hugging_face_clip():
    peer, ours = peer_and_ours(post_norm=True)
    pixels = torch.randn(2, 3, 42, 42)
    with torch.no_grad():
        torch.testing.assert_close(ours.pool(pixels), peer(pixels).pooler_output, atol=1e-4, rtol=1e-4)


def test_without_a_class_token_the_pool_is_the_mean_of_the_features():
    encoder = ImageEncoder(ImageEncoderConfig(image_size=16))
    pixels = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(encoder.pool(pixels), encoder(pixels).mean((1, 2)))


def test_normalise_is_the_usual_formula():
    config = ImageEncoderConfig(image_size=16)
    images = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    mean, std = (torch.tensor(values)[:, None, None] for values in (config.mean, config.std))
    torch.testing.assert_close(ImageEncoder(config).normalise(images), (images / 255 - mean) / std)


@pytest.mark.parametrize("stem", ["patch", "conv"])
@pytest.mark.parametrize("class_token", [False, True])
def test_features_come_in_raster_order(stem, class_token):
    """With the blocks switched off, a patch's first pixel changes that patch's feature alone."""
    config = ImageEncoderConfig(image_size=32, patch_size=8, stem=stem, class_token=class_token, post_norm=False)
    encoder = ImageEncoder(config)
    for block in encoder.blocks:
        torch.nn.init.zeros_(block.output.weight)
        torch.nn.init.zeros_(block.down.weight)
    pixels = torch.randn(1, 3, 32, 32)
    changed = pixels.clone()
    changed[0, :, 8, 16] += 1
    moved = (encoder(changed) - encoder(pixels)).abs().sum(-1)[0]
    assert moved.shape == (4, 4)
    assert moved.nonzero().tolist() == [[1, 2]]


SHAPES = {
    "plain": {},
    "conv": {"stem": "conv"},
    "clip": {"class_token": True, "pre_norm": True, "post_norm": False, "mlp": "quick_gelu"},
    "siglip": {"stem_bias": True, "mlp": "gelu_tanh"},
    "aim": {"stem_bias": True, "stem_norm": True, "positions": "sincos", "bias": False},
    "aimv2": {"stem_bias": True, "stem_norm": True, "norm": "rmsnorm", "mlp": "swiglu", "bias": False},
    "dinov2": {"stem_bias": True, "class_token": True, "layer_scale": True},
    "part": {"num_layers_used": 1},
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("images", [0, 2])
@pytest.mark.parametrize("size", [(16, 16), (24, 40)])
def test_every_parameter_has_a_gradient_with_and_without_images(shape, autocast, images, size):
    """Without images they are zero, not absent, so that ranks take the same steps; interpolated positions learn too."""
    torch.manual_seed(0)
    encoder = ImageEncoder(ImageEncoderConfig(image_size=16, **SHAPES[shape]))
    pixels = torch.randint(0, 256, (images, 3, *size), dtype=torch.uint8)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        features = encoder(encoder.normalise(pixels))
    assert features.shape == (images, size[0] // 8, size[1] // 8, 96)
    assert features.isfinite().all()
    (features * torch.randn_like(features)).sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert bool(parameter.grad.any()) == bool(images), name


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [(16, 16), (24, 40)])
def test_an_encoder_of_bfloat16_weights_gives_bfloat16_features(shape, size):
    """Fixed positions are computed in float32, and must not make the tokens that as well."""
    torch.manual_seed(0)
    encoder = ImageEncoder(ImageEncoderConfig(image_size=16, **SHAPES[shape]))
    pixels = torch.randn(2, 3, *size)
    wanted = encoder(pixels)
    features = encoder.to(torch.bfloat16)(pixels)
    assert features.dtype == torch.bfloat16
    torch.testing.assert_close(features.float(), wanted, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("shape", SHAPES)
def test_pooling_no_images_keeps_every_parameter_in_the_graph(shape):
    encoder = ImageEncoder(ImageEncoderConfig(image_size=16, **SHAPES[shape]))
    pooled = encoder.pool(torch.zeros(0, 3, 16, 16))
    assert pooled.shape == (0, 96)
    pooled.sum().backward()
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in encoder.parameters())


@pytest.mark.parametrize("shape", SHAPES)
def test_images_do_not_mix(shape):
    encoder = ImageEncoder(ImageEncoderConfig(image_size=16, **SHAPES[shape]))
    pixels = torch.randn(3, 3, 16, 24)
    alone = torch.cat([encoder(image[None]) for image in pixels])
    torch.testing.assert_close(encoder(pixels), alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("positions", ["learned", "sincos"])
def test_an_encoder_for_larger_images_is_the_old_one_with_its_positions_resized(positions):
    old = ImageEncoder(ImageEncoderConfig(image_size=16, class_token=True, positions=positions))
    new = ImageEncoder(old.config.replace(image_size=40, position_size=16))
    assert new.config.num_patches == 25
    assert new.config.position_grid == 2
    new.load_state_dict(old.state_dict())
    pixels = torch.randn(1, 3, 40, 40)
    assert torch.equal(new(pixels), old(pixels))


@pytest.mark.parametrize("positions", ["learned", "sincos"])
def test_the_class_token_keeps_its_own_position_on_any_grid(positions):
    """The blocks switched off, what the class token becomes does not depend on the grid; a fixed position is zero."""
    encoder = ImageEncoder(ImageEncoderConfig(image_size=16, class_token=True, post_norm=False, positions=positions))
    for block in encoder.blocks:
        torch.nn.init.zeros_(block.output.weight)
        torch.nn.init.zeros_(block.down.weight)
    expected = encoder.class_token + (0 if encoder.positions is None else encoder.positions[0])
    for size in (16, 40):
        torch.testing.assert_close(encoder.pool(torch.randn(1, 3, size, size))[0], expected)


def test_pixels_that_do_not_divide_into_patches_are_our_mistake():
    with pytest.raises(AssertionError, match="20 x 16 pixels do not divide into patches of 8"):
        ImageEncoder(ImageEncoderConfig(image_size=16))(torch.zeros(1, 3, 20, 16))


def test_layers_behind_the_last_used_one_are_not_built():
    whole = ImageEncoder(ImageEncoderConfig(image_size=16, num_layers=4)).state_dict()
    part = ImageEncoder(ImageEncoderConfig(image_size=16, num_layers=4, num_layers_used=2))
    left_out = {name for name in whole if part.config.leaves_out(name)}
    assert set(part.state_dict()) == set(whole) - left_out
    assert {name.split(".")[0] for name in left_out} == {"blocks", "post_norm"}
    assert {name.split(".")[1] for name in left_out if name.startswith("blocks.")} == {"2", "3"}


def test_an_encoder_without_its_last_norm_leaves_that_out_too():
    config = ImageEncoderConfig(post_norm=False)
    assert config.leaves_out("post_norm.weight")
    assert not any(map(config.leaves_out, ImageEncoder(config).state_dict()))


def test_patches_are_counted_before_anything_is_built():
    assert ImageEncoderConfig(image_size=378, patch_size=14).num_patches == 729


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"image_size": 50}, "image_size 50 is not a multiple of patch_size 8"),
        ({"image_size": 42, "patch_size": 14, "stem": "conv"}, "patch_size 14 is not a power of 2"),
        ({"dim": 90}, "dim 90 is not a multiple of num_heads 4"),
        ({"position_size": 50}, "position_size 50 is not a multiple of patch_size 8"),
        ({"dim": 90, "num_heads": 5, "positions": "sincos"}, "dim 90 is not a multiple of 4"),
        ({"num_layers_used": 4}, "num_layers_used 4 is more than num_layers 3"),
    ],
)
def test_impossible_shapes_are_refused_with_both_numbers(options, words):
    with pytest.raises(ValidationError, match=words):
        ImageEncoderConfig(**options)

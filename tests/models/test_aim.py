"""AIM: what sees what, what is predicted, by whom, and that nothing leaks from a patch to its own prediction."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from mm1.models.aim import AIM, AIMConfig, normalised_patches, prefix_causal, prefix_lengths
from mm1.models.image_encoder import ImageEncoder, ImageEncoderConfig

SHAPE = ImageEncoderConfig(
    image_size=16,
    patch_size=4,
    dim=16,
    num_layers=2,
    num_heads=2,
    mlp_dim=32,
    bias=False,
    stem_bias=True,
    stem_norm=True,
    positions="sincos",
    norm_eps=1e-6,
)
PATCHES = 16


def build(**options):
    torch.manual_seed(0)
    model = AIM(AIMConfig(image_encoder=SHAPE.replace(**options), head_dim=24, head_depth=2))
    for name, parameter in model.named_parameters():
        scale = 0.3 if parameter.dim() < 2 else parameter[0].numel() ** -0.5
        torch.nn.init.normal_(parameter, mean=float("norm.weight" in name), std=scale)
    return model


def with_prefixes(batch, prefixes):
    """`batch` with seeds that give the wanted prefixes."""
    return replace(batch, image_seeds=torch.tensor(prefixes) - 1)


@settings(max_examples=30, deadline=None)
@given(patches=st.integers(2, 40), seeds=st.lists(st.integers(0, 2**63 - 1), max_size=5))
def test_a_prefix_leaves_something_to_see_and_something_to_predict(patches, seeds):
    prefix = prefix_lengths(torch.tensor(seeds, dtype=torch.int64), patches)
    assert prefix.shape == (len(seeds),)
    assert all(1 <= length <= patches - 1 for length in prefix.tolist())
    assert [prefix_lengths(torch.tensor([seed]), patches).item() for seed in seeds] == prefix.tolist()


def test_prefixes_are_uniform():
    counts = prefix_lengths(torch.randint(0, 2**62, (15_000,)), PATCHES).bincount(minlength=PATCHES)
    assert counts[0] == 0
    assert counts[1:].min() > 850  # 1000 each, with a standard deviation of 31
    assert counts[1:].max() < 1150


@settings(max_examples=20, deadline=None)
@given(patches=st.integers(2, 12), prefixes=st.lists(st.integers(1, 11), max_size=4))
def test_a_patch_sees_those_before_it_and_the_prefix(patches, prefixes):
    allowed = prefix_causal(torch.tensor(prefixes, dtype=torch.int64), patches).allowed
    assert allowed.shape == (len(prefixes), 1, patches, patches)
    for image, prefix in enumerate(prefixes):
        for query in range(patches):
            for key in range(patches):
                assert allowed[image, 0, query, key] == (key <= query or key < prefix)


@pytest.mark.parametrize("prefix", [1, 5, 15])
def test_no_patch_reaches_its_own_prediction_nor_any_before_it(make_batch, prefix):
    """To the bit: a prediction of patch j depends on the prefix and on patches before j, and on nothing else."""
    model = build()
    batch = with_prefixes(make_batch([[(1, 2)]], num_image_tokens=1), [prefix])
    before = model(batch).predictions[0]
    for patch in range(PATCHES):
        row, column = divmod(patch, 4)
        images = batch.images.clone()
        images[0, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] ^= 128
        after = model(replace(batch, images=images)).predictions[0]
        moved = [index + 1 for index in range(PATCHES - 1) if not torch.equal(after[index], before[index])]
        assert moved == list(range(1 if patch < prefix else patch + 1, PATCHES))


def test_targets_are_the_next_patches_normalised_each_by_itself(make_batch):
    model = build()
    batch = with_prefixes(make_batch([[(2, 2)]], num_image_tokens=1), [3, 9])
    output = model(batch)
    pixels = model.image_encoder.normalise(batch.images)
    assert output.predictions.shape == output.targets.shape == (2, PATCHES - 1, 3 * 4 * 4)
    assert not output.targets.requires_grad
    for image in range(2):
        for patch in range(1, PATCHES):
            row, column = divmod(patch, 4)
            own = pixels[image, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4].flatten()
            torch.testing.assert_close(
                output.targets[image, patch - 1], (own - own.mean()) / own.std(), atol=1e-4, rtol=0
            )
    assert output.predicted.tolist() == [[patch >= prefix for patch in range(1, PATCHES)] for prefix in (3, 9)]


def test_a_patch_of_one_colour_is_a_target_of_zeros():
    """And of nothing else, for its standard deviation is 0: rounding over 1e-3 remains."""
    assert normalised_patches(torch.full((1, 3, 4, 4), 0.7), 4).abs().max() < 1e-3


def test_what_is_kept_sees_every_patch_both_ways(make_batch):
    model = build()
    encoder, batch = model.image_encoder, make_batch([[(1, 2)]], num_image_tokens=1)
    pixels = encoder.normalise(batch.images)
    free = encoder(pixels)
    torch.testing.assert_close(free, encoder(pixels, prefix_causal(torch.tensor([PATCHES]), PATCHES)))
    assert not torch.allclose(free[0, 0, 0], encoder(pixels, prefix_causal(torch.tensor([1]), PATCHES))[0, 0, 0])


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("images", [0, 2])
@pytest.mark.parametrize("options", [{}, {"positions": "learned", "bias": True, "mlp": "swiglu", "norm": "rmsnorm"}])
def test_every_parameter_has_a_gradient_with_and_without_images(make_batch, autocast, images, options):
    model = build(**options)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        output = model(make_batch([[(images, 5)]], num_image_tokens=1))
    assert output.targets.dtype == torch.float32
    ((output.predictions - output.targets).square().mean(-1) * output.predicted).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert bool(parameter.grad.any()) == bool(images), name
    assert model.config.num_image_tokens == 1


@pytest.mark.parametrize(
    ("layers", "dim", "heads", "used", "millions"),
    [(24, 1536, 12, None, 681), (24, 1536, 12, 20, 567), (24, 2048, 16, None, 1209), (24, 3072, 24, None, 2720)],
    ids=["600M", "600M-20-of-24", "1B", "3B"],
)
def test_sizes_of_the_published_trunks(layers, dim, heads, used, millions):
    """12·width² a block; what MM1 calls 600M, 1B and 3B. Of 600M it runs 20 layers."""
    shape = SHAPE.replace(
        image_size=224,
        patch_size=14,
        dim=dim,
        num_layers=layers,
        num_heads=heads,
        mlp_dim=4 * dim,
        num_layers_used=used,
    )
    with torch.device("meta"):
        encoder = ImageEncoder(shape)
    assert round(sum(parameter.numel() for parameter in encoder.parameters()) / 1e6) == millions


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_layers_used": 1}, "num_layers_used is for the model that uses the encoder"),
        ({"class_token": True}, "class_token is true"),
        ({"stem": "conv"}, "stem 'conv' lets a patch see its neighbours"),
        ({"image_size": 4}, "image_size 4 is one patch"),
    ],
)
def test_encoders_that_can_not_be_trained_so_are_refused(options, words):
    with pytest.raises(ValidationError, match=words):
        AIMConfig(image_encoder=SHAPE.replace(**options))

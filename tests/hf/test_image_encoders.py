"""Image encoders of transformers, saved and read back: the same features, or one sentence why not.

Random weights, with norms, biases and tables far from their start; float32. The largest difference measured stands
in each test; features have a standard deviation of 1 to 2.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import nn

from mm1.config import UserError
from mm1.hf.folder import HFFolder
from mm1.hf.image_encoder_families import FAMILIES
from mm1.hf.image_encoders import read_image_encoder
from mm1.models.image_encoder import ImageEncoder

TOLERANCE = 1e-4
SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 80,
    "image_size": 28,
    "patch_size": 7,
}
DINO = {"mlp_ratio": 4, "layerscale_value": 0.5}
VISION: dict[str, tuple[type, type, dict[str, Any]]] = {
    # The real widths, one layer: CLIP ViT-L/14 at 336, DFN-5B's ViT-H/14 at 378, SigLIP base, AIMv2 large, DINOv2 base
    "clip-l": (
        transformers.CLIPVisionModel,
        transformers.CLIPVisionConfig,
        {
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_attention_heads": 16,
            "image_size": 336,
            "patch_size": 14,
        },
    ),
    "clip-h": (
        transformers.CLIPVisionModel,
        transformers.CLIPVisionConfig,
        {
            "hidden_size": 1280,
            "intermediate_size": 5120,
            "num_attention_heads": 16,
            "image_size": 378,
            "patch_size": 14,
        },
    ),
    "clip-gelu": (transformers.CLIPVisionModel, transformers.CLIPVisionConfig, SMALL | {"hidden_act": "gelu"}),
    "siglip": (transformers.SiglipVisionModel, transformers.SiglipVisionConfig, {}),
    "siglip-without-head": (
        transformers.SiglipVisionModel,
        transformers.SiglipVisionConfig,
        SMALL | {"vision_use_head": False},
    ),
    "aimv2": (transformers.Aimv2VisionModel, transformers.Aimv2VisionConfig, {}),
    "aimv2-native": (transformers.Aimv2VisionModel, transformers.Aimv2VisionConfig, SMALL | {"is_native": True}),
    "aimv2-biases": (
        transformers.Aimv2VisionModel,
        transformers.Aimv2VisionConfig,
        SMALL | {"qkv_bias": True, "mlp_bias": True},
    ),
    "dinov2": (transformers.Dinov2Model, transformers.Dinov2Config, {}),
    "dinov2-swiglu": (transformers.Dinov2Model, transformers.Dinov2Config, SMALL | DINO | {"use_swiglu_ffn": True}),
}


def perturbed(model: nn.Module) -> nn.Module:
    """Weights of the size that keeps signals alive, and nothing at 0 or 1."""
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        scale = 0.3 if parameter.dim() < 2 or "position" in name else parameter[0].numel() ** -0.5
        one = "norm" in name and name.endswith("weight")
        nn.init.normal_(parameter, mean=float(one), std=scale)
    return model.eval()


def peer_of(case: str) -> nn.Module:
    model, config, options = VISION[case]
    return perturbed(model(config(**{"num_hidden_layers": 1, **options})))


def ours_of(folder: Path) -> ImageEncoder:
    config, tensors = read_image_encoder(HFFolder(folder))
    encoder = ImageEncoder(config)
    encoder.load_state_dict(tensors, strict=True)
    return encoder.eval()


def features_of(peer: nn.Module, pixels: torch.Tensor, class_token: bool, **options: Any) -> torch.Tensor:
    with torch.no_grad():
        hidden: torch.Tensor = peer(pixels, **options).last_hidden_state
    return hidden[:, int(class_token) :]


@pytest.mark.parametrize("case", VISION)
def test_features_are_those_of_transformers(case: str, tmp_path: Path) -> None:
    """Worst of all cases: 1.9e-6 (AIMv2); most are equal to the bit."""
    peer = peer_of(case)
    peer.save_pretrained(tmp_path)
    ours = ours_of(tmp_path)
    pixels = torch.randn(1, 3, ours.config.image_size, ours.config.image_size)
    with torch.no_grad():
        features = ours(pixels).flatten(1, 2)
    expected = features_of(peer, pixels, ours.config.class_token)
    assert expected.std() > 0.9
    torch.testing.assert_close(features, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("case", ["clip-gelu", "siglip-without-head", "dinov2-swiglu"])
@pytest.mark.parametrize("size", [(56, 56), (35, 63), (14, 21), (28, 28)])
def test_other_sizes_interpolate_as_transformers_does(case: str, size: tuple[int, int], tmp_path: Path) -> None:
    """Finer, coarser and oblong grids, from one of 4 x 4. Worst: 1.9e-6."""
    peer = peer_of(case)
    peer.save_pretrained(tmp_path)
    ours = ours_of(tmp_path)
    pixels = torch.randn(1, 3, *size)
    options = {} if case.startswith("dinov2") else {"interpolate_pos_encoding": True}
    expected = features_of(peer, pixels, ours.config.class_token, **options)
    with torch.no_grad():
        features = ours(pixels)
    assert features.shape == (1, size[0] // 7, size[1] // 7, 32)
    torch.testing.assert_close(features.flatten(1, 2), expected, atol=TOLERANCE, rtol=0)


def test_clip_l_at_672_is_transformers_interpolation(tmp_path: Path) -> None:
    """One layer of the real width, 24 x 24 positions for 48 x 48 patches. Worst: 1.4e-6."""
    model, config, options = VISION["clip-l"]
    peer = perturbed(model(config(**options | {"num_hidden_layers": 1, "intermediate_size": 64})))
    peer.save_pretrained(tmp_path)
    ours = ours_of(tmp_path)
    pixels = torch.randn(1, 3, 672, 672)
    with torch.no_grad():
        features = ours(pixels).flatten(1, 2)
    expected = features_of(peer, pixels, True, interpolate_pos_encoding=True)
    torch.testing.assert_close(features, expected, atol=TOLERANCE, rtol=0)


TEXT = {
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "vocab_size": 16,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
WHOLE = {
    "clip": (transformers.CLIPModel, transformers.CLIPConfig, SMALL),
    "siglip": (transformers.SiglipModel, transformers.SiglipConfig, SMALL),
    "aimv2": (transformers.Aimv2Model, transformers.Aimv2Config, SMALL),
}


@pytest.mark.parametrize("family", WHOLE)
def test_a_model_with_a_text_tower_gives_its_images_half(family: str, tmp_path: Path) -> None:
    model, config, vision = WHOLE[family]
    peer = perturbed(model(config(vision_config=vision, text_config=TEXT)))
    peer.save_pretrained(tmp_path)
    ours = ours_of(tmp_path)
    pixels = torch.randn(2, 3, 28, 28)
    with torch.no_grad():
        features = ours(pixels).flatten(1, 2)
    expected = features_of(peer.vision_model, pixels, ours.config.class_token)
    torch.testing.assert_close(features, expected, atol=TOLERANCE, rtol=0)


def test_a_clip_encoder_with_its_projection_and_a_dino_under_a_classifier_are_read(tmp_path: Path) -> None:
    peers = {
        "clip": transformers.CLIPVisionModelWithProjection(transformers.CLIPVisionConfig(**SMALL)),
        "dinov2": transformers.Dinov2ForImageClassification(transformers.Dinov2Config(**SMALL | DINO)),
    }
    for name, peer in peers.items():
        perturbed(peer).save_pretrained(tmp_path / name)
        ours = ours_of(tmp_path / name)
        pixels = torch.randn(1, 3, 28, 28)
        expected = features_of(peer.vision_model if name == "clip" else peer.dinov2, pixels, True)
        with torch.no_grad():
            features = ours(pixels).flatten(1, 2)
        torch.testing.assert_close(features, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize(
    ("family", "config"),
    [
        ("clip", transformers.CLIPVisionConfig),
        ("siglip", transformers.SiglipVisionConfig),
        ("aimv2", transformers.Aimv2VisionConfig),
        ("dinov2", transformers.Dinov2Config),
    ],
)
def test_what_a_config_leaves_out_is_as_transformers_has_it(family: str, config: type) -> None:
    """Published config.json say only what differs: google/siglip-base-patch16-224's says nothing but its type."""
    unasked = config().to_dict()
    assert {key: unasked[key] for key in FAMILIES[family].defaults} == dict(FAMILIES[family].defaults)


@pytest.fixture
def clip_folder(tmp_path: Path) -> Path:
    perturbed(transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**SMALL))).save_pretrained(tmp_path)
    return tmp_path


def change(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("file", "wrap"),
    [("preprocessor_config.json", lambda x: x), ("processor_config.json", lambda x: {"image_processor": x})],
)
@pytest.mark.parametrize(
    ("settings", "mean", "std"),
    [
        ({"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)),
        ({"do_normalize": False, "image_mean": [0.1, 0.2, 0.3]}, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        ({"rescale_factor": 2 / 255, "image_mean": [1, 1, 1], "image_std": [1, 1, 1]}, (0.5,) * 3, (0.5,) * 3),
    ],
)
def test_colours_are_those_of_the_image_processor(
    clip_folder: Path, file: str, wrap: Any, settings: dict[str, Any], mean: Any, std: Any
) -> None:
    (clip_folder / file).write_text(json.dumps(wrap(settings)))
    config, _ = read_image_encoder(HFFolder(clip_folder))
    assert (config.mean, config.std) == (pytest.approx(mean), pytest.approx(std))


def test_normalised_pixels_are_those_of_transformers_processor(clip_folder: Path) -> None:
    processor = transformers.CLIPImageProcessor(
        do_resize=False, do_center_crop=False, image_mean=[0.3, 0.4, 0.5], image_std=[0.2, 0.25, 0.3]
    )
    processor.save_pretrained(clip_folder)
    images = torch.randint(0, 256, (2, 3, 28, 28), dtype=torch.uint8)
    expected = processor(list(images), return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(ours_of(clip_folder).normalise(images), expected, atol=1e-5, rtol=0)


def test_an_image_size_between_patches_is_cut_to_what_the_encoder_sees(tmp_path: Path) -> None:
    """As SigLIP's 384 pixels in patches of 14."""
    peer = perturbed(transformers.SiglipVisionModel(transformers.SiglipVisionConfig(**SMALL | {"image_size": 31})))
    peer.save_pretrained(tmp_path)
    ours = ours_of(tmp_path)
    assert ours.config.image_size == 28
    pixels = torch.randn(1, 3, 31, 31)
    with torch.no_grad():
        features = ours(pixels[..., :28, :28]).flatten(1, 2)
    torch.testing.assert_close(features, features_of(peer, pixels, False), atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "vit_mae"}, r"'vit_mae': the image encoders mm1 can import are clip, siglip, aimv2, dinov2$"),
        ({"model_type": "dinov2_with_registers"}, r"\(it has register tokens\): .* are clip, siglip, aimv2, dinov2$"),
        ({"model_type": "siglip2"}, r"\(it packs images of sizes of their own\): "),
        ({"hidden_act": "relu"}, r"hidden_act='relu', .* can gelu, gelu_pytorch_tanh, gelu_new, quick_gelu$"),
        ({"model_type": "aimv2", "rms_norm_eps": 1e-5}, r"hidden_act='quick_gelu', .* can silu$"),
        ({"model_type": "dinov2", "qkv_bias": False}, r"qkv_bias=False\) and MLP \(True\)"),
        ({"num_channels": 1}, "num_channels=1, but mm1's images have 3"),
        ({"image_size": [28, 35]}, r"'image_size' is \[28, 35\]: .* a square"),
        ({"image_size": []}, "'image_size' is None"),
        ({"patch_size": 0}, "'patch_size' is 0"),
        ({"patch_size": None}, "'patch_size' is None"),
        ({"intermediate_size": "wide"}, "'intermediate_size' is 'wide'"),
        ({"intermediate_size": None}, "'mlp_dim' is None"),
        ({"layer_norm_eps": -1}, "'layer_norm_eps' is -1"),
        ({"hidden_act": ["gelu"]}, r"'hidden_act' is \['gelu'\]"),
        ({"model_type": ["clip"]}, r"\['clip'\]: the image encoders mm1 can import are clip, siglip, aimv2, dinov2$"),
        ({"model_type": "dinov2", "mlp_ratio": "4x"}, "'mlp_ratio' is '4x'"),
        ({"vision_config": None}, "vision_config=None, which is no object"),
        ({"num_attention_heads": 5}, "dim 32 is not a multiple of num_heads 5"),
        ({"hidden_size": "wide"}, "'hidden_size' is 'wide'"),
    ],
)
def test_what_ours_can_not_be_is_refused_in_one_sentence(
    clip_folder: Path, changes: dict[str, Any], words: str
) -> None:
    change(clip_folder, **changes)
    with pytest.raises(UserError, match=words) as raised:
        read_image_encoder(HFFolder(clip_folder))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("file", "settings", "words"),
    [
        ("preprocessor_config.json", {"image_mean": "grey"}, "'image_mean' is 'grey'"),
        ("preprocessor_config.json", {"image_mean": [0.5]}, "'image_mean.1'"),
        ("preprocessor_config.json", {"image_std": [0.5, 0.5, 0]}, "'image_std.2' is 0"),
        ("preprocessor_config.json", {"rescale_factor": 0}, "'rescale_factor' is 0"),
        ("preprocessor_config.json", {"do_rescale": "maybe"}, "'do_rescale' is 'maybe'"),
        ("processor_config.json", {"image_processor": [1]}, "image_processor that is no object"),
    ],
)
def test_settings_that_no_pixels_can_have_are_refused_in_one_sentence(
    clip_folder: Path, file: str, settings: dict[str, Any], words: str
) -> None:
    (clip_folder / file).write_text(json.dumps(settings))
    with pytest.raises(UserError, match=words) as raised:
        read_image_encoder(HFFolder(clip_folder))
    assert file in str(raised.value)


def test_settings_that_are_null_are_the_familys(clip_folder: Path) -> None:
    before, _ = read_image_encoder(HFFolder(clip_folder))
    nothing = dict.fromkeys(("image_mean", "image_std", "rescale_factor", "do_rescale", "do_normalize"))
    (clip_folder / "preprocessor_config.json").write_text(json.dumps(nothing))
    assert read_image_encoder(HFFolder(clip_folder))[0] == before


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda tensors: tensors.pop("pre_layrnorm.bias"), "pre_layrnorm.bias is missing"),
        (lambda tensors: tensors.update(extra=torch.zeros(1)), "extra is not in the model"),
        (
            lambda tensors: tensors.update({"encoder.layers.1.mlp.fc1.bias": torch.zeros(7)}),
            r"encoder.layers.1.mlp.fc1.bias is \(7,\) there but \(80,\) in the model",
        ),
        (
            lambda tensors: tensors.pop("embeddings.patch_embedding.weight"),
            "has 0 tensors embeddings.patch_embedding.weight, and .* has one",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_named_by_their_own_names(clip_folder: Path, spoil: Any, words: str) -> None:
    tensors = load_file(clip_folder / "model.safetensors")
    spoil(tensors)
    save_file(tensors, clip_folder / "model.safetensors")
    with pytest.raises(UserError, match=words):
        read_image_encoder(HFFolder(clip_folder))


def test_tensors_keep_the_dtype_they_are_stored_in(clip_folder: Path) -> None:
    path = clip_folder / "model.safetensors"
    save_file({name: tensor.bfloat16() for name, tensor in load_file(path).items()}, path)
    _, tensors = read_image_encoder(HFFolder(clip_folder))
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}

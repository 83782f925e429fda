"""Image encoders from folders of Hugging Face's CLIP, SigLIP, AIMv2 and DINOv2.

    config, tensors = read_image_encoder(HFFolder(Path("clip-vit-large-patch14-336")))
    ImageEncoder(config).load_state_dict(tensors)

The features are the folder's `last_hidden_state` without its class token: CLIP's come before its last norm, the others'
after theirs. Of a model with a text tower the images' half is read; heads and projections are left behind. What a
config.json asks for beyond its family's row is refused by name, never ignored. Knows nothing of connectors and does
not need transformers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mm1.config import UserError, from_json
from mm1.hf.folder import CONFIG, HFFolder, read_json
from mm1.hf.image_encoder_families import FAMILIES, REFUSED, Family
from mm1.models.image_encoder import ImageEncoder, ImageEncoderConfig
from mm1.models.weights import differences

PREPROCESSOR, PROCESSOR = "preprocessor_config.json", "processor_config.json"
"""Where transformers keeps how images are made ready: on its own, or in a whole processor's settings."""
MLPS = {
    "gelu": "gelu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",
    "quick_gelu": "quick_gelu",
}
"""Our name of the MLP with each `hidden_act`."""


def read_image_encoder(folder: HFFolder) -> tuple[ImageEncoderConfig, dict[str, Tensor]]:
    """The encoder of a folder: its shape, and all of its tensors under our names, in the dtype they are stored in.

    Raises:
        UserError: the family is none of ours, config.json asks for what our encoder does not compute, or a tensor is
            missing, is one too many, or has another shape than config.json says: nothing was read then.
    """
    family = _family_of(folder)
    config = _encoder_config(folder, family)
    with torch.device("meta"):
        ours = {name: tuple(tensor.shape) for name, tensor in ImageEncoder(config).state_dict().items()}
    theirs = {name: family.theirs(name, config.mlp == "swiglu") for name in ours}
    prefix = _prefix(folder, theirs["stem.weight"][0])
    wanted: dict[str, tuple[int, ...]] = {}
    for name, parts in theirs.items():
        rows, *rest = ours[name]
        shape = (*[1] * family.leading_ones.get(name, 0), rows // len(parts), *rest)
        wanted |= {prefix + part: shape for part in parts}
    ignored = tuple(prefix + start for start in family.left_behind)
    found = {
        name: shape
        for name, shape in folder.shapes.items()
        if name.startswith(prefix) and (name in wanted or not name.startswith(ignored))
    }
    if wrong := differences(wanted, found):
        raise UserError(
            f"the tensors of {folder.path} are not those of its config.json: {wrong}: copy the folder again"
        )
    return config, {
        name: torch.cat([folder.tensor(prefix + part) for part in parts], dim=0).reshape(ours[name])
        for name, parts in theirs.items()
    }


def _family_of(folder: HFFolder) -> Family:
    kind = folder.config.get("model_type")
    for family in FAMILIES.values():
        if kind in family.model_types:
            return family
    known = ", ".join(FAMILIES)
    why = f" ({REFUSED[kind]})" if kind in REFUSED else ""
    raise UserError(
        f"{folder.path / CONFIG} has model_type {kind!r}{why}: the image encoders mm1 can import are {known}"
    )


def _encoder_config(folder: HFFolder, family: Family) -> ImageEncoderConfig:
    """Our shape of the encoder that a folder's config.json describes.

    An `image_size` that is not a multiple of the patch (SigLIP's 384 of 14) is cut to whole patches, which is all that
    such an encoder sees.
    """
    theirs = family.defaults | folder.config.get("vision_config", folder.config)
    where = folder.path / CONFIG
    size, patch = (_side(theirs[key], key, where) for key in ("image_size", "patch_size"))
    if theirs["num_channels"] != 3:
        raise UserError(
            f"{where} has num_channels={theirs['num_channels']}, but mm1's images have 3: give another model"
        )
    mlp = _mlp(theirs, where)
    ours = {
        "image_size": size // patch * patch,
        "patch_size": patch,
        "dim": theirs["hidden_size"],
        "num_layers": theirs["num_hidden_layers"],
        "num_heads": theirs["num_attention_heads"],
        "mlp_dim": _mlp_dim(theirs, mlp),
        "mlp": mlp,
        "bias": _bias(theirs, where),
        "positions": "sincos" if theirs.get("is_native") else "learned",
        "norm_eps": theirs["rms_norm_eps" if "rms_norm_eps" in theirs else "layer_norm_eps"],
    }
    return from_json(ImageEncoderConfig, {**ours, **family.fixed, **_colours(folder, family)}, str(where))


def _side(value: int | list[int], key: str, where: Path) -> int:
    sides = value if isinstance(value, list) else [value]
    if len(set(sides)) != 1:
        raise UserError(f"{where} has {key}={value}, but mm1's image encoder wants a square: give another model")
    return sides[0]


def _mlp(theirs: dict[str, Any], where: Path) -> str:
    if theirs.get("use_swiglu_ffn"):  # DINOv2's giant, whose hidden_act says "gelu" all the same
        return "swiglu"
    known = {"silu": "swiglu"} if "rms_norm_eps" in theirs else MLPS  # AIMv2 always gates
    if theirs["hidden_act"] not in known:
        raise UserError(
            f"{where} has hidden_act={theirs['hidden_act']!r}, which mm1's image encoder does not compute: it can "
            f"{', '.join(known)}"
        )
    return known[theirs["hidden_act"]]


def _mlp_dim(theirs: dict[str, Any], mlp: str) -> int:
    """DINOv2 gives a ratio, and of a gated MLP takes two thirds, rounded up to a multiple of 8."""
    if "mlp_ratio" not in theirs:
        return int(theirs["intermediate_size"])
    width = int(theirs["hidden_size"] * theirs["mlp_ratio"])
    return (int(width * 2 / 3) + 7) // 8 * 8 if mlp == "swiglu" else width


def _bias(theirs: dict[str, Any], where: Path) -> bool:
    """CLIP and SigLIP have biases; DINOv2 may lack them in a part, AIMv2 in each of two parts."""
    of_attention = theirs.get("qkv_bias", True)
    of_mlp = theirs.get("mlp_bias", True)
    if of_attention != of_mlp:
        raise UserError(
            f"{where} has biases in one of attention (qkv_bias={of_attention}) and MLP ({of_mlp}), but mm1's image "
            "encoder has them in both or in neither: give another model"
        )
    return bool(of_attention)


def _colours(folder: HFFolder, family: Family) -> dict[str, list[float]]:
    """`mean` and `std` of pixels in [0, 1], as the folder's image processor has them, or as the family does."""
    values: dict[str, Any] = {}
    if (folder.path / PREPROCESSOR).is_file():
        values = read_json(folder.path / PREPROCESSOR)
    elif (folder.path / PROCESSOR).is_file():
        values = read_json(folder.path / PROCESSOR).get("image_processor", {})
    unit = 255 * (values.get("rescale_factor", 1 / 255) if values.get("do_rescale", True) else 1)
    mean, std = values.get("image_mean", family.mean), values.get("image_std", family.std)
    if not values.get("do_normalize", True):
        mean, std = [0.0] * 3, [1.0] * 3
    return {"mean": [value / unit for value in mean], "std": [value / unit for value in std]}


def _prefix(folder: HFFolder, stem: str) -> str:
    """What a larger model puts before the encoder's names: "vision_model.", "dinov2.", or nothing."""
    found = [name.removesuffix(stem) for name in folder.shapes if name == stem or name.endswith(f".{stem}")]
    if len(found) != 1:
        raise UserError(
            f"{folder.path} has {len(found)} tensors {stem}, and an image encoder of its model_type has one: give a "
            "folder that transformers' save_pretrained wrote"
        )
    return found[0]

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
from typing import Annotated, Any

import torch
from pydantic import BeforeValidator, ConfigDict, PositiveFloat, PositiveInt
from torch import Tensor

from mm1.config import Config, UserError, from_json
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


def _side(value: Any) -> Any:
    """The one number of a list of equal sides."""
    sides = value if isinstance(value, list) else [value]
    if any(side != sides[0] for side in sides):
        raise ValueError("mm1's image encoder wants a square: give another model")
    return sides[0] if sides else None


class _Vision(Config):
    """What is read of the part of config.json that describes the encoder, the family's defaults among it."""

    model_config = ConfigDict(extra="ignore")

    image_size: Annotated[PositiveInt, BeforeValidator(_side)]
    patch_size: Annotated[PositiveInt, BeforeValidator(_side)]
    num_channels: int
    hidden_size: PositiveInt
    num_hidden_layers: PositiveInt
    num_attention_heads: PositiveInt
    intermediate_size: PositiveInt | None = None
    mlp_ratio: PositiveFloat | None = None
    """DINOv2's word for the width of the MLP."""
    hidden_act: str
    use_swiglu_ffn: bool = False
    layer_norm_eps: PositiveFloat | None = None
    rms_norm_eps: PositiveFloat | None = None
    """AIMv2's."""
    qkv_bias: bool = True
    mlp_bias: bool = True
    is_native: bool = False


class _Pixels(Config):
    """What is read of the image processor's settings, the family's defaults among it."""

    model_config = ConfigDict(extra="ignore")

    do_rescale: bool = True
    rescale_factor: PositiveFloat = 1 / 255
    do_normalize: bool = True
    image_mean: tuple[float, float, float]
    image_std: tuple[PositiveFloat, PositiveFloat, PositiveFloat]


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
    why = f" ({REFUSED[kind]})" if isinstance(kind, str) and kind in REFUSED else ""
    raise UserError(
        f"{folder.path / CONFIG} has model_type {kind!r}{why}: the image encoders mm1 can import are {known}"
    )


def _encoder_config(folder: HFFolder, family: Family) -> ImageEncoderConfig:
    """Our shape of the encoder that a folder's config.json describes.

    An `image_size` that is not a multiple of the patch (SigLIP's 384 of 14) is cut to whole patches, which is all that
    such an encoder sees.
    """
    where = folder.path / CONFIG
    part = folder.config.get("vision_config", folder.config)
    if not isinstance(part, dict):
        raise UserError(f"{where} has vision_config={part!r}, which is no object: copy it again")
    theirs = from_json(_Vision, {**family.defaults, **part}, str(where))
    if theirs.num_channels != 3:
        raise UserError(f"{where} has num_channels={theirs.num_channels}, but mm1's images have 3: give another model")
    mlp = _mlp(theirs, where)
    ours = {
        "image_size": theirs.image_size // theirs.patch_size * theirs.patch_size,
        "patch_size": theirs.patch_size,
        "dim": theirs.hidden_size,
        "num_layers": theirs.num_hidden_layers,
        "num_heads": theirs.num_attention_heads,
        "mlp_dim": _mlp_dim(theirs, mlp),
        "mlp": mlp,
        "bias": _bias(theirs, where),
        "positions": "sincos" if theirs.is_native else "learned",
        "norm_eps": theirs.layer_norm_eps if theirs.rms_norm_eps is None else theirs.rms_norm_eps,
    }
    return from_json(ImageEncoderConfig, {**ours, **family.fixed, **_colours(folder, family)}, str(where))


def _mlp(theirs: _Vision, where: Path) -> str:
    if theirs.use_swiglu_ffn:  # DINOv2's giant, whose hidden_act says "gelu" all the same
        return "swiglu"
    known = MLPS if theirs.rms_norm_eps is None else {"silu": "swiglu"}  # AIMv2 always gates
    if theirs.hidden_act not in known:
        raise UserError(
            f"{where} has hidden_act={theirs.hidden_act!r}, which mm1's image encoder does not compute: it can "
            f"{', '.join(known)}"
        )
    return known[theirs.hidden_act]


def _mlp_dim(theirs: _Vision, mlp: str) -> int | None:
    """DINOv2 gives a ratio, and of a gated MLP takes two thirds, rounded up to a multiple of 8."""
    if theirs.mlp_ratio is None:
        return theirs.intermediate_size
    width = int(theirs.hidden_size * theirs.mlp_ratio)
    return (int(width * 2 / 3) + 7) // 8 * 8 if mlp == "swiglu" else width


def _bias(theirs: _Vision, where: Path) -> bool:
    """CLIP and SigLIP have biases; DINOv2 may lack them in a part, AIMv2 in each of two parts."""
    if theirs.qkv_bias != theirs.mlp_bias:
        raise UserError(
            f"{where} has biases in one of attention (qkv_bias={theirs.qkv_bias}) and MLP ({theirs.mlp_bias}), but "
            "mm1's image encoder has them in both or in neither: give another model"
        )
    return theirs.qkv_bias


def _colours(folder: HFFolder, family: Family) -> dict[str, list[float]]:
    """`mean` and `std` of pixels in [0, 1], as the folder's image processor has them, or as the family does."""
    where, values = folder.path / PREPROCESSOR, {}
    if where.is_file():
        values = read_json(where)
    elif (folder.path / PROCESSOR).is_file():
        where = folder.path / PROCESSOR
        values = read_json(where).get("image_processor") or {}
        if not isinstance(values, dict):
            raise UserError(f"{where} has an image_processor that is no object: copy it again")
    said = {key: value for key, value in values.items() if value is not None}  # null is as unsaid, in transformers too
    pixels = from_json(_Pixels, {"image_mean": family.mean, "image_std": family.std, **said}, str(where))
    if not pixels.do_normalize:
        pixels = pixels.replace(image_mean=(0, 0, 0), image_std=(1, 1, 1))
    unit = 255 * (pixels.rescale_factor if pixels.do_rescale else 1)
    return {
        "mean": [value / unit for value in pixels.image_mean],
        "std": [value / unit for value in pixels.image_std],
    }


def _prefix(folder: HFFolder, stem: str) -> str:
    """What a larger model puts before the encoder's names: "vision_model.", "dinov2.", or nothing."""
    found = [name.removesuffix(stem) for name in folder.shapes if name == stem or name.endswith(f".{stem}")]
    if len(found) != 1:
        raise UserError(
            f"{folder.path} has {len(found)} tensors {stem}, and an image encoder of its model_type has one: give a "
            "folder that transformers' save_pretrained wrote"
        )
    return found[0]

"""Hugging Face folders → an mm1 checkpoint: a decoder, and in front of it an image encoder and a new connector.

    import_checkpoint(ImportConfig(decoder=Path("Llama-3.2-1B")), Path("text-model"))
    import_checkpoint(
        ImportConfig(decoder=Path("Llama-3.2-1B"), image_encoder=Path("clip-vit-large-patch14-336"),
                     connector="c_abstractor", num_image_tokens=144, image_size=672), Path("multimodal-model"))

Weights keep the dtype they are stored in; the connector's are drawn from the seed, in float32. Everything is checked
against the config before the checkpoint's folder appears. Knows nothing of training.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pydantic import PositiveInt
from torch import Tensor

from mm1.checkpoint import CONFIG, WEIGHTS, Checkpoint, CheckpointConfig, new_folder, open_checkpoint
from mm1.config import Config, Seed, UserError, from_json, override, save_json, to_json
from mm1.hf.decoder_tensors import VOCABULARY, read_decoder
from mm1.hf.decoders import decoder_config, family_of
from mm1.hf.folder import HFFolder
from mm1.hf.image_encoders import read_image_encoder
from mm1.hf.vocabulary import adopt
from mm1.models.connector import build_connector
from mm1.models.image_encoder import ImageEncoderConfig
from mm1.models.mm1 import MM1, MM1Config
from mm1.models.weights import differences, save_weights


class ImportConfig(Config):
    """What is put together."""

    decoder: Path
    """A folder with a decoder and its tokenizer, as transformers saves them."""
    image_encoder: Path | None = None
    """A folder with an image encoder; None for a text model."""
    connector: str | None = None
    """The kind of the new connector: needed with an image encoder, as is the next."""
    num_image_tokens: PositiveInt | None = None
    image_size: PositiveInt | None = None
    """Side of the images that the model will see; None: of those that the encoder was trained with."""
    seed: Seed = 0
    """Of the connector's weights."""
    overrides: tuple[str, ...] = ()
    """More of the model's config, as `connector.depth=1` or `image_encoder.num_layers_used=23`."""


def import_checkpoint(config: ImportConfig, out: Path) -> Checkpoint:
    """Writes the checkpoint `out`, whole or not at all.

    Raises:
        UserError: `out` is there already; a folder is missing, damaged, of a family that mm1 does not have, or asks for
            what mm1's model does not compute; or the parts do not fit.
    """
    encoder = None if config.image_encoder is None else HFFolder(config.image_encoder)
    _check_options(config)
    with new_folder(out) as partial:
        folder = HFFolder(config.decoder)
        try:
            shape = decoder_config(folder.config)
        except UserError as error:
            raise UserError(f"{folder.path}: {error}") from None
        vocab_size = max(shape.vocab_size, adopt(folder, partial))
        tensors: dict[str, Tensor] = {}
        values: dict[str, Any] = {"decoder": to_json(shape.replace(vocab_size=vocab_size))}
        if encoder is not None:
            encoder_shape, weights = read_image_encoder(encoder)
            tensors |= {f"image_encoder.{name}": tensor for name, tensor in weights.items()}
            values["image_encoder"] = to_json(_resized(encoder_shape, config.image_size))
            values["connector"] = {"kind": config.connector, "num_image_tokens": config.num_image_tokens}
        model = override(from_json(MM1Config, values, "mm1 import"), config.overrides)
        for name, tensor in read_decoder(folder, shape, family_of(folder.config)).items():
            tensors[f"decoder.{name}"] = _with_rows(tensor, vocab_size) if name in VOCABULARY else tensor
        tensors |= _new_connector(model, config.seed)
        save_weights(_fitting(tensors, model), partial / WEIGHTS)
        save_json(CheckpointConfig(model=model), partial / CONFIG)
    return open_checkpoint(out)


def _check_options(config: ImportConfig) -> None:
    about_images = {"--connector": config.connector, "--num-image-tokens": config.num_image_tokens}
    if config.image_encoder is None:
        given = [
            name for name, value in {**about_images, "--image-size": config.image_size}.items() if value is not None
        ]
        if given:
            raise UserError(f"{given[0]} is given without --image-encoder: give its folder too, or neither")
    for name, value in about_images.items():
        if config.image_encoder is not None and value is None:
            raise UserError(
                f"--image-encoder is given without {name}: it needs a connector (avg_pool, attention_pool or "
                "c_abstractor) and a number of image tokens, such as 144"
            )


def _resized(encoder: ImageEncoderConfig, image_size: int | None) -> ImageEncoderConfig:
    """The encoder for images of another side: its positions stay those that it was trained with, interpolated."""
    if image_size is None:
        return encoder
    return encoder.replace(image_size=image_size, position_size=encoder.position_size or encoder.image_size)


def _with_rows(matrix: Tensor, rows: int) -> Tensor:
    """A row for each new id, the mean of the others: neither likely nor unlikely, and of ordinary size."""
    mean = matrix.float().mean(0, keepdim=True).to(matrix.dtype)
    return torch.cat([matrix, mean.expand(rows - len(matrix), -1)])


def _new_connector(model: MM1Config, seed: int) -> dict[str, Tensor]:
    """An untrained connector's tensors; the same for the same seed."""
    if model.connector is None or model.image_encoder is None:
        return {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = model.image_encoder
        connector = build_connector(model.connector, encoder.position_grid, encoder.dim, model.decoder.dim)
    return {f"connector.{name}": tensor for name, tensor in connector.state_dict().items()}


def _fitting(tensors: dict[str, Tensor], model: MM1Config) -> dict[str, Tensor]:
    """The tensors of the model: those of image encoder layers that it does not use are left out.

    Raises:
        UserError: they are not the model's, as after an override of a shape.
    """
    prefix, encoder = "image_encoder.", model.image_encoder
    unused = [name for name in tensors if encoder is not None and name.startswith(prefix)]
    unused = [name for name in unused if encoder is not None and encoder.leaves_out(name.removeprefix(prefix))]
    kept = {name: tensor for name, tensor in tensors.items() if name not in unused}
    with torch.device("meta"):
        wanted = {name: tuple(tensor.shape) for name, tensor in MM1(model).state_dict().items()}
    if wrong := differences(wanted, {name: tuple(tensor.shape) for name, tensor in kept.items()}):
        raise UserError(f"the imported tensors do not fit the model that the overrides describe: {wrong}")
    return kept

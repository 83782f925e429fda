"""MM1: an image encoder, a connector and a decoder; image tokens take their places among the text's embeddings.

    images → image_encoder → connector ─┐ (I·N, D)
    tokens ──────────→ decoder.embed ───┴→ embed → decoder → hidden (B, S, D) → logits (…, V)

    model = MM1(MM1Config(decoder=DecoderConfig(vocab_size=512), image_encoder=ImageEncoderConfig(),
                          connector=AvgPoolConfig(num_image_tokens=4)))
    logits = model.logits(model(batch).hidden)

Without an encoder and a connector it is a text model. Knows nothing of tokenizers, losses or devices.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from pydantic import model_validator
from torch import Tensor, nn

from mm1.config import Config, UserError
from mm1.models.attention import AttentionMask
from mm1.models.connector import ConnectorConfig, build_connector
from mm1.models.decoder import Decoder, DecoderConfig, DecoderOutput
from mm1.models.image_encoder import ImageEncoder, ImageEncoderConfig
from mm1.types import Batch


class MM1Config(Config):
    """Shape of a multimodal model, or of a text model where encoder and connector are None."""

    kind: Literal["mm1"] = "mm1"
    decoder: DecoderConfig
    image_encoder: ImageEncoderConfig | None = None
    connector: ConnectorConfig | None = None

    @model_validator(mode="after")
    def _check(self) -> MM1Config:
        if (self.image_encoder is None) != (self.connector is None):
            missing = "connector" if self.connector is None else "image_encoder"
            raise ValueError(f"an image encoder and a connector need each other: set {missing}, or neither")
        return self

    @property
    def num_image_tokens(self) -> int:
        """Positions that an image takes in the decoder; 0 for a text model."""
        return 0 if self.connector is None else self.connector.num_image_tokens


class MM1(nn.Module):
    """The model of the paper. `image_encoder`, `connector` and `decoder` are also the prefixes of its weights."""

    def __init__(self, config: MM1Config) -> None:
        super().__init__()
        self.config = config
        self.image_encoder: ImageEncoder | None = None
        self.connector: nn.Module | None = None
        if config.image_encoder is not None and config.connector is not None:
            encoder = config.image_encoder
            self.image_encoder = ImageEncoder(encoder)
            self.connector = build_connector(config.connector, encoder.position_grid, encoder.dim, config.decoder.dim)
        self.decoder = Decoder(config.decoder)

    def encode_images(self, images: UInt8[Tensor, "I 3 height width"]) -> Float[Tensor, "I N D"]:
        """Image tokens, ready to stand among the decoder's embeddings. I may be 0."""
        if self.image_encoder is None or self.connector is None:
            raise UserError(f"{len(images)} images were given to a text model: use one with an image encoder")
        features: Tensor = self.connector(self.image_encoder(self.image_encoder.normalise(images)))
        return features

    def embed(
        self, tokens: Int[Tensor, "B S"], image_index: Int[Tensor, "B S"], image_features: Float[Tensor, "I N D"]
    ) -> Float[Tensor, "B S D"]:
        """Text embeddings, with row `image_index` of the flattened (I·N, D) features wherever that is not -1.

        Raises:
            UserError: the places for image tokens and the image tokens differ in number. On an accelerator, where
                counting would make the host wait, the device asserts the same instead.
        """
        _check_places(image_index, image_features)
        return place(self.decoder.embed(tokens), image_index, image_features)

    def forward(self, batch: Batch) -> DecoderOutput:
        """Hidden states of a packed batch, after the decoder's final norm, and how its sparse layers routed."""
        if self.image_encoder is None and batch.num_images == 0:
            embeddings = self.decoder.embed(batch.tokens)
        else:
            embeddings = self.embed(batch.tokens, batch.image_index, self.encode_images(batch.images))
        output: DecoderOutput = self.decoder(
            embeddings, batch.positions, AttentionMask.from_segments(batch.segment_ids)
        )
        return output

    @property
    def output_weight(self) -> Float[Tensor, "V D"]:
        """The matrix that `logits` multiplies by, for losses that never hold all logits."""
        return self.decoder.output_weight

    def logits(self, hidden: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch V"]:
        """Scores of the next token."""
        return self.decoder.logits(hidden)


def place(
    text: Float[Tensor, "B S D"], image_index: Int[Tensor, "B S"], image_features: Float[Tensor, "I N D"]
) -> Float[Tensor, "B S D"]:
    """`text`, with the image features that `MM1.embed` puts among it."""
    # Row 0 stands for "no image": nobody wants its gradient, a sum over all text. An embedding look-up, because its
    # backward is deterministic where that of indexing is not; with no images at all it still ties encoder and connector
    # to the loss, with zero gradients.
    rows = torch.cat([text.new_zeros(1, text.shape[-1]), image_features.flatten(0, 1).to(text.dtype)])
    return torch.where((image_index >= 0)[..., None], F.embedding(image_index + 1, rows, padding_idx=0), text)


def _check_places(image_index: Tensor, image_features: Tensor) -> None:
    places, given = (image_index >= 0).sum(), image_features.shape[0] * image_features.shape[1]
    if places.device.type == "cpu":
        if int(places) != given:
            raise UserError(
                f"the batch has {int(places)} places for image tokens, but {image_features.shape[0]} images of "
                f"{image_features.shape[1]} tokens make {given}: encode the data with the model's num_image_tokens"
            )
    elif places.device.type != "meta":
        torch._assert_async(places == given, "places for image tokens and image tokens differ in number")

"""mm1's own modules behind transformers' interfaces: Auto classes, `generate`, caches, attention functions, vLLM.

    MM1ForConditionalGeneration
    ├── model: MM1BaseModel
    │   ├── image_encoder, connector          mm1.models
    │   └── language_model: MM1TextModel      language_model.py
    └── lm_head                               the decoder's embedding where they are tied

Images are `pixel_values` (I, 3, H, W) uint8, as mm1's own loader makes them, for all rows of `input_ids` one after
another, sub-images one by one; the model normalises them. Nothing here computes a layer. The routers' losses of sparse
layers are not part of `loss`: train with mm1. Knows nothing of pictures, text or files.

Shape letters: B rows, S positions, D dim, I images, N tokens an image, V vocabulary.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import Cache, GenerationMixin
from transformers.modeling_outputs import BaseModelOutputWithPast, BaseModelOutputWithPooling, CausalLMOutputWithPast
from transformers.utils.generic import can_return_tuple

from mm1.config import UserError
from mm1.hf.configuration import MM1MultimodalConfig
from mm1.hf.language_model import MM1PreTrainedModel, MM1TextModel
from mm1.models.connector import build_connector
from mm1.models.image_encoder import ImageEncoder


class MM1BaseModel(MM1PreTrainedModel):
    """Image encoder, connector and decoder, up to the hidden states."""

    def __init__(self, config: MM1MultimodalConfig) -> None:
        super().__init__(config)
        shape = config.mm1
        assert shape.image_encoder is not None
        assert shape.connector is not None
        self.image_encoder = ImageEncoder(shape.image_encoder)
        self.connector = build_connector(
            shape.connector, shape.image_encoder.position_grid, shape.image_encoder.dim, shape.decoder.dim
        )
        self.language_model = MM1TextModel(config.text_config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.language_model.set_input_embeddings(value)

    @can_return_tuple  # type: ignore[untyped-decorator]
    def get_image_features(self, pixel_values: Tensor, **kwargs: Any) -> BaseModelOutputWithPooling:
        """Patch features (I, P, D_in) and, as `pooler_output`, image tokens (I, N, D).

        Args:
            pixel_values: (I, 3, H, W) uint8.
            kwargs: not read; vLLM passes on whatever else came of the images.

        Raises:
            UserError: the images' sides are no multiples of the patches'.
        """
        height, width = pixel_values.shape[-2:]
        patch = self.image_encoder.config.patch_size
        if height % patch or width % patch:
            raise UserError(
                f"pixel_values are {height} x {width}, but both must be multiples of the patch's {patch} pixels: let "
                "MM1Processor make them"
            )
        features = self.image_encoder(self.image_encoder.normalise(pixel_values))
        return BaseModelOutputWithPooling(
            last_hidden_state=features.flatten(1, 2), pooler_output=self.connector(features)
        )

    @can_return_tuple  # type: ignore[untyped-decorator]
    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        mm_token_type_ids: Tensor | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """Hidden states (B, S, D); see MM1TextModel.

        Args:
            input_ids: with `image_token_id` wherever an image token stands.
            pixel_values: (I, 3, H, W) uint8, or None.
            attention_mask: see MM1TextModel.
            position_ids: see MM1TextModel.
            past_key_values: see MM1TextModel.
            inputs_embeds: instead of ids, with the image tokens already among them.
            mm_token_type_ids: not read; processors make them, and some callers pass them on.
            kwargs: for the attention function.

        Raises:
            UserError: images and places for them differ in number, images come without ids, or are of a size that
                patches do not fill.
        """
        if pixel_values is not None:
            inputs_embeds = self._embed(input_ids, pixel_values)
            input_ids = None
        # Images come with the first call; one position alone is never that, and a cache is not to be asked for each.
        elif input_ids is not None and input_ids.shape[1] > 1 and _is_first(past_key_values):
            self._check_places(input_ids == self.config.image_token_id, 0)
        output: BaseModelOutputWithPast = self.language_model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            **kwargs,
        )
        return output

    def _embed(self, input_ids: Tensor | None, pixel_values: Tensor) -> Tensor:
        """Text embeddings with the image tokens in their places."""
        if input_ids is None:
            raise UserError("pixel_values without input_ids: the ids say where the images stand")
        text = self.get_input_embeddings()(input_ids)
        places = input_ids == self.config.image_token_id
        features = self.get_image_features(pixel_values).pooler_output
        self._check_places(places, features.shape[0])
        embeddings: Tensor = text.masked_scatter(places[..., None], features.to(text.dtype))
        return embeddings

    def _check_places(self, places: Tensor, num_images: int) -> None:
        tokens = self.config.num_image_tokens
        if places.device.type != "meta" and int(places.sum()) != num_images * tokens:
            raise UserError(
                f"input_ids have {int(places.sum())} places for image tokens, but {num_images} images of {tokens} "
                f"tokens make {num_images * tokens}: let MM1Processor write them"
            )


def _is_first(cache: Cache | None) -> bool:
    """Whether nothing was seen before."""
    return cache is None or int(cache.get_seq_length()) == 0


class MM1ForConditionalGeneration(MM1PreTrainedModel, GenerationMixin):  # type: ignore[misc]
    """The model that writes."""

    _tied_weights_keys: ClassVar[dict[str, str]] = {"lm_head.weight": "model.language_model.decoder.embedding.weight"}

    def __init__(self, config: MM1MultimodalConfig) -> None:
        super().__init__(config)
        self.model = MM1BaseModel(config)
        self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.model.set_input_embeddings(value)

    def resize_token_embeddings(self, *args: Any, **kwargs: Any) -> nn.Embedding:
        """As transformers', and mm1's own config says it too: a folder saved after that opens."""
        embedding: nn.Embedding = super().resize_token_embeddings(*args, **kwargs)
        text = self.config.text_config
        text.mm1_decoder = {**text.mm1_decoder, "vocab_size": text.vocab_size}
        return embedding

    def get_image_features(self, pixel_values: Tensor, **kwargs: Any) -> BaseModelOutputWithPooling:
        """See MM1BaseModel."""
        return self.model.get_image_features(pixel_values, **kwargs)

    @can_return_tuple  # type: ignore[untyped-decorator]
    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits (B, S, V), and with `labels` the mean cross-entropy of those that are not -100.

        Takes what MM1BaseModel takes, and `labels` (B, S), which are the ids themselves, not shifted. `logits_to_keep`
        says how many last positions get logits, or which; 0: all.
        """
        output = self.model(
            input_ids=input_ids,
            pixel_values=pixel_values,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            **kwargs,
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(output.last_hidden_state[:, kept])
        loss = None
        if labels is not None:
            loss = self.loss_function(
                logits=logits, labels=labels, vocab_size=self.config.text_config.vocab_size, **kwargs
            )
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=output.past_key_values,
            hidden_states=output.hidden_states,
            attentions=output.attentions,
        )

    def _expand_inputs_for_generation(
        self, expand_size: int = 1, is_encoder_decoder: bool = False, input_ids: Tensor | None = None, **kwargs: Any
    ) -> tuple[Tensor | None, dict[str, Any]]:
        """Repeats every row `expand_size` times, with its images: transformers would repeat each image by itself, which
        deals them to the wrong beams where a row has several.
        """
        pixel_values = kwargs.pop("pixel_values", None)
        if pixel_values is not None and expand_size > 1:
            assert input_ids is not None
            tokens = (input_ids == self.config.image_token_id).sum(1)
            images = pixel_values.split((tokens // self.config.num_image_tokens).tolist())
            pixel_values = torch.cat([row for row in images for _ in range(expand_size)])
        input_ids, expanded = super()._expand_inputs_for_generation(
            expand_size, is_encoder_decoder, input_ids, **kwargs
        )
        return input_ids, expanded if pixel_values is None else {**expanded, "pixel_values": pixel_values}

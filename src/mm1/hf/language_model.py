"""mm1's decoder as a model of transformers, and what all of mm1's models there share.

    MM1TextModel
    └── decoder          mm1.models.decoder; what it remembers and how it attends is memory.py's

    model(inputs_embeds=embeddings, attention_mask=mask, past_key_values=cache).last_hidden_state

Strict where transformers only warns: weights that do not fit are an error. Knows nothing of images.
Shape letters: B rows, S positions, D dim.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import Cache, DynamicCache, PreTrainedModel
from transformers.masking_utils import create_causal_mask, create_sliding_window_causal_mask
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from mm1.config import UserError
from mm1.hf.configuration import MM1MultimodalConfig, MM1TextConfig
from mm1.hf.memory import LayerMemory, prepare
from mm1.hf.remote_code import write_remote_code
from mm1.models.attention import AttentionMask
from mm1.models.decoder import Block, Decoder

NAMED_IN_ERRORS = 10


class MM1PreTrainedModel(PreTrainedModel):  # type: ignore[misc]
    """What the three models share."""

    config_class = MM1MultimodalConfig
    base_model_prefix = "model"
    input_modalities = ("image", "text")
    _no_split_modules: ClassVar[list[str]] = ["Block", "EncoderBlock"]
    _skip_keys_device_placement: ClassVar[list[str]] = ["past_key_values"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    def _init_weights(self, module: nn.Module) -> None:
        """mm1's modules have drawn their beginnings themselves, and `from_pretrained` leaves no weight to draw."""

    @classmethod
    def from_pretrained(cls, *args: Any, output_loading_info: bool = False, **kwargs: Any) -> Any:
        """As transformers', but strict.

        Raises:
            UserError: the tensors are not exactly the model's in name and shape.
        """
        # So that wrong shapes are listed with the rest, below, instead of being in an error of transformers'.
        kwargs["ignore_mismatched_sizes"] = True
        model, info = super().from_pretrained(*args, output_loading_info=True, **kwargs)
        extra = [
            name for name in info["unexpected_keys"] if hasattr(model, "lm_head") or not name.startswith("lm_head")
        ]
        complaints = [
            *(f"{name} is missing" for name in sorted(info["missing_keys"])),
            *(f"{name} is not in the model" for name in sorted(extra)),
            *(
                f"{name} is {tuple(there)} there but {tuple(here)} in the model"
                for name, there, here in info["mismatched_keys"]
            ),
        ]
        if complaints:
            more = len(complaints) - NAMED_IN_ERRORS
            listed = "; ".join(complaints[:NAMED_IN_ERRORS]) + (f"; and {more} more" if more > 0 else "")
            raise UserError(
                f"{args[0] if args else 'the weights'} does not fit this {cls.__name__}: {listed}: export it again"
            )
        return (model, info) if output_loading_info else model

    def save_pretrained(self, save_directory: str | Path, *args: Any, **kwargs: Any) -> None:
        """As transformers', and with the code that opens the folder."""
        super().save_pretrained(save_directory, *args, **kwargs)
        write_remote_code(Path(save_directory))

    @classmethod
    def register_for_auto_class(cls, auto_class: str = "AutoModel") -> None:
        """Nothing: transformers would copy this file beside the weights, where `write_remote_code` puts its own."""


class MM1TextModel(MM1PreTrainedModel):
    """The decoder."""

    config_class = MM1TextConfig
    _can_record_outputs: ClassVar[dict[str, type[nn.Module]]] = {"hidden_states": Block}

    def __init__(self, config: MM1TextConfig) -> None:
        super().__init__(config)
        # lm_head is the output matrix of all models here, tied or not.
        self.decoder = Decoder(config.mm1.replace(tied_embeddings=True))
        for layer, block in enumerate(self.decoder.blocks):
            prepare(block.get_submodule("attention"), config, layer)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.decoder.embedding

    def set_input_embeddings(self, value: Any) -> None:
        self.decoder.embedding = value

    def get_decoder(self) -> MM1TextModel:
        return self

    @merge_with_config_defaults  # type: ignore[untyped-decorator]
    @capture_outputs  # type: ignore[untyped-decorator]
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | dict[str, Tensor] | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """Hidden states (B, S, D) after the final norm.

        Args:
            input_ids: (B, S), or None where embeddings are given.
            attention_mask: (B, positions seen before + S), 0 on padding; or whatever 4-D mask the attention takes.
            position_ids: (B, S) or (1, S), 0 where a document starts; counted over the attention mask where None.
            past_key_values: grows by S.
            inputs_embeds: (B, S, D), or None where ids are given.
            use_cache: whether a cache is made where none is given.
            kwargs: for the attention function.

        Raises:
            UserError: both or neither of ids and embeddings; smeared keys under vLLM.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise UserError("give either input_ids or inputs_embeds: one of them, not both")
        if self.config.mm1.smeared_keys and "attention_instances" in kwargs:
            raise UserError(
                "a decoder with smeared keys can not run in vLLM, whose cache keeps no unsmeared key: serve it with mm1"
            )
        embeddings = self.get_input_embeddings()(input_ids) if inputs_embeds is None else inputs_embeds
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        batch, length, _ = embeddings.shape
        flat = attention_mask if isinstance(attention_mask, Tensor) and attention_mask.ndim == 2 else None
        if position_ids is None:
            seen = 0 if past_key_values is None else past_key_values.get_seq_length()
            position_ids = _positions(flat, seen, length, embeddings.device)
        allowed = self._mask(embeddings, attention_mask, position_ids, past_key_values)
        real = embeddings.new_ones(batch, length, dtype=torch.bool) if flat is None else flat[:, -length:].bool()
        mask = AttentionMask(_in_memory, num_keys=length, real=real)
        memories = [LayerMemory(block.attention, allowed, past_key_values, kwargs) for block in self.decoder.blocks]
        output = self.decoder(embeddings, position_ids.expand(batch, -1), mask, memories)
        weights = tuple(memory.weights for memory in memories if memory.weights is not None)
        wanted = kwargs.get("output_attentions", self.config.output_attentions)
        return BaseModelOutputWithPast(
            last_hidden_state=output.hidden,
            past_key_values=past_key_values,
            attentions=weights if wanted and weights else None,
        )

    def _mask(self, embeddings: Tensor, given: Any, position_ids: Tensor, cache: Cache | None) -> Any:
        """Who sees whom, in the form that the attention function takes; `generate` may have made it already."""
        if isinstance(given, dict):
            return given[self.config.layer_types[0]]
        make = create_causal_mask if self.config.sliding_window is None else create_sliding_window_causal_mask
        return make(
            config=self.config,
            inputs_embeds=embeddings,
            attention_mask=given,
            past_key_values=cache,
            position_ids=position_ids,
        )


def _positions(attention_mask: Tensor | None, seen: Any, length: int, device: torch.device) -> Tensor:
    """(B or 1, S): places in the row, padding before them not counted."""
    if attention_mask is None:
        places: Tensor = torch.arange(length, device=device)[None] + seen
        return places
    return (attention_mask.long().cumsum(1) - 1).clamp(min=0)[:, -length:]


def _in_memory(row: Tensor, query: Tensor, key: Tensor) -> Tensor:
    """The rule of a mask that only says which positions are real: memories do not ask it."""
    raise AssertionError("who sees whom is in the layers' memories, in the form that the attention function takes")

"""The peer: Hugging Face's LlavaForConditionalGeneration of an MM1's size, trained on padded batches of documents.

    documents 0 … 15 → one batch as long as its longest | 16 … 31 → the next | …         (or sorted by length before)

It gets what a careful user of it would do: tied embeddings, no key-value cache in training, fused AdamW, every layer of
the encoder in use, batches made and moved to floating point before the clock starts, and the number format and
attention that are fastest here, by trial. Knows nothing of how mm1 trains.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from mm1.bench.contestant import Description, Timing, timed
from mm1.bench.size import count_parameters, nearest_width
from mm1.config import UserError
from mm1.data.tokenizer import Tokenizer
from mm1.models.image_encoder import ImageEncoderConfig
from mm1.models.mm1 import MM1, MM1Config
from mm1.train.parallelize import autocast, resolve_precision
from mm1.types import IGNORE, Sample

BATCH_SIZE = 16
"""Documents of a batch."""
TRIAL_BATCHES = 4
"""By which a setting is tried, about so many, from short to long."""
TRIALS = 2
"""Of each setting, taken in turn; the faster counts."""
MAX_GRAD_NORM = 1.0
"""transformers' Trainer clips to this."""

PaddedBatch: TypeAlias = dict[str, Tensor]
"""What the model's forward takes: input_ids, attention_mask, labels (B, S), and pixel_values (I, 3, H, W) if any."""


@dataclass(frozen=True, slots=True)
class Setting:
    """How the model computes."""

    precision: Literal["fp32", "bf16"]
    attention: Literal["sdpa", "eager"]

    def __str__(self) -> str:
        return f"{self.precision}, {self.attention}"


def settings(device: torch.device) -> list[Setting]:
    """Those worth trying on `device`: bf16 only where the hardware has it."""
    bf16 = resolve_precision("auto", device) == "bf16"
    return [Setting("fp32", "sdpa"), *([Setting("bf16", "eager"), Setting("bf16", "sdpa")] if bf16 else [])]


def equal_llava(model: MM1Config, tokenizer: Tokenizer) -> Any:
    """A Llava with `model`'s widths, depths and heads, its SwiGLU as wide as makes their parameters equal in number.

    Raises:
        UserError: transformers is not installed.
    """
    transformers = _transformers()

    def build(mlp_dim: int) -> nn.Module:
        llava: nn.Module = transformers.LlavaForConditionalGeneration(_config(transformers, model, tokenizer, mlp_dim))
        return llava

    target = count_parameters(lambda: MM1(model))
    width = nearest_width(lambda mlp_dim: count_parameters(partial(build, mlp_dim)), target)
    return build(width)


def _transformers() -> Any:
    try:
        import transformers
    except ImportError:
        raise UserError(
            "the peer of `mm1 bench train` is Hugging Face transformers, which is not installed: pip install mm1[hf]"
        ) from None
    return transformers


def _config(transformers: Any, model: MM1Config, tokenizer: Tokenizer, mlp_dim: int) -> Any:
    encoder, decoder = model.image_encoder, model.decoder
    assert encoder is not None
    vision = transformers.CLIPVisionConfig(
        hidden_size=encoder.dim,
        intermediate_size=encoder.mlp_dim,
        num_hidden_layers=encoder.num_layers,
        num_attention_heads=encoder.num_heads,
        image_size=encoder.image_size,
        patch_size=encoder.patch_size,
    )
    text = transformers.LlamaConfig(
        vocab_size=decoder.vocab_size,
        hidden_size=decoder.dim,
        intermediate_size=mlp_dim,
        num_hidden_layers=decoder.num_layers,
        num_attention_heads=decoder.num_heads,
        num_key_value_heads=decoder.kv_heads,
        head_dim=decoder.dim_per_head,
        tie_word_embeddings=decoder.tied_embeddings,
        use_cache=False,
        pad_token_id=tokenizer.pad_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_id,
    )
    return transformers.LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.image_id,
        image_seq_length=encoder.num_patches,
        vision_feature_layer=-1,  # the default, -2, would run a layer for nothing
        tie_word_embeddings=decoder.tied_embeddings,
    )


def by_length(samples: Sequence[Sample]) -> list[Sample]:
    """Longest first, as the Trainer's length-grouped sampler orders them; equal lengths keep their order."""
    return sorted(samples, key=len, reverse=True)


def padded(samples: Sequence[Sample], tokenizer: Tokenizer, encoder: ImageEncoderConfig) -> list[PaddedBatch]:
    """`samples`, with one image token a patch, in batches of 16 in their order, each as long as its longest."""
    groups = (samples[start : start + BATCH_SIZE] for start in range(0, len(samples), BATCH_SIZE))
    return [_pad(group, tokenizer, encoder) for group in groups]


def _pad(samples: Sequence[Sample], tokenizer: Tokenizer, encoder: ImageEncoderConfig) -> PaddedBatch:
    shape = (len(samples), max(len(sample) for sample in samples))
    tokens, labels = np.full(shape, tokenizer.pad_id, np.int64), np.full(shape, IGNORE, np.int64)
    mask = np.zeros(shape, np.int64)
    for row, sample in enumerate(samples):
        place = slice(0, len(sample))
        tokens[row, place] = sample.tokens
        labels[row, place] = np.where(sample.loss_mask, sample.tokens, IGNORE)
        mask[row, place] = 1
    arrays = {"input_ids": tokens, "labels": labels, "attention_mask": mask}
    batch = {name: torch.from_numpy(array) for name, array in arrays.items()}
    images = [image for sample in samples for image in sample.images]
    if images:
        pixels = (np.stack(images) / 255 - encoder.mean) / encoder.std
        batch["pixel_values"] = torch.from_numpy(pixels.astype(np.float32)).permute(0, 3, 1, 2).contiguous()
    return batch


class PaddedTraining:
    """Trains a Llava on the same batches in every repetition, as the Trainer does: forward, backward, clip, AdamW."""

    def __init__(self, name: str, model: Any, batches: Sequence[PaddedBatch], device: torch.device) -> None:
        self._model = model.to(device).train()
        self._optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
        self.batches = batches
        self._device = device
        self._setting = settings(device)[0]
        self.description = Description(
            name=name,
            parameters=_parameters(model),
            image_tokens=model.config.image_seq_length,
            optimizer="AdamW",
            precision=str(self._setting),
            batch=f"{BATCH_SIZE} documents, padded",
            steps=len(batches),
            positions=sum(batch["input_ids"].numel() for batch in batches),
            filled=sum(int(batch["attention_mask"].sum()) for batch in batches),
        )

    def warm_up(self) -> None:
        """Tries every setting and keeps the fastest."""
        by_size = sorted(self.batches, key=lambda batch: batch["input_ids"].numel())
        spread = by_size[:: max(1, len(by_size) // TRIAL_BATCHES)]
        tried = dict.fromkeys(settings(self._device), math.inf)
        for setting in [*tried] * TRIALS:
            self._use(setting)
            self._train(self.batches[:1])
            tried[setting] = min(tried[setting], timed(lambda: self._train(spread), self._device).seconds)
        fastest = min(tried, key=lambda setting: tried[setting])
        self._use(fastest)
        shown = {str(setting): seconds for setting, seconds in tried.items()}
        self.description = replace(self.description, precision=str(fastest), tried=shown)

    def run(self) -> Timing:
        """All batches once."""
        return timed(lambda: self._train(self.batches), self._device)

    def _use(self, setting: Setting) -> None:
        self._setting = setting
        self._model.set_attn_implementation(setting.attention)

    def _train(self, batches: Sequence[PaddedBatch]) -> None:
        for batch in batches:
            there = {name: tensor.to(self._device, non_blocking=True) for name, tensor in batch.items()}
            with autocast(self._setting.precision, self._device):
                loss = self._model(**there).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self._model.parameters(), MAX_GRAD_NORM)
            self._optimizer.step()
            self._optimizer.zero_grad()


def _parameters(model: Any) -> dict[str, int]:
    """By the parts that mm1 counts; the output matrix is the embedding."""
    parts = {
        "image_encoder": model.model.vision_tower,
        "connector": model.model.multi_modal_projector,
        "decoder_embedding": model.get_input_embeddings(),
    }
    sizes = {name: sum(parameter.numel() for parameter in part.parameters()) for name, part in parts.items()}
    total = sum(parameter.numel() for parameter in model.parameters())
    return {**sizes, "decoder_non_embedding": total - sum(sizes.values()), "total": total}

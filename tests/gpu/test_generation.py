"""The engine on the device against the engine on the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mm1.generate.engine import Engine
from mm1.generate.request import Prompt
from mm1.models.connector import AttentionPoolConfig
from mm1.models.decoder import DecoderConfig
from mm1.models.image_encoder import ImageEncoderConfig
from mm1.models.mm1 import MM1, MM1Config

PAD, EOS, IMAGE, N = 0, 1, 2, 4


def random_model() -> MM1:
    """Weights large enough that greedy text varies, and that no two tokens are about as likely."""
    config = MM1Config(
        decoder=DecoderConfig(vocab_size=64, dim=32, num_layers=2, mlp_dim=64, num_kv_heads=2, smeared_keys=True),
        image_encoder=ImageEncoderConfig(image_size=16, dim=16, num_layers=1, num_heads=2, mlp_dim=32, stem="conv"),
        connector=AttentionPoolConfig(num_image_tokens=N),
    )
    torch.manual_seed(0)
    model = MM1(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() >= 2:
                parameter.normal_(std=1.5 * parameter[0].numel() ** -0.5)
    return model


def prompts() -> list[Prompt]:
    """Of many lengths, with no image, one or two; some begin alike."""
    rng = np.random.default_rng(0)
    made = []
    for images, length in ((0, 1), (0, 40), (1, 3), (1, 9), (2, 5), (2, 6)):
        text = rng.integers(3, 64, length, dtype=np.int32)
        pixels = tuple(np.random.default_rng(i).integers(0, 256, (16, 16, 3), dtype=np.uint8) for i in range(images))
        tokens = np.concatenate([np.full(images * N, IMAGE, np.int32), text])
        starts = np.arange(images) * N
        made.append(Prompt(tokens=tokens, image_starts=starts, images=pixels, max_new_tokens=12))
    return made


@pytest.mark.usefixtures("whole_float32")
def test_greedy_text_is_that_of_the_cpu(device: torch.device) -> None:
    here, there = (
        Engine(random_model().to(where), eos_id=EOS, banned_ids=(PAD, IMAGE)) for where in (device, torch.device("cpu"))
    )
    completions, expected = here.generate(prompts()), there.generate(prompts())
    assert len({completion.tokens for completion in expected}) == len(expected)
    for completion, wanted in zip(completions, expected, strict=True):
        assert completion.tokens == wanted.tokens
        assert completion.finish_reason == wanted.finish_reason
        assert completion.logprobs == pytest.approx(wanted.logprobs, abs=1e-4)


@pytest.mark.usefixtures("whole_float32")
def test_likelihoods_are_those_of_the_cpu(device: torch.device) -> None:
    continuations = [[5, 9, 30]] * len(prompts())
    here, there = (
        Engine(random_model().to(where), eos_id=EOS, banned_ids=(PAD, IMAGE)) for where in (device, torch.device("cpu"))
    )
    assert here.loglikelihood(prompts(), continuations) == pytest.approx(
        there.loglikelihood(prompts(), continuations), abs=1e-3
    )

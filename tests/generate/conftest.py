"""A small multimodal model whose weights are large enough for its greedy text to vary."""

from collections.abc import Callable

import pytest
import torch

from mm1.models.connector import AvgPoolConfig
from mm1.models.decoder import DecoderConfig
from mm1.models.image_encoder import ImageEncoderConfig
from mm1.models.mm1 import MM1, MM1Config

MakeModel = Callable[..., MM1]


@pytest.fixture(scope="session")
def make_model() -> MakeModel:
    def make(seed: int = 0, **decoder: object) -> MM1:
        config = MM1Config(
            decoder=DecoderConfig(**{"vocab_size": 64, "dim": 32, "num_layers": 2, "mlp_dim": 64, **decoder}),
            image_encoder=ImageEncoderConfig(
                image_size=16, patch_size=8, dim=16, num_layers=1, num_heads=2, mlp_dim=32
            ),
            connector=AvgPoolConfig(num_image_tokens=4),
        )
        torch.manual_seed(seed)
        model = MM1(config)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() >= 2:
                    parameter.normal_(std=1.5 * parameter[0].numel() ** -0.5)
                elif parameter.dim() == 1:
                    parameter.add_(torch.randn_like(parameter), alpha=0.3)
        return model

    return make

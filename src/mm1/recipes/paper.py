"""The recipes of MM1's paper (McKinzie et al. 2024, arXiv 2403.09611): final models, MoE models, ablation base, law.

    mm1 show mm1-3b
    mm1 run mm1-3b pretrain.init.decoder=checkpoints/mine pretrain.microbatch_rows=2

The paper's: data by group, sequences of 4096 tokens and 16 images, 512 of them a step, 200,000 steps (50,000 in the
law's grid), AdamW with a weight decay of 0.1 η (which is 0.1 here, see train/optimizer.py), warm-up of 2000 steps,
cosine to a tenth, clipping at 1.0, nothing frozen; peak rates 6e-5, 4e-5, 2e-5 for 3B, 7B, 30B and 8e-5 for every
connector; a z-loss on the 30B's logits; an MoE model as its dense twin. Fine-tuning: 10,000 steps of 256 sequences of
2048 tokens, Adafactor at 1e-5 with a cosine to 0, pictures of 1344 as an overview and four tiles of 672, whose
positions are interpolated from 378.

Ours: the decoders' shapes and vocabulary (paper_models.py), weights of sources (paper_data.py), AdamW's betas
(AXLearn's defaults), the image encoder's rate (the decoder's). Of fine-tuning's Adafactor only the name is known: its
decay and clipping are Shazeer and Stern's, and 1e-5 is not relative to the parameters' size (train/optimizer.py says
why). Its warm-up (300 steps) and weight decay (none) are LLaVA-1.5's. The ablations train at the law's rate; that they
take 200,000 steps the paper says of those of the data only.

Encoder and decoder come from a checkpoint at `checkpoints/NAME`, made by `mm1 import` (or `mm1 upcycle`, for the MoE
models; whether MM1's experts were trained on text before or copied from a dense decoder is not known).
"""

from __future__ import annotations

from mm1.ablations.law import learning_rate
from mm1.chain.recipe import RecipeConfig
from mm1.data.plan import DataConfig
from mm1.data.sub_images import SubImagesConfig
from mm1.models.image_encoder import ImageEncoderConfig
from mm1.models.mm1 import MM1Config
from mm1.recipes.paper_data import PRETRAIN_MIXTURE, SFT_MIXTURE, prepared
from mm1.recipes.paper_models import CLIP_H_378, CLIP_L_336, NUM_PARAMETERS, mm1
from mm1.train.objectives import LossConfig
from mm1.train.optimizer import OptimizerConfig
from mm1.train.schedule import ScheduleConfig
from mm1.train.stage import StageConfig

CONNECTOR_RATE = 8e-5
SFT_RESOLUTION, SFT_IMAGE_SIZE = 1344, 672


def mm1_3b() -> RecipeConfig:
    """MM1-3B."""
    return _final("mm1-3b", mm1("3b", CLIP_H_378), 6e-5)


def mm1_7b() -> RecipeConfig:
    """MM1-7B."""
    return _final("mm1-7b", mm1("7b", CLIP_H_378), 4e-5)


def mm1_30b() -> RecipeConfig:
    """MM1-30B."""
    return _final("mm1-30b", mm1("30b", CLIP_H_378), 2e-5, LossConfig(output_z=1e-4))


def mm1_3b_moe() -> RecipeConfig:
    """MM1-3B-MoE: 64 experts in every second layer, 64B parameters."""
    return _final("mm1-3b-moe", mm1("3b", CLIP_H_378, experts=True), 6e-5)


def mm1_7b_moe() -> RecipeConfig:
    """MM1-7B-MoE: 32 experts in every fourth layer, 47B parameters."""
    return _final("mm1-7b-moe", mm1("7b", CLIP_H_378, experts=True), 4e-5)


def mm1_ablation() -> RecipeConfig:
    """The base of the paper's ablations: 1.2B, ViT-L/336."""
    return _pretrained_only("mm1-ablation", "1.2b", steps=200_000)


def mm1_law_9m() -> RecipeConfig:
    """The law's grid at 9M, at the rate that the law gives."""
    return _pretrained_only("mm1-law-9m", "9m", steps=50_000)


def mm1_law_85m() -> RecipeConfig:
    """The law's grid at 85M."""
    return _pretrained_only("mm1-law-85m", "85m", steps=50_000)


def mm1_law_302m() -> RecipeConfig:
    """The law's grid at 302M."""
    return _pretrained_only("mm1-law-302m", "302m", steps=50_000)


def mm1_law_1_2b() -> RecipeConfig:
    """The law's grid at 1.2B."""
    return _pretrained_only("mm1-law-1.2b", "1.2b", steps=50_000)


def _final(name: str, model: MM1Config, rate: float, loss: LossConfig | None = None) -> RecipeConfig:
    return RecipeConfig(
        name=name,
        prepare=prepared(PRETRAIN_MIXTURE, SFT_MIXTURE),
        pretrain=_pretrain(name, model, rate, 200_000, loss or LossConfig()),
        sft=_sft(model),
    )


def _pretrained_only(name: str, size: str, steps: int) -> RecipeConfig:
    rate = learning_rate(NUM_PARAMETERS[size])
    return RecipeConfig(
        name=name,
        prepare=prepared(PRETRAIN_MIXTURE),
        pretrain=_pretrain(name, mm1(size, CLIP_L_336), rate, steps, LossConfig()),
    )


def _pretrain(name: str, model: MM1Config, rate: float, steps: int, loss: LossConfig) -> StageConfig:
    return StageConfig(
        model=model,
        loss=loss,
        data=DataConfig(
            mixture=PRETRAIN_MIXTURE, seq_len=4096, rows=512, max_images=16, image_size=_encoder(model).image_size
        ),
        optimizer=OptimizerConfig(
            learning_rate=rate, weight_decay=0.1, learning_rate_scales={"connector": CONNECTOR_RATE / rate}
        ),
        schedule=ScheduleConfig(shape="cosine", warmup_steps=2000, final_fraction=0.1),
        steps=steps,
        max_grad_norm=1.0,
        checkpoint_every=1000,
        num_workers=4,
        init={"image_encoder": f"checkpoints/{name}", "decoder": f"checkpoints/{name}"},
    )


def _sft(model: MM1Config) -> StageConfig:
    encoder = _encoder(model)
    high = encoder.replace(image_size=SFT_IMAGE_SIZE, position_size=encoder.image_size)
    return StageConfig(
        model=model.replace(image_encoder=high),
        data=DataConfig(
            mixture=SFT_MIXTURE,
            seq_len=2048,
            rows=256,
            max_images=16,
            image_size=SFT_IMAGE_SIZE,
            sub_images=SubImagesConfig.for_resolution(SFT_RESOLUTION, SFT_IMAGE_SIZE),
        ),
        optimizer=OptimizerConfig(kind="adafactor", learning_rate=1e-5, weight_decay=0.0),
        schedule=ScheduleConfig(shape="cosine", warmup_steps=300, final_fraction=0.0),
        steps=10_000,
        max_grad_norm=1.0,
        checkpoint_every=1000,
        num_workers=4,
        init={"": "pretrain"},
    )


def _encoder(model: MM1Config) -> ImageEncoderConfig:
    assert model.image_encoder is not None
    return model.image_encoder

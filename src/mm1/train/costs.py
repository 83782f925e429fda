"""What a stage costs before it is run: parameters, tokens a step, operations a sequence; nothing is allocated.

    parameters(recipe.stage("pretrain"))["total"]
    flops_per_sequence(recipe.stage("pretrain"))     # {"image_encoder": …, "connector": …, "decoder": …, …}
    document_cost(recipe.stage("pretrain"))          # by which ranks are dealt equal work

Of `flops_per_sequence` a sequence is taken to be full: every position is used, there are as many images as it may hold,
and all of it is one document, so that attention costs the most that it can. What real documents cost is measured in
training.
"""

from __future__ import annotations

from torch import nn

from mm1.data.dealing import Cost
from mm1.models.counts import TRAINING_FACTOR, flops_forward, parameters_by_part
from mm1.models.mm1 import MM1Config
from mm1.train.optimizer import freeze
from mm1.train.stage import StageConfig


def parameters(stage: StageConfig) -> dict[str, int]:
    """The model's parameters by part, counted on the meta device."""
    return parameters_by_part(stage.structure())


def tokens_per_step(stage: StageConfig) -> int:
    """Positions of the global batch, padding included."""
    return stage.data.rows * stage.data.seq_len


def images_per_sequence(stage: StageConfig) -> int:
    """Encoder inputs of a full sequence: whole pictures only, each with its sub-images."""
    if stage.model.image_encoder is None:
        return 0
    most, each = stage.data.max_images, stage.model.num_image_tokens
    if each > 0:  # in contrastive training images stand beside the text
        most = min(most, stage.data.seq_len // each)
    of_a_picture = stage.data.sub_images.max_sub_images
    return most // of_a_picture * of_a_picture


def flops_per_sequence(stage: StageConfig) -> dict[str, int]:
    """Operations of training on one full sequence, forward and backward, by part; logits are those of the text. What is
    frozen costs less.

    Empty where the model is no MM1: what pretrains an image encoder has no sequence of one document.
    """
    if not isinstance(stage.model, MM1Config):
        return {}
    tokens, images = stage.data.seq_len, images_per_sequence(stage)
    forward = flops_forward(
        stage.model,
        tokens=tokens,
        images=images,
        attended_pairs=tokens * (tokens + 1) // 2,
        targets=tokens - images * stage.model.num_image_tokens,
    )
    parts = {part: factor * forward[part] for part, factor in factors_of(stage).items()}
    return {**parts, "total": sum(parts.values())}


def document_cost(stage: StageConfig) -> Cost:
    """Operations in which documents differ, as if every text token were predicted. Where padding is kept, layers run
    over it too, so that rows cost the same in them. Where the model is no MM1, rows are taken to be alike.
    """
    config = stage.model
    if not isinstance(config, MM1Config):
        return Cost()
    factors = factors_of(stage)

    def operations(images: int = 0, attended_pairs: int = 0, tokens: int = 0, targets: int = 0) -> int:
        forward = flops_forward(config, tokens, images, attended_pairs, targets)
        return sum(factor * forward[part] for part, factor in factors.items())

    return Cost(
        image=operations(images=1),
        attended_pair=operations(attended_pairs=1),
        token=operations(tokens=1) if stage.drops_padding else 0,
        text_token=operations(targets=1),
    )


def factors_of(stage: StageConfig) -> dict[str, int]:
    """`training_factors` of a stage, which trains an MM1."""
    model = stage.structure()
    freeze(model, stage.optimizer)
    return training_factors(model)


def training_factors(model: nn.Module) -> dict[str, int]:
    """Forwards that each part of an MM1 costs in training, forward and backward: 3 where anything in it moves, 2 where
    gradients only pass through, else 1.
    """
    factors, something_before_moves = {}, False
    for part in ("image_encoder", "connector", "decoder"):
        child = getattr(model, part)
        moves = child is not None and any(parameter.requires_grad for parameter in child.parameters())
        factors[part] = TRAINING_FACTOR if moves else TRAINING_FACTOR - 1 if something_before_moves else 1
        something_before_moves |= moves
    return {**factors, "output": factors["decoder"]}

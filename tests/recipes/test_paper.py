"""The paper's recipes: published numbers, three steps of every model in small, and what `mm1 show` says of them."""

import json
from dataclasses import replace

import pytest
import torch

from mm1.ablations.law import learning_rate
from mm1.cli.main import main
from mm1.cli.tables import leaves
from mm1.config import diff, override
from mm1.data.sub_images import num_sub_images
from mm1.hf.folder import HFFolder
from mm1.hf.image_encoders import read_image_encoder
from mm1.models.aim import AIMConfig
from mm1.models.clip import CLIPConfig
from mm1.models.image_encoder import ImageEncoder
from mm1.models.initialization import beginnings
from mm1.models.mm1 import MM1Config
from mm1.recipes import paper_models
from mm1.recipes.catalog import RECIPES, load_recipe
from mm1.train import costs
from mm1.train.objectives import build_objective
from mm1.train.optimizer import Optimizers
from mm1.train.stage import StageConfig
from mm1.types import IGNORE
from tests.models.conftest import _make_batch

PAPER = [name for name in RECIPES if name.startswith("mm1-")]
FINAL = [name for name in PAPER if name.startswith(("mm1-3b", "mm1-7b", "mm1-30b"))]
PUBLISHED = {
    "mm1-3b": 2.9e9, "mm1-7b": 6.4e9, "mm1-30b": 30e9, "mm1-ablation": 1.2e9,
    "mm1-law-9m": 9e6, "mm1-law-85m": 85e6, "mm1-law-302m": 302e6, "mm1-law-1.2b": 1.2e9,
}  # fmt: skip
PEAK = {"mm1-3b": 6e-5, "mm1-7b": 4e-5, "mm1-30b": 2e-5}


def test_there_is_a_recipe_for_every_model_of_the_paper():
    assert set(PAPER) == {*PUBLISHED, "mm1-3b-moe", "mm1-7b-moe"}


@pytest.mark.parametrize("name", PUBLISHED)
def test_sizes_without_embeddings_are_the_published_ones_within_3_percent(name):
    parameters = costs.parameters(load_recipe(name).pretrain)
    assert parameters["decoder_non_embedding"] == pytest.approx(PUBLISHED[name], rel=0.03)
    assert parameters["decoder_active_non_embedding"] == parameters["decoder_non_embedding"]


@pytest.mark.parametrize(("name", "total", "experts", "every"), [("mm1-3b", 64e9, 64, 2), ("mm1-7b", 47e9, 32, 4)])
def test_moe_models_have_the_published_totals_and_are_their_dense_twins_otherwise(name, total, experts, every):
    dense, sparse = load_recipe(name), load_recipe(f"{name}-moe")
    parameters = costs.parameters(sparse.pretrain)
    assert parameters["total"] == pytest.approx(total, rel=0.03)
    assert parameters["decoder_non_embedding"] == pytest.approx(total, rel=0.03)
    twin = costs.parameters(dense.pretrain)
    layers = dense.pretrain.model.decoder.num_layers
    assert layers % every == 0
    mlp = 3 * dense.pretrain.model.decoder.dim * dense.pretrain.model.decoder.mlp_dim
    router = dense.pretrain.model.decoder.dim * experts
    more = layers // every * (mlp * (experts - 1) + router)
    assert parameters["decoder_non_embedding"] - twin["decoder_non_embedding"] == more
    active = layers // every * (mlp + router)
    assert parameters["decoder_active_non_embedding"] - twin["decoder_non_embedding"] == active
    keys = {key for key in diff(dense, sparse) if ".moe" not in key}
    assert keys == {"name", "pretrain.init.image_encoder", "pretrain.init.decoder"}
    assert (sparse.pretrain.loss.load_balance, sparse.pretrain.loss.router_z) == (0.01, 0.001)
    assert sparse.pretrain.model.decoder.moe.top_k == 2


@pytest.mark.parametrize("name", PAPER)
def test_pretraining_is_the_papers(name):
    stage = load_recipe(name).pretrain
    assert stage.steps == (50_000 if "law" in name else 200_000)
    assert costs.tokens_per_step(stage) == 512 * 4096
    assert (stage.data.max_images, stage.model.num_image_tokens) == (16, 144)
    groups = {group.name: group for group in stage.data.mixture.groups}
    assert {name: group.weight for name, group in groups.items()} == {
        "interleaved": 0.45, "captions": 0.45, "text": 0.10,
    }  # fmt: skip
    assert stage.data.mixture.shares()["vecap_300m"] == pytest.approx(0.45 * 0.07)
    peak = stage.optimizer.learning_rate
    assert peak == (PEAK[name.removesuffix("-moe")] if name in FINAL else learning_rate(PUBLISHED[name]))
    assert peak * stage.optimizer.learning_rate_scales["connector"] == pytest.approx(8e-5)
    assert (stage.optimizer.kind, stage.optimizer.weight_decay, stage.optimizer.frozen) == ("adamw", 0.1, ())
    factors = [stage.schedule.factor(step, stage.steps) for step in (999, 1999, 2000, stage.steps - 1)]
    assert factors == pytest.approx([0.5, 1.0, 1.0, 0.1], abs=1e-6)
    assert stage.max_grad_norm == 1.0
    assert stage.loss.output_z == (1e-4 if name == "mm1-30b" else 0.0)
    assert stage.model.image_encoder.image_size == (378 if name in FINAL else 336)


@pytest.mark.parametrize("name", FINAL)
def test_fine_tuning_is_the_papers(name):
    recipe = load_recipe(name)
    stage = recipe.sft
    assert (stage.steps, stage.data.rows, stage.data.seq_len) == (10_000, 256, 2048)
    assert (stage.optimizer.kind, stage.optimizer.learning_rate, stage.optimizer.frozen) == ("adafactor", 1e-5, ())
    assert not stage.optimizer.scale_by_size
    assert stage.schedule.factor(stage.steps - 1, stage.steps) == pytest.approx(0.0, abs=1e-9)
    widths, heights = (torch.tensor([size]).numpy() for size in (1000, 300))
    of_a_picture = num_sub_images(stage.data.sub_images, stage.data.image_size, widths, heights)
    assert of_a_picture * stage.model.num_image_tokens == 720
    encoder = stage.model.image_encoder
    assert (encoder.image_size, encoder.position_size) == (672, 378)
    assert stage.init == {"": "pretrain"}
    shapes = [
        sorted((n, tuple(p.shape)) for n, p in s.structure().named_parameters()) for s in (recipe.pretrain, stage)
    ]
    assert shapes[0] == shapes[1], "fine-tuning begins with every weight of pretraining"
    assert sum(source.weight for source in stage.data.mixture.groups[0].sources) == 1448


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("CLIP_L_224", 303), ("CLIP_L_336", 304), ("CLIP_H_224", 631), ("CLIP_H_378", 631),
        ("AIM_600M", 567), ("AIM_1B", 1209), ("AIM_3B", 2720),
    ],
)  # fmt: skip
def test_image_encoders_have_the_known_sizes(name, millions):
    config = getattr(paper_models, name)
    with torch.device("meta"):
        encoder = ImageEncoder(config)
    assert sum(parameter.numel() for parameter in encoder.parameters()) / 1e6 == pytest.approx(millions, abs=1)
    assert config.num_patches == {224: 256, 336: 576, 378: 729}[config.image_size]


@pytest.mark.parametrize(("name", "width", "side"), [("CLIP_L_336", 1024, 336), ("CLIP_H_378", 1280, 378)])
def test_clip_encoders_are_what_the_import_of_the_published_folders_makes(name, width, side, tmp_path):
    """With one layer, which is enough to tell."""
    shape = {
        "model_type": "clip_vision_model", "hidden_size": width, "intermediate_size": 4 * width, "patch_size": 14,
        "num_attention_heads": 16, "num_hidden_layers": 1, "image_size": side,
    }  # fmt: skip
    from transformers import CLIPVisionConfig, CLIPVisionModel  # takes seconds, and no other test here needs it

    CLIPVisionModel(CLIPVisionConfig(**shape)).save_pretrained(tmp_path)
    ours = getattr(paper_models, name)
    config, tensors = read_image_encoder(HFFolder(tmp_path))
    assert config.replace(num_layers=ours.num_layers) == ours
    with torch.device("meta"):
        expected = ImageEncoder(ours.replace(num_layers=1)).state_dict()
    assert {key: tensor.shape for key, tensor in tensors.items()} == {key: t.shape for key, t in expected.items()}


def test_the_7b_connector_has_honeybees_39_4_million_parameters():
    assert costs.parameters(load_recipe("mm1-7b").pretrain)["connector"] == 39_447_360


def in_small(stage: StageConfig) -> StageConfig:
    """The same stage with few layers and small dims: every option that is not a size is still there."""
    model = stage.model
    encoder = model.image_encoder
    if encoder is not None:
        table = 2 * encoder.patch_size
        shown = table if encoder.position_size is None else 2 * table
        small = {"dim": 16, "num_layers": 2, "num_heads": 2, "mlp_dim": 32, "image_size": shown}
        encoder = encoder.replace(**small, position_size=encoder.position_size and table)
    match model:
        case CLIPConfig():
            text = model.text_tower.replace(vocab_size=64, dim=16, mlp_dim=32, num_heads=2)
            return stage.replace(model=model.replace(image_encoder=encoder, text_tower=text, embed_dim=8))
        case AIMConfig():
            return stage.replace(model=model.replace(image_encoder=encoder, head_dim=16, head_depth=1))
        case MM1Config():
            return stage.replace(model=model.replace(image_encoder=encoder, **_small_text_side(model)))


def _small_text_side(model: MM1Config) -> dict:
    decoder = model.decoder
    heads = {"num_heads": 4, "num_kv_heads": decoder.num_kv_heads and 2}
    layers = 2 if decoder.moe is None else decoder.moe.every
    moe = decoder.moe and decoder.moe.replace(num_experts=4)
    decoder = decoder.replace(vocab_size=64, dim=32, num_layers=layers, mlp_dim=32, moe=moe, **heads)
    connector = model.connector
    if connector is not None:
        connector = connector.replace(num_image_tokens=4)
        if connector.kind == "c_abstractor":
            connector = connector.replace(hidden_dim=16, depth=1)
    return {"decoder": decoder, "connector": connector}


@pytest.mark.parametrize(("name", "stage"), [(name, stage) for name in RECIPES for stage in load_recipe(name).stages])
def test_every_model_in_small_takes_three_steps_with_finite_gradients_in_every_parameter(name, stage):
    config = in_small(load_recipe(name).stage(stage))
    encoder = config.model.image_encoder
    images = 0 if encoder is None else 3
    each = config.model.num_image_tokens
    batch = _make_batch(
        [[(images and 1, 12), (images and 1, 9)], [(images and 1, 20)]],
        num_image_tokens=each,
        image_size=encoder.image_size if encoder else 8,
    )
    targets = batch.tokens.roll(-1, 1).masked_fill(batch.segment_ids < 0, IGNORE)
    batch = replace(batch, targets=targets, target_index=(targets != IGNORE).flatten().nonzero()[:, 0])
    model = config.build()
    optimizers = Optimizers(model, config.optimizer, torch.float32)
    objective = build_objective(config.objective, config.loss)
    for step in range(3):
        losses = objective(model, batch)
        (losses.total / losses.count).backward()
        for parameter_name, parameter in model.named_parameters():
            assert parameter.grad is not None, parameter_name
            assert parameter.grad.isfinite().all(), parameter_name
            # At the start some gradients are exactly 0 (behind a branch that is): not after a step.
            assert step == 0 or parameter.grad.any(), parameter_name
        optimizers.step(config.schedule.factor(1000, config.steps), torch.zeros(()))


def test_what_is_on_record_of_a_beginning_is_true():
    for name in ("tiny", "tiny-c-abstractor", "tiny-aim", "tiny-moe", "mm1-7b-moe"):
        recipe = load_recipe(name)
        for stage in recipe.stages:
            config = recipe.stage(stage)
            config = in_small(config) if name in PAPER else config
            records = beginnings(config.structure())
            for parameter_name, parameter in config.build().named_parameters():
                values, record = parameter.detach(), records[parameter_name]
                if record.std:
                    assert values.abs().max() <= 3 * record.std, parameter_name
                    if values.numel() > 1000:  # cutting at 3 deviations leaves 0.987 of one
                        assert values.std() == pytest.approx(0.987 * record.std, rel=0.1), parameter_name
                else:
                    assert (values == record.value).all(), parameter_name


@pytest.mark.parametrize("name", ["mm1-7b-moe", "mm1-ablation"])
def test_show_of_a_model_that_this_machine_cannot_hold(name, capsys):
    assert main(["show", name, "--json"]) == 0
    described = json.loads(capsys.readouterr().out)
    stage = load_recipe(name).pretrain
    assert set(described["parameters"]) == {
        "image_encoder", "connector", "decoder_embedding", "decoder_non_embedding", "decoder_active_non_embedding",
        "total",
    }  # fmt: skip
    parts = described["parameters"]
    counted = ("image_encoder", "connector", "decoder_embedding", "decoder_non_embedding")
    assert sum(parts[part] for part in counted) == parts["total"]
    assert described["tokens_per_step"] == 512 * 4096
    assert described["config"]["pretrain.model.decoder.num_layers"] == stage.model.decoder.num_layers
    flops = described["flops_per_sequence"]
    assert flops["total"] == sum(count for part, count in flops.items() if part != "total")
    decoder = stage.model.decoder
    attention = 4 * decoder.num_layers * decoder.dim * 4096 * 4097 // 2
    norms = (2 * decoder.num_layers + 1) * decoder.dim
    weights = parts["decoder_active_non_embedding"] - norms
    assert flops["decoder"] == 3 * (2 * weights * 4096 + attention)
    assert flops["output"] == 3 * 2 * decoder.dim * decoder.vocab_size * (4096 - 16 * 144)


def test_show_prints_the_papers_model_for_people(capsys):
    assert main(["show", "mm1-3b-moe"]) == 0
    printed = capsys.readouterr().out
    assert "pretrain  next_token, 200,000 steps of 2,097,152 tokens" in printed
    assert "training FLOPs of 4,096 positions in one document, 16 images" in printed
    assert "2,048 positions in one document, 10 images" in printed, "two pictures of five sub-images"
    assert "63.9 B" in printed


def test_what_show_prints_of_a_paper_recipe_can_be_typed_as_overrides():
    assert override(load_recipe("mm1-3b"), leaves(load_recipe("mm1-7b"))) == load_recipe("mm1-7b")

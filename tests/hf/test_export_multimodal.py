"""The folder itself: what stands in it, in how many files, and what is refused."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForImageTextToText, AutoTokenizer

from mm1.checkpoint import Checkpoint, CheckpointConfig, save_checkpoint
from mm1.config import UserError
from mm1.hf.export_multimodal import export_multimodal
from mm1.models.mm1 import MM1, MM1Config
from tests.hf.exported import PROMPTS, inputs, write_checkpoint


@pytest.fixture
def checkpoint(tmp_path) -> Checkpoint:
    return write_checkpoint(tmp_path)


def test_config_json_says_it_in_both_languages(checkpoint, tmp_path):
    folder = export_multimodal(checkpoint, tmp_path / "out", max_positions=77)
    values = json.loads((folder / "config.json").read_text())
    assert values["architectures"] == ["MM1ForConditionalGeneration"]
    assert values["dtype"] == "float32"
    assert values["text_config"]["max_position_embeddings"] == 77
    assert set(values["auto_map"]) == {"AutoConfig", "AutoModel", "AutoModelForImageTextToText"}
    assert AutoConfig.from_pretrained(folder).mm1 == checkpoint.config.model
    assert AutoTokenizer.from_pretrained(folder).model_max_length == 77


def test_the_length_is_that_of_the_training_where_nobody_says(checkpoint, tmp_path):
    assert not hasattr(
        AutoConfig.from_pretrained(export_multimodal(checkpoint, tmp_path / "a")).text_config, "max_position_embeddings"
    )
    path = checkpoint.folder / "config.json"
    values = json.loads(path.read_text())
    values["data"]["seq_len"] = 96
    path.write_text(json.dumps(values))
    config = AutoConfig.from_pretrained(export_multimodal(checkpoint, tmp_path / "b"))
    assert config.text_config.max_position_embeddings == 96


def test_shards_hold_the_same_as_one_file(checkpoint, variant, tmp_path):
    folder = export_multimodal(checkpoint, tmp_path / "out", shard_bytes=40_000)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    shards = {file.name: load_file(file) for file in folder.glob("*.safetensors")}
    assert len(shards) > 2
    assert all(sum(t.nbytes for t in shard.values()) <= 40_000 for shard in shards.values())
    assert index["weight_map"] == {name: file for file, shard in shards.items() for name in shard}
    model, given = AutoModelForImageTextToText.from_pretrained(folder), inputs(variant("tied"), PROMPTS[1])
    assert torch.equal(model(**given).logits, variant("tied").model(**given).logits)


def test_weights_keep_their_dtype(checkpoint, tmp_path):
    save_file({name: tensor.bfloat16() for name, tensor in load_file(checkpoint.weights).items()}, checkpoint.weights)
    folder = export_multimodal(checkpoint, tmp_path / "out")
    assert AutoModelForImageTextToText.from_pretrained(folder).dtype == torch.bfloat16


def test_a_text_model_is_refused(checkpoint, tmp_path):
    shape = MM1Config(decoder=checkpoint.config.model.decoder)
    text = save_checkpoint(
        tmp_path / "text", CheckpointConfig(model=shape), MM1(shape), checkpoint.folder / "tokenizer.json"
    )
    with pytest.raises(UserError, match="a text model can not be exported as a multimodal one"):
        export_multimodal(text, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_damage_leaves_nothing_half_written(checkpoint, tmp_path):
    tensors = load_file(checkpoint.weights)
    del tensors["connector.projection.bias"]
    save_file(tensors, checkpoint.weights)
    with pytest.raises(UserError, match=r"connector.projection.bias"):
        export_multimodal(checkpoint, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="is there already"):
        export_multimodal(checkpoint, tmp_path / "out")

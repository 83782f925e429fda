"""Weights come back exactly, by part too; a file that does not fit changes nothing and is named in one sentence."""

import pytest
import torch
from safetensors.torch import save_file

from mm1.config import UserError
from mm1.models.connector import AvgPoolConfig
from mm1.models.decoder import Decoder, DecoderConfig
from mm1.models.image_encoder import ImageEncoderConfig
from mm1.models.mm1 import MM1, MM1Config
from mm1.models.weights import load_weights, save_weights
from tests.full_disk import room_for


def build(seed, **decoder):
    torch.manual_seed(seed)
    return MM1(
        MM1Config(
            decoder=DecoderConfig(vocab_size=32, dim=16, num_layers=1, mlp_dim=32, **decoder),
            image_encoder=ImageEncoderConfig(image_size=16, dim=16, num_layers=1, mlp_dim=32),
            connector=AvgPoolConfig(num_image_tokens=4),
        )
    )


def equal(first, second):
    return all(torch.equal(tensor, second.state_dict()[name]) for name, tensor in first.state_dict().items())


@pytest.mark.parametrize("tied", [True, False])
def test_weights_come_back_exactly(tmp_path, tied):
    source, target = build(0, tied_embeddings=tied), build(1, tied_embeddings=tied)
    save_weights(source, tmp_path / "model.safetensors")
    assert not equal(source, target)
    load_weights(target, tmp_path / "model.safetensors")
    assert equal(source, target)
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize("prefix", ["image_encoder", "image_encoder."])
def test_a_part_is_loaded_by_its_prefix(tmp_path, prefix):
    source, target, before = build(0), build(1), build(1)
    save_weights(source, tmp_path / "model.safetensors")
    load_weights(target.image_encoder, tmp_path / "model.safetensors", prefix)
    assert equal(source.image_encoder, target.image_encoder)
    assert equal(before.decoder, target.decoder)


def test_loading_keeps_the_modules_dtype_and_trainability(tmp_path):
    source, target = build(0), build(1).bfloat16().requires_grad_(False)
    save_weights(source, tmp_path / "model.safetensors")
    load_weights(target, tmp_path / "model.safetensors")
    assert all(parameter.dtype == torch.bfloat16 and not parameter.requires_grad for parameter in target.parameters())
    assert equal(source.bfloat16(), target)


def test_a_file_that_does_not_fit_is_explained_and_loads_nothing(tmp_path):
    model, before = build(1), build(1)
    tensors = dict(build(0).state_dict())
    del tensors["decoder.norm.weight"]
    tensors["decoder.extra"] = torch.zeros(2)
    tensors["connector.projection.bias"] = torch.zeros(7)
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(UserError) as error:
        load_weights(model, tmp_path / "model.safetensors")
    message = str(error.value)
    assert "decoder.norm.weight is missing" in message
    assert "decoder.extra is not in the model" in message
    assert "connector.projection.bias is (7,) there but (16,) in the model" in message
    assert str(tmp_path / "model.safetensors") in message
    assert equal(model, before)


def test_a_long_list_of_complaints_is_cut_at_ten(tmp_path):
    save_file({f"tensor_{index}": torch.zeros(1) for index in range(30)}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="; and 21 more") as error:
        load_weights(Decoder(build(0).config.decoder).norm, tmp_path / "model.safetensors", prefix="")
    assert str(error.value).count("tensor_") == 9


@pytest.mark.parametrize("content", [None, b"", b"not a safetensors file at all"])
def test_a_missing_or_damaged_file_is_one_sentence(tmp_path, content):
    path = tmp_path / "model.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match="does not exist" if content is None else "not a whole safetensors file"):
        load_weights(build(0), path)


def test_a_truncated_file_loads_nothing(tmp_path):
    path = tmp_path / "model.safetensors"
    save_weights(build(0), path)
    path.write_bytes(path.read_bytes()[:-8])
    model, before = build(1), build(1)
    with pytest.raises(UserError, match="not a whole safetensors file"):
        load_weights(model, path)
    assert equal(model, before)


def test_a_full_disk_is_one_sentence_and_leaves_what_was_there(tmp_path):
    path = tmp_path / "model.safetensors"
    save_weights(build(0), path)
    with room_for(1000), pytest.raises(UserError, match=r"can not be written .*make room"):
        save_weights(build(1), path)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    model = build(1)
    load_weights(model, path)
    assert equal(model, build(0))

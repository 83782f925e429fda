"""Decoders of transformers, with random weights, against ours; and the way there and back.

Measured on one thread, logits of ordinary size (up to 3.5): the worst difference is 4.8e-7 for Qwen3-MoE with experts
in every second layer, and 0.0 for every other case.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from mm1.config import UserError
from mm1.hf.decoder_tensors import decoder_layout, read_decoder
from mm1.hf.decoders import FAMILIES, choose_family, config_json, decoder_config, family_of
from mm1.hf.folder import HFFolder
from mm1.hf.rope import ORIGINAL
from mm1.models.attention import AttentionMask
from mm1.models.decoder import Decoder, DecoderConfig
from mm1.models.moe import MoEConfig
from mm1.models.rotary import YarnScaling
from tests.hf.decoder_cases import CASES, LLAMA3, YARN, make

TOLERANCE = 1e-4


def imported(folder: Path) -> tuple[Decoder, DecoderConfig]:
    """Our decoder of a folder."""
    source = HFFolder(folder)
    config = decoder_config(source.config)
    decoder = Decoder(config).eval()
    decoder.load_state_dict(read_decoder(source, config, family_of(source.config)))
    return decoder, config


@torch.no_grad()
def our_logits(decoder: Decoder, tokens: Tensor) -> Tensor:
    """Of whole documents, one a row."""
    positions = torch.arange(tokens.shape[1]).expand_as(tokens)
    mask = AttentionMask.from_segments(torch.zeros_like(tokens))
    return decoder.logits(decoder(decoder.embed(tokens), positions, mask).hidden)


@torch.no_grad()
def their_logits(model: Any, tokens: Tensor) -> Tensor:
    return model(tokens).logits


@pytest.mark.parametrize("case", CASES)
def test_an_imported_decoder_computes_what_transformers_does_and_goes_back_bit_equal(case: str, tmp_path: Path) -> None:
    model = make(case)
    model.save_pretrained(tmp_path)
    decoder, config = imported(tmp_path)
    # Longer than the rotary positions' original length (32) and than the sliding window (7).
    tokens = torch.randint(0, config.vocab_size, (2, 80), generator=torch.Generator().manual_seed(1))
    expected = their_logits(model, tokens)
    assert expected.abs().max() > 1
    assert (our_logits(decoder, tokens) - expected).abs().max() <= TOLERANCE

    source, back = HFFolder(tmp_path), {}
    family = choose_family(config, preferred=source.config["model_type"])
    assert family.model_type == source.config["model_type"]
    ours = decoder.state_dict()
    for name, part in decoder_layout(config, family).items():
        back |= dict(part.split(ours[name]))
    assert back.keys() == source.shapes.keys()
    for name, tensor in back.items():
        assert torch.equal(tensor, source.tensor(name)), name


@pytest.mark.parametrize("case", CASES)
def test_a_written_config_is_read_by_us_and_by_transformers_as_the_same_decoder(case: str, tmp_path: Path) -> None:
    model = make(case)
    model.config.save_pretrained(tmp_path)
    config = decoder_config(json.loads((tmp_path / "config.json").read_text()))
    written = config_json(config, family_of(model.config.to_dict()), max_positions=256)
    assert decoder_config(written) == config
    (tmp_path / "config.json").write_text(json.dumps(written))
    again = type(model)(transformers.AutoConfig.from_pretrained(tmp_path)).eval()
    again.load_state_dict(model.state_dict())
    tokens = torch.randint(0, config.vocab_size, (1, 80))
    assert torch.equal(their_logits(again, tokens), their_logits(model, tokens))


WIDE = {
    "llama": {"hidden_size": 2048, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64},
    "qwen2": {"hidden_size": 896, "num_attention_heads": 14, "num_key_value_heads": 2},
    "olmo2": {"hidden_size": 2048, "num_attention_heads": 16, "num_key_value_heads": 16},
}


@pytest.mark.parametrize("case", WIDE)
def test_parity_holds_at_real_widths(case: str, tmp_path: Path) -> None:
    """The widths of Llama 3.2 1B, Qwen2.5 0.5B and OLMo 2 1B. Measured: 0.0, logits up to 8.9."""
    model = make(case, num_hidden_layers=1, **WIDE[case])
    model.save_pretrained(tmp_path)
    tokens = torch.randint(0, 320, (1, 40))
    difference = our_logits(imported(tmp_path)[0], tokens) - their_logits(model, tokens)
    assert difference.abs().max() <= TOLERANCE


def test_shards_are_read_as_one_file_is(tmp_path: Path) -> None:
    model = make("mixtral")
    model.save_pretrained(tmp_path / "one")
    model.save_pretrained(tmp_path / "many", max_shard_size="500KB")
    assert len(list((tmp_path / "many").glob("model-*.safetensors"))) > 3
    one, many = imported(tmp_path / "one")[0].state_dict(), imported(tmp_path / "many")[0].state_dict()
    assert all(torch.equal(one[name], many[name]) for name in one)


@pytest.mark.parametrize("case", ["mixtral", "qwen3_moe"])
def test_experts_are_read_from_stacks_too(case: str, tmp_path: Path) -> None:
    """As transformers 5 keeps them in memory, and writes them where it is told not to take the old format."""
    model = make(case)
    model.save_pretrained(tmp_path / "old")
    model.save_pretrained(tmp_path / "stacked", save_original_format=False)
    assert any(name.endswith("experts.gate_up_proj") for name in HFFolder(tmp_path / "stacked").shapes)
    old, stacked = (imported(tmp_path / name)[0].state_dict() for name in ("old", "stacked"))
    assert all(torch.equal(old[name], stacked[name]) for name in old)


def test_configs_of_transformers_4_are_read(tmp_path: Path) -> None:
    """Rope in two keys, `num_experts` for `num_local_experts`, and no rope at all as in the first Llama 2."""
    new = make("llama-3.1").config.to_dict()
    old = {key: value for key, value in new.items() if key != "rope_parameters"}
    scaling = {key: value for key, value in LLAMA3.items() if key != "rope_theta"}
    assert decoder_config({**old, "rope_theta": 500_000.0, "rope_scaling": scaling}) == decoder_config(new)
    assert decoder_config(old).rope_theta == 10_000.0
    experts = make("qwen3_moe").config.to_dict()
    renamed = {**experts, "num_experts": experts["num_local_experts"]}
    del renamed["num_local_experts"]
    assert decoder_config(renamed) == decoder_config(experts)


def test_what_older_folders_store_twice_is_read_if_it_agrees(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    model = make("llama-tied")
    model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(32)
    save_file(tensors, file)
    assert "head.weight" not in imported(tmp_path)[0].state_dict()
    tensors["lm_head.weight"][0, 0] += 1
    save_file(tensors, file)
    with pytest.raises(UserError, match=r"tie_word_embeddings=true, but lm_head\.weight is not"):
        imported(tmp_path)


def test_an_unsupported_family_lists_those_that_are() -> None:
    with pytest.raises(UserError, match=r"'gpt2'.*llama, mistral, qwen2, qwen3, olmo2, mixtral, qwen3_moe"):
        decoder_config({"model_type": "gpt2"})


@pytest.mark.parametrize(
    ("case", "change", "said"),
    [
        ("llama", {"hidden_act": "gelu"}, "hidden_act='gelu'"),
        ("llama", {"attention_bias": True}, "attention_bias=True"),
        ("llama", {"mlp_bias": True}, "mlp_bias=True"),
        ("llama", {"quantization_config": {"bits": 4}}, "quantization_config="),
        ("llama", {"hidden_size": None}, "has no hidden_size"),
        ("llama", {"num_attention_heads": 0}, "num_attention_heads=0, which is no number from 1 up"),
        ("llama", {"num_hidden_layers": "two"}, "num_hidden_layers='two'"),
        ("llama", {"vocab_size": "many"}, "'vocab_size' is 'many'"),
        ("llama", {"rope_scaling": "linear"}, "rope_scaling='linear', which is no object"),
        ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 0.5}}, r"rope_scaling.*factor"),
        ("llama", {"partial_rotary_factor": 0.5}, r"partial_rotary_factor=0\.5"),
        ("llama", {"rope_parameters": {"rope_type": "linear"}}, "rope_type=linear without a factor"),
        ("llama", {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0}}, "'dynamic'.*linear, llama3, yarn"),
        ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "mrope": 1}}, "mrope=1"),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 7, "layer_types": None, "max_window_layers": 1},
         "1 of 2 layers"),
        ("mistral", {"layer_types": 5}, "layer_types=5, which is no list"),
        ("llama", {"rms_norm_eps": -1}, "'norm_eps' is -1"),
        ("llama", {"head_dim": 0}, "'head_dim' is 0"),
        ("llama", {"num_key_value_heads": 0}, "'num_kv_heads' is 0"),
        ("llama", {"max_position_embeddings": "long"}, "max_position_embeddings='long', which is no number"),
        ("llama", {"rope_parameters": {**YARN, "factor": "4"}}, "factor='4' of its rotary positions"),
        ("llama", {"rope_parameters": {**YARN, "mscale": "a", "mscale_all_dim": 1.0}}, "mscale='a'"),
        ("llama", {"rope_parameters": {**YARN, ORIGINAL: "x"}}, f"{ORIGINAL}='x'"),
        ("llama", {"rope_parameters": {**YARN, "factor": None}, ORIGINAL: [1]}, rf"{ORIGINAL}=\[1\]"),
        ("qwen3_moe", {"mlp_only_layers": [0]}, r"mlp_only_layers=\[0\]"),
    ],
)  # fmt: skip
def test_what_our_decoder_does_not_compute_is_refused_by_name(case: str, change: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        decoder_config({**make(case).config.to_dict(), **change})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"smeared_keys": True}, r"nearest, llama, would need smeared_keys=False \(it is True\)"),
        ({"mlp": "gelu"}, r"mlp=swiglu \(it is gelu\)"),
        ({"moe": MoEConfig(num_experts=4)}, r"nearest, mixtral, would need moe\.every=1 \(it is 2\)"),
        ({"qkv_bias": True, "qk_norm": "head"}, "qk_norm=none"),
    ],
)
def test_a_decoder_like_no_other_names_the_options_in_the_way(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        choose_family(DecoderConfig(vocab_size=8, **{"mlp": "swiglu", **options}))


def test_every_family_is_chosen_for_what_it_alone_can_say() -> None:
    plain = DecoderConfig(vocab_size=8, mlp="swiglu", rope_scaling=YarnScaling(factor=2, original_len=8))
    chosen = [
        plain,
        plain.replace(sliding_window=4),
        plain.replace(qkv_bias=True, sliding_window=4),
        plain.replace(qk_norm="head"),
        plain.replace(qk_norm="projection", norm_placement="post"),
        plain.replace(moe=MoEConfig(num_experts=4, every=1)),
        plain.replace(qk_norm="head", moe=MoEConfig(num_experts=4, every=2)),
    ]
    assert tuple(choose_family(config) for config in chosen) == FAMILIES
    assert choose_family(plain, preferred="mistral").model_type == "mistral"
    assert choose_family(plain, preferred="qwen2").model_type == "llama"

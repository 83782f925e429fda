"""The decoder behind transformers' caches and attention functions, and what vLLM's Transformers back end does with it.

vLLM itself can not be installed here. What its back end does with a model was read in its source of autumn 2026
(`vllm/model_executor/models/transformers/`), and is done here by hand.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoModel, AutoModelForImageTextToText, DynamicCache
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from mm1.config import UserError
from tests.hf.exported import PROMPTS, VARIANTS, Exported, inputs, new_tokens


def beams(exported: Exported, *prompts: Any, **settings: Any) -> list[list[int]]:
    given = inputs(exported, *prompts)
    settings = {"num_beams": 4, "num_return_sequences": 2, "max_new_tokens": 8, "do_sample": False, **settings}
    written = exported.model.generate(**given, **settings)[:, given["input_ids"].shape[1] :].tolist()
    pad = exported.checkpoint.tokenizer.pad_id
    return [[token for token in row if token != pad] for row in written]


@pytest.mark.parametrize("name", ["tied", "smeared", "sparse", "window"])
def test_beams_are_the_same_with_and_without_a_cache_alone_and_side_by_side(variant, name):
    exported = variant(name)
    alone = [row for parts in PROMPTS for row in beams(exported, parts, use_cache=False)]
    assert len({tuple(row) for row in alone}) > 3
    assert beams(exported, *PROMPTS) == alone
    assert [row for parts in PROMPTS for row in beams(exported, parts)] == alone


@pytest.mark.parametrize("name", VARIANTS)
def test_tokens_one_by_one_give_the_logits_of_all_at_once(variant, name):
    exported = variant(name)
    given = inputs(exported, *PROMPTS)
    start, length = 3, given["input_ids"].shape[1]
    embeddings = exported.model.model._embed(given["input_ids"], given["pixel_values"])
    whole = exported.model(inputs_embeds=embeddings, attention_mask=given["attention_mask"]).logits
    cache, parts = DynamicCache(config=exported.model.config), []
    for first, last in [(0, start), *((place, place + 1) for place in range(start, length))]:
        output = exported.model(
            inputs_embeds=embeddings[:, first:last],
            attention_mask=given["attention_mask"][:, :last],
            past_key_values=cache,
            use_cache=True,
        )
        parts.append(output.logits)
    assert cache.get_seq_length() == length
    real = given["attention_mask"].bool()
    assert (torch.cat(parts, dim=1) - whole)[real].abs().max() < 2e-5


@pytest.mark.parametrize("name", VARIANTS)
def test_attention_functions_agree(variant, name):
    exported = variant(name)
    eager = AutoModelForImageTextToText.from_pretrained(exported.folder, attn_implementation="eager")
    assert eager.model.language_model.config._attn_implementation == "eager"
    assert exported.model.model.language_model.config._attn_implementation == "sdpa"
    given = inputs(exported, *PROMPTS)
    real = given["attention_mask"].bool()
    assert (eager(**given).logits - exported.model(**given).logits)[real].abs().max() < 2e-5


def test_a_cache_can_be_cropped_and_used_again(variant):
    exported = variant("smeared")
    given = inputs(exported, PROMPTS[0])["input_ids"]
    cache = DynamicCache(config=exported.model.config)
    exported.model(input_ids=torch.cat([given, given], dim=1), past_key_values=cache)
    cache.crop(-given.shape[1])
    following = torch.tensor([[7, 9]])
    continued = exported.model(input_ids=following, past_key_values=cache).logits
    whole = exported.model(input_ids=torch.cat([given, following], dim=1)).logits
    assert torch.allclose(continued, whole[:, -2:], atol=2e-5)


@pytest.mark.parametrize("name", ["tied", "sparse", "window"])
def test_a_cache_of_fixed_size_gives_the_same_text(variant, name):
    exported = variant(name)
    given = inputs(exported, *PROMPTS)
    assert new_tokens(exported, given, cache_implementation="static") == new_tokens(exported, given)


def test_smeared_keys_ask_for_a_cache_that_grows(variant):
    given = inputs(variant("smeared"), PROMPTS[0])
    with pytest.raises(UserError, match="smeared keys need a cache that grows, not a StaticLayer"):
        variant("smeared").model.generate(**given, max_new_tokens=3, cache_implementation="static")


def served(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, *, scaling: float, **kwargs: Any
) -> tuple[Tensor, None]:
    """As vLLM's: no mask, no cache but its own, found by the module's layer number; flat tensors out."""
    keep: Any = kwargs["attention_instances"][module.layer_idx]  # type: ignore[index]
    assert attention_mask is None
    keep.append((key, value))
    k, v = (torch.cat(parts, dim=2) for parts in zip(*keep, strict=True))
    allowed = torch.ones(query.shape[2], k.shape[2], dtype=torch.bool).tril(k.shape[2] - query.shape[2])
    mixed = F.scaled_dot_product_attention(
        query, k, v, attn_mask=allowed, scale=scaling, enable_gqa=query.shape[1] != k.shape[1]
    )
    return mixed.transpose(1, 2).reshape(query.shape[2], -1), None


@pytest.fixture
def as_vllm() -> Any:
    ALL_ATTENTION_FUNCTIONS["served"] = served
    yield
    del ALL_ATTENTION_FUNCTIONS["served"]


@pytest.mark.parametrize("name", ["tied", "untied", "sparse"])
def test_vllms_back_end_can_run_it(variant, name, as_vllm):
    exported = variant(name)
    config = AutoModel.from_pretrained(exported.folder).config
    text = config.get_text_config()
    assert text is not config  # how vLLM tells that a model takes more than text
    text._attn_implementation = "served"
    model = AutoModel.from_config(config)
    model.load_state_dict(exported.model.model.state_dict())
    model.eval()
    assert type(model).is_backend_compatible()
    words = ["num_attention_heads", "num_key_value_heads", "num_hidden_layers", "head_dim", "hidden_size", "vocab_size"]
    assert all(isinstance(getattr(text, word), int) for word in words)
    assert not hasattr(text, "num_experts")
    assert not hasattr(text, "num_local_experts")
    assert isinstance(model.get_decoder(), type(model.language_model))
    given = inputs(exported, PROMPTS[2])
    features = model.get_image_features(given["pixel_values"], return_dict=True).pooler_output
    embeddings = model.get_input_embeddings()(given["input_ids"])[0]
    embeddings[given["input_ids"][0] == config.image_token_id] = features.flatten(0, 1)
    keep: dict[int, list[Any]] = {layer: [] for layer in range(text.num_hidden_layers)}
    hidden = []
    for first, last in [(0, 5), (5, len(embeddings))]:
        output = model(
            input_ids=None,
            inputs_embeds=embeddings[None, first:last],
            position_ids=torch.arange(first, last)[None],
            use_cache=False,
            attention_instances=keep,
            return_dict=False,
        )
        hidden.append(output[0][0])
    expected = exported.model.model(**given).last_hidden_state[0]
    assert torch.allclose(torch.cat(hidden), expected, atol=2e-5)


def test_vllm_replaces_the_embedding(variant):
    model = AutoModel.from_pretrained(variant("tied").folder)
    model.set_input_embeddings(nn.Embedding(7, 32))
    assert model.get_input_embeddings().num_embeddings == 7
    assert model(input_ids=torch.tensor([[6, 0]])).last_hidden_state.shape == (1, 2, 32)


def test_vllm_can_not_keep_what_smeared_keys_need(variant, as_vllm):
    model = AutoModel.from_pretrained(variant("smeared").folder)
    with pytest.raises(UserError, match="smeared keys can not run in vLLM"):
        model(input_ids=torch.tensor([[5]]), use_cache=False, attention_instances={0: [], 1: []})

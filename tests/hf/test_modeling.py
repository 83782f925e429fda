"""The exported model computes and writes what mm1's own does, and is strict about what it is given."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForImageTextToText

from mm1.config import UserError
from mm1.data.collate import collate
from mm1.hf.configuration import MM1MultimodalConfig, MM1TextConfig
from mm1.hf.modeling import MM1BaseModel, MM1ForConditionalGeneration
from tests.hf.exported import PROMPTS, VARIANTS, document, export, inputs, new_tokens, own_tokens


@pytest.mark.parametrize("name", VARIANTS)
def test_weights_go_out_and_come_back_bit_for_bit(variant, name, tmp_path):
    exported = variant(name)
    stored, state = load_file(exported.checkpoint.weights), exported.model.state_dict()
    assert len(stored) == len(list(exported.model.parameters()))
    for key, tensor in stored.items():
        there = f"model.language_model.{key}" if key.startswith("decoder.") else f"model.{key}"
        assert torch.equal(state["lm_head.weight" if key == "decoder.head.weight" else there], tensor)
    exported.model.save_pretrained(tmp_path)
    again = AutoModelForImageTextToText.from_pretrained(tmp_path).state_dict()
    assert again.keys() == state.keys()
    assert all(torch.equal(again[key], state[key]) for key in state)


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("parts", PROMPTS, ids=["0 images", "1 image", "3 images"])
def test_logits_are_mm1s(variant, name, parts):
    """Measured: no difference at all, of logits up to 6.4; other processors may sum in another order."""
    exported = variant(name)
    own = exported.own
    sample = own.encoder.encode(document(*parts), end=False)
    batch = collate([[sample]], len(sample), own.encoder, ("",))
    with torch.no_grad():
        expected = own.engine.model.logits(own.engine.model(batch).hidden)
        got = exported.model(**inputs(exported, parts)).logits
    assert got.shape == expected.shape
    assert (got - expected).abs().max() <= 1e-5


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("cached", [True, False])
def test_greedy_text_is_that_of_mm1s_engine(variant, name, cached):
    exported = variant(name)
    expected = own_tokens(exported, *PROMPTS)
    assert len({tuple(tokens) for tokens in expected}) == 3
    assert all(len(set(tokens)) > 1 for tokens in expected)
    for parts, tokens in zip(PROMPTS, expected, strict=True):
        assert new_tokens(exported, inputs(exported, parts), use_cache=cached) == [tokens]
    batch = inputs(exported, *PROMPTS)
    assert not batch["attention_mask"].all()
    assert new_tokens(exported, batch, use_cache=cached) == expected


@pytest.mark.parametrize("name", VARIANTS)
def test_padding_before_a_row_changes_no_logits(variant, name):
    exported = variant(name)
    batch = inputs(exported, *PROMPTS)
    together = exported.model(**batch).logits
    for row, parts in enumerate(PROMPTS):
        alone = exported.model(**inputs(exported, parts)).logits[0]
        assert (together[row, -len(alone) :] - alone).abs().max() < 1e-5


def test_images_are_encoded_in_the_first_step_only(variant, monkeypatch):
    exported, encoded = variant("tied"), []
    whole = MM1BaseModel.get_image_features
    monkeypatch.setattr(
        MM1BaseModel, "get_image_features", lambda self, pixels: encoded.append(len(pixels)) or whole(self, pixels)
    )
    exported.model.generate(**inputs(exported, PROMPTS[2]), max_new_tokens=3, do_sample=False)
    assert encoded == [3]


def test_padding_images_and_unused_ids_are_never_written(variant):
    exported, tokenizer = variant("tied"), variant("tied").checkpoint.tokenizer
    unused = [tokenizer.pad_id, tokenizer.image_id, *range(tokenizer.vocab_size, 304)]
    assert len(unused) > 2
    given = inputs(exported, PROMPTS[0])
    wish = torch.zeros(304)
    wish[unused] = 1e6
    embedding = exported.model.get_output_embeddings()
    handle = embedding.register_forward_hook(lambda module, given, logits: logits + wish)
    written = exported.model.generate(**given, max_new_tokens=3, do_sample=False)
    handle.remove()
    assert not set(written[0, given["input_ids"].shape[1] :].tolist()) & set(unused)


@pytest.mark.parametrize("name", ["untied", "sparse", "smeared"])
def test_labels_give_the_mean_cross_entropy_and_gradients_reach_every_parameter(variant, name, tmp_path):
    exported = variant(name)
    model = AutoModelForImageTextToText.from_pretrained(exported.folder).train()
    given = inputs(exported, PROMPTS[2])
    labels = given["input_ids"].masked_fill(given["input_ids"] == model.config.image_token_id, -100)
    output = model(**given, labels=labels)
    logprobs = output.logits[0, :-1].log_softmax(-1)
    kept = labels[0, 1:] != -100
    expected = -logprobs[kept].gather(1, labels[0, 1:][kept][:, None]).mean()
    assert torch.allclose(output.loss, expected)
    output.loss.backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key


def test_a_model_in_bfloat16_keeps_its_dtype_and_writes(variant):
    exported = variant("smeared")
    model = AutoModelForImageTextToText.from_pretrained(exported.folder, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert model.generate(**inputs(exported, PROMPTS[2]), max_new_tokens=3, do_sample=False).dtype == torch.int64


def test_hidden_states_and_attentions_can_be_had(variant):
    exported = variant("tied")
    model = AutoModelForImageTextToText.from_pretrained(exported.folder, attn_implementation="eager")
    given = inputs(exported, PROMPTS[1])
    output = model(**given, output_hidden_states=True, output_attentions=True)
    length = given["input_ids"].shape[1]
    assert [tuple(states.shape) for states in output.hidden_states] == [(1, length, 32)] * 3
    assert torch.equal(model.lm_head(output.hidden_states[-1]), output.logits)
    assert [tuple(weights.shape) for weights in output.attentions] == [(1, 4, length, length)] * 2
    assert torch.allclose(output.attentions[0].sum(-1), torch.ones(1))


def test_logits_to_keep_and_tuples(variant):
    exported = variant("tied")
    given = inputs(exported, PROMPTS[1])
    whole = exported.model(**given).logits
    assert torch.allclose(exported.model(**given, logits_to_keep=2).logits, whole[:, -2:], atol=1e-6)
    assert torch.equal(exported.model(**given, return_dict=False)[0], whole)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_config_alone_can_be_built_without_memory(variant, name):
    with torch.device("meta"):
        model = MM1ForConditionalGeneration(variant(name).model.config)
    assert model.num_parameters() == variant(name).model.num_parameters()


def test_parts_open_alone(variant):
    exported = variant("untied")
    whole = AutoModel.from_pretrained(exported.folder)
    assert type(whole) is MM1BaseModel
    given = inputs(exported, PROMPTS[1])
    expected = exported.model.model(**given).last_hidden_state
    assert torch.equal(whole(**given).last_hidden_state, expected)
    assert whole.get_decoder() is whole.language_model
    text = AutoModel.from_config(exported.model.config.text_config)
    assert type(text) is type(whole.language_model)


def test_a_derived_word_that_contradicts_mm1s_own_is_refused(variant):
    values = variant("tied").model.config.to_dict()
    assert MM1MultimodalConfig.from_dict(values).mm1 == variant("tied").checkpoint.config.model
    with pytest.raises(UserError, match=r"hidden_size is 48, but .* makes it 32"):
        MM1TextConfig(**{**values["text_config"], "hidden_size": 48})
    with pytest.raises(UserError, match=r"num_image_tokens is 9, but .* makes it 4"):
        MM1MultimodalConfig.from_dict({**values, "num_image_tokens": 9})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("model.connector.projection.bias"), r"model.connector.projection.bias is missing"),
        (lambda t: t.update({"model.more": torch.zeros(2)}), r"model.more is not in the model"),
        (
            lambda t: t.update({"model.connector.projection.bias": torch.zeros(3)}),
            r"model.connector.projection.bias is \(3,\) there but \(32,\) in the model",
        ),
    ],
)
def test_weights_that_do_not_fit_are_one_sentence(variant, tmp_path, change, message):
    variant("tied").model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    change(tensors)
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=message):
        AutoModelForImageTextToText.from_pretrained(tmp_path)


def test_images_and_places_for_them_must_agree(variant):
    exported = variant("tied")
    given: dict[str, Any] = dict(inputs(exported, PROMPTS[2]))
    with pytest.raises(UserError, match="12 places for image tokens, but 2 images of 4 tokens make 8"):
        exported.model(**{**given, "pixel_values": given["pixel_values"][:2]})
    without = {name: value for name, value in given.items() if name != "pixel_values"}
    with pytest.raises(UserError, match="12 places for image tokens, but 0 images of 4 tokens make 0"):
        exported.model.generate(**without, max_new_tokens=1)
    embeddings = exported.model.get_input_embeddings()(given.pop("input_ids"))
    with pytest.raises(UserError, match="pixel_values without input_ids"):
        exported.model(**given, inputs_embeds=embeddings)
    with pytest.raises(UserError, match="either input_ids or inputs_embeds"):
        exported.model()


def test_images_that_patches_do_not_fill_are_refused(variant):
    exported = variant("tied")
    given = {**inputs(exported, PROMPTS[1]), "pixel_values": torch.zeros(1, 3, 16, 18, dtype=torch.uint8)}
    with pytest.raises(UserError, match="pixel_values are 16 x 18, but both must be multiples of the patch's 4 pixels"):
        exported.model(**given)


@pytest.mark.parametrize("name", ["tied", "untied"])
def test_a_model_with_more_ids_is_saved_and_opens(name, tmp_path):
    exported = export(tmp_path, name)
    before = exported.model(**inputs(exported, PROMPTS[1])).logits
    exported.model.resize_token_embeddings(before.shape[-1] + 3)
    exported.model.save_pretrained(tmp_path / "larger")
    after = AutoModelForImageTextToText.from_pretrained(tmp_path / "larger")(**inputs(exported, PROMPTS[1])).logits
    assert after.shape[-1] == before.shape[-1] + 3
    assert torch.equal(after[..., : before.shape[-1]], before)

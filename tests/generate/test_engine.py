"""The engine against whole forward passes without a cache, and against itself in other company."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from mm1.config import UserError
from mm1.generate.engine import Engine
from mm1.generate.request import Completion, Prompt
from mm1.generate.sampling import SamplingConfig
from mm1.models.attention import AttentionMask
from mm1.models.decoder import DecoderConfig
from mm1.models.mm1 import MM1, MM1Config

PAD, EOS, IMAGE, N = 0, 1, 2, 4
MakeModel = Callable[..., MM1]
EXPERTS = {"num_experts": 4, "every": 1, "capacity_factor": 0.5}
"""So few slots that training drops choices: an engine never may."""
SHAPES = [
    {},
    {"smeared_keys": True},
    {"num_kv_heads": 2, "qk_norm": "head", "mlp": "swiglu", "smeared_keys": True},
    {"sliding_window": 5, "rope_scaling": {"kind": "yarn", "factor": 4, "original_len": 16}},
    {"moe": EXPERTS, "mlp": "swiglu"},
    {"moe": EXPERTS, "norm_placement": "post", "qk_norm": "projection", "sliding_window": 5},
]


def _prompt(
    rng: np.random.Generator, layout: Sequence[int | str], images: Sequence[int] = (), **limits: object
) -> Prompt:
    """Text of so many tokens, or "image": `images` names what is drawn on each."""
    tokens: list[int] = []
    starts = []
    for part in layout:
        if isinstance(part, str):
            starts.append(len(tokens))
            tokens += [IMAGE] * N
        else:
            tokens += rng.integers(3, 64, part).tolist()
    return Prompt(
        tokens=np.array(tokens, np.int32),
        image_starts=np.array(starts, np.int32),
        images=tuple(_picture(number) for number in images),
        **{"max_new_tokens": 6, **limits},
    )


def _picture(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)


def _mixed_prompts() -> list[Prompt]:
    rng = np.random.default_rng(5)
    shots = _prompt(rng, [3, "image", 9, "image", 7], [1, 2])
    prompts = [
        _prompt(rng, [1], max_new_tokens=1),
        _prompt(rng, ["image"], [3], max_new_tokens=9),
        _prompt(rng, [40], max_new_tokens=3),
        _prompt(rng, [4, "image", "image", 5], [1, 1]),
        _prompt(rng, ["image"], [3]),
    ]
    for length in (2, 5, 2):
        tail = rng.integers(3, 64, length).astype(np.int32)
        prompts.append(replace(shots, tokens=np.concatenate([shots.tokens, tail])))
    return [*prompts, prompts[-1]]


def _uncached(model: MM1, prompt: Prompt, new: Sequence[int] = ()) -> torch.Tensor:
    """(S, V) log-probabilities from one forward pass over the prompt and `new`, without pad and image."""
    tokens = torch.tensor([[*prompt.tokens.tolist(), *new]])
    index = torch.full_like(tokens, -1)
    for number, start in enumerate(prompt.image_starts):
        index[0, start : start + N] = torch.arange(number * N, (number + 1) * N)
    pixels = torch.from_numpy(np.stack(prompt.images)).movedim(-1, 1) if prompt.images else torch.zeros(0, 3, 16, 16)
    with torch.no_grad():
        embeddings = model.embed(tokens, index, model.encode_images(pixels.to(torch.uint8)))
        positions = torch.arange(tokens.shape[1])[None]
        mask = AttentionMask.from_segments(torch.zeros_like(tokens))
        logits = model.logits(model.decoder(embeddings, positions, mask).hidden)[0]
    logits[:, [PAD, IMAGE]] = float("-inf")
    return logits.log_softmax(-1)


def _uncached_greedy(model: MM1, prompt: Prompt) -> Completion:
    tokens: list[int] = []
    logprobs: list[float] = []
    while len(tokens) < prompt.max_new_tokens:
        scores = _uncached(model, prompt, tokens)[-1]
        token = int(scores.argmax())
        if token == EOS:
            return Completion(tuple(tokens), tuple(logprobs), "eos")
        tokens.append(token)
        logprobs.append(float(scores[token]))
    return Completion(tuple(tokens), tuple(logprobs), "length")


def _engine(model: MM1, **limits: int) -> Engine:
    return Engine(model, eos_id=EOS, banned_ids=(PAD, IMAGE), **limits)


def _assert_same(ours: Completion, expected: Completion) -> None:
    assert ours.tokens == expected.tokens
    assert ours.finish_reason == expected.finish_reason
    assert ours.logprobs == pytest.approx(expected.logprobs, abs=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_cached_generation_equals_whole_forward_passes(make_model: MakeModel, shape: dict[str, object]) -> None:
    model = make_model(**shape)
    prompts = _mixed_prompts()
    completions = _engine(model).generate(prompts)
    assert len({completion.tokens for completion in completions}) >= len(prompts) // 2  # the text does vary
    for prompt, completion in zip(prompts, completions, strict=True):
        _assert_same(completion, _uncached_greedy(model, prompt))


@pytest.mark.parametrize("limits", [{"max_cached_positions": 1}, {"max_forward_positions": 1}, {}])
@pytest.mark.parametrize("shape", [{"smeared_keys": True}, {"moe": EXPERTS}])
def test_company_does_not_change_greedy_text(
    make_model: MakeModel, shape: dict[str, object], limits: dict[str, int]
) -> None:
    model = make_model(seed=1, **shape)
    prompts = _mixed_prompts()
    together = _engine(model, **limits).generate(prompts)
    backwards = _engine(model).generate(prompts[::-1])[::-1]
    for prompt, here, there in zip(prompts, together, backwards, strict=True):
        (alone,) = _engine(model).generate([prompt])
        _assert_same(here, alone)
        _assert_same(there, alone)


def test_rows_that_finish_early_leave_the_others_alone(make_model: MakeModel) -> None:
    model = make_model(seed=2, smeared_keys=True)
    rng = np.random.default_rng(0)
    prompts = [_prompt(rng, [int(rng.integers(5, 9))], max_new_tokens=1 + index * 3 % 14) for index in range(9)]
    for prompt, completion in zip(prompts, _engine(model).generate(prompts), strict=True):
        _assert_same(completion, _uncached_greedy(model, prompt))


def test_eos_ends_a_completion_and_is_not_part_of_it(make_model: MakeModel) -> None:
    model = make_model()
    prompt = _prompt(np.random.default_rng(0), [5])
    (whole,) = _engine(model).generate([prompt])
    place = next(i for i, token in enumerate(whole.tokens) if i > 0 and token not in whole.tokens[:i])
    (ended,) = Engine(model, eos_id=whole.tokens[place], banned_ids=(PAD, IMAGE)).generate([prompt])
    assert ended == Completion(whole.tokens[:place], whole.logprobs[:place], "eos")


def test_a_stop_function_sees_every_token_and_ends_with_the_one_it_stops_at(make_model: MakeModel) -> None:
    model = make_model()
    prompt = _prompt(np.random.default_rng(0), [5])
    (whole,) = _engine(model).generate([prompt])
    seen: list[tuple[int, ...]] = []

    def stop(tokens: Sequence[int]) -> bool:
        seen.append(tuple(tokens))
        return len(tokens) == 3

    stopped, other = _engine(model).generate([replace(prompt, stop=stop), prompt])
    assert stopped == Completion(whole.tokens[:3], pytest.approx(whole.logprobs[:3], abs=1e-5), "stop")
    assert seen == [whole.tokens[:count] for count in (1, 2, 3)]
    assert other.tokens == whole.tokens


def test_a_stop_token_ends_a_completion_and_is_not_part_of_it(make_model: MakeModel) -> None:
    model = make_model()
    prompt = _prompt(np.random.default_rng(0), [5])
    (whole,) = _engine(model).generate([prompt])
    place = next(i for i, token in enumerate(whole.tokens) if i > 0 and token not in whole.tokens[:i])
    stopped, other = _engine(model).generate([replace(prompt, stop_tokens=frozenset([whole.tokens[place]])), prompt])
    assert stopped == Completion(whole.tokens[:place], pytest.approx(whole.logprobs[:place], abs=1e-5), "stop")
    assert other.tokens == whole.tokens


def test_banned_ids_are_never_generated_and_take_no_probability(make_model: MakeModel) -> None:
    model = make_model()
    rng = np.random.default_rng(0)
    hot = [_prompt(rng, [4], sampling=SamplingConfig(temperature=50.0, seed=seed)) for seed in range(40)]
    engine = Engine(model, eos_id=EOS, banned_ids=(PAD, IMAGE, *range(8, 64)))
    completions = engine.generate(hot)
    assert {token for done in completions for token in done.tokens} == {3, 4, 5, 6, 7}
    sums = engine.loglikelihood([hot[0]] * 6, [[token] for token in (EOS, 3, 4, 5, 6, 7)])
    assert np.exp(sums).sum() == pytest.approx(1.0, abs=1e-5)


def test_sampling_depends_on_the_seed_and_on_nothing_else(make_model: MakeModel) -> None:
    model = make_model()
    prompt = _prompt(np.random.default_rng(0), [6], max_new_tokens=8)
    hot = [replace(prompt, sampling=SamplingConfig(temperature=1.5, top_p=0.95, seed=seed)) for seed in range(12)]
    together = _engine(model).generate([*_mixed_prompts(), *hot])[-12:]
    alone = [_engine(model).generate([one])[0] for one in hot]
    assert [done.tokens for done in together] == [done.tokens for done in alone]
    assert len({done.tokens for done in together}) > 6
    shorter = _engine(model).generate([replace(hot[3], max_new_tokens=4)])[0]
    assert shorter.tokens == together[3].tokens[:4]


def test_sampled_tokens_follow_the_model(make_model: MakeModel) -> None:
    model = make_model()
    prompt = _prompt(np.random.default_rng(0), [6], max_new_tokens=1)
    hot = [replace(prompt, sampling=SamplingConfig(temperature=1.0, seed=seed)) for seed in range(600)]
    drawn = [done.tokens[0] if done.tokens else EOS for done in _engine(model).generate(hot)]
    shares = torch.bincount(torch.tensor(drawn), minlength=64) / len(drawn)
    assert (shares - _uncached(model, prompt)[-1].exp()).abs().max() < 0.08


def test_images_matter_and_so_does_their_order(make_model: MakeModel) -> None:
    engine = _engine(make_model())
    first = _prompt(np.random.default_rng(0), [3, "image", 2, "image", 3], [1, 2])
    asked = [replace(first, images=tuple(map(_picture, pair))) for pair in ((1, 2), (1, 3), (2, 1), (1, 2))]
    one, other_image, other_order, same = (engine.generate([prompt])[0].logprobs[0] for prompt in asked)
    assert one == pytest.approx(same, abs=1e-5)
    assert abs(one - other_image) > 1e-3
    assert abs(one - other_order) > 1e-3
    together = [done.logprobs[0] for done in engine.generate(asked)]
    assert together == pytest.approx([one, other_image, other_order, same], abs=1e-4)


def test_loglikelihood_is_that_of_whole_forward_passes(make_model: MakeModel) -> None:
    model = make_model(smeared_keys=True)
    rng = np.random.default_rng(3)
    prompts = [prompt for prompt in _mixed_prompts() for _ in range(3)]
    continuations = [rng.integers(3, 64, int(rng.integers(1, 6))).tolist() for _ in prompts]
    ours = _engine(model).loglikelihood(prompts, continuations)
    for prompt, tokens, value in zip(prompts, continuations, ours, strict=True):
        scores = _uncached(model, prompt, tokens)[-len(tokens) - 1 : -1]
        assert value == pytest.approx(float(scores[range(len(tokens)), tokens].sum()), abs=1e-3)


def test_what_greedy_generation_says_is_greedy_and_nothing_else_is(make_model: MakeModel) -> None:
    engine, prompts = _engine(make_model()), _mixed_prompts()
    said = [done.tokens for done in engine.generate(prompts)]
    other = [(*tokens[:-1], 3 if tokens[-1] != 3 else 4) for tokens in said]
    assert all(one.is_greedy for one in engine.likelihoods(prompts, said))
    assert not any(one.is_greedy for one in engine.likelihoods(prompts, other))


def test_loglikelihood_of_a_completion_is_the_sum_of_its_logprobs(make_model: MakeModel) -> None:
    engine = _engine(make_model())
    prompts = _mixed_prompts()
    completions = engine.generate(prompts)
    sums = engine.loglikelihood(prompts, [done.tokens for done in completions])
    assert sums == pytest.approx([sum(done.logprobs) for done in completions], abs=1e-3)


def test_what_is_shared_is_computed_once(make_model: MakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model()
    positions, images = [], []
    decoder, encode = model.decoder.forward, model.encode_images
    monkeypatch.setattr(
        model.decoder, "forward", lambda e, *rest: positions.append(e.shape[:2].numel()) or decoder(e, *rest)
    )
    monkeypatch.setattr(model, "encode_images", lambda pixels: images.append(len(pixels)) or encode(pixels))
    rng = np.random.default_rng(0)
    shots = _prompt(rng, ["image", 20, "image", 20], [1, 2])
    ends = [[*rng.integers(3, 64, 4)] for _ in range(10)]
    asked = [replace(shots, tokens=np.concatenate([shots.tokens, np.array(end)]), max_new_tokens=1) for end in ends]
    _engine(model).generate(asked)
    assert images == [2]
    assert sum(positions) == len(shots.tokens) + 10 * 4
    positions.clear()
    _engine(model).loglikelihood([shots] * 5, [[5, 6, token] for token in range(10, 15)])
    assert sum(positions) <= len(shots.tokens) + 5 * 3


@pytest.mark.parametrize("shape", [SHAPES[index] for index in (1, 3, 5)])
@pytest.mark.parametrize("kept", [30, 8192])
def test_what_was_kept_from_earlier_calls_changes_nothing(
    make_model: MakeModel, shape: dict[str, object], kept: int
) -> None:
    model = make_model(seed=3, **shape)
    engine = _engine(model, max_kept_positions=kept, max_cached_positions=200)
    prompts = _mixed_prompts()
    expected = [_uncached_greedy(model, prompt) for prompt in prompts]
    for order in (slice(None), slice(None, None, -1), slice(0, 1), slice(3, 4), slice(4, None)):
        for completion, wanted in zip(engine.generate(prompts[order]), expected[order], strict=True):
            _assert_same(completion, wanted)
    longer = replace(prompts[3], tokens=np.concatenate([prompts[3].tokens, np.array(expected[3].tokens, np.int32)]))
    _assert_same(engine.generate([longer])[0], _uncached_greedy(model, longer))


def test_shots_are_computed_once_over_batches_and_calls(make_model: MakeModel) -> None:
    engine = _engine(make_model(smeared_keys=True), max_cached_positions=200)  # four rows a batch
    rng = np.random.default_rng(0)
    shots = _prompt(rng, ["image", 20, "image", 14], [1, 2])
    ends = [_prompt(rng, ["image", 4], [10 + number]) for number in range(10)]
    asked = [
        replace(
            shots,
            tokens=np.concatenate([shots.tokens, end.tokens]),
            image_starts=np.append(shots.image_starts, len(shots.tokens)),
            images=(*shots.images, *end.images),
            max_new_tokens=2,
        )
        for end in ends
    ]
    engine.generate(asked[:7])
    first = engine.statistics
    assert first.prefilled_positions == len(shots.tokens) + 7 * 8
    assert (first.images, first.images_encoded) == (21, 9)
    engine.generate(asked[5:])
    later = engine.statistics - first
    assert later.prefilled_positions == 5 * 8
    assert (later.prompts, later.images, later.images_encoded) == (5, 15, 3)
    assert later.prompt_positions == 5 * (len(shots.tokens) + 8)
    assert later.prefix_hit_share == pytest.approx(1 - 8 / (len(shots.tokens) + 8))
    assert later.padding_positions == 0
    assert 0 < later.new_tokens <= 10
    assert later.seconds > later.encoding_seconds > 0


def test_a_conversation_goes_on_where_it_was(make_model: MakeModel) -> None:
    engine = _engine(make_model(smeared_keys=True))
    first = _prompt(np.random.default_rng(0), ["image", 20], [1])
    (said,) = engine.generate([first])
    before = engine.statistics
    engine.generate([replace(first, tokens=np.concatenate([first.tokens, np.array([*said.tokens, 7, 8], np.int32)]))])
    done = engine.statistics - before
    assert done.prefilled_positions == len(said.tokens) + 2
    assert done.images_encoded == 0


@pytest.mark.parametrize(("smeared", "computed"), [(False, 4), (True, 24)])
def test_a_part_of_what_was_kept_serves_where_keys_are_not_smeared(
    make_model: MakeModel, smeared: bool, computed: int
) -> None:
    model = make_model(smeared_keys=smeared)
    engine, rng = _engine(model), np.random.default_rng(0)
    asked = _prompt(rng, [24])
    other = replace(asked, tokens=np.concatenate([asked.tokens[:20], rng.integers(3, 64, 4).astype(np.int32)]))
    engine.generate([asked])
    before = engine.statistics
    _assert_same(engine.generate([other])[0], _uncached_greedy(model, other))
    assert (engine.statistics - before).prefilled_positions == computed


def test_other_weights_forget_what_was_kept(make_model: MakeModel) -> None:
    model = make_model()
    engine = _engine(model)
    prompt = _prompt(np.random.default_rng(0), [3, "image", 9], [1])
    engine.generate([prompt])
    with torch.no_grad():
        model.connector.projection.weight.mul_(-1.5)
        model.decoder.blocks[0].attention.qkv.weight.mul_(0.5)
    _assert_same(engine.generate([prompt])[0], _uncached_greedy(model, prompt))
    model.load_state_dict(make_model(seed=9).state_dict())
    _assert_same(engine.generate([prompt])[0], _uncached_greedy(model, prompt))


def test_a_text_model_generates_text_and_refuses_images() -> None:
    torch.manual_seed(0)
    engine = _engine(MM1(MM1Config(decoder=DecoderConfig(vocab_size=64, dim=16, num_layers=1, mlp_dim=32))))
    rng = np.random.default_rng(0)
    assert len(engine.generate([_prompt(rng, [4], max_new_tokens=2)])) == 1
    with pytest.raises(UserError, match="prompt 0 has 1 images, but the model reads text only"):
        engine.generate([_prompt(rng, ["image", 4], [1])])


def test_nothing_asked_is_nothing_answered(make_model: MakeModel) -> None:
    engine = _engine(make_model())
    assert engine.generate([]) == []
    assert engine.loglikelihood([], []) == []


def test_what_does_not_fit_is_refused_with_both_numbers(make_model: MakeModel) -> None:
    engine = _engine(make_model(), max_len=12)
    rng = np.random.default_rng(0)
    fits = _prompt(rng, [6])
    assert engine.generate([fits])[0].finish_reason == "length"
    with pytest.raises(UserError, match="prompt 1 has 7 tokens, with 6 new ones 13, but the limit is 12"):
        engine.generate([fits, _prompt(rng, [7])])
    with pytest.raises(UserError, match="limit is 12"):
        engine.loglikelihood([fits], [[5] * 7])
    with pytest.raises(UserError, match="fewer than the 4 positions"):
        engine.generate([replace(_prompt(rng, ["image", 2], [1], max_new_tokens=1), tokens=np.array([2, 2, 2]))])
    with pytest.raises(UserError, match=r"an image of \(8, 8, 3\), but the model takes \(16, 16, 3\)"):
        engine.generate([replace(_prompt(rng, ["image"], [1]), images=(np.zeros((8, 8, 3), np.uint8),))])


@pytest.mark.parametrize(("tokens", "match"), [([], "continuation 0 is empty"), ([5, IMAGE], r"banned ids \[2\]")])
def test_continuations_the_model_can_not_generate_are_refused(
    make_model: MakeModel, tokens: list[int], match: str
) -> None:
    with pytest.raises(UserError, match=match):
        _engine(make_model()).loglikelihood([_prompt(np.random.default_rng(0), [3])], [tokens])


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"tokens": np.array([], np.int32)}, "no tokens"),
        ({"tokens": np.array([5]), "max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"tokens": np.array([5]), "image_starts": [0]}, "0 images for 1 places"),
    ],
)
def test_prompts_that_ask_for_nothing_are_refused(fields: dict[str, object], match: str) -> None:
    with pytest.raises(UserError, match=match):
        Prompt(**fields)

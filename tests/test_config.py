"""Overrides, errors and round trips of configurations."""

import os
from typing import Annotated, Literal

import pytest
from pydantic import Field, model_validator

from mm1.config import Config, ConfigError, diff, flatten, from_json, load_json, override, save_json, to_json


class Average(Config):
    kind: Literal["average"] = "average"
    num_tokens: int = 4
    width: int = 2


class Attention(Config):
    kind: Literal["attention"] = "attention"
    num_tokens: int = 9
    heads: int = 8


class Averaging(Config):
    decay: float = 0.9
    written: str = "last"


class Needy(Config):
    amount: int


class Stage(Config):
    averaging: Averaging | None = None
    needy: Needy | None = None
    optimizer: Average = Average()
    steps: int = 1


class Run(Config):
    connector: Average | Attention = Field(Average(), discriminator="kind")
    parts: tuple[Average, ...] = (Average(), Average(width=3))
    items: tuple[Annotated[Average | Attention, Field(discriminator="kind")], ...] = (Average(),)
    weights: dict[str, float] = Field({"captions": 0.45})
    learning_rate: float = 1e-3
    encoder: Stage = Stage()
    training: Stage = Stage()


def test_override_sets_nested_list_and_mapping_leaves():
    run = override(Run(), ["connector.width=7", "parts.1.num_tokens=16", "weights.captions=0.5", "weights.text=0.1"])
    assert run.connector == Average(width=7)
    assert run.parts[1] == Average(num_tokens=16, width=3)
    assert run.weights == {"captions": 0.5, "text": 0.1}


@pytest.mark.parametrize("before", [[], ["training.averaging={}"]])
def test_a_key_of_what_is_none_begins_with_the_other_defaults(before):
    run = override(Run(), [*before, "training.averaging.decay=0.5"])
    assert run.training.averaging == Averaging(decay=0.5)
    assert run.encoder.averaging is None


def test_changing_the_kind_keeps_shared_fields_and_takes_the_other_defaults():
    run = override(Run(connector=Average(num_tokens=25)), ["connector.kind=attention", "connector.heads=2"])
    assert run.connector == Attention(num_tokens=25, heads=2)


@pytest.mark.parametrize(
    ("assignment", "parts"),
    [
        ("connector.widht=3", ["connector.widht", "did you mean 'connector.width'"]),
        ("learning_rte=3", ["learning_rte", "did you mean 'learning_rate'"]),
        ("width=3", ["'width'", "connector.width"]),
        ("parts.0.wdth=3", ["parts.0.wdth", "did you mean 'parts.0.width'?"]),
        ("items.0.num_tokns=3", ["'items.0.num_tokns'", "did you mean 'items.0.num_tokens'?"]),
        ("items.0.num_tokens=x", ["'items.0.num_tokens' is 'x'"]),
        ("connector.num_tokens=x", ["'connector.num_tokens' is 'x'", "integer"]),
        ("connector.qqqqqqq=1", ["the keys of 'connector' are kind, num_tokens, width"]),
        ("learning_rate=fast", ["learning_rate", "'fast'", "number"]),
        ("learning_rate", ["key.path=value"]),
        ("training.width=3", ["'training.width': did you mean 'training.optimizer.width'?"]),
        ("trainin.steps=3", ["did you mean 'training.steps'?"]),
        ("training.averaging.decy=3", ["did you mean 'training.averaging.decay'?"]),
        ('training.averaging={"decy":3}', ["did you mean 'training.averaging.decay'?"]),
        ("training.xyz=3", ["the keys of 'training' are averaging, needy, optimizer, steps"]),
        ("training.needy.amount=3", ["'training.needy' is null", "training.needy={"]),
        ("connector.kind=perceiver", ["'connector.kind' is 'perceiver': it can be 'average', 'attention'"]),
    ],
)
def test_a_bad_assignment_is_one_line_that_names_the_key_and_the_nearest(assignment, parts):
    with pytest.raises(ConfigError) as error:
        override(Run(), [assignment])
    assert "\n" not in str(error.value)
    for part in parts:
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"learning_rate": "fast"}, r"^'learning_rate' is 'fast': input should be a valid number"),
        ({"xyzzy": 1.0}, r"^unknown key 'xyzzy': the keys there are .*learning_rate"),
        ({"learning_rte": 1.0}, r"^unknown key 'learning_rte': did you mean 'learning_rate'\?$"),
    ],
)
def test_a_replacement_that_does_not_fit_is_one_line(changes, said):
    with pytest.raises(ConfigError, match=said) as error:
        Run().replace(**changes)
    assert "\n" not in str(error.value)


def test_a_check_of_the_whole_says_its_sentence_and_no_more():
    class Pair(Config):
        low: int = 0
        high: int = 1

        @model_validator(mode="after")
        def _ordered(self):
            if self.low > self.high:
                raise ValueError("low is above high: swap them")
            return self

    with pytest.raises(ConfigError, match=r"^low is above high: swap them$"):
        Pair().replace(low=2)


def test_unknown_and_ill_typed_keys_in_a_file_are_named(tmp_path):
    path = tmp_path / "run.json"
    path.write_text('{"learning_rate": "fast", "conector": {}}')
    with pytest.raises(ConfigError, match=r"run\.json.*learning_rate.*conector"):
        load_json(Run, path)
    with pytest.raises(ConfigError, match="does not exist"):
        load_json(Run, tmp_path / "none.json")


def test_a_kill_while_saving_leaves_the_config_that_was_there(tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    def kill(*arguments):
        raise Killed

    path = tmp_path / "run.json"
    save_json(Run(), path)
    for moment in ("fsync", "replace"):
        with monkeypatch.context() as patched:
            patched.setattr(os, moment, kill)
            with pytest.raises(Killed):
                save_json(Run(learning_rate=0.5), path)
        assert load_json(Run, path) == Run()


def test_json_round_trip_is_exact(tmp_path):
    run = Run(connector=Attention(heads=3), learning_rate=1 / 3)
    save_json(run, tmp_path / "run.json")
    assert load_json(Run, tmp_path / "run.json") == run
    assert from_json(Run, to_json(run)) == run


def test_diff_lists_exactly_the_differing_leaves():
    other = override(Run(), ["connector.kind=attention", "connector.num_tokens=4", "parts.1.width=9"])
    assert diff(Run(), other) == {
        "connector.kind": ("average", "attention"),
        "connector.width": (2, "(absent)"),
        "parts.1.width": (3, 9),
        "connector.heads": ("(absent)", 8),
    }
    assert diff(Run(), Run()) == {}


def test_flatten_names_every_leaf():
    assert list(flatten(Run()))[:3] == ["connector.kind", "connector.num_tokens", "connector.width"]
    assert flatten(Run())["weights.captions"] == 0.45


def test_configs_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Run().learning_rate = 1.0

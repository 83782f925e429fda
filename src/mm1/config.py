"""What a run is, as a frozen value: configs, `key.path=value` overrides, flattening, difference, JSON.

    config = override(recipe(), ["pretrain.optimizer.learning_rate=1e-3"])
    flatten(config)["pretrain.optimizer.learning_rate"]   # 0.001

A `Config` is a keyword-only, frozen pydantic model that refuses unknown fields. Alternatives are closed unions told
apart by a `kind` literal; setting `….kind` keeps the fields that the new kind shares with the old one and takes
defaults for the rest. Knows nothing of torch, of recipes, or of what any field means.
"""

from __future__ import annotations

import hashlib
import json
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mm1.files import write_atomically
from mm1.nearest import paths, suggest

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"


C = TypeVar("C", bound="Config")

LARGEST_SEED = 2**63 - 1
Seed: TypeAlias = Annotated[int, Field(ge=0, le=LARGEST_SEED)]
"""What every generator of random numbers takes, torch's too."""
Count: TypeAlias = Annotated[int, Field(ge=1, le=10**12)]
"""Of steps, rows, documents, …: more than anybody has is a slip of the hand."""


class UserError(ValueError):
    """A mistake the user can mend: one sentence saying what is wrong, where, and what to do."""


class ConfigError(UserError):
    """An unknown key or an ill-typed value in a configuration."""


class TornFile(ConfigError):
    """A file that is no JSON at all, as when its writing was cut off."""


class Config(BaseModel):
    """Base of every configuration: frozen, keyword-only, closed to unknown fields, docstrings under fields."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False, validate_default=True
    )

    def replace(self: C, **changes: Any) -> C:
        """A copy with `changes` applied and validated (unlike pydantic's `model_copy`, which does not validate).

        Raises:
            ConfigError: a change that does not fit.
        """
        try:
            return type(self)(**{**{name: getattr(self, name) for name in type(self).model_fields}, **changes})
        except ValidationError as error:
            raise ConfigError(describe(error, list(type(self).model_fields), changes)) from None


def to_json(config: Config) -> dict[str, Any]:
    """The config as plain JSON values; `from_json` restores it exactly."""
    return config.model_dump(mode="json")


def from_json(cls: type[C], values: dict[str, Any], where: str = "config") -> C:
    """Validates plain values as a `cls`; raises ConfigError with one line naming each bad key."""
    return _validated(cls, values, where, [*cls.model_fields, *_known(cls, values)])


def _validated(cls: type[C], values: dict[str, Any], where: str, known: Sequence[str]) -> C:
    try:
        return cls.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{where}: {describe(error, known, values)}") from None


def load_json(cls: type[C], path: Path) -> C:
    """Reads a config written by `save_json`; raises ConfigError, a TornFile where it is no JSON."""
    try:
        values = json.loads(path.read_text())
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist: is this the folder of a finished run?") from None
    except json.JSONDecodeError as error:
        raise TornFile(f"{path} is not valid JSON ({error}): write it again") from None
    return from_json(cls, values, str(path))


def save_json(config: Config, path: Path) -> None:
    """Writes the resolved config, sorted and indented, for the record beside a result."""
    write_atomically(path, (json.dumps(to_json(config), indent=2) + "\n").encode())


def fingerprint(values: Any) -> str:
    """A stable hexadecimal hash of plain JSON values, independent of key order."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def flatten(config: Config) -> dict[str, JSON]:
    """Leaves by dotted path, in declaration order: `{"model.decoder.num_layers": 4, …}`. List items are numbered."""
    leaves: dict[str, JSON] = {}

    def walk(prefix: str, value: Any) -> None:
        children: list[tuple[str, Any]] = []
        if isinstance(value, dict):
            children = list(value.items())
        elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
            children = [(str(index), item) for index, item in enumerate(value)]
        if not children:
            leaves[prefix] = value
        for key, item in children:
            walk(f"{prefix}.{key}" if prefix else key, item)

    walk("", to_json(config))
    return leaves


def diff(a: Config, b: Config) -> dict[str, tuple[JSON, JSON]]:
    """Leaves in which two configs differ, as {path: (in a, in b)}; an absent leaf reads "(absent)"."""
    left, right = flatten(a), flatten(b)
    keys = [*left, *(key for key in right if key not in left)]
    pairs = {key: (left.get(key, "(absent)"), right.get(key, "(absent)")) for key in keys}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def override(config: C, assignments: Sequence[str]) -> C:
    """Applies `key.path=value` assignments; values are JSON, or text where they are not valid JSON.

    Raises:
        ConfigError: an assignment without `=`, an unknown key (with the nearest real one), or an ill-typed value.
    """
    values = to_json(config)
    known = _known(type(config), values)
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key:
            raise ConfigError(f"'{assignment}' is not an assignment: write key.path=value")
        _set(type(config), values, key, _parse(text))
    return _validated(type(config), values, " ".join(assignments), known)


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:  # no JSON, or a number of thousands of digits
        return text


def _set(cls: type[Config], values: dict[str, Any], key: str, value: Any) -> None:
    """Puts `value` at the dotted `key` of the plain `values` of a `cls`, or raises naming the nearest key."""
    node: Any = values
    node_class: type[Config] | None = cls
    parts = key.split(".")
    for depth, part in enumerate(parts):
        if isinstance(node, list) and part.isdigit() and int(part) < len(node):
            if depth == len(parts) - 1:
                node[int(part)] = value
                return
            node = node[int(part)]
            continue
        if not isinstance(node, dict) or (node_class is not None and part not in {*node, *node_class.model_fields}):
            raise ConfigError(f"unknown key '{key}'{suggest(key, _known(cls, values))}")
        if depth == len(parts) - 1:
            if part == "kind":
                _change_kind(node_class, node, str(value))
            node[part] = value
            return
        if part not in node:
            raise ConfigError(f"unknown key '{key}'{suggest(key, _known(cls, values))}")
        if node[part] is None:
            node[part] = _begun(node_class, part, ".".join(parts[: depth + 1]))
        node_class = _class_of(node_class, part, node[part])
        node = node[part]


def _begun(cls: type[Config] | None, field: str, path: str) -> dict[str, Any] | None:
    """The defaults of what is None at `path`, so that single keys of it can be set; None for what has no keys.

    Raises:
        ConfigError: there are no defaults.
    """
    alternative = _class_of(cls, field, None)
    if alternative is None:
        return None
    try:
        return to_json(alternative())
    except ValidationError:
        raise ConfigError(f"'{path}' is null and has no defaults: give all of it, as {path}={{…}}") from None


def _known(cls: type[Config], values: dict[str, Any]) -> list[str]:
    """Every key path of the plain `values` of a `cls`, and those that there would be in what is None."""
    return [*paths(values), *_absent(cls, values)]


def _absent(cls: type[Config], values: dict[str, Any], prefix: str = "") -> list[str]:
    found: list[str] = []
    for field in cls.model_fields:
        value = values.get(field)
        below = _class_of(cls, field, value)
        if below is not None and value is None:
            found += [f"{prefix}{field}.{name}" for name in below.model_fields]
        elif below is not None and isinstance(value, dict):
            found += _absent(below, value, f"{prefix}{field}.")
    return found


def _change_kind(cls: type[Config] | None, node: dict[str, Any], kind: str) -> None:
    """Turns `node` into the alternative named `kind`: shared fields stay, the others take their defaults."""
    for alternative in _siblings.get(cls, ()) if cls else ():
        if _kind_of(alternative) == kind:
            shared = {name: node[name] for name in node if name in alternative.model_fields and name != "kind"}
            node.clear()
            node.update(to_json(from_json(alternative, shared)))


_siblings: dict[type[Config], tuple[type[Config], ...]] = {}


def _class_of(cls: type[Config] | None, field: str, value: Any) -> type[Config] | None:
    """The config class that `value`, a field of `cls`, is an instance of; None for free-form mappings and lists."""
    if cls is None or field not in cls.model_fields:
        return None
    members = _config_members(cls.model_fields[field].annotation)
    for member in members:
        _siblings[member] = members
    kind = value.get("kind") if isinstance(value, dict) else None
    matching = [member for member in members if kind is None or _kind_of(member) in (None, kind)]
    return matching[0] if matching else None


def _config_members(annotation: Any) -> tuple[type[Config], ...]:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _config_members(get_args(annotation)[0])
    if isinstance(annotation, type) and origin is None and issubclass(annotation, Config):
        return (annotation,)
    if origin is Union or origin is types.UnionType:
        return tuple(member for argument in get_args(annotation) for member in _config_members(argument))
    return ()


def _kind_of(cls: type[Config]) -> str | None:
    field = cls.model_fields.get("kind")
    return None if field is None else str(field.default)


def _keys(location: Sequence[str | int], values: Any) -> list[str]:
    """A place in `values` as keys, without the kinds of alternatives on the way."""
    keys, node = list[str](), values
    for part in location:
        if isinstance(node, dict) and part not in node and node.get("kind") == part:
            continue
        keys.append(str(part))
        try:
            node = node[part]
        except (TypeError, KeyError, IndexError):  # what is missing has a place, too
            node = None
    return keys


def _quoted(path: str) -> str:
    return f"'{path}'"


def describe(
    error: ValidationError, known: Sequence[str] = (), values: Any = None, named: Callable[[str], str] = _quoted
) -> str:
    """One line naming each bad key, an unknown one with the nearest of the `known` key paths.

    Args:
        error: what pydantic says.
        known: every key path there is.
        values: what was validated: an alternative's kind, which pydantic has in its paths, is no key of it.
        named: how a key path is written for who typed its value.
    """
    sentences = []
    for item in error.errors()[:5]:
        path = ".".join(_keys(item["loc"], values))
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            sentences.append(f"unknown key '{path}'{suggest(path, [key for key in known if key != path])}")
        elif item["type"] == "union_tag_invalid":
            tag, allowed = item["ctx"]["tag"], item["ctx"]["expected_tags"]
            sentences.append(f"'{path}.kind' is {tag!r}: it can be {allowed}")
        elif not path:  # a check of the whole: the value would be the whole config
            sentences.append(message)
        elif isinstance(item["input"], Config | dict):
            sentences.append(f"{named(path)}: {message}")
        else:
            sentences.append(f"{named(path)} is {item['input']!r}: {message[0].lower()}{message[1:]}")
    return "; ".join(sentences)

"""lmms-eval's calls, on a stand-in for its interface: it needs 140 packages and other versions of ours.

The stand-in has what the adapter touches of lmms-eval 0.7.3: the base class, a request, a result, a manifest. The
same adapter was run in lmms-eval itself, see docs/evaluation.md.
"""

import importlib
import io
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from mm1.checkpoint import CheckpointConfig, save_checkpoint
from mm1.config import UserError
from mm1.data import templates
from mm1.data.tokenizer import train_tokenizer
from mm1.eval.model import MM1Model
from mm1.models.connector import AvgPoolConfig
from mm1.models.decoder import DecoderConfig
from mm1.models.image_encoder import ImageEncoderConfig
from mm1.models.mm1 import MM1, MM1Config
from mm1.types import Document, Image, Text

ROWS = [{"question": "what is it?", "image": number, "target": " a dog"} for number in range(3)]


class _Base:
    """lmms_eval.api.model.lmms."""

    def __init__(self) -> None:
        self.task_dict: dict[str, Any] = {}

    @classmethod
    def create_from_arg_string(cls, arguments: str, additional: dict[str, Any]) -> "_Base":
        return cls(**dict(pair.split("=") for pair in arguments.split(",")), **additional)


@dataclass
class _Result:
    """lmms_eval.api.instance.GenerationResult."""

    text: Any


@pytest.fixture(scope="module")
def adapter() -> Iterator[ModuleType]:
    """The module, imported with the stand-in in lmms-eval's place."""
    made = {
        "lmms_eval": {},
        "lmms_eval.api": {},
        "lmms_eval.api.model": {"lmms": _Base},
        "lmms_eval.api.instance": {"Instance": SimpleNamespace, "GenerationResult": _Result},
        "lmms_eval.models": {},
        "lmms_eval.models.registry_v2": {"ModelManifest": SimpleNamespace},
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, values in made.items():
            module = ModuleType(name)
            vars(module).update(values)
            patch.setitem(sys.modules, name, module)
        patch.delitem(sys.modules, "mm1.eval.lmms_eval_model", raising=False)
        yield importlib.import_module("mm1.eval.lmms_eval_model")
    sys.modules.pop("mm1.eval.lmms_eval_model", None)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    texts = ["user: what is it?\nassistant: a red circle\n", "the dog runs, the cat sits\n"]
    tokenizer = train_tokenizer(iter(texts * 5), 300, folder / "tokenizer.json")
    config = MM1Config(
        decoder=DecoderConfig(vocab_size=tokenizer.vocab_size, dim=32, num_layers=1, mlp_dim=64),
        image_encoder=ImageEncoderConfig(image_size=16, patch_size=8, dim=16, num_layers=1, num_heads=2, mlp_dim=32),
        connector=AvgPoolConfig(num_image_tokens=4),
    )
    torch.manual_seed(0)
    model = MM1(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() >= 2:
                parameter.normal_(std=1.5 * parameter[0].numel() ** -0.5)
    return save_checkpoint(folder / "made", CheckpointConfig(model=config), model, tokenizer.path).folder


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> MM1Model:
    return MM1Model.load(checkpoint)


def picture(number: int) -> PillowImage.Image:
    pixels = np.random.default_rng(number).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    return PillowImage.fromarray(pixels)


def png(number: int) -> Image:
    buffer = io.BytesIO()
    picture(number).save(buffer, "PNG", compress_level=1)
    return Image(buffer.getvalue())


def shown(row: dict[str, Any]) -> list[PillowImage.Image]:
    return [picture(row["image"])]


def asked(
    number: int,
    what: Any,
    context: str = "what is it?",
    visuals: Callable[[dict[str, Any]], Any] = shown,
) -> SimpleNamespace:
    return SimpleNamespace(args=(context, what, visuals, number, "task", "test"))


def lm(adapter: ModuleType, model: MM1Model, **options: Any) -> Any:
    made = adapter.MM1LMMS(model, **options)
    made.task_dict = {"task": {"test": ROWS}}
    return made


def turn(*parts: Image | Text) -> Document:
    return Document("d", templates.chat_turn(parts, None))


GREEDY = {"max_new_tokens": 8, "temperature": 0, "do_sample": False, "num_beams": 1}


def test_what_it_says_is_what_the_model_says(adapter: ModuleType, model: MM1Model) -> None:
    requests = [asked(number, GREEDY) for number in range(3)]
    documents = [turn(png(number), Text("what is it?")) for number in range(3)]
    said = lm(adapter, model).generate_until(requests)
    assert said == [text.strip() for text in model.generate(documents, 8, ("\n",))]
    assert len(set(said)) > 1  # the pictures matter


def test_without_chat_a_prompt_is_what_the_task_wrote(adapter: ModuleType, model: MM1Model) -> None:
    document = Document("d", (png(1), Text("what is it?")))
    plain = lm(adapter, model, chat=False)
    assert plain.generate_until([asked(1, GREEDY)]) == [model.generate([document], 8, ("\n",))[0].strip()]
    (whole,) = model.generate([document], 12, ())
    stop = whole[2:4]
    settings = {**GREEDY, "max_new_tokens": 12, "until": [stop]}
    assert plain.generate_until([asked(1, settings)]) == [whole[: whole.index(stop)].strip()]


def test_pictures_stand_where_the_text_has_them(adapter: ModuleType, model: MM1Model) -> None:
    def two(row: dict[str, Any]) -> list[PillowImage.Image]:
        return [picture(row["image"]), picture(row["image"] + 1)]

    made = lm(adapter, model, chat=False)
    said = made._document(asked(0, GREEDY, "first <image>, then <image>!", two)).segments
    assert said == (Text("first "), png(0), Text(", then "), png(1), Text("!"))
    # One place for two pictures is no place.
    assert made._document(asked(0, GREEDY, "an <image>", two)).segments == (png(0), png(1), Text("an <image>"))
    assert made._document(asked(0, GREEDY, "nothing", lambda row: None)).segments == (Text("nothing"),)


def test_a_choice_is_told_as_a_loss_and_a_target_as_a_likelihood(adapter: ModuleType, model: MM1Model) -> None:
    made = lm(adapter, model)
    words = [" a dog", " a cat", " red"]
    pairs = [(turn(png(2), Text("what is it?")), word) for word in words]
    expected = model.loglikelihood(pairs)
    choices = made.loglikelihood([asked(2, word) for word in words])
    assert [result.text[0] for result in choices] == pytest.approx([-value for value in expected], rel=1e-4)
    # lmms-eval's rule: the smallest is chosen.
    assert int(np.argmin([result.text[0] for result in choices])) == int(np.argmax(expected))
    (target,) = made.loglikelihood([asked(2, lambda row: row["target"])])
    assert target.text[0] == pytest.approx(expected[0], rel=1e-4)


def test_greedy_text_is_told_as_such(adapter: ModuleType, model: MM1Model) -> None:
    tokenizer = model.encoder.tokenizer
    texts = {number: tokenizer.decode([number]) for number in range(40, tokenizer.vocab_size)}
    alone = {number: text for number, text in texts.items() if tokenizer.encode(text, False) == [number]}

    def greedy(context: str) -> int:
        (done,) = model.engine.generate([model.prompt(turn(png(0), Text(context)), 1)])
        return done.tokens[0] if done.tokens else -1

    # Some tokens are parts of a letter, which no continuation can be.
    context = next(word for word in ("cat", "dog", "red", "runs", "sits", "circle", "the") if greedy(word) in alone)
    found = lm(adapter, model).loglikelihood([asked(0, text, context) for text in alone.values()])
    assert [number for number, one in zip(alone, found, strict=True) if one.text[1]] == [greedy(context)]


def test_what_can_not_be_asked_is_counted_and_the_others_are_answered(
    adapter: ModuleType, model: MM1Model, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(png(0).data[:60])
    made = lm(adapter, model)
    requests = [
        asked(0, GREEDY),
        asked(0, GREEDY, "what " * 9000),
        asked(0, GREEDY, visuals=lambda row: ["film.mp4"]),
        asked(0, GREEDY, visuals=lambda row: [str(broken)]),
    ]
    alone = lm(adapter, model).generate_until(requests[:1])
    assert made.generate_until(requests) == [*alone, "", "", ""]
    assert made.refused == {"prompt too long": 1, "something else than a picture": 1, "unreadable image": 1}
    assert "1 of 4 requests were answered with nothing: prompt too long" in caplog.text
    assert made.loglikelihood([asked(0, " a dog", "what " * 9000)])[0].text == (math.inf, False)


def test_what_it_does_not_have_is_one_sentence(adapter: ModuleType, model: MM1Model) -> None:
    made = lm(adapter, model)
    with pytest.raises(UserError, match="num_beams=3, but mm1 has no beam search"):
        made.generate_until([asked(0, {**GREEDY, "num_beams": 3})])
    with pytest.raises(UserError, match="several rounds"):
        made.generate_until_multi_round([])


def test_every_request_is_answered_in_its_place_however_many_there_are(adapter: ModuleType, model: MM1Model) -> None:
    numbers = [0, 1, 2] * 30
    made = lm(adapter, model)
    said = made.generate_until([asked(number, GREEDY) for number in numbers])
    assert said == [said[number] for number in numbers]


def test_other_kinds_of_pictures_lose_nothing(adapter: ModuleType) -> None:
    grey = PillowImage.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    for mode in ("L", "RGB", "RGBA", "P", "1"):
        kept = grey.convert(mode)
        read = PillowImage.open(io.BytesIO(adapter._encoded(kept).data))
        assert np.array_equal(np.asarray(read.convert("RGBA")), np.asarray(kept.convert("RGBA")))
    cmyk = adapter._encoded(grey.convert("CMYK"))
    assert PillowImage.open(io.BytesIO(cmyk.data)).mode == "RGB"


def test_it_is_found_by_name(adapter: ModuleType, checkpoint: Path) -> None:
    manifest = adapter.manifest()
    assert manifest.model_id == "mm1"
    module, _, name = manifest.simple_class_path.rpartition(".")
    cls = getattr(importlib.import_module(module), name)
    assert cls is adapter.MM1LMMS
    assert cls.is_simple
    made = cls.create_from_arg_string(f"checkpoint={checkpoint}", {"device": "cpu", "batch_size": 4})
    assert isinstance(made.model, MM1Model)

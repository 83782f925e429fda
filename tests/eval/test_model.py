"""Strings and Documents above the engine: encoding, stop strings that tokens do not respect, loading."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as HFTokenizer

from mm1.checkpoint import CheckpointConfig, DataPart, save_checkpoint
from mm1.config import UserError
from mm1.data.encode import DocumentEncoder
from mm1.data.sub_images import FixedGridConfig, SubImagesConfig
from mm1.data.tokenizer import Tokenizer, train_tokenizer
from mm1.eval.model import EvalModel, MM1Model, PromptTooLong, cut
from mm1.generate.request import Completion, Prompt
from mm1.generate.sampling import SamplingConfig
from mm1.models.connector import AvgPoolConfig
from mm1.models.decoder import DecoderConfig
from mm1.models.image_encoder import ImageEncoderConfig
from mm1.models.mm1 import MM1, MM1Config
from mm1.types import Document, Image, Text
from tests.sentence_piece import write_sentence_piece

WORDS = ["a red circle\n", "question: what is it? answer: a blue square\n", "the end. the end.\n\n", "naïve 猫 🐈"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return train_tokenizer(iter(WORDS * 5), 330, tmp_path_factory.mktemp("tokenizer") / "tokenizer.json")


def _model(vocab_size: int, with_images: bool = True) -> MM1:
    encoder = ImageEncoderConfig(image_size=16, patch_size=8, dim=16, num_layers=1, num_heads=2, mlp_dim=32)
    config = MM1Config(
        decoder=DecoderConfig(vocab_size=vocab_size, dim=32, num_layers=2, mlp_dim=64),
        image_encoder=encoder if with_images else None,
        connector=AvgPoolConfig(num_image_tokens=4) if with_images else None,
    )
    torch.manual_seed(0)
    model = MM1(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() >= 2:
                parameter.normal_(std=parameter[0].numel() ** -0.5)
    return model


@pytest.fixture(scope="module")
def model(tokenizer: Tokenizer) -> MM1Model:
    return MM1Model.of(_model(384), tokenizer)


def _document(*parts: str | int) -> Document:
    """Texts as they are, a number for a picture in that shade of grey."""
    return Document("d", tuple(Text(part) if isinstance(part, str) else _picture(part) for part in parts))


def _picture(grey: int) -> Image:
    file = io.BytesIO()
    PIL.Image.new("RGB", (20, 20), (grey, grey, 255 - grey)).save(file, "PNG")
    return Image(file.getvalue())


@dataclass
class ScriptedEngine:
    """Says `tokens`, up to where the prompt's stop function ends it; remembers what it was asked."""

    tokens: Sequence[int]
    prompts: list[Prompt] = field(default_factory=list)
    max_len: int = 8192
    said: list[int] = field(default_factory=list)

    def generate(self, prompts: Sequence[Prompt]) -> list[Completion]:
        self.prompts += prompts
        (prompt,) = prompts
        self.said.clear()
        for token in self.tokens:
            self.said.append(token)
            if prompt.stop is not None and prompt.stop(self.said):
                break
        return [Completion(tuple(self.said), (0.0,) * len(self.said), "stop")]


text = st.lists(st.sampled_from([*"ab \n#", "the end", "猫", "🐈", "ï"]), max_size=12).map("".join)


@settings(max_examples=150, deadline=None)
@given(text, text.filter(bool))
def test_text_ends_before_the_stop_string_wherever_the_tokens_end(model: MM1Model, said: str, stop: str) -> None:
    tokenizer = model.encoder.tokenizer
    engine = ScriptedEngine(tokenizer.encode(said))
    scripted = replace(model, engine=engine)
    (output,) = scripted.generate([_document("hello")], 99, (stop,))
    assert output == said.split(stop)[0]
    if stop in said:  # nothing was generated past the token that completes the stop string
        assert stop in tokenizer.decode(engine.said)
        assert stop not in tokenizer.decode(engine.said[:-1])


@pytest.fixture(scope="module")
def spaced(tmp_path_factory: pytest.TempPathFactory) -> MM1Model:
    """Its tokenizer puts a space before texts, and takes one away when it decodes."""
    path = write_sentence_piece(tmp_path_factory.mktemp("spaced"), WORDS * 5, "normalizer")
    return MM1Model.of(_model(400), Tokenizer(path))


def test_an_answer_keeps_the_space_that_it_begins_with(spaced: MM1Model) -> None:
    tokenizer = spaced.encoder.tokenizer
    for said in (" red circle", "s red", "  red"):
        engine = ScriptedEngine(tokenizer.encode(said + "\n"))
        assert replace(spaced, engine=engine).generate([_document("a")], 99, ("\n",)) == [said]


def test_what_follows_a_document_gets_no_space_but_what_begins_one_does(spaced: MM1Model) -> None:
    tokenizer = spaced.encoder.tokenizer
    got = spaced.loglikelihood([(_document("a red"), " circle"), (_document("a red circle"), "\n"), (_document(), "a")])
    texts = [("a red", " circle"), ("a red circle", "\n"), ("", " a")]
    prompts = [Prompt(tokens=np.array([tokenizer.bos_id, *tokenizer.encode(text, text != "")])) for text, _ in texts]
    expected = spaced.engine.loglikelihood(prompts, [tokenizer.encode(string) for _, string in texts])
    assert got == pytest.approx(expected, abs=1e-4)
    library = HFTokenizer.from_file(str(tokenizer.path))
    assert spaced.prompt(_document("a red", " circle")).tokens.tolist() == [
        tokenizer.bos_id,
        *library.encode("a red circle", add_special_tokens=False).ids,
    ]


def test_the_first_of_several_stops_cuts() -> None:
    assert cut("one. two\nthree", ("\n", ". ")) == "one"
    assert cut("one", ("\n", ".")) == "one"
    assert cut("one\n", ()) == "one\n"


def test_without_stops_nothing_is_cut(model: MM1Model) -> None:
    engine = ScriptedEngine(model.encoder.tokenizer.encode("a\nb\n"))
    assert replace(model, engine=engine).generate([_document("x")], 9, ()) == ["a\nb\n"]
    assert engine.prompts[0].stop is None


def test_a_document_is_encoded_as_in_training_without_its_end(model: MM1Model) -> None:
    engine = ScriptedEngine([])
    document = _document("a red ", 10, " circle", 200)
    replace(model, engine=engine).generate([document], 7, ("\n",))
    (prompt,) = engine.prompts
    sample = model.encoder.encode(document, end=True)
    assert prompt.tokens.tolist() == sample.tokens[:-1].tolist()
    assert prompt.max_new_tokens == 7
    assert [image[0, 0].tolist() for image in prompt.images] == [[10, 10, 245], [200, 200, 55]]


def test_answers_come_in_order_and_follow_the_images(model: MM1Model) -> None:
    documents = [_document("a red"), _document(0), *(_document(grey, " it is") for grey in range(0, 256, 50))]
    together = model.generate(documents, 8, ("\n",))
    assert together == [model.generate([document], 8, ("\n",))[0] for document in documents]
    assert len(set(together[2:])) > 1


def test_sampling_is_the_models_affair(model: MM1Model) -> None:
    hot = replace(model, sampling=SamplingConfig(temperature=2.0, seed=1))
    document = _document("a red")
    assert hot.generate([document], 8, ()) == hot.generate([document], 8, ())
    assert hot.generate([document], 8, ()) != model.generate([document], 8, ())


def test_loglikelihood_is_that_of_the_string_after_the_document(model: MM1Model) -> None:
    documents = [_document(10, " answer:"), _document("answer:", 250, " answer:")]
    pairs = [(document, string) for document in documents for string in (" a red circle", " red", "?")]
    values = model.loglikelihood(pairs)
    tokenizer = model.encoder.tokenizer
    for (document, string), value in zip(pairs, values, strict=True):
        prompt = Prompt.of(model.encoder.encode(document, end=False))
        assert value == pytest.approx(model.engine.loglikelihood([prompt], [tokenizer.encode(string)])[0], abs=1e-4)
    assert len({round(value, 3) for value in values}) == len(values)


def test_a_repeated_document_is_decoded_once(model: MM1Model, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = []
    encode = DocumentEncoder.encode
    monkeypatch.setattr(DocumentEncoder, "encode", lambda *args, **kw: encoded.append(args[1]) or encode(*args, **kw))
    model.loglikelihood([(_document(10, "is"), " a"), (_document(10, "is"), " b"), (_document(11, "is"), " a")])
    assert len(encoded) == 2


def test_ids_past_the_tokenizers_are_never_generated(model: MM1Model) -> None:
    hot = replace(model, sampling=SamplingConfig(temperature=100.0))
    tokenizer = model.encoder.tokenizer
    prompts = [
        replace(hot.prompt(_document("a"), 30), sampling=SamplingConfig(temperature=100.0, seed=s)) for s in range(9)
    ]
    said = {token for done in hot.engine.generate(prompts) for token in done.tokens}
    assert len(said) > 50
    assert said <= set(range(tokenizer.vocab_size)) - {tokenizer.pad_id, tokenizer.image_id, tokenizer.eos_id}


def test_a_saved_model_answers_as_the_one_in_memory(model: MM1Model, tokenizer: Tokenizer, tmp_path: Path) -> None:
    original = model.engine.model
    pieces = SubImagesConfig(grid=FixedGridConfig(rows=1, columns=2), overview="last")
    config = CheckpointConfig(model=original.config, data=DataPart(sub_images=pieces))
    save_checkpoint(tmp_path / "saved", config, original, tokenizer.path)
    loaded: EvalModel = MM1Model.load(tmp_path / "saved")
    in_memory = MM1Model.of(original, tokenizer, sub_images=pieces)
    documents = [_document(30, " it is"), _document("question:")]
    assert loaded.generate(documents, 6, ()) == in_memory.generate(documents, 6, ())


def test_a_tokenizer_of_more_ids_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(UserError, match=f"has {tokenizer.vocab_size} ids, the model 64"):
        MM1Model.of(_model(64), tokenizer)


def test_documents_the_model_can_not_read_are_refused(model: MM1Model, tokenizer: Tokenizer) -> None:
    with pytest.raises(UserError, match="'d' has an image that is unreadable"):
        model.generate([Document("d", (Image(b"no picture"),))], 4, ())
    with pytest.raises(UserError, match="has no tokens"):
        model.generate([_document("")], 4, ())
    with pytest.raises(UserError, match="limit is 8"):
        MM1Model.of(_model(384), tokenizer, max_len=8).generate([_document("a red circle a red circle")], 4, ())
    with pytest.raises(UserError, match="document 'd' has images"):
        MM1Model.of(_model(384, with_images=False), tokenizer).generate([_document(3, "it")], 4, ())


def test_pixels_reach_the_model_unchanged(model: MM1Model) -> None:
    prompt = model.prompt(_document(77))
    assert np.array_equal(prompt.images[0], np.full((16, 16, 3), [77, 77, 178], np.uint8))


def test_too_long_documents_are_all_named_before_anything_is_computed(tokenizer: Tokenizer) -> None:
    model = MM1Model.of(_model(384), tokenizer, max_len=12)
    short, long = Document("short", (Text("a red"),)), Document("long", (Text("a red circle a red circle, the end."),))
    longer = replace(long, id="longer")
    with pytest.raises(PromptTooLong, match=r"'long' \(and 1 more\) has \d+ tokens") as caught:
        model.generate([short, long, longer], 4, ())
    assert caught.value.ids == {"long", "longer"}
    with pytest.raises(PromptTooLong) as caught:
        model.loglikelihood([(short, " a red circle, the end. the end. the end."), (short, " a")])
    assert caught.value.ids == {"short"}

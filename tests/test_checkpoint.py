"""A checkpoint is whole or not there, says what is missing, and gives back what was put in."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from mm1.checkpoint import CheckpointConfig, DataPart, new_folder, open_checkpoint, save_checkpoint
from mm1.config import UserError, to_json
from mm1.data.sub_images import SubImagesConfig
from mm1.data.tokenizer import TOKENIZER_CONFIG, Tokenizer, train_tokenizer
from mm1.models import weights as weights_module
from mm1.models.decoder import DecoderConfig
from mm1.models.mm1 import MM1, MM1Config

CONFIG = CheckpointConfig(
    model=MM1Config(decoder=DecoderConfig(vocab_size=320, dim=16, num_layers=1, num_heads=2, mlp_dim=16)),
    data=DataPart(sub_images=SubImagesConfig.for_resolution(1344, image_size=672)),
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    return train_tokenizer(iter(["a red circle"] * 5), 270, path).path


@pytest.fixture
def saved(tokenizer: Path, tmp_path: Path) -> Path:
    torch.manual_seed(0)
    return save_checkpoint(tmp_path / "new" / "saved", CONFIG, MM1(CONFIG.model), tokenizer).folder


def test_what_was_saved_is_read(saved: Path, tokenizer: Path) -> None:
    checkpoint = open_checkpoint(saved)
    assert checkpoint.config == CONFIG
    torch.manual_seed(0)
    expected = MM1(CONFIG.model).state_dict()
    read = checkpoint.load_model().state_dict()
    assert read.keys() == expected.keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in expected.items())
    assert checkpoint.load_model(dtype=torch.bfloat16).decoder.norm.weight.dtype == torch.bfloat16
    assert checkpoint.tokenizer.digest == digest_of(tokenizer)
    assert not list(saved.parent.glob(".*"))


def test_a_model_is_told_from_every_other_by_what_it_answers_with(saved: Path, tokenizer: Path, tmp_path: Path) -> None:
    checkpoint = open_checkpoint(saved)
    own = checkpoint.identity()
    torch.manual_seed(1)
    others = [
        save_checkpoint(tmp_path / "weights", CONFIG, MM1(CONFIG.model), tokenizer),
        open_checkpoint(shutil.copytree(saved, tmp_path / "tokenizer")),
    ]
    path = tmp_path / "tokenizer" / "tokenizer.json"
    path.write_text(path.read_text().replace("<|pad|>", "<|none|>"))
    path.with_name(TOKENIZER_CONFIG).write_text(
        json.dumps({"eos_token": "<|endoftext|>", "pad_token": "<|none|>", "image_token": "<|image|>"})
    )
    path = shutil.copytree(saved, tmp_path / "pictures") / "config.json"
    path.write_text(json.dumps({"model": to_json(CONFIG.model)}))
    others.append(open_checkpoint(path.parent))
    assert len({own, checkpoint.identity(torch.bfloat16), *(other.identity() for other in others)}) == 5
    # What else a stage's config says does not matter, nor where the folder lies.
    same = shutil.copytree(saved, tmp_path / "same")
    values = json.loads((same / "config.json").read_text())
    (same / "config.json").write_text(json.dumps({**values, "steps": 3}))
    assert open_checkpoint(same).identity() == own
    assert open_checkpoint(same).title() == f"same {own[:12]}"
    assert open_checkpoint(same).title(torch.bfloat16, "sft") == f"sft {own[:12]} bfloat16"


def digest_of(path: Path) -> str:
    return Tokenizer(path).digest


def test_the_names_of_special_tokens_travel_with_the_tokenizer(tmp_path: Path, tokenizer: Path) -> None:
    given = tmp_path / "given" / "tokenizer.json"
    given.parent.mkdir()
    given.write_text(tokenizer.read_text().replace("<|endoftext|>", "</s>"))
    given.with_name(TOKENIZER_CONFIG).write_text(
        json.dumps({"eos_token": "</s>", "pad_token": "<|pad|>", "image_token": "<|image|>", "bos_token": None})
    )
    saved = save_checkpoint(tmp_path / "saved", CONFIG, MM1(CONFIG.model), given)
    assert saved.tokenizer.digest == digest_of(given)
    assert saved.tokenizer.digest != digest_of(tokenizer)


def test_a_finished_stage_is_a_checkpoint(saved: Path) -> None:
    """Its config.json says much more, of which only the model and what happens to pictures count here."""
    values = to_json(CONFIG)
    values["data"] |= {"seq_len": 4096, "mixture": {}}
    (saved / "config.json").write_text(json.dumps({**values, "steps": 3, "seed": 1}))
    assert open_checkpoint(saved).config == CONFIG


def test_nothing_is_left_of_a_checkpoint_that_could_not_be_written(
    tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(weights_module, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(tmp_path / "saved", CONFIG, MM1(CONFIG.model), tokenizer)
    assert not list(tmp_path.iterdir())


def test_folders_above_stay_only_if_something_is_in_them(tmp_path: Path) -> None:
    def fail(folder: Path, other: Path | None = None) -> None:
        with new_folder(folder):
            if other is not None:
                other.touch()
            raise ValueError("stop")

    (tmp_path / "there").mkdir()
    for folder in (tmp_path / "there" / "out", tmp_path / "new" / "deep" / "out"):
        with pytest.raises(ValueError, match="stop"):
            fail(folder)
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]
    with pytest.raises(ValueError, match="stop"):
        fail(tmp_path / "new" / "deep" / "out", tmp_path / "new" / "other")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["new", "other", "there"]
    with new_folder(tmp_path / "fine" / "out"):
        pass
    assert (tmp_path / "fine" / "out").is_dir()


def test_a_folder_that_is_there_is_not_written_over(saved: Path, tokenizer: Path) -> None:
    before = (saved / "config.json").read_bytes()
    with pytest.raises(UserError, match="is there already"):
        save_checkpoint(saved, CONFIG.replace(data=DataPart()), MM1(CONFIG.model), tokenizer)
    assert (saved / "config.json").read_bytes() == before


def test_what_is_missing_or_damaged_is_named(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config\.json does not exist"):
        open_checkpoint(tmp_path)
    (saved / "tokenizer.json").unlink()
    with pytest.raises(UserError, match="there is no tokenizer at"):
        _ = open_checkpoint(saved).tokenizer
    (saved / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"model\.safetensors does not exist"):
        open_checkpoint(saved).load_model()
    for text, message in (
        ("{", "not valid JSON"),
        ("[1]", "no model of mm1's"),
        ('{"model": 3}', "no model of mm1's"),
        ('{"model_type": "llama"}', "no model of mm1's"),
        ('{"model": {"kind": "clip"}}', "a model of kind 'clip'"),
        ('{"model": {"kind": "mm1", "decoder": {}}}', "vocab_size"),
        ('{"model": {"kind": "mm1", "decoder": {"vocab_size": 9}}, "data": {"sub_images": 3}}', "sub_images"),
    ):
        (saved / "config.json").write_text(text)
        with pytest.raises(UserError, match=message):
            open_checkpoint(saved)


@pytest.mark.parametrize("read", ["tensors", "load_model"])
def test_weights_that_are_not_the_configs_are_refused_with_names_and_shapes(saved: Path, read: str) -> None:
    wider = CONFIG.model.replace(decoder=CONFIG.model.decoder.replace(mlp_dim=24))
    weights_module.save_weights(MM1(wider), saved / "model.safetensors")
    message = r"decoder\.blocks\.0\.mlp\.up\.weight is \(24, 16\) there but \(16, 16\) in the model"
    with pytest.raises(UserError, match=message):
        getattr(open_checkpoint(saved), read)()

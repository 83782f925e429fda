"""`mm1 import` and `mm1 export --decoder-only` as a user types them: there and back, in transformers, and mistakes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

from mm1.checkpoint import CheckpointConfig, open_checkpoint, save_checkpoint
from mm1.cli.main import main
from mm1.data.tokenizer import train_tokenizer
from mm1.generate.engine import Engine
from mm1.generate.request import Prompt
from mm1.hf.decoders import decoder_config
from mm1.hf.folder import HFFolder
from mm1.models.decoder import DecoderConfig
from mm1.models.mm1 import MM1, MM1Config
from mm1.models.moe import MoEConfig
from tests.full_disk import room_for
from tests.hf.decoder_cases import CASES, make, write_folder, write_tokenizer

TOKENIZER_SIZE = 301
CLIP = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 28,
    "patch_size": 7,
}


def run(*arguments: Any) -> None:
    """A command that must succeed."""
    assert main([str(argument) for argument in arguments]) == 0


def failing(capsys: pytest.CaptureFixture[str], *arguments: Any) -> str:
    """What a command that fails says, in one line."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith("mm1: ")
    assert said.count("\n") == 1
    return said


def names_in(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()} if folder.exists() else set()


@pytest.mark.parametrize("case", CASES)
def test_import_then_export_gives_back_the_same_folder(case: str, tmp_path: Path) -> None:
    """Bit-equal tensors, though the vocabulary grew in between; the tokenizer's files byte for byte."""
    write_folder(tmp_path / "theirs", case, vocab_size=TOKENIZER_SIZE)
    run("import", "--decoder", tmp_path / "theirs", "--out", tmp_path / "ours")
    assert open_checkpoint(tmp_path / "ours").config.model.decoder.vocab_size == TOKENIZER_SIZE + 2
    run("export", tmp_path / "ours", tmp_path / "back", "--decoder-only")
    theirs, back = HFFolder(tmp_path / "theirs"), HFFolder(tmp_path / "back")
    assert back.shapes == theirs.shapes
    assert all(torch.equal(back.tensor(name), theirs.tensor(name)) for name in theirs.shapes)
    assert decoder_config(back.config) == decoder_config(theirs.config)
    for key in ("model_type", "architectures", "max_position_embeddings", "eos_token_id"):
        assert back.config[key] == theirs.config[key]
    assert names_in(back.path) == names_in(theirs.path)
    for written in (tmp_path / "ours", back.path):
        assert all(file.stat().st_mode & 0o044 == 0o044 for file in [written, *written.iterdir()]), "others may read"
    for name in names_in(theirs.path) - {"config.json", "model.safetensors"}:
        assert (back.path / name).read_bytes() == (theirs.path / name).read_bytes(), name


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_keep_their_dtype(dtype: torch.dtype, tmp_path: Path) -> None:
    model = make("llama").to(dtype)
    model.save_pretrained(tmp_path / "theirs")
    write_tokenizer(tmp_path / "theirs")
    run("import", "--decoder", tmp_path / "theirs", "--out", tmp_path / "ours")
    run("export", tmp_path / "ours", tmp_path / "back", "--decoder-only")
    back = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "back")
    assert back.dtype == dtype
    assert all(torch.equal(tensor, back.state_dict()[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("case", ["llama-3.1", "olmo2", "qwen3_moe-every-2nd"])
def test_greedy_tokens_are_those_of_transformers(case: str, tmp_path: Path) -> None:
    model = write_folder(tmp_path / "theirs", case, bos=True, vocab_size=TOKENIZER_SIZE)
    run("import", "--decoder", tmp_path / "theirs", "--out", tmp_path / "ours")
    checkpoint = open_checkpoint(tmp_path / "ours")
    text = "how many red squares are there?"
    ids = transformers.AutoTokenizer.from_pretrained(tmp_path / "theirs")(text).input_ids
    assert [checkpoint.tokenizer.bos_id, *checkpoint.tokenizer.encode(text)] == ids
    tokenizer = checkpoint.tokenizer
    engine = Engine(checkpoint.load_model(), eos_id=tokenizer.eos_id, banned_ids=(tokenizer.pad_id, tokenizer.image_id))
    ours = engine.generate([Prompt(tokens=np.array(ids), max_new_tokens=24)])[0].tokens
    theirs = model.generate(torch.tensor([ids]), max_new_tokens=24, do_sample=False, pad_token_id=1)[0, len(ids) :]
    assert list(ours) == theirs.tolist()


@pytest.fixture
def trained(tmp_path: Path) -> Callable[..., Path]:
    """A checkpoint as a stage leaves it, of a decoder with random weights that Llama can hold."""

    def write(**options: Any) -> Path:
        train_tokenizer(iter(["a red circle", "a blue square"]), 300, tmp_path / "tokenizer.json")
        shape = {"vocab_size": 300, "mlp": "swiglu", "head_dim": 64, "tied_embeddings": False, **options}
        model = MM1Config(decoder=DecoderConfig(**shape))
        torch.manual_seed(0)
        config = CheckpointConfig(model=model)
        folder = save_checkpoint(tmp_path / "trained", config, MM1(model), tmp_path / "tokenizer.json").folder
        values = json.loads((folder / "config.json").read_text())
        values["data"]["seq_len"] = 96  # as a stage's config.json says
        (folder / "config.json").write_text(json.dumps(values))
        return folder

    return write


@torch.no_grad()
def test_a_decoder_that_mm1_trained_opens_in_transformers(trained: Callable[..., Path], tmp_path: Path) -> None:
    folder = trained()
    run("export", folder, tmp_path / "plain", "--decoder-only")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "plain")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "plain")
    assert type(model).__name__ == "LlamaForCausalLM"
    assert model.config.max_position_embeddings == tokenizer.model_max_length == 96
    ours = open_checkpoint(folder)
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id == ours.tokenizer.eos_id
    assert tokenizer.pad_token_id == ours.tokenizer.pad_id
    ids = tokenizer("a red square", return_tensors="pt").input_ids
    assert ids[0].tolist() == ours.tokenizer.encode("a red square")
    expected = _logits(ours.load_model(), ids)
    assert (model(ids).logits - expected).abs().max() <= 1e-4


def _logits(model: MM1, ids: Tensor) -> Tensor:
    from mm1.models.attention import AttentionMask

    positions, mask = torch.arange(ids.shape[1])[None], AttentionMask.from_segments(torch.zeros_like(ids))
    return model.logits(model.decoder(model.decoder.embed(ids), positions, mask).hidden)


def test_large_exports_are_sharded(tmp_path: Path) -> None:
    from mm1.hf.export_decoder import export_decoder

    model = write_folder(tmp_path / "theirs", "mixtral", shard_size="500KB")
    run("import", "--decoder", tmp_path / "theirs", "--out", tmp_path / "ours")
    export_decoder(open_checkpoint(tmp_path / "ours"), tmp_path / "back", shard_bytes=500_000)
    files = list((tmp_path / "back").glob("*.safetensors"))
    assert len(files) > 3
    assert max(file.stat().st_size for file in files) < 600_000
    back = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "back").state_dict()
    assert all(torch.equal(tensor, back[name]) for name, tensor in model.state_dict().items())


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """A Llama and a CLIP."""
    write_folder(tmp_path / "llama", "llama")
    torch.manual_seed(1)
    transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**CLIP)).save_pretrained(tmp_path / "clip")
    return tmp_path / "llama", tmp_path / "clip"


def both(folders: tuple[Path, Path], out: Path, *more: Any) -> tuple[Any, ...]:
    llama, clip = folders
    usual = ("--connector", "c_abstractor", "--num-image-tokens", 4, "connector.hidden_dim=32", "connector.depth=1")
    return ("import", "--decoder", llama, "--image-encoder", clip, *usual, "--out", out, *more)


def test_an_image_encoder_and_a_new_connector_join_the_decoder(folders: tuple[Path, Path], tmp_path: Path) -> None:
    run(*both(folders, tmp_path / "one", "--image-size", 56, "image_encoder.num_layers_used=2"))
    run(*both(folders, tmp_path / "same", "--image-size", 56, "image_encoder.num_layers_used=2"))
    run(*both(folders, tmp_path / "other", "--seed", 1))
    checkpoint = open_checkpoint(tmp_path / "one")
    encoder = checkpoint.config.model.image_encoder
    assert encoder is not None
    assert (encoder.image_size, encoder.position_size, encoder.depth) == (56, 28, 2)
    assert checkpoint.config.model.num_image_tokens == 4
    one, same, other = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "same", "other"))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert one.keys() < other.keys()
    differing = {name.partition(".")[0] for name in one if not torch.equal(one[name], other[name])}
    assert differing == {"connector"}
    model = checkpoint.load_model()
    assert model.encode_images(torch.zeros(2, 3, 56, 56, dtype=torch.uint8)).shape == (2, 4, 256)
    run("export", tmp_path / "one", tmp_path / "back", "--decoder-only")
    theirs, back = HFFolder(folders[0]), HFFolder(tmp_path / "back")
    assert all(torch.equal(back.tensor(name), theirs.tensor(name)) for name in theirs.shapes)


def test_a_new_row_is_the_mean_of_the_others(tmp_path: Path) -> None:
    write_folder(tmp_path / "theirs", "llama", vocab_size=TOKENIZER_SIZE)
    run("import", "--decoder", tmp_path / "theirs", "--out", tmp_path / "ours")
    tensors = load_file(tmp_path / "ours" / "model.safetensors")
    for name in ("decoder.embedding.weight", "decoder.head.weight"):
        mean = tensors[name][:TOKENIZER_SIZE].mean(0)
        assert torch.allclose(tensors[name][TOKENIZER_SIZE:], mean.expand(2, -1))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--num-image-tokens", 5), "is 5, which is not a square number: choose 4 or 9"),
        (("--num-image-tokens", 0), "--num-image-tokens is 0"),
        (("--connector", "linear"), "'linear'"),
        (("--image-size", 30), "image_size 30 is not a multiple of patch_size 7"),
        (("connector.hidden=3",), "did you mean 'connector.hidden_dim'"),
        (("decoder.mlp_dim=8",), "decoder.blocks.0.mlp.gate_up.weight is (768, 256) there but (16, 256) in the model"),
    ],
)
def test_parts_that_do_not_fit_are_one_sentence_and_leave_no_folder(
    more: tuple[Any, ...], said: str, folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = names_in(tmp_path)
    assert said in failing(capsys, *both(folders, tmp_path / "out", *more))
    assert names_in(tmp_path) == before


def test_options_that_need_each_other_are_one_sentence(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    llama, clip = folders
    start = ("import", "--decoder", llama, "--out", tmp_path / "out")
    assert "without --connector" in failing(capsys, *start, "--image-encoder", clip)
    assert "without --num-image-tokens" in failing(capsys, *start, "--image-encoder", clip, "--connector", "avg_pool")
    assert "--image-size is given without --image-encoder" in failing(capsys, *start, "--image-size", 28)
    run(*start)
    assert "is there already" in failing(capsys, *start)
    # Swapped folders: what is no decoder says what a decoder may be.
    swapped = failing(capsys, "import", "--decoder", clip, "--out", tmp_path / "other")
    assert "clip_vision_model" in swapped
    assert "llama, mistral" in swapped


def _misshape(tensors: dict[str, Tensor]) -> None:
    tensors["model.norm.weight"] = torch.ones(7)


def _drop(tensors: dict[str, Tensor]) -> None:
    for name in [name for name in tensors if ".layers.1." in name]:
        del tensors[name]


def _add(tensors: dict[str, Tensor]) -> None:
    tensors |= {f"extra.{number}": torch.ones(1) for number in range(12)}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_misshape, "model.norm.weight is (7,) there but (256,) in the model"),
        (_drop, "model.layers.1.self_attn.q_proj.weight is missing"),
        (_add, "extra.0 is not in the model"),
    ],
)
def test_tensors_that_are_not_the_configs_are_named_and_nothing_is_written(
    change: Callable[[dict[str, Tensor]], None], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folder(tmp_path / "theirs", "llama")
    tensors = load_file(tmp_path / "theirs" / "model.safetensors")
    change(tensors)
    save_file(tensors, tmp_path / "theirs" / "model.safetensors")
    message = failing(capsys, "import", "--decoder", tmp_path / "theirs", "--out", tmp_path / "ours")
    assert said in message
    assert message.count(".weight") + message.count("extra.") <= 10
    assert names_in(tmp_path) == {"theirs"}


def test_mistakes_of_an_export_are_one_sentence_and_leave_no_folder(
    trained: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sparse = trained(moe=MoEConfig(num_experts=2))
    before = names_in(tmp_path)
    said = failing(capsys, "export", sparse, tmp_path / "out", "--decoder-only")
    assert "mixtral, would need moe.every=1 (it is 2)" in said
    assert "does not exist" in failing(capsys, "export", tmp_path / "nowhere", tmp_path / "out", "--decoder-only")
    assert "no run folder" in failing(capsys, "export", sparse, tmp_path / "out", "--decoder-only", "--stage", "sft")
    weights = sparse / "model.safetensors"
    save_file({**load_file(weights), "extra": torch.ones(1)}, weights)
    values = json.loads((sparse / "config.json").read_text())
    values["model"]["decoder"]["moe"]["every"] = 1
    (sparse / "config.json").write_text(json.dumps(values))
    assert "extra is not in the model" in failing(capsys, "export", sparse, tmp_path / "out", "--decoder-only")
    weights.write_bytes(b"torn")
    assert "is not a whole safetensors file" in failing(capsys, "export", sparse, tmp_path / "out", "--decoder-only")
    assert names_in(tmp_path) == before


def test_a_damaged_record_of_the_imported_folder_is_one_sentence(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(*both(folders, tmp_path / "ours"))
    path = tmp_path / "ours" / "tokenizer_config.json"
    values = json.loads(path.read_text())

    def with_config(text: str) -> bytes:
        source = {**values["source"], "files": {**values["source"]["files"], "config.json": text}}
        return json.dumps({**values, "source": source}).encode()

    for content, said in (
        (b"{", "is not valid JSON"),
        (b"\xff", "is not valid JSON"),
        (b"[]", "is not a JSON object"),
        (with_config("{"), "is not valid JSON"),
        (with_config("[]"), "is not a JSON object"),
        (with_config('{"model_type": "llama"}'), "has no"),
    ):
        path.write_bytes(content)
        assert said in failing(capsys, "export", tmp_path / "ours", tmp_path / "out", "--decoder-only")
        if b"source" not in content:
            assert said in failing(capsys, "export", tmp_path / "ours", tmp_path / "out")
    assert "out" not in names_in(tmp_path)


@pytest.mark.parametrize("kind", [(), ("--decoder-only",)])
def test_a_context_has_room_for_a_token(
    kind: tuple[str, ...], folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(*both(folders, tmp_path / "ours"))
    for number in (0, -3):
        said = failing(capsys, "export", tmp_path / "ours", tmp_path / "out", *kind, "--max-positions", number)
        assert f"--max-positions is {number}" in said


def test_a_full_disk_is_one_sentence_and_leaves_no_folder(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(*both(folders, tmp_path / "ours"))
    before = names_in(tmp_path)
    with room_for(500_000):
        for arguments in (
            both(folders, tmp_path / "out"),
            ("export", tmp_path / "ours", tmp_path / "out"),
            ("export", tmp_path / "ours", tmp_path / "out", "--decoder-only"),
        ):
            assert "make room" in failing(capsys, *arguments)
    assert names_in(tmp_path) == before


def test_without_a_known_length_one_is_asked_for(
    trained: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = trained()
    values = json.loads((folder / "config.json").read_text())
    del values["data"]["seq_len"]
    (folder / "config.json").write_text(json.dumps(values))
    arguments = ("export", folder, tmp_path / "out", "--decoder-only")
    assert "give --max-positions" in failing(capsys, *arguments)
    run(*arguments, "--max-positions", 77)
    assert HFFolder(tmp_path / "out").config["max_position_embeddings"] == 77


def test_a_dense_import_is_upcycled_and_leaves_as_a_mixtral(tmp_path: Path) -> None:
    """Equal experts and gates that add up to 1 compute what the dense decoder did."""
    dense = write_folder(tmp_path / "theirs", "llama")
    run("import", "--decoder", tmp_path / "theirs", "--out", tmp_path / "ours")
    run("upcycle", tmp_path / "ours", "--num-experts", 4, "--every", 1, "--out", tmp_path / "sparse")
    run("export", tmp_path / "sparse", tmp_path / "back", "--decoder-only")
    sparse = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "back")
    assert type(sparse).__name__ == "MixtralForCausalLM"
    ids = torch.arange(20)[None]
    with torch.no_grad():
        assert (sparse(ids).logits - dense(ids).logits).abs().max() <= 1e-4

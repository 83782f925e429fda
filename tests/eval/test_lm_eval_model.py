"""lm-eval's calls that TextCore does not need."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mm1.checkpoint import CheckpointConfig, save_checkpoint
from mm1.data.tokenizer import train_tokenizer
from mm1.eval.model import MM1Model
from mm1.models.decoder import DecoderConfig
from mm1.models.mm1 import MM1, MM1Config
from mm1.types import Document, Text

pytest.importorskip("lm_eval")
from lm_eval.api.registry import get_model

from mm1.eval.lm_eval_model import MM1LM

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    texts = ["a red circle and a blue square\n", "the dog runs, the cat sits\n"]
    tokenizer = train_tokenizer(iter(texts * 5), 300, folder / "tokenizer.json")
    config = MM1Config(decoder=DecoderConfig(vocab_size=tokenizer.vocab_size, dim=32, num_layers=1, mlp_dim=64))
    torch.manual_seed(0)
    model = MM1(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() >= 2:
                parameter.normal_(std=1.5 * parameter[0].numel() ** -0.5)
    return save_checkpoint(folder / "made", CheckpointConfig(model=config), model, tokenizer.path).folder


def asked(*arguments: object) -> SimpleNamespace:
    return SimpleNamespace(args=arguments)


def test_lm_eval_finds_the_model_by_name(checkpoint: Path) -> None:
    assert get_model("mm1") is MM1LM
    loaded = MM1LM.create_from_arg_string(f"checkpoint={checkpoint}", {"batch_size": 4, "device": "cpu"})
    assert loaded.generate_until([asked("a red", {"until": ["\n"], "max_gen_toks": 3})])


def test_a_whole_texts_likelihood_is_that_of_its_tokens_after_the_prefix(checkpoint: Path) -> None:
    model = MM1Model.load(checkpoint)
    text = "the dog runs and a red circle sits"
    ids = model.encoder.tokenizer.encode(text, beginning=True)
    (value,) = MM1LM(model).loglikelihood_rolling([asked(text)])
    tokens = torch.tensor([[model.encoder.tokenizer.eos_id, *ids]])  # no BOS here, so EOS stands for the beginning
    with torch.no_grad():
        hidden = _hidden(model.engine.model, tokens)
        scores = model.engine._logits(hidden).log_softmax(-1)[0, :-1]
    assert value == pytest.approx(float(scores[range(len(ids)), ids].sum()), abs=1e-3)
    short = MM1LM(MM1Model.load(checkpoint, max_len=8))
    (in_windows,) = short.loglikelihood_rolling([asked(text)])
    assert in_windows != pytest.approx(value, abs=1e-3)
    assert short.truncated == 0


def _hidden(model: MM1, tokens: torch.Tensor) -> torch.Tensor:
    from mm1.models.attention import AttentionMask

    positions = torch.arange(tokens.shape[1])[None]
    mask = AttentionMask.from_segments(torch.zeros_like(tokens))
    return model.decoder(model.decoder.embed(tokens), positions, mask).hidden


def test_texts_end_at_each_requests_own_stop(checkpoint: Path) -> None:
    model = MM1Model.load(checkpoint)
    (whole,) = model.generate([Document("d", (Text("a red"),))], 12, ())
    stop = whole[2:4]
    settings = {"max_gen_toks": 12, "do_sample": False, "temperature": 0.7}
    stopped, free = MM1LM(model).generate_until(
        [asked("a red", {**settings, "until": stop}), asked("a red", {**settings, "until": []})]
    )
    assert stopped == whole[: whole.index(stop)]
    assert free == whole


def test_sampling_is_what_a_task_asks_for(checkpoint: Path) -> None:
    adapter = MM1LM(MM1Model.load(checkpoint))
    hot = {"max_gen_toks": 12, "do_sample": True, "temperature": 3.0, "until": []}
    greedy, drawn = adapter.generate_until([asked("a red", {**hot, "temperature": 0.0}), asked("a red", hot)])
    assert greedy != drawn


def test_lm_evals_own_models_are_still_known() -> None:
    """It registers them when it is first asked for one, but not if another is registered by then."""
    code = "import mm1.eval.lm_eval_model; from lm_eval.api.registry import get_model as get; get('mm1'); get('hf')"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)

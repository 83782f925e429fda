"""`mm1 judge`, as it is typed."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import torch

from mm1.checkpoint import CheckpointConfig, save_checkpoint
from mm1.cli.main import EXIT_USER_ERROR, main
from mm1.data.tokenizer import train_tokenizer
from mm1.models.connector import AvgPoolConfig
from mm1.models.decoder import DecoderConfig
from mm1.models.image_encoder import ImageEncoderConfig
from mm1.models.mm1 import MM1, MM1Config
from tests.eval.instruct.files import picture, put


class Half(BaseHTTPRequestHandler):
    """Marks everything 0.5."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"choices": [{"message": {"content": "0.5"}}]}).encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    tokenizer = train_tokenizer(iter(["a red circle\n"] * 5), 280, tmp_path / "tokenizer.json")
    config = MM1Config(
        decoder=DecoderConfig(vocab_size=tokenizer.vocab_size, dim=16, num_layers=1, mlp_dim=32),
        image_encoder=ImageEncoderConfig(image_size=16, patch_size=8, dim=16, num_layers=1, num_heads=2, mlp_dim=32),
        connector=AvgPoolConfig(num_image_tokens=4),
    )
    torch.manual_seed(0)
    return save_checkpoint(tmp_path / "made", CheckpointConfig(model=config), MM1(config), tokenizer.path).folder


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    folder = tmp_path / "mm-vet"
    entry = {"imagename": "a.png", "question": "What?", "answer": "this", "capability": ["rec"]}
    put(folder / "mm-vet.json", json.dumps({"v1_0": entry, "v1_1": {**entry, "imagename": "gone.png"}}))
    put(folder / "images" / "a.png", picture(0))
    return folder


def test_answers_are_marked_and_shown(
    checkpoint: Path, questions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = HTTPServer(("127.0.0.1", 0), Half)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    out = tmp_path / "out.json"
    try:
        address = f"http://127.0.0.1:{server.server_address[1]}/v1"
        typed = ["judge", str(checkpoint), "mm_vet", str(questions), "--judge", address, "--judge-model", "half"]
        assert main([*typed, "--out", str(out), "--device", "cpu"]) == 0
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert json.loads(out.read_text())["score"] == 50
    printed = capsys.readouterr().out
    assert "mm_vet, marked by half" in printed
    assert "1 questions are in no score: missing image" in printed


@pytest.mark.parametrize(
    ("typed", "said"), [(["--out", "none/o.json"], "no folder none"), (["--out", "o.json"], "http")]
)
def test_mistakes_are_one_sentence(
    typed: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rest = ["mm_vet", str(tmp_path), "--judge", "nowhere", "--judge-model", "x"]
    assert main(["judge", str(tmp_path), *rest, *typed]) == EXIT_USER_ERROR
    assert said in capsys.readouterr().err

"""Files of documents through a small model: every line has its answer, whatever was killed in between."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

from mm1.config import UserError
from mm1.data.tokenizer import train_tokenizer
from mm1.eval.continuations import ContinueConfig, continue_documents
from mm1.eval.model import MM1Model
from mm1.generate.sampling import SamplingConfig
from mm1.models.connector import AvgPoolConfig
from mm1.models.decoder import DecoderConfig
from mm1.models.image_encoder import ImageEncoderConfig
from mm1.models.mm1 import MM1, MM1Config


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> MM1Model:
    tokenizer = train_tokenizer(
        iter(["a red circle\n", "what is it? a blue square\n"] * 5),
        300,
        tmp_path_factory.mktemp("t") / "tokenizer.json",
    )
    encoder = ImageEncoderConfig(image_size=16, patch_size=8, dim=16, num_layers=1, num_heads=2, mlp_dim=32)
    torch.manual_seed(0)
    made = MM1(
        MM1Config(
            decoder=DecoderConfig(vocab_size=tokenizer.vocab_size, dim=32, num_layers=2, mlp_dim=64),
            image_encoder=encoder,
            connector=AvgPoolConfig(num_image_tokens=4),
        )
    )
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.dim() >= 2:
                parameter.normal_(std=parameter[0].numel() ** -0.5)
    return MM1Model.of(made, tokenizer, max_len=80)


def png(shade: int) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(np.full((16, 16, 3), shade, np.uint8)).save(file, "PNG")
    return file.getvalue()


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def document(name: object, *parts: str | int) -> dict[str, Any]:
    """Texts as they are, numbers as pictures of that shade."""
    inline = [
        text(part)
        if isinstance(part, str)
        else {"type": "image", "image": "data:image/png;base64," + base64.b64encode(png(part)).decode()}
        for part in parts
    ]
    return {"id": name, "segments": inline}


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


ROWS = [document("a", 10, " is a"), document("b", "what is it?"), document(7, 200, 10, " and"), document("d", 90)]
SHORT = ContinueConfig(max_new_tokens=5, batch=2)


def run(model: MM1Model, folder: Path, rows: list[dict[str, Any]], config: ContinueConfig = SHORT, name: str = "m"):
    return continue_documents(model, name, written(folder / "in.jsonl", rows), folder / "out.jsonl", config)


def test_every_document_has_its_line_in_order(model: MM1Model, tmp_path: Path) -> None:
    done = run(model, tmp_path, ROWS)
    assert (done.answered, done.found, done.failed) == (4, 0, {})
    out = lines(tmp_path / "out.jsonl")
    assert [line["id"] for line in out] == ["a", "b", "7", "d"]
    for line, row in zip(out, ROWS, strict=True):
        alone = tmp_path / "alone"
        alone.mkdir(exist_ok=True)
        run(model, alone, [row])
        assert lines(alone / "out.jsonl")[0]["text"] == line["text"]
    assert all(line["finish_reason"] in ("eos", "length") for line in out)
    assert not (tmp_path / "out.jsonl.partial").exists()


def test_pictures_are_looked_for_beside_the_file(model: MM1Model, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(png(10))
    beside = {"id": "a", "segments": [{"type": "image", "image": "x.png"}, text(" is a")]}
    run(model, tmp_path, [beside])
    by_path = lines(tmp_path / "out.jsonl")
    run(model, tmp_path, ROWS[:1])
    assert lines(tmp_path / "out.jsonl") == by_path  # the same document, so not even asked again


def test_bad_documents_are_lines_with_their_reason(model: MM1Model, tmp_path: Path) -> None:
    missing = {"id": "m", "segments": [{"type": "image", "image": "none.png"}]}
    broken = {"id": "x", "segments": [{"type": "image", "image": "data:image/png;base64,AAAA"}]}
    rows = [ROWS[0], missing, broken, document("long", "a red circle " * 60), {"id": "no"}, ROWS[0], ROWS[1]]
    done = run(model, tmp_path, rows)
    out = lines(tmp_path / "out.jsonl")
    assert ["text" in line for line in out] == [True, False, False, False, False, False, True]
    assert done.answered == 2
    assert sum(done.failed.values()) == 5
    assert out[1] == {"id": "m", "error": "missing image", "where": f"{tmp_path}/in.jsonl:2", "asked": None}
    assert "has an image that is" in out[2]["error"]
    assert "but the limit is 80" in out[3]["error"]
    assert out[4]["error"] == "no segments"
    assert out[5] == {"id": "a", "error": "an id that was there before", "asked": None}


def test_what_was_answered_is_not_asked_again(model: MM1Model, tmp_path: Path) -> None:
    run(model, tmp_path, ROWS[:3])
    before = lines(tmp_path / "out.jsonl")
    asked = model.engine.statistics.prompts
    done = run(model, tmp_path, [ROWS[3], *ROWS[:3]])
    assert (done.answered, done.found) == (1, 3)
    assert model.engine.statistics.prompts == asked + 1
    assert lines(tmp_path / "out.jsonl")[1:] == before


@pytest.mark.parametrize("change", ["option", "model", "document"])
def test_another_question_is_asked_anew(model: MM1Model, tmp_path: Path, change: str) -> None:
    run(model, tmp_path, ROWS)
    config = SHORT.replace(max_new_tokens=6) if change == "option" else SHORT
    rows = [*ROWS[:3], document("d", 91)] if change == "document" else ROWS
    done = run(model, tmp_path, rows, config, "other" if change == "model" else "m")
    assert (done.answered, done.found) == ((1, 3) if change == "document" else (4, 0))


def test_another_batch_size_is_the_same_question(model: MM1Model, tmp_path: Path) -> None:
    run(model, tmp_path, ROWS)
    assert run(model, tmp_path, ROWS, SHORT.replace(batch=3)).found == 4


def test_a_killed_run_goes_on(model: MM1Model, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    run(model, whole, ROWS)

    class Killed(Exception):
        pass

    def kill(done: int, total: int, tokens: int) -> None:
        assert (done, total) == (2, 4)
        raise Killed

    source = written(tmp_path / "in.jsonl", ROWS)
    with pytest.raises(Killed):
        continue_documents(model, "m", source, tmp_path / "out.jsonl", SHORT, kill)
    partial = tmp_path / "out.jsonl.partial"
    assert not (tmp_path / "out.jsonl").exists()
    assert len(lines(partial)) == 2
    with partial.open("a") as file:
        file.write('{"id": "7", "te')  # as a kill leaves it
    done = continue_documents(model, "m", source, tmp_path / "out.jsonl", SHORT)
    assert (done.answered, done.found) == (2, 2)
    assert lines(tmp_path / "out.jsonl") == lines(whole / "out.jsonl")


def test_a_text_ends_before_a_stop(model: MM1Model, tmp_path: Path) -> None:
    long = SHORT.replace(max_new_tokens=12, logprobs=True)
    run(model, tmp_path, ROWS[1:2], long)
    (whole,) = lines(tmp_path / "out.jsonl")
    assert len(whole["tokens"]) == len(whole["logprobs"])
    assert all(value <= 0 for value in whole["logprobs"])
    stop = whole["text"][3:5]
    run(model, tmp_path, ROWS[1:2], long.replace(stop=(stop,)))
    (stopped,) = lines(tmp_path / "out.jsonl")
    assert stopped["text"] == whole["text"][: whole["text"].index(stop)]
    assert stopped["finish_reason"] == "stop"
    run(model, tmp_path, ROWS[1:2], long.replace(stop_tokens=(whole["tokens"][2],)))
    (by_token,) = lines(tmp_path / "out.jsonl")
    assert by_token["tokens"] == whole["tokens"][: whole["tokens"].index(whole["tokens"][2])]


def test_equal_documents_draw_different_texts_and_the_same_ones_again(model: MM1Model, tmp_path: Path) -> None:
    hot = SHORT.replace(max_new_tokens=8, sampling=SamplingConfig(temperature=2.0, seed=3))
    rows = [document(number, "what is it?") for number in range(6)]
    run(model, tmp_path, rows, hot)
    first = lines(tmp_path / "out.jsonl")
    assert len({line["text"] for line in first}) > 3
    (tmp_path / "out.jsonl").unlink()
    run(model, tmp_path, rows[::-1], hot)
    assert lines(tmp_path / "out.jsonl") == first[::-1]


def test_no_file_and_no_folder_are_said(model: MM1Model, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no file: give documents"):
        continue_documents(model, "m", tmp_path / "none", tmp_path / "out.jsonl", SHORT)
    source = written(tmp_path / "in.jsonl", ROWS)
    with pytest.raises(UserError, match="can not be written"):
        continue_documents(model, "m", source, tmp_path / "none" / "out.jsonl", SHORT)


def test_the_documents_are_not_written_over(model: MM1Model, tmp_path: Path) -> None:
    source = written(tmp_path / "in.jsonl", ROWS)
    before = source.read_bytes()
    with pytest.raises(UserError, match="would be written over the documents themselves"):
        continue_documents(model, "m", source, tmp_path / "." / "in.jsonl", SHORT)
    assert source.read_bytes() == before


def test_answers_with_signs_that_may_end_lines_are_found_again(model: MM1Model, tmp_path: Path) -> None:
    run(model, tmp_path, ROWS)
    out = tmp_path / "out.jsonl"
    first, *others = lines(out)
    said = json.dumps({**first, "text": "a\u2028b\x85c"}, ensure_ascii=False)
    out.write_text("\n".join([said, *map(json.dumps, others)]) + "\n", encoding="utf-8")
    assert run(model, tmp_path, ROWS).found == len(ROWS)

"""transformers' own ways in: the pipeline, and a folder that opens by itself."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from transformers import pipeline

from mm1.data.templates import chat_turn
from mm1.types import Document, Image, Text
from tests.hf.exported import NEW, PROMPTS, Exported, document, picture, png, prompt

QUESTION = "which of <|image|> is it?"


def chat(*parts: Any) -> list[dict[str, Any]]:
    content = [
        {"type": "text", "text": part} if isinstance(part, str) else {"type": "image", "image": part} for part in parts
    ]
    return [{"role": "user", "content": content}]


def own_answer(exported: Exported, *parts: Any) -> str:
    segments = [Text(part) if isinstance(part, str) else Image(png(part)) for part in parts]
    return exported.own.generate([Document("chat", chat_turn(segments, None))], NEW, stop=())[0]


def test_a_chat_through_the_pipeline_is_answered_as_by_mm1(variant):
    exported = variant("smeared")
    pipe = pipeline("image-text-to-text", str(exported.folder))
    chats = [("a cat",), (picture(0), QUESTION), (picture(1), " and ", picture(2), picture(3), QUESTION)]
    for parts in chats:
        (answer,) = pipe(text=chat(*parts), max_new_tokens=NEW, return_full_text=False)
        assert answer["generated_text"] == own_answer(exported, *parts)


def test_a_path_in_a_message_is_read_as_training_reads_it(variant, tmp_path):
    exported = variant("tied")
    image = picture(0, 90, 70)
    image.putalpha(picture(1, 90, 70).convert("L"))  # transformers itself would drop what training lays on white
    (tmp_path / "a.png").write_bytes(png(image))
    messages = [{"role": "user", "content": [{"type": "image", "url": str(tmp_path / "a.png")}]}]
    (answer,) = pipeline("image-text-to-text", str(exported.folder))(
        text=messages, max_new_tokens=NEW, return_full_text=False
    )
    assert answer["generated_text"] == own_answer(exported, image)


def test_a_prompt_through_the_pipeline(variant):
    exported = variant("tied")
    text, pictures = prompt(*PROMPTS[2])
    pipe = pipeline("image-text-to-text", str(exported.folder))
    (answer,) = pipe(text=text, images=pictures, max_new_tokens=NEW, return_full_text=False)
    expected = exported.own.generate([document(*PROMPTS[2])], NEW, stop=())
    assert [answer["generated_text"]] == expected


ALONE = """
import sys
from transformers import AutoModel, AutoModelForImageTextToText, AutoProcessor
assert not any(name.startswith("mm1") for name in sys.modules)
for folder, again in zip(sys.argv[1:], sys.argv[2:]):
    processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
    model = AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=True)
    base = AutoModel.from_pretrained(folder, trust_remote_code=True)
    inputs = processor(text="a cat", return_tensors="pt")
    print(model.generate(**inputs, max_new_tokens=4, do_sample=False)[0].tolist())
    assert base(**inputs).last_hidden_state.equal(model.model(**inputs).last_hidden_state)
    model.save_pretrained(again)
    processor.save_pretrained(again)
"""


def test_the_folder_opens_without_importing_mm1_and_again_after_saving(variant, tmp_path):
    exported = variant("untied")
    environment = {**os.environ, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    folders = [str(folder) for folder in (exported.folder, tmp_path / "first", tmp_path / "second")]
    command = [sys.executable, "-c", ALONE, *folders]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    given = exported.processor(text="a cat", return_tensors="pt")
    expected = exported.model.generate(**given, max_new_tokens=4, do_sample=False)[0].tolist()
    assert done.stdout.splitlines() == [str(expected)] * 2
    code = {file.name for file in exported.folder.glob("*.py")}
    assert len(code) == 4
    assert {file.name for file in (tmp_path / "second").glob("*.py")} == code

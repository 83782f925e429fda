"""LLaVA's conversations: an array or lines, pictures of a folder only."""

import json

from mm1.data import templates
from mm1.types import Document, Image, Text


def row(*turns, **more):
    roles = ("human", "gpt")
    return {"conversations": [{"from": roles[n % 2], "value": text} for n, text in enumerate(turns)], **more}


def test_arrays_and_lines_give_the_same_chats(write, read, tmp_path):
    (tmp_path / "coco").mkdir()
    (tmp_path / "coco" / "1.jpg").write_bytes(b"cat")
    rows = [
        row("<image>\nWhat?", "A cat.", "Big?", "No.", id="a", image="coco/1.jpg"),
        row("Hello.", "Hi.", id="b"),
        row("<image><image> Two?", "Two.", id=3, image=["coco/1.jpg", "coco/1.jpg"]),
    ]
    cat = Image(b"cat")
    first = (cat, Text("What?"))
    expected = [
        Document("l/a", templates.chat_turn(first, "A cat.") + templates.chat_turn([Text("Big?")], "No.")),
        Document("l/b", templates.chat_turn([Text("Hello.")], "Hi.")),
        Document("l/3", templates.chat_turn([cat, cat, Text(" Two?")], "Two.")),
    ]
    (tmp_path / "l.json").write_text(json.dumps(rows, indent=1))
    for path in (tmp_path / "l.json", write.jsonl(tmp_path / "l.jsonl", rows)):
        assert read("llava", path, images=tmp_path) == (expected, {}, {})


def test_a_system_turn_opens_the_first_question(write, read, tmp_path):
    turns = row("What?", "A cat.")["conversations"]
    path = write.jsonl(tmp_path / "l.jsonl", [{"conversations": [{"from": "system", "value": "Be short."}, *turns]}])
    (document,), dropped, _ = read("llava", path)
    assert document.segments == templates.chat_turn([Text("Be short.\nWhat?")], "A cat.")
    assert (document.id, dropped) == ("l/l.jsonl:1", {})


def test_what_is_no_chat_is_dropped(write, read, tmp_path):
    rows = [
        row("Only a question"), row("q", "a", "q"), {"conversations": [{"from": "gpt", "value": "a"}] * 2}, {"id": 1},
        {"conversations": [{"from": "human"}]}, row("q", "a", image=5), row("q", "a", image="gone.jpg"),
        row("q", "a", image="../l.jsonl"), row("q", " "), row(), row("good", "good"),
        {"conversations": [{"from": "moderator", "value": "a"}, {"from": "gpt", "value": "a"}]},
    ]  # fmt: skip
    documents, dropped, _ = read("llava", write.jsonl(tmp_path / "l.jsonl", rows))
    assert len(documents) == 1
    assert dropped == {
        "turns are not question and answer in turn": 4, "no conversations": 1, "no value": 1, "image is no path": 1,
        "missing image": 1, "image outside its folder": 1, "empty turn": 1, "no turns": 1,
    }  # fmt: skip


def test_a_link_that_leads_out_of_the_picture_folder_is_not_followed(write, read, tmp_path):
    folder, outside = tmp_path / "pictures", tmp_path / "outside"
    (folder / "deep").mkdir(parents=True)
    outside.mkdir()
    (outside / "secret.jpg").write_bytes(b"secret")
    (folder / "a.jpg").write_bytes(b"a")
    (folder / "inside.jpg").symlink_to(folder / "a.jpg")
    (folder / "file.jpg").symlink_to(outside / "secret.jpg")
    (folder / "deep" / "out").symlink_to(outside)
    (folder / "circle.jpg").symlink_to(folder / "circle.jpg")
    (tmp_path / "linked").symlink_to(folder)
    said = [{"from": "human", "value": "<image>q"}, {"from": "gpt", "value": "a"}]
    names = ["inside.jpg", "file.jpg", "deep/out/secret.jpg", "circle.jpg"]
    path = write.jsonl(tmp_path / "chats.jsonl", [{"image": name, "conversations": said} for name in names])
    documents, dropped, _ = read("llava", path, images=tmp_path / "linked")
    assert [document.images[0].data for document in documents] == [b"a"]
    assert dropped == {"image outside its folder": 2, "missing image": 1}

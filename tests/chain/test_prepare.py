"""Preparing sources: every document is kept or counted, finished sources stay, processes change nothing."""

import errno
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image as PillowImage
from pyarrow import parquet

from mm1.chain.prepare import PrepareConfig, ShardsConfig, identity, open_sources, prepare, prepare_folder
from mm1.config import UserError
from mm1.data.embedded_source import EmbeddedConfig
from mm1.data.formats.files import FilesConfig, sources_of
from mm1.data.synthetic.source import SyntheticConfig
from mm1.steps import locked
from mm1.types import Document, Image, Text

CONFIG = PrepareConfig(
    sources=(
        SyntheticConfig(name="captions", page="captions", num_documents=12),
        SyntheticConfig(name="sums", page="sums", num_documents=9, num_items=(1, 3)),
        EmbeddedConfig(name="pictures", part="captions", num_documents=10),
    ),
    vocab_size=320,
    num_processes=1,
)


class Rotten:
    """Good documents, empty ones, and ones with a picture that is none."""

    name = "rotten"

    def __init__(self, config):
        pass

    def __len__(self):
        return 9

    def document(self, index):
        segments = [(Text("good"),), (), (Text("bad"), Image(b"no picture"))][index % 3]
        return Document(id=f"rotten/{index}", segments=segments, source="rotten")


def test_documents_and_dropped_add_up_to_what_was_read(tmp_path, monkeypatch):
    monkeypatch.setattr("mm1.chain.parts.build_source", Rotten)
    config = CONFIG.replace(sources=(SyntheticConfig(name="rotten", page="sums", num_documents=9),))
    prepare(config, tmp_path, lambda line: None)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["documents"] == 3
    assert summary["dropped"] == {"empty document": 3, "unreadable": 3}
    assert summary["documents"] + sum(summary["dropped"].values()) == 9


def test_the_summary_counts_every_source(tmp_path):
    prepare(CONFIG, tmp_path, lambda line: None)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert {name: counts["documents"] for name, counts in summary["sources"].items()} == {
        "captions": 12, "sums": 9, "pictures": 10,
    }  # fmt: skip
    assert summary["images"] == 22
    assert sum(summary["lengths"].values()) == summary["documents"] == 31
    assert summary["tokens"] == sum(counts["tokens"] for counts in summary["sources"].values())


def test_a_document_is_counted_in_the_first_bin_that_holds_it(tmp_path, monkeypatch):
    prepare(CONFIG, tmp_path, lambda line: None)
    lengths = []
    for source in open_sources(tmp_path).values():
        lengths += source.totals(np.arange(len(source)))[0].tolist()
    limits = tuple(sorted(set(lengths))[::2])  # many documents are exactly as long as a bin
    monkeypatch.setattr("mm1.chain.prepare._LENGTH_BINS", limits)
    prepare(CONFIG, tmp_path, lambda line: None)
    bins = Counter(next((f"<={limit}" for limit in limits if n <= limit), f">{limits[-1]}") for n in lengths)
    assert json.loads((tmp_path / "summary.json").read_text())["lengths"] == bins


def test_finished_sources_are_not_written_again_and_the_result_is_the_same(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
        prepare(CONFIG, folder, lambda line: None)
    shutil.rmtree(parts / "shards" / "sums")
    untouched = (parts / "shards" / "captions" / "index.json").stat().st_mtime_ns
    said = []
    prepare(CONFIG, parts, said.append)
    assert said == ["sums: 9 documents"]
    assert (parts / "shards" / "captions" / "index.json").stat().st_mtime_ns == untouched
    files = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file())
    assert [(whole / file).read_bytes() for file in files] == [(parts / file).read_bytes() for file in files]


@pytest.mark.parametrize("missing", ["index.json", "part-00000/index.json"])
def test_a_source_killed_before_its_end_is_finished(tmp_path, missing):
    prepare(CONFIG, tmp_path, lambda line: None)
    folder = tmp_path / "shards" / "sums"
    (folder / "index.json").unlink()
    (folder / missing).unlink(missing_ok=True)
    (folder / "part-00000" / ".shard-00000.arrow.77.tmp").write_bytes(b"half")
    said = []
    prepare(CONFIG, tmp_path, said.append)
    assert said == ["sums: 9 documents"]
    assert json.loads((tmp_path / "summary.json").read_text())["documents"] == 31


def test_two_sources_of_one_name_and_an_unknown_source_are_refused(tmp_path):
    with pytest.raises(UserError, match="two sources are named 'sums'"):
        prepare(CONFIG.replace(sources=(*CONFIG.sources, CONFIG.sources[1])), tmp_path, print)
    prepare(CONFIG, tmp_path, lambda line: None)
    with pytest.raises(UserError, match=r"'summs'.*captions, pictures, sums"):
        open_sources(tmp_path, ["summs"])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A prepared folder."""
    folder = tmp_path_factory.mktemp("made")
    prepare(CONFIG, folder, lambda line: None)
    return folder


def linking(made, **changes):
    sources = (CONFIG.sources[1], ShardsConfig(name="mine", path=made / "shards" / "captions"))
    return CONFIG.replace(**{"sources": sources, "tokenizer": made / "tokenizer.json", **changes})


def test_shards_prepared_elsewhere_are_linked_and_counted(made, tmp_path):
    prepare(linking(made), tmp_path, lambda line: None)
    assert (tmp_path / "shards" / "mine").resolve() == (made / "shards" / "captions").resolve()
    assert (tmp_path / "tokenizer.json").read_bytes() == (made / "tokenizer.json").read_bytes()
    counts, before = (json.loads((folder / "summary.json").read_text())["sources"] for folder in (tmp_path, made))
    assert counts == {"sums": before["sums"], "mine": before["captions"]}
    source = open_sources(tmp_path, ["mine"])["mine"]
    assert (source.name, len(source)) == ("mine", 12)


def test_shards_of_another_tokenizer_or_without_one_or_not_there_are_one_sentence(made, tmp_path):
    other, new = tmp_path / "other", tmp_path / "new"
    other.mkdir()
    new.mkdir()
    prepare(CONFIG.replace(vocab_size=300), other, lambda line: None)
    with pytest.raises(UserError, match=r"^source 'mine' in .* was prepared with another tokenizer"):
        prepare(linking(made, tokenizer=other / "tokenizer.json"), new, print)
    with pytest.raises(UserError, match=r"source 'mine' was prepared with a tokenizer: give its path"):
        linking(made, tokenizer=None)
    missing = linking(made, sources=(ShardsConfig(name="mine", path=tmp_path / "nowhere"),))
    for call in (lambda: prepare(missing, new, print), lambda: identity(missing)):
        with pytest.raises(UserError, match=r"^source 'mine' is expected as a folder of shards at .*nowhere"):
            call()


def test_the_prepared_folder_depends_on_what_is_linked_not_on_where_it_lies(made, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(made, moved)
    assert identity(linking(made)) == identity(linking(moved)) == identity(linking(made, num_processes=5))
    index = moved / "shards" / "captions" / "index.json"
    index.write_text(index.read_text().replace('"sha256": "', '"sha256": "0'))
    assert identity(linking(made)) != identity(linking(moved))


def write_files(folder, make):
    """A tar that is cut off, pages with a broken picture, chats without pictures, and text, in a new `folder`."""
    folder.mkdir()
    members = [(f"{n}.{kind}", data) for n in range(6) for kind, data in (("png", make(n)), ("txt", b"one <|image|>"))]
    with tarfile.open(folder / "0.tar", "w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    (folder / "0.tar").write_bytes((folder / "0.tar").read_bytes()[: 1536 * 2 + 700])
    pictures = [[None, make(8), b"broken"], [None, b"broken", None]]
    texts = [["a page", None, None], ["a", None, "b"]]
    parquet.write_table(pa.table({"images": pictures, "texts": texts}), folder / "pages.parquet")
    turns = [{"from": "human", "value": "Hello?"}, {"from": "gpt", "value": "Hello."}]
    (folder / "chats.json").write_text(json.dumps([{"conversations": turns}] * 4 + [{"conversations": turns[:1]}]))
    lines = [json.dumps({"text": f"line {n}"}).encode() for n in range(20)]
    (folder / "text.jsonl").write_bytes(b"\n".join([*lines, b'{"text": ""}', b'{"text": "caf\xe9"}', b"{"]))
    return folder


def picture(number):
    buffer = io.BytesIO()
    PillowImage.new("RGB", (8, 8), (number, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def files_config(folder, **changes):
    return CONFIG.replace(**{"sources": tuple(sources_of([str(folder)])), **changes})


def shards_of(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.suffix in (".arrow", ".json") and path.name != "prepare.json"
    }


def test_files_become_shards_and_all_that_was_read_adds_up(tmp_path):
    said = []
    folder = write_files(tmp_path / "in", picture)
    summary = prepare_folder(files_config(folder), tmp_path / "out", said.append)
    assert said[:2] == [
        "webdataset: 1 file, webdataset by a tar archive",
        "llava: 1 file, llava by JSON with conversations",
    ]
    assert {name: counts["documents"] for name, counts in summary["sources"].items()} == {
        "webdataset": 1, "llava": 4, "obelics": 1, "text-json": 20,
    }  # fmt: skip
    assert summary["dropped"] == {
        "truncated": 1, "turns are not question and answer in turn": 1, "no image left": 1, "empty document": 1,
        "invalid UTF-8": 1, "invalid JSON": 1,
    }  # fmt: skip
    assert summary["dropped_images"] == {"unreadable": 2}
    assert summary["first_dropped"]["invalid JSON"] == f"{folder}/text.jsonl:23"
    read = 1 + 1 + 5 + 2 + 23  # the tar's sample and its rest, chats, pages, lines
    assert summary["documents"] + sum(summary["dropped"].values()) == read
    sources = open_sources(tmp_path / "out")
    assert sources["webdataset"].document(0).segments == (Image(picture(0)), Text(" one <|image|>\n"))
    assert sources["obelics"].document(0).segments == (Text("a page"), Image(picture(8)))
    assert sources["obelics"].image_sizes(np.array([0])).tolist() == [[8, 8]]
    assert [sources["text-json"].document(n).segments[0].text for n in range(20)] == [f"line {n}" for n in range(20)]


def test_processes_change_nothing_and_a_finished_folder_is_left_alone(tmp_path, monkeypatch):
    folder = write_files(tmp_path / "in", picture)
    prepare_folder(files_config(folder), tmp_path / "one", lambda line: None)
    prepare_folder(files_config(folder, num_processes=3), tmp_path / "three", lambda line: None)
    assert shards_of(tmp_path / "one") == shards_of(tmp_path / "three")
    monkeypatch.setattr("mm1.chain.prepare.parts_of", lambda config: pytest.fail("it was read again"))
    said = []
    prepare_folder(files_config(folder), tmp_path / "one", said.append)
    assert said == []


def test_a_folder_stays_what_it_was_prepared_from(tmp_path):
    folder, out = write_files(tmp_path / "in", picture), tmp_path / "out"
    config = files_config(folder)
    wrong = config.replace(sources=(FilesConfig(name="pages", paths=(folder / "pages.parquet",), format="captions"),))
    with pytest.raises(UserError, match="none is named image"):
        prepare_folder(wrong, out, lambda line: None)
    (out / "tokenizer.json").write_text("of another attempt")
    prepare_folder(config, out, lambda line: None)  # no shard stood there yet
    with pytest.raises(UserError, match=r"was prepared from other sources or with other settings"):
        prepare_folder(config.replace(vocab_size=300), out, lambda line: None)
    (folder / "text.jsonl").write_text('{"text": "changed"}')
    with pytest.raises(UserError, match=r"or its sources changed since"):
        prepare_folder(config, out, lambda line: None)
    with locked(out / ".lock", "it"), pytest.raises(UserError, match=r"another process is running prepare in "):
        prepare_folder(config, out, lambda line: None)


def test_a_source_that_gave_nothing_is_one_sentence_with_the_reasons(tmp_path):
    (tmp_path / "chats.json").write_text(json.dumps([{"image": "gone.jpg", "conversations": [
        {"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}] * 3))  # fmt: skip
    with pytest.raises(UserError, match=r"'llava' gave no document: 3 missing image \(first .*chats.json\[0\]\); see"):
        prepare_folder(files_config(tmp_path), tmp_path / "out", lambda line: None)


def test_a_full_disk_is_an_error_with_its_path_and_the_same_command_goes_on(tmp_path, monkeypatch):
    folder, out = write_files(tmp_path / "in", picture), tmp_path / "out"
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fill_up(descriptor):
        if any(out.rglob("index.json")):
            raise full

    monkeypatch.setattr(os, "fsync", fill_up)
    with pytest.raises(OSError, match="No space left on device") as error:
        prepare_folder(files_config(folder), out, lambda line: None)
    assert error.value.filename.endswith(".json")
    assert not list(out.rglob("*.tmp"))
    monkeypatch.undo()
    prepare_folder(files_config(folder), out, lambda line: None)
    prepare_folder(files_config(folder), tmp_path / "fresh", lambda line: None)
    assert shards_of(out) == shards_of(tmp_path / "fresh")


KILLED = """
import sys
from mm1.chain import parts
from mm1.cli import main
if __name__ == "__main__":
    parts.group = lambda files: [(path,) for path in files]
    sys.exit(main(sys.argv[1:]))
"""


def test_a_killed_command_is_gone_on_with_from_its_finished_parts_and_leaves_no_process(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    for number in range(5):
        lines = [json.dumps({"text": f"{number} {row} " * 60}) for row in range(1500)]
        (tmp_path / "in" / f"{number}.jsonl").write_text("\n".join(lines))
    (tmp_path / "command.py").write_text(KILLED)
    out = tmp_path / "out"
    words = ["prepare", f"texts={tmp_path / 'in'}", "--out", str(out), "--vocab-size", "320", "--processes", "2"]
    process = subprocess.Popen([sys.executable, str(tmp_path / "command.py"), *words, "--tokenizer-documents", "50"])
    while not (finished := list(out.rglob("part-*/index.json"))):
        assert process.poll() is None
        time.sleep(0.01)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.kill()
    process.wait()
    while any(Path(f"/proc/{child}/cmdline").exists() for child in children):
        time.sleep(0.01)
    assert not (out / "summary.json").exists()
    kept = {path: path.stat().st_mtime_ns for path in finished}
    monkeypatch.setattr("mm1.chain.parts.group", lambda files: [(path,) for path in files])
    config = CONFIG.replace(sources=tuple(sources_of([f"texts={tmp_path / 'in'}"])), tokenizer_documents=50)
    for folder in (out, tmp_path / "fresh"):
        assert prepare_folder(config, folder, lambda line: None)["documents"] == 7500
    assert shards_of(out) == shards_of(tmp_path / "fresh")
    assert {path: path.stat().st_mtime_ns for path in kept} == kept

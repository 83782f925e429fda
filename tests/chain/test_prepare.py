"""Preparing sources: every document is kept or counted, finished sources stay, processes change nothing."""

import json

import pytest

from mm1.chain import prepare as module
from mm1.chain.prepare import PrepareConfig, open_sources, prepare
from mm1.config import UserError
from mm1.data.embedded_source import EmbeddedConfig
from mm1.data.synthetic.source import SyntheticConfig
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
    monkeypatch.setattr(module, "build_source", Rotten)
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


def test_finished_sources_are_not_written_again_and_the_result_is_the_same(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
        prepare(CONFIG, folder, lambda line: None)
    for path in (parts / "shards" / "sums").iterdir():
        path.unlink()
    untouched = (parts / "shards" / "captions" / "index.json").stat().st_mtime_ns
    said = []
    prepare(CONFIG, parts, said.append)
    assert said == ["sums: 9 documents"]
    assert (parts / "shards" / "captions" / "index.json").stat().st_mtime_ns == untouched
    files = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file())
    assert [(whole / file).read_bytes() for file in files] == [(parts / file).read_bytes() for file in files]


def test_a_source_killed_before_its_losses_were_counted_is_written_again(tmp_path):
    prepare(CONFIG, tmp_path, lambda line: None)
    (tmp_path / "shards" / "sums" / "dropped.json").unlink()
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

"""Preparing sources: every document is kept or counted, finished sources stay, processes change nothing."""

import json
import shutil
from collections import Counter

import numpy as np
import pytest

from mm1.chain.prepare import PrepareConfig, ShardsConfig, identity, open_sources, prepare
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

"""Near-duplicates through files: those that were planted are found, the rest stays, however the files are cut."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from mm1.curation.text import key_files
from mm1.curation.text.characters import hash_words
from mm1.curation.text.key_files import KeyFiles, near_duplicates, write_keys
from mm1.curation.text.minhash import MinHash, signature

WORDS = [f"w{number}" for number in range(3000)]


def _texts(pairs: int, others: int) -> list[list[str]]:
    """Pairs of texts of Jaccard similarity .8 or more side by side, and texts that are like no other."""
    draw, texts = random.Random(0), []
    while len(texts) < 2 * pairs:
        one = draw.choices(WORDS, k=draw.randint(60, 200))
        other = list(one)
        for place in draw.sample(range(5, len(one) - 5), max(1, len(one) // 50)):
            other[place] = draw.choice(WORDS)
        runs = [set(zip(*(words[start:] for start in range(5)), strict=False)) for words in (one, other)]
        if len(runs[0] & runs[1]) >= 0.8 * len(runs[0] | runs[1]):
            texts += [one, other]
    return texts + [draw.choices(WORDS, k=draw.randint(60, 200)) for _ in range(others)]


def _write(folder: Path, texts: list[list[str]], config: MinHash, size: int) -> list[Path]:
    paths = []
    for start in range(0, len(texts), size):
        part = texts[start : start + size]
        signatures = np.array([signature(hash_words(" ".join(words)), config) for words in part])
        paths.append(folder / f"{len(paths):05}.arrow")
        write_keys(paths[-1], signatures, np.array([len(words) for words in part]), config)
    return paths


@pytest.mark.parametrize("config", [MinHash(), MinHash(bands=14, rows=8, threshold=0.7)])
def test_planted_pairs_lose_one_of_them_and_nothing_else_is_lost(config: MinHash, tmp_path: Path) -> None:
    texts = _texts(300, 600)
    dropped = set(near_duplicates(_write(tmp_path, texts, config, 250), config).tolist())
    hits = sum((2 * pair in dropped) != (2 * pair + 1 in dropped) for pair in range(300))
    assert hits >= 0.95 * 300
    assert len(dropped) == hits


def test_neither_slices_nor_parts_nor_open_files_change_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = _texts(40, 40)
    random.Random(1).shuffle(texts)
    (tmp_path / "one").mkdir()
    (tmp_path / "many").mkdir()
    config = MinHash()
    whole = near_duplicates(_write(tmp_path / "one", texts, config, len(texts)), config)
    many = _write(tmp_path / "many", texts, config, 25)
    monkeypatch.setattr(key_files, "_OPEN", 2)
    assert len(whole) >= 38
    for slices in (1, 3, 10):
        assert np.array_equal(near_duplicates(many, config, slices=slices), whole)


def test_of_likes_the_longest_stays_and_skipped_ones_do_not_count(tmp_path: Path) -> None:
    text = WORDS[:100]
    paths = _write(tmp_path, [text[:96], text, text[:98], WORDS[500:600], text], MinHash(), 2)
    assert near_duplicates(paths, MinHash()).tolist() == [0, 2, 4]
    assert near_duplicates(paths, MinHash(), np.array([1])).tolist() == [0, 2]
    assert near_duplicates(paths, MinHash(), np.array([1, 4])).tolist() == [0]
    assert near_duplicates(paths, MinHash(), np.array([0, 1, 4])).tolist() == []


def test_empty_parts_are_parts(tmp_path: Path) -> None:
    paths = _write(tmp_path, [WORDS[:100]], MinHash(), 1)
    write_keys(tmp_path / "empty.arrow", np.zeros((0, 120), np.uint32), np.zeros(0, np.int64), MinHash())
    copies = [paths[0], tmp_path / "empty.arrow", paths[0]]
    assert KeyFiles(copies).count == 2
    assert near_duplicates(copies, MinHash()).tolist() == [1]
    assert near_duplicates([tmp_path / "empty.arrow"], MinHash()).tolist() == []
    assert near_duplicates([], MinHash()).tolist() == []


def test_hashes_of_single_words_find_the_same_words_in_another_order(tmp_path: Path) -> None:
    config = MinHash(ngram=1, bands=10, rows=1)  # as GPT-3's (arXiv 2005.14165, appendix A)
    texts = [WORDS[:50], WORDS[:50][::-1], WORDS[50:100]]
    assert near_duplicates(_write(tmp_path, texts, config, 3), config).tolist() == [1]

"""Caption metrics against the official scorers, from untokenised text, and properties that need no scorer."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm1.eval.metrics.caption import bleu, cider_d, rouge_l, tokenise

TRUTH = Path(__file__).parents[1] / "truth"
FILES = ["captions_b_5refs", "captions_c_5refs", "captions_b_48refs_20", "captions_two_sentences"]

words = st.lists(st.sampled_from(["a", "red", "blue", "dog", "cat", "runs", "sits"]), max_size=8)
corpora = st.lists(st.tuples(words, st.lists(words, min_size=1, max_size=3)), min_size=1, max_size=5)


@pytest.mark.parametrize("name", FILES)
def test_scores_equal_the_official_ones(name: str) -> None:
    truth = json.loads((TRUTH / f"{name}.json").read_text())
    candidates = [tokenise(caption) for caption in truth["candidates"]]
    references = [[tokenise(caption) for caption in group] for group in truth["references"]]
    scores, items = truth["scores"], truth["per_image"]

    ciders = cider_d(candidates, references)
    assert ciders == pytest.approx(items["CIDEr"], abs=1e-8)
    assert sum(ciders) / len(ciders) == pytest.approx(scores["CIDEr"], abs=1e-8)

    rouges = [rouge_l(candidate, group) for candidate, group in zip(candidates, references, strict=True)]
    assert rouges == pytest.approx(items["ROUGE_L"], abs=1e-8)
    assert sum(rouges) / len(rouges) == pytest.approx(scores["ROUGE_L"], abs=1e-8)

    result = bleu(candidates, references)
    for n in range(4):
        assert result.corpus[n] == pytest.approx(scores[f"Bleu_{n + 1}"], abs=1e-8)
        assert [item[n] for item in result.items] == pytest.approx(items[f"Bleu_{n + 1}"], abs=1e-8)


@given(corpora)
def test_scores_stay_in_range_and_ignore_the_order_of_items(corpus: list[tuple[list[str], list[list[str]]]]) -> None:
    candidates, references = [c for c, _ in corpus], [r for _, r in corpus]
    forward = cider_d(candidates, references)
    assert all(0 <= score <= 10 + 1e-9 for score in forward)
    assert forward[::-1] == pytest.approx(cider_d(candidates[::-1], references[::-1]))
    assert all(0 <= score <= 1 + 1e-6 for score in bleu(candidates, references).corpus)
    assert all(0 <= rouge_l(c, r) <= 1 for c, r in corpus)


def test_a_reference_repeated_as_the_answer_is_perfect() -> None:
    sentences = [tokenise(text) for text in ("a red dog runs fast", "the cat sits on a mat", "two birds fly over it")]
    references = [[sentence] for sentence in sentences]
    assert cider_d(sentences, references) == pytest.approx([10, 10, 10])
    assert bleu(sentences, references).corpus == pytest.approx([1, 1, 1, 1], abs=1e-6)
    assert [rouge_l(sentence, [sentence]) for sentence in sentences] == [1, 1, 1]


def test_repeating_a_word_of_the_reference_earns_little() -> None:
    """What the D of CIDEr-D is for."""
    references = [[tokenise("a red dog runs")], [tokenise("a cat sits")], [tokenise("two birds fly")]]
    honest, gaming = (
        cider_d([tokenise("a red dog runs"), tokenise("a cat"), tokenise("birds")], references),
        cider_d([tokenise("dog " * 20), tokenise("a cat"), tokenise("birds")], references),
    )
    assert gaming[0] < 0.1 * honest[0]


def test_an_empty_answer_scores_nothing() -> None:
    assert cider_d([[], ["cat"]], [[["dog"]], [["cat"]]])[0] == 0
    assert bleu([[]], [[["dog"]]]).corpus == pytest.approx([0, 0, 0, 0], abs=1e-6)
    assert rouge_l([], [["dog"]]) == 0

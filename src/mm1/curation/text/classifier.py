"""How much a text is like good ones rather than like the crawl: GPT-3's linear classifier, and its rule of chance.

    classifier = train(good, raw)                        # Features of texts
    classifier.score(features(hash_words(text)))         # 0.93, the probability of being good
    chosen("page-17", 0.93)                              # True: a Pareto sample drawn for this id exceeds 1 - 0.93

After Brown et al. 2020 (arXiv 2005.14165, appendix A): logistic regression on hashed words, and a document is kept if
np.random.pareto(9) > 1 - score, so that some of what the classifier dislikes stays. Here the sample comes from a hash
of the document's id: whoever asks, whenever and in whichever order, gets the same answer. Ours are the values of words
(1 + log of their number, unit length) and training by full gradients, which has no learning rate to tune and no order
of documents to depend on. Knows nothing of files but its own.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from mm1.config import UserError
from mm1.curation.text.characters import Words
from mm1.files import write_atomically

BUCKETS = 1 << 18
"""Into which words are hashed: the default of Spark's HashingTF, which GPT-3 used."""
PARETO_ALPHA = 9.0

_STEPS = 200
_DECAY = 1e-5
"""Weight of the squared weights in the loss: enough to keep words that were seen once from deciding."""


@dataclass(frozen=True, slots=True)
class Features:
    """A text as the classifier sees it: a sparse vector of unit length."""

    buckets: NDArray[np.int32]
    values: NDArray[np.float32]


def features(words: Words) -> Features:
    """Of a text's words: 1 + log of how often each bucket was hit, scaled to unit length."""
    buckets, counts = np.unique((words.hashes >> np.uint64(46)).astype(np.int32), return_counts=True)
    values = 1 + np.log(counts)
    length = math.sqrt(math.fsum((values * values).tolist())) or 1.0
    return Features(buckets, (values / length).astype(np.float32))


@dataclass(frozen=True)
class Classifier:
    """Weights of the buckets."""

    weights: NDArray[np.float32]
    bias: float

    def score(self, text: Features) -> float:
        """The probability that a text is of the good ones, were there as many of either.

        Exact sums, and six decimals, so that no machine's way of adding tips a decision.
        """
        products = self.weights[text.buckets].astype(np.float64) * text.values
        return round(_sigmoid(math.fsum(products.tolist()) + self.bias), 6)

    def save(self, path: Path) -> None:
        """Writes a safetensors file."""
        write_atomically(path, save({"weights": self.weights, "bias": np.array([self.bias])}))


def load(path: Path) -> Classifier:
    """Reads what `Classifier.save` wrote.

    Raises:
        UserError: it is not there, or is something else.
    """
    try:
        tensors = load_file(path)
        weights, bias = tensors["weights"], tensors["bias"]
    except (OSError, SafetensorError, KeyError) as error:
        raise UserError(f"{path} is no classifier ({error}): train it again") from None
    if weights.shape != (BUCKETS,) or bias.shape != (1,):
        raise UserError(f"{path} has weights of shape {weights.shape}, not ({BUCKETS},): train it again")
    return Classifier(weights, float(bias[0]))


def chosen(document: str, score: float, alpha: float = PARETO_ALPHA) -> bool:
    """Whether a Pareto(alpha) sample exceeds 1 - score; the sample is a function of the document's id.

    As numpy has it, the sample is the Pareto II distribution's: 0 is possible, and above x with (1 + x) ** -alpha.
    """
    bits = int.from_bytes(hashlib.sha1(b"pareto\n" + document.encode("utf-8", "surrogatepass")).digest()[:8], "big")
    uniform = ((bits >> 11) + 0.5) / (1 << 53)
    return bool(uniform ** (-1 / alpha) - 1 > 1 - score)


def train(good: Sequence[Features], raw: Sequence[Features]) -> Classifier:
    """Logistic regression in which the good texts and the raw ones weigh the same, however many there are of each.

    Nesterov's accelerated gradient, whose step follows from the vectors' length: the loss's curvature is at most
    (1 + 1) / 4 with the bias.
    """
    assert good, "no good texts"
    assert raw, "no raw texts"
    texts = [*good, *raw]
    rows = np.repeat(np.arange(len(texts)), [len(text.buckets) for text in texts])
    buckets = np.concatenate([text.buckets for text in texts])
    values = np.concatenate([text.values for text in texts]).astype(np.float64)
    labels = np.arange(len(texts)) < len(good)
    importance = np.where(labels, 0.5 / len(good), 0.5 / len(raw))
    step = 1 / (0.5 + _DECAY)
    weights = ahead = np.zeros(BUCKETS)
    bias = bias_ahead = 0.0
    for number in range(_STEPS):
        logits = np.bincount(rows, values * ahead[buckets], len(texts)).astype(np.float64) + bias_ahead
        errors = (_sigmoids(logits) - labels) * importance
        momentum = number / (number + 3)
        before, weights = (
            weights,
            ahead - step * (np.bincount(buckets, values * errors[rows], BUCKETS) + _DECAY * ahead),
        )
        ahead = weights + momentum * (weights - before)
        bias_before, bias = bias, bias_ahead - step * float(errors.sum())
        bias_ahead = bias + momentum * (bias - bias_before)
    return Classifier(weights.astype(np.float32), bias)


def area_under_curve(good: Sequence[float], raw: Sequence[float]) -> float:
    """The probability that a good text's score exceeds a raw one's; equal scores count half."""
    ordered = np.sort(np.asarray(raw))
    below, most = np.searchsorted(ordered, good, "left"), np.searchsorted(ordered, good, "right")
    return float((below + most).sum() / 2 / len(good) / len(raw))


def _sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit)) if logit > -700 else 0.0


def _sigmoids(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return 0.5 * (1 + np.tanh(logits / 2))

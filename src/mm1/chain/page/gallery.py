"""The report's pictures: held-out questions as the model read them, what it said, and what is true.

    ┌ ✓ right ─ colour ───────────────┐
    │ ‹img› it is red   ‹img› it is … │   the shots, small
    │ ‹IMG› it is a ▏                 │   the question, then
    │ says  blue      truth  blue     │
    └ 0 shots: ✗ red ─────────────────┘   the same question with other numbers of shots

Which questions are shown follows from hashes of their ids: right and wrong ones in equal parts as far as there are, so
the share of right ones here is not the score. Knows nothing of how they were scored.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mm1.chain.page.prompts import Picture, Piece, read_prompt
from mm1.chain.page.results import Run, Score, Shape, inside, read_lines
from mm1.data.image import BadImage, read_image
from mm1.report.markup import Markup, points, tag, together

CARDS = 3
"""Questions shown of one task with one number of shots."""
SHOT_PIXELS, QUERY_PIXELS = 96, 288
SHOT_TEXT, QUERY_TEXT = 240, 700
"""Characters shown of one piece of text."""
BRIEF = 24
"""Characters up to which a shot's text fits under its picture."""
SAMPLE: Shape = {"id": str, "shots": int, "score": int | float, "prompt": str, "output": str}
LISTS = ("images", "image_sha256", "references", "required", "candidates")
SAMPLE_PARTS: Shape = {"kind": str, **dict.fromkeys(LISTS, list)}
MARKS = {"right": "✓", "wrong": "✗", "partly": "≈"}


def gallery(run: Run) -> Markup:
    """One foldable block a task, with its cards by number of shots."""
    pictures = Pictures(run.evaluation)
    blocks = [_task(run.evaluation, scores, pictures) for scores in run.tasks.values()]
    if not any(blocks):
        return tag("p", "No samples were kept: there is no eval/*.samples.jsonl.", class_="missing")
    return together(blocks)


def _task(folder: Path, scores: Sequence[Score], pictures: Pictures) -> Markup:
    """Empty if no sample of the task can be shown."""
    read = {score.shots: _samples(folder, score) for score in scores}
    samples = {shots: of for shots, (of, _) in read.items()}
    torn = sum(others for _, others in read.values())
    answers = {shots: {sample["id"]: sample for sample in of} for shots, of in samples.items()}
    rows = [tag("p", f"{torn} line(s) of its samples cannot be read and are left out.", class_="missing")] * bool(torn)
    for score in scores:
        chosen = choose([sample for sample in samples[score.shots] if pictures.has_all(sample)])
        if chosen:
            said = f"{score.shots} shots · {points(score.score)} over {score.n} questions"
            cards = [_card(sample, answers, pictures) for sample in chosen]
            rows += [tag("h4", said), tag("div", *cards, class_="cards")]
    return tag("details", tag("summary", scores[0].task), *rows, open="") if rows else Markup()


def _samples(folder: Path, score: Score) -> tuple[list[dict[str, Any]], int]:
    """The samples behind one score, each with its verdict, and how many lines could not be read.

    Where shots were drawn by several seeds, those of the first.
    """
    path = inside(folder, f"{score.task}-{score.shots}shot.samples.jsonl")
    rows, others = read_lines(path, SAMPLE, SAMPLE_PARTS) if path else ([], 0)
    first = [row for row in rows if row.get("seed") == rows[0].get("seed")]
    return [{**row, "verdict": verdict(float(row["score"]), score.metric)} for row in first], others


def verdict(score: float, metric: str) -> str:
    """One of MARKS. CIDEr says how near an answer is, not whether it is right."""
    if metric == "cider":
        return "partly"
    return "right" if score >= 1 else "wrong" if score <= 0 else "partly"


def choose(samples: Sequence[Mapping[str, Any]], number: int = CARDS) -> list[Mapping[str, Any]]:
    """Up to `number` samples, verdicts and kinds by turns, the best first; the same ones every time.

    The order before that is one of hashes, other for every number of shots, so that the page shows many questions.
    """
    waiting = sorted(samples, key=lambda sample: hashlib.sha256(f"{sample['id']} {sample['shots']}".encode()).digest())
    chosen: list[Mapping[str, Any]] = []
    while waiting and len(chosen) < number:
        verdicts = Counter(sample["verdict"] for sample in chosen)
        kinds = Counter(sample.get("kind") for sample in chosen)
        pick = min(waiting, key=lambda sample: (verdicts[sample["verdict"]], kinds[sample.get("kind")]))
        chosen.append(pick)
        waiting.remove(pick)
    return sorted(chosen, key=lambda sample: -sample["score"])


def _card(sample: Mapping[str, Any], answers: Mapping[int, Mapping[str, Any]], pictures: Pictures) -> Markup:
    result, asked = sample["verdict"], read_prompt(sample)
    word = points(sample["score"]) if result == "partly" else result
    top = tag("header", tag("b", MARKS[result], " ", word), tag("span", sample.get("kind", ""), title=sample["id"]))
    brief = all(len(piece) <= BRIEF for shot in asked.shots for piece in shot if isinstance(piece, str))
    shots = [tag("div", *_pieces(shot, pictures, large=False), class_="shot") for shot in asked.shots]
    prompt = [
        tag("div", *_pieces(asked.header, pictures, large=False), class_="header") if asked.header else "",
        tag("div", *shots, class_="shots brief" if brief else "shots") if shots else "",
        tag("div", *_pieces(asked.query, pictures, large=True), class_="query"),
    ]
    return tag("article", top, *prompt, _answer(sample), _elsewhere(sample, answers), class_=f"card {result}")


def _pieces(pieces: Sequence[Piece], pictures: Pictures, large: bool) -> list[Markup]:
    most = QUERY_TEXT if large else SHOT_TEXT
    return [
        pictures.show(piece.file, large) if isinstance(piece, Picture) else tag("span", _cut(piece.strip(), most))
        for piece in pieces
    ]


def _answer(sample: Mapping[str, Any]) -> Markup:
    required, references = sample.get("required") or [], sample.get("references") or []
    said = sample["output"].strip() or "(nothing)"
    rows = [tag("dt", "model"), tag("dd", _cut(said, QUERY_TEXT), class_="said")]
    truths = list(dict.fromkeys(str(reference).strip() for reference in references))
    if truths:
        rows += [tag("dt", "truth"), tag("dd", _cut(" · ".join(truths[:3]), QUERY_TEXT), class_="truth")]
    if required:
        rows += [tag("dt", "asked for"), tag("dd", _cut(" · ".join(map(str, required)), QUERY_TEXT))]
    if sample.get("candidates"):
        offered = " · ".join(str(candidate).strip() for candidate in sample["candidates"])
        rows += [tag("dt", "choices"), tag("dd", _cut(offered, SHOT_TEXT))]
    return tag("dl", *rows)


def _elsewhere(sample: Mapping[str, Any], answers: Mapping[int, Mapping[str, Any]]) -> Markup:
    """What the model said of the same question with other numbers of shots."""
    lines = []
    for shots, by_id in answers.items():
        other = by_id.get(sample["id"])
        if other is not None and shots != sample["shots"]:
            mark = tag("b", MARKS[other["verdict"]], class_=other["verdict"])
            said = _cut(other["output"].strip() or "(nothing)", SHOT_TEXT)
            lines.append(tag("li", tag("span", f"{shots} shots"), mark, said))
    return tag("ul", *lines, class_="elsewhere") if lines else Markup()


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}… (+{len(text) - most} characters)"


class Pictures:
    """The images of one evaluation folder as small `data:` pictures; each is drawn once and kept."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[tuple[str, int], Markup] = {}

    def has_all(self, sample: Mapping[str, Any]) -> bool:
        """Whether every image of the sample's prompt was kept as a file: the evaluation keeps those of its first."""
        files = sample.get("images") or ()
        whole = len(files) == len(sample.get("image_sha256") or files)
        return whole and all(isinstance(file, str) and inside(self._folder, file) for file in files)

    def show(self, file: str, large: bool) -> Markup:
        """An <img> of at most QUERY_PIXELS (large) or SHOT_PIXELS; words in its place if it cannot be read."""
        pixels = QUERY_PIXELS if large else SHOT_PIXELS
        if (file, pixels) not in self._made:
            self._made[file, pixels] = self._draw(file, pixels)
        return self._made[file, pixels]

    def _draw(self, file: str, pixels: int) -> Markup:
        path = inside(self._folder, file)
        try:
            drawn = read_image(path.read_bytes() if path else b"", pixels)
        except (OSError, BadImage):
            return tag("span", "(a picture that cannot be read)", class_="missing")
        drawn.thumbnail((pixels, pixels))
        # Small pictures are drawn ones: kept to the pixel, and enlarged without blurring.
        tiny = max(drawn.size) <= 64
        encoded = io.BytesIO()
        drawn.save(encoded, **({"format": "PNG"} if tiny else {"format": "WEBP", "quality": 80}))
        kind = "png" if tiny else "webp"
        address = f"data:image/{kind};base64,{base64.b64encode(encoded.getvalue()).decode()}"
        return tag("img", src=address, alt="", width=drawn.width, height=drawn.height, class_="tiny" if tiny else None)

"""From sources to the three sets: the steps of curation, in order, each in a content-addressed folder.

    extract → texts → duplicates (the text set) → addresses → images → interleaved documents
                                                                    └→ caption pairs (→ CLIP)   → funnel and report
    lists of pages → (asked by extract; where there are any)
    evaluations → (asked by texts, images, captions; where there are any)

    OUT/text, OUT/interleaved, OUT/captions      parquet, for `mm1 prepare`
    OUT/funnel.json, OUT/report.html
    OUT/work                                     what each step left (steps.py); may be deleted when all is done
    OUT/downloads                                what came from the network, whatever the rules

A step's folder carries the hash of the sources, of its own part of the config and of the steps before it: a rerun does
again what that changes, and an interrupted run goes on from the parts that are finished. Knows nothing of the rules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from mm1.config import UserError, to_json
from mm1.curation.clip_score import digest_of
from mm1.curation.config import CurateConfig
from mm1.curation.decontaminate import load_index
from mm1.curation.engine import Progress, map_parts
from mm1.curation.evaluation_digest import digest_of as digest_of_evaluations
from mm1.curation.obelics import ObelicsRules
from mm1.curation.runner import Runner
from mm1.curation.sources import Part, list_parts, spread
from mm1.curation.steps import captions, interleaved
from mm1.curation.steps.addresses import find_addresses
from mm1.curation.steps.clip import filter_by_score
from mm1.curation.steps.duplicates import drop_duplicates
from mm1.curation.steps.evaluations import index_evaluations
from mm1.curation.steps.extract import extract_part
from mm1.curation.steps.finish import FUNNEL, REPORT, SETS, Finished, finish
from mm1.curation.steps.inputs import PartInputs
from mm1.curation.steps.pictures import look_at_pictures
from mm1.curation.steps.texts import judge_part
from mm1.curation.steps.unread import unread
from mm1.curation.text.language import check_known
from mm1.curation.text.quality import digest
from mm1.steps import Step, execute

Told: TypeAlias = Callable[[str], Progress]
"""Given the name of a step, what is told of its parts."""
DOWNLOADS, WORK = "downloads", "work"
UNREAD = "not one page could be read of"
"""The fact that says of which sources, where there are any."""
VERSIONS = {
    "lists": 2,
    "evaluations": 1,
    "extract": 4,
    "texts": 2,
    "duplicates": 1,
    "addresses": 3,
    "images": 5,
    "interleaved": 3,
    "captions": 3,
    "clip": 1,
}
"""Of each step. Raised with every change of code, in any room that it calls, after which it gives something else for
the same sources and config: it and the steps after it are then done anew in folders that stand from before."""


def curate(
    paths: Sequence[Path], out: Path, config: CurateConfig, runner: Runner, told: Told | None = None
) -> Finished:
    """Makes the sets of the sources at `paths` in the folder `out`.

    Raises:
        UserError: a source can not be read, the config does not fit, `out` lies in a source or holds what is not ours,
            a process was ended from outside.
    """
    _check_out(paths, out, "source")
    _check_out(config.evaluations.paths, out, "evaluation")
    for rules in (config.text, config.captions.text, config.worth_fetching):
        check_known(rules.languages)
    if isinstance(config.interleaved, ObelicsRules) and "en" not in (config.text.languages or ("en",)):
        raise UserError("the profile obelics has rules for English alone: add en to the languages, or take profile mm1")
    parts = list_parts(paths, config.sources, config.download_buckets)
    listed = next((part for part in parts if part.kind == "page_urls"), None)
    if listed is not None and not config.download:
        raise UserError(f"{listed.path} lists addresses of pages, which are to be fetched: leave --offline out")
    steps = Pipeline(parts, out, config, runner, told).steps()
    folders = {step.name: execute(step, out / WORK).folder for step in steps}
    facts = {"rules": "OBELICS" if isinstance(config.interleaved, ObelicsRules) else "MM1"}
    if "evaluations" in folders:
        facts["kept out"] = load_index(folders["evaluations"]).told()
    if nothing := unread(parts, folders["extract"]):
        facts[UNREAD] = nothing
    return finish(out, folders, [part.name for part in parts], facts)


def _check_out(paths: Sequence[Path], out: Path, what: str) -> None:
    """Results replace what has their names, which must be earlier results; and they must be no sources themselves."""
    place = out.resolve()
    for folder in (place, *place.parents):
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{folder} is a file, and the sets are written into a folder: choose another --out")
    for path in paths:
        if path.is_dir() and path.resolve() in (place, *place.parents):
            raise UserError(f"{out} lies in the {what} {path}, and would be read with it: choose an --out beside it")
    if (out / WORK / "steps").is_dir() or (out / FUNNEL).is_file():  # of an earlier run
        return
    for name in (*SETS, REPORT):
        if (out / name).exists():
            raise UserError(f"{out / name} is in the way: mm1 did not make it; move it or choose another --out")


@dataclass(frozen=True)
class Pipeline:
    """The steps for some sources. Those that follow one another share a chain of hashes."""

    parts: Sequence[Part]
    out: Path
    config: CurateConfig
    runner: Runner
    told: Told | None

    def steps(self) -> list[Step]:
        """All of them, in order."""
        lists = self._lists()
        refusing = {"refusing": self.config.fetch.refusing}
        pages = {"parts": self._identity(), **self._of("sources"), **refusing, **(self._fetching() if lists else {})}
        extract = self._step("extract", self._extract, pages, *lists)
        kept_out = self._evaluations()
        models = {"models": self._models()}
        judged = self._of("text") | models
        del judged["text"]["quality"]["model"]  # its digest says what it is, wherever it lies
        texts = self._step("texts", self._texts, judged, extract, *kept_out)
        duplicates = self._step("duplicates", self._duplicates, {}, extract, texts)
        asked = self._of("download_buckets") | {"text": to_json(self.config.text_worth_fetching)} | self._rules()
        addresses = self._step("addresses", self._addresses, asked, extract, duplicates)
        pictures = self._of("pictures_a_part") | self._rules() | {"pictures": self._pictures(), **self._fetching()}
        images = self._step("images", self._images, pictures, addresses, *kept_out)
        inputs = (extract, duplicates, addresses, images)
        documents = self._of("interleaved") | models
        pairs = self._of("captions")
        score = pairs["captions"].pop("clip")
        captions = self._step("captions", self._captions, pairs, *inputs, *kept_out)
        steps = [
            *kept_out,
            *lists,
            *(extract, texts, duplicates, addresses, images),
            self._step("interleaved", self._interleaved, documents, *inputs),
            captions,
        ]
        if (model := self.config.captions.clip.model) is not None:
            steps.append(self._step("clip", self._clip, score | {"model": digest_of(model)}, captions))
        return steps

    def _evaluations(self) -> list[Step]:
        """None where nothing is to be kept out: then no other step knows of evaluations."""
        config = self.config.evaluations
        if not config.paths:
            return []
        found = digest_of_evaluations(config.paths, self.out / WORK / "evaluations.json")
        return [self._step("evaluations", self._index, {"found": found, "rules": to_json(config.rules)})]

    def _lists(self) -> list[Step]:
        """None where no source is a list of pages."""
        found = [[part.name, part.fingerprint] for part in self.parts if part.kind == "page_urls"]
        spread_over = self._of("download_buckets")
        return [self._step("lists", self._spread, {"parts": found, **spread_over})] if found else []

    def _step(self, name: str, run: Callable[..., None], config: dict[str, Any], *inputs: Step) -> Step:
        def fill(folder: Path) -> None:
            run(folder, {step.name: step.folder(self.out / WORK) for step in inputs})

        return Step(name=name, version=VERSIONS[name], config=config, run=fill, inputs=inputs)

    def _of(self, *names: str) -> dict[str, Any]:
        values = to_json(self.config)
        return {name: values[name] for name in names}

    def _fetching(self) -> dict[str, Any]:
        """Whether and how pages and images are fetched, for the steps that do."""
        return {"fetch": self.config.fetch.deciding if self.config.download else None}

    def _rules(self) -> dict[str, Any]:
        """Those that decide which images are looked at: what else is asked of documents and captions changes none."""
        rules = to_json(self.config.interleaved)
        rules = {name: rules[name] for name in ("images", "max_images", "count")}
        return {"interleaved": rules, "captions": to_json(self.config.captions.images)}

    def _identity(self) -> list[list[str]]:
        return [[part.name, part.fingerprint] for part in self.parts]

    def _models(self) -> str:
        """The models of quality by what they are, wherever they lie."""
        folder = self.config.text.quality.model
        return "" if folder is None else digest(folder)

    def _pictures(self) -> dict[str, str]:
        """What lies beside the pages of folders."""
        return {part.source: part.pictures for part in self.parts if part.kind == "folder"}

    @property
    def _for_pages(self) -> Runner:
        """For the steps that cost little a page; a list says nothing of how much it names."""
        few = sum(part.size for part in self.parts) <= self.runner.alone_bytes
        few = few and self.runner.ray is None and not any(part.kind.endswith("_urls") for part in self.parts)
        return replace(self.runner, processes=1) if few else self.runner

    def _progress(self, step: str) -> Progress | None:
        return None if self.told is None else self.told(step)

    def _inputs(self, folders: dict[str, Path], per_part: Sequence[str], listed: bool = True) -> list[PartInputs]:
        """The parts on their way; `per_part` are steps whose results are wanted."""
        return [
            PartInputs(
                part.name,
                number,
                part.source,
                part.kind == "image_urls",
                {name: folders[name] / _WITHIN.get(name, ".") / part.name for name in per_part},
            )
            for number, part in enumerate(self.parts)
            if listed or part.kind != "image_urls"
        ]

    def _spread(self, folder: Path, folders: dict[str, Path]) -> None:
        work = partial(spread, buckets=self.config.download_buckets)
        map_parts(work, self._first_of_lists(), folder, self.runner, self._progress("lists"))

    def _first_of_lists(self) -> list[Part]:
        """One part of each list of pages, by whose name the folder of the list is called."""
        return [part for part in self.parts if part.kind == "page_urls" and part.start == 0]

    def _extract(self, folder: Path, folders: dict[str, Path]) -> None:
        lists = {part.source: folders["lists"] / part.name for part in self._first_of_lists()}
        work = partial(extract_part, config=self.config, downloads=self.out / DOWNLOADS, lists=lists)
        map_parts(work, self.parts, folder, self._for_pages, self._progress("extract"))

    def _index(self, folder: Path, folders: dict[str, Path]) -> None:
        index_evaluations(folder, self.config.evaluations, self._progress("evaluations"))

    def _texts(self, folder: Path, folders: dict[str, Path]) -> None:
        parts = self._inputs(folders, ["extract"], listed=False)
        work = partial(judge_part, config=self.config.text, evaluations=folders.get("evaluations"))
        map_parts(work, parts, folder, self._for_pages, self._progress("texts"))

    def _duplicates(self, folder: Path, folders: dict[str, Path]) -> None:
        parts = self._inputs(folders, ["extract", "texts"], listed=False)
        drop_duplicates(folder, parts, self.config.text, self._for_pages, self._progress("duplicates"))

    def _addresses(self, folder: Path, folders: dict[str, Path]) -> None:
        parts = self._inputs(folders, ["extract", "duplicates"])
        find_addresses(folder, parts, self.config, self._for_pages, self._progress("addresses"))

    def _images(self, folder: Path, folders: dict[str, Path]) -> None:
        look_at_pictures(
            folder,
            self.parts,
            folders["addresses"],
            folders.get("evaluations"),
            self.out / DOWNLOADS,
            self.config,
            self.runner,
            self._progress("images"),
        )

    def _interleaved(self, folder: Path, folders: dict[str, Path]) -> None:
        parts = self._inputs(folders, ["extract", "duplicates"], listed=False)
        inputs = interleaved.Inputs(folders["addresses"], folders["images"], self.config)
        interleaved.write_interleaved(folder, parts, inputs, self._for_pages, self._progress("interleaved"))

    def _captions(self, folder: Path, folders: dict[str, Path]) -> None:
        parts = self._inputs(folders, ["extract", "duplicates"])
        inputs = captions.Inputs(folders["addresses"], folders["images"], folders.get("evaluations"), self.config)
        captions.write_captions(folder, parts, inputs, self._for_pages, self._progress("captions"))

    def _clip(self, folder: Path, folders: dict[str, Path]) -> None:
        parts, config = self._inputs(folders, []), self.config.captions.clip
        filter_by_score(folder, parts, folders["captions"], config, self.runner, self._progress("clip"))


_WITHIN = {"duplicates": "parts"}
"""Where the folders of parts are, if not in the step's own."""

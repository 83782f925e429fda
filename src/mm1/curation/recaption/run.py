"""From a set of pairs to the same pairs with synthetic captions: what `mm1 curate recaption` does.

    recaption([Path("set/captions")], Path("out"), captioner, fuser, RecaptionConfig(), Prompts())

    OUT/recaptioned/NAME.parquet     output.py; a file for each file of the source
    OUT/answers/NAME.jsonl           journal.py: all that was said, to the letter
    OUT/recaption.json               models, prompts, counts

An answer that is there is never asked for again: a killed run goes on, and what only changes what is made of answers
asks nothing. Equal questions of one file are put once; those of two files are two. Every pair that came in is in the
set or counted with a reason. Knows nothing of how models are reached.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from mm1 import __version__
from mm1.config import UserError, fingerprint, to_json
from mm1.curation.documents import DocumentWriter
from mm1.curation.page import Dropped
from mm1.curation.recaption import output
from mm1.curation.recaption.asking import Asker
from mm1.curation.recaption.config import RecaptionConfig
from mm1.curation.recaption.counts import Recaptioned
from mm1.curation.recaption.journal import Journal
from mm1.curation.recaption.output import Captioned, choose, reason
from mm1.curation.recaption.pairs import Pair, read_pairs
from mm1.curation.recaption.prompts import Prompts
from mm1.curation.recaption.writers import Writer
from mm1.data.formats.files import FilesConfig, find
from mm1.data.formats.reading import Drop
from mm1.files import write_atomically
from mm1.steps import locked

RECAPTIONED, ANSWERS, RECORD = "recaptioned", "answers", "recaption.json"
_CHUNK_BYTES = 256 << 20
_MADE_OF = b"mm1.recaption"
"""In a file's metadata: the hash of all that it was made of, and its counts."""

Progress: TypeAlias = Callable[[int, int, int, int], None]
"""Called with (files done, files in all, pairs so far, questions put so far)."""


def recaption(
    paths: Sequence[Path],
    out: Path,
    captioner: Writer,
    fuser: Writer | None,
    config: RecaptionConfig,
    prompts: Prompts,
    *,
    again: bool = False,
    progress: Progress | None = None,
) -> Recaptioned:
    """Writes the set of `paths` with synthetic captions into the folder `out`.

    Args:
        paths: files or folders of pairs, of any format that `mm1 prepare` reads.
        out: made if it is not there; goes on where an earlier call was.
        captioner: writes what a picture shows.
        fuser: merges that with the page's text; without one, what the captioner wrote is the synthetic caption.
        config: what is made of the answers.
        prompts: what both are told.
        again: what failed is asked again.
        progress: called after every chunk.

    Raises:
        UserError: the source is no set of documents, the folder has another set, a model answers nothing any more.
    """
    source = FilesConfig(name="captions", paths=tuple(paths))
    found = find(source)
    old = _old_names(out)
    for name in (RECAPTIONED, ANSWERS):
        (out / name).mkdir(parents=True, exist_ok=True)
    asker = Asker(captioner, fuser, config, prompts)
    work = _Work(asker, again, progress, len(found.files))
    names = _names(found.files)
    with locked(out / f".{RECORD}.lock", "mm1 curate recaption"):
        _record(out, asker, names, None)
        whole = Recaptioned()
        for name, path in zip(names, found.files, strict=True):
            pairs = read_pairs(path, found.format.format, source.options)
            whole += work.file(pairs, out / RECAPTIONED / f"{name}.parquet", out / ANSWERS / f"{name}.jsonl", path)
        for name in old - set(names):  # of a source that is no longer asked for
            (out / RECAPTIONED / f"{name}.parquet").unlink(missing_ok=True)
        _record(out, asker, names, whole)
    return whole


def _names(files: Sequence[Path]) -> list[str]:
    """A name for each file: its own, with a number where several have it."""
    seen: Counter[str] = Counter()
    names: list[str] = []
    for path in files:
        stem = path.name.partition(".")[0] or "part"
        seen[stem] += 1
        names.append(stem if seen[stem] == 1 else f"{stem}.{seen[stem]}")
    return names


def _old_names(out: Path) -> set[str]:
    """The files that an earlier call has made or begun.

    Raises:
        UserError: the folder is something else's.
    """
    path = out / RECORD
    if path.exists():
        try:
            return set(json.loads(path.read_text())["files"])
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{path} is damaged: remove it together with {out / RECAPTIONED}") from None
    if (out / RECAPTIONED).exists() and any((out / RECAPTIONED).iterdir()):
        raise UserError(f"{out / RECAPTIONED} is there, but no {RECORD} beside it: give another --out")
    return set()


def _settings(asker: Asker) -> dict[str, Any]:
    """All that the set is made with."""
    fuser = asker.fuser and {"name": asker.fuser.name, **asker.fuser.identity, "prompt": asker.prompts.fusion}
    return {
        "captioner": {"name": asker.captioner.name, **asker.captioner.identity, "prompt": asker.prompts.caption},
        "fuser": fuser,
        "config": to_json(asker.config),
        "mm1_version": __version__,
    }


def _record(out: Path, asker: Asker, names: Sequence[str], whole: Recaptioned | None) -> None:
    values = {**_settings(asker), "counts": whole and whole.to_json(), "files": list(names)}
    write_atomically(out / RECORD, (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode())


class _Work:
    """One call's settings, and how far it is."""

    def __init__(self, asker: Asker, again: bool, progress: Progress | None, num_files: int) -> None:
        self.asker, self.again, self.progress, self.num_files = asker, again, progress, num_files
        self.files = self.pairs = 0

    def file(self, pairs: Iterable[Pair | Drop], path: Path, answers: Path, source: Path) -> Recaptioned:
        """Writes one file of the set, if it is not there yet, and returns its counts."""
        about = source.stat()
        made_of = fingerprint([_settings(self.asker), about.st_size, about.st_mtime_ns])
        counts = _finished(path, made_of)
        if counts is None or (self.again and counts.failed):
            with Journal(answers, self.again) as journal:
                counts = self._write(pairs, path, journal, made_of)
        self.files += 1
        self._tell()
        return counts

    def _write(self, pairs: Iterable[Pair | Drop], path: Path, journal: Journal, made_of: str) -> Recaptioned:
        counts, unheard = Recaptioned(), False
        with DocumentWriter(path, more=output.COLUMNS) as writer:
            for chunk in _chunks(pairs, self.asker.config.chunk, counts):
                for captioned in self.asker.caption(chunk, journal):
                    self._keep(captioned, writer, counts)
                    unheard |= captioned.unheard
                self.pairs += len(chunk)
                self._tell()
            writer.describe(
                {_MADE_OF: json.dumps({"made_of": "" if unheard else made_of, "counts": counts.to_json()}).encode()}
            )
        return counts

    def _keep(self, captioned: Captioned, writer: DocumentWriter, counts: Recaptioned) -> None:
        """Into the set, or among the dropped."""
        chosen = choose(captioned, self.asker.config.share)
        if chosen is None:
            assert captioned.failed is not None
            counts.dropped[captioned.failed] += 1
            return
        try:
            output.write(writer, captioned, chosen, self.asker.prompts)
        except Dropped as drop:
            counts.dropped[drop.reason] += 1
            return
        counts.chosen[chosen] += 1
        if captioned.failed is not None:
            counts.failed[captioned.failed] += 1

    def _tell(self) -> None:
        if self.progress is not None:
            self.progress(self.files, self.num_files, self.pairs, self.asker.questions)


def _chunks(items: Iterable[Pair | Drop], most: int, counts: Recaptioned) -> Iterator[list[Pair]]:
    """The pairs, a few at a time; what is no pair is counted."""
    chunk: list[Pair] = []
    size = 0
    for item in items:
        if isinstance(item, Drop):
            counts.entered += item.count
            counts.dropped[reason("", item.reason)] += item.count
            continue
        counts.entered += 1
        chunk.append(item)
        size += len(item.image)
        if len(chunk) == most or size >= _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _finished(path: Path, made_of: str) -> Recaptioned | None:
    """The counts of a file that is there and was made of just this."""
    if not path.exists():
        return None
    try:
        values = json.loads((pq.read_metadata(path).metadata or {}).get(_MADE_OF, b"{}"))
    except pa.ArrowException:
        return None
    return Recaptioned.from_json(values["counts"]) if values.get("made_of") == made_of else None

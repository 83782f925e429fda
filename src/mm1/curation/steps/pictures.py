"""Wanted addresses → the images themselves, each decoded once, or why there is none.

    records/PART/        from the records of a WARC that are images
    files/FILES-N/       from sources' folders and data: URIs, a range of keys each
    web/WEB-N/           downloaded, all of a host in one, and of as many hosts as take turns well
        images.arrow     image_store.py
        keys-….parquet   groups.py's keys of addresses
    recorded/, index/    lookups.py: key of an address → file and row; where several WARCs have it, in the first

What is in the records of a WARC is not downloaded, and what its owner refused there (fetch/opt_out.py) is neither taken
nor asked for. picture_counts.py tells what came of it.

An image of an evaluation is none for any set, whatever page shows it (`evaluation_image`). Its page may stay, without
it: evaluations took their images from the web, where they stand in articles and galleries that ask nothing of them, and
a question about an image that is not there is not answered. A page that has the question itself is dropped in texts.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq

from mm1.curation.config import CurateConfig
from mm1.curation.data_uri import read_data_uri
from mm1.curation.decontaminate import open_index
from mm1.curation.downloads import Downloads, by_host
from mm1.curation.engine import Progress, Values, map_parts
from mm1.curation.fetch import FetchConfig
from mm1.curation.groups import KEYS, RunWriter, read_range, run_files, write_lookup
from mm1.curation.image_store import ImageWriter, place_of
from mm1.curation.images import ImageRules, StoredImage, inspect
from mm1.curation.local import is_local
from mm1.curation.lookups import Lookup
from mm1.curation.page import Dropped
from mm1.curation.runner import Runner
from mm1.curation.sources import BUCKETS_AT_ONCE, Part, read_images, read_local
from mm1.curation.steps import addresses
from mm1.curation.steps.addresses import address_key
from mm1.curation.steps.picture_counts import INDEX, STORE, Unit, count_pictures, save_files

KEY_FILES = "keys"


@dataclass(frozen=True)
class Fit:
    """Which images are stored, as it travels to the processes."""

    rules: ImageRules
    evaluations: Path | None
    """Their index, if there are any."""

    def inspected(self, data: bytes) -> StoredImage | str:
        """An image, or the reason why it is not fit."""
        index = open_index(self.evaluations)
        try:
            picture = inspect(data, self.rules)
        except Dropped as drop:
            return drop.reason
        reason = None if index is None else index.image_reason(picture)
        return reason or StoredImage(picture, data[: picture.num_bytes])


@dataclass(frozen=True)
class RecordsUnit(Unit):
    """A WARC."""

    part: Part = field(kw_only=True)


def look_at_pictures(
    folder: Path,
    sources: Sequence[Part],
    wanted: Path,
    evaluations: Path | None,
    downloads: Path,
    config: CurateConfig,
    runner: Runner,
    progress: Progress | None,
) -> None:
    """Fills the folder of the step; `wanted` is that of addresses.py, `evaluations` of their index."""
    fit = Fit(config.stored_images, evaluations)
    warcs = [part for part in sources if part.kind == "warc"]
    records = [RecordsUnit("records", f"records-{part.name}", number, part=part) for number, part in enumerate(warcs)]
    look = partial(look_at_records, wanted=wanted, fetch=config.fetch, fit=fit)
    map_parts(look, records, folder / "records", runner, progress)
    folders = [folder / "records" / unit.name for unit in records]
    _write_index(folder / "recorded", folders, runner)

    roots = {part.source: part.root for part in sources if part.kind == "folder"}
    files = _file_units(wanted, config, first=len(folders))
    read = partial(look_at_files, wanted=wanted, recorded=folder / "recorded", roots=roots, fit=fit)
    map_parts(read, files, folder / "files", runner, progress)
    folders += [folder / "files" / unit.name for unit in files]

    web = _web_units(wanted, config, first=len(folders))
    fetch = partial(
        look_at_web, wanted=wanted, recorded=folder / "recorded", downloads=downloads, config=config, fit=fit
    )
    map_parts(fetch, web, folder / "web", runner, progress)
    folders += [folder / "web" / unit.name for unit in web]
    _write_index(folder / INDEX, folders, runner)
    units = [*records, *files, *web]
    save_files(folder, units)
    if len(units) <= 1:  # so few images that counting them is nothing for which to start processes
        runner = replace(runner, processes=1)
    count_pictures(folder, units, sources, wanted, config, runner)


class _Output:
    """What is written of one unit."""

    def __init__(self, unit: Unit, folder: Path, fit: Fit) -> None:
        self._unit, self._folder, self._fit = unit, folder, fit
        self._row = self._images = 0

    def __enter__(self) -> _Output:
        self._store = ImageWriter(self._folder / STORE)
        self._keys = RunWriter(self._folder, KEY_FILES, KEYS)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._store.__exit__(kind, error, None)
        self._keys.__exit__(kind, error, None)

    def add(self, key: int, url: str, found: bytes | str) -> None:
        """An image's bytes, or the reason why there are none."""
        image = found if isinstance(found, str) else self._fit.inspected(found)
        self._images += not isinstance(image, str)
        self._store.add(key, url, image)
        self._keys.add({"key": key, "order": place_of(self._unit.number, self._row), "weight": 1})
        self._row += 1

    @property
    def values(self) -> Values:
        return {"in": self._row, "out": self._images}


def look_at_records(unit: RecordsUnit, folder: Path, wanted: Path, fetch: FetchConfig, fit: Fit) -> Values:
    """The images among the records of a WARC that are wanted; of two with one address the first."""
    table, seen = Lookup(wanted / addresses.WANTED), set[int]()
    with _Output(unit, folder, fit) as output:
        for url, found in read_images(unit.part, fetch):
            key = address_key(url, "")
            if key not in seen and table.get(key) is not None:
                seen.add(key)
                output.add(key, url, found)
    return output.values


def look_at_files(
    unit: Unit, folder: Path, wanted: Path, recorded: Path, roots: Mapping[str, Path], fit: Fit
) -> Values:
    """The images of a range of keys that lie in folders and in the pages themselves."""
    with _Output(unit, folder, fit) as output:
        for key, url, source in _rows(wanted, addresses.HERE, "key", unit, Lookup(recorded)):
            try:
                data = read_local(roots[source], url) if is_local(url) else read_data_uri(url)
            except Dropped as drop:
                output.add(key, url, drop.reason)
            else:
                output.add(key, url, data)
    return output.values


def look_at_web(
    unit: Unit, folder: Path, wanted: Path, recorded: Path, downloads: Path, config: CurateConfig, fit: Fit
) -> Values:
    """The images of the hosts of some buckets."""
    keys = {url: key for key, url, _ in _rows(wanted, addresses.WEB, "bucket", unit, Lookup(recorded))}
    fetch = config.fetch.replace(accept="image")
    shelves = by_host(config.download_buckets)
    with _Output(unit, folder, fit) as output, Downloads(downloads / "images", fetch, shelves) as store:
        for got in (store.download if config.download else store.stored)(keys):
            output.add(keys[got.url], got.url, got.reason if got.data is None else got.data)
    return output.values


def _rows(wanted: Path, name: str, column: str, unit: Unit, recorded: Lookup) -> Iterator[tuple[int, str, str]]:
    """Key, address and source of what a unit holds, by rising keys, without what the records of WARCs have."""
    table = read_range(sorted(wanted.glob(f"{name}-*.parquet")), column, unit.low, unit.high)
    _, there = recorded.find(table["key"].to_numpy())
    table = table.filter(~there).sort_by("key")
    yield from zip(*(table[name].to_pylist() for name in ("key", "url", "source")), strict=True)


def _file_units(wanted: Path, config: CurateConfig, first: int) -> list[Unit]:
    rows = sum(pq.read_metadata(path).num_rows for path in wanted.glob(f"{addresses.HERE}-*.parquet"))
    count = -(-rows // config.pictures_a_part)
    edges = [(number << 64) // max(count, 1) for number in range(count + 1)]
    ranges = enumerate(pairwise(edges))
    return [Unit("files", f"files-{n:05d}", first + n, low, high - 1) for n, (low, high) in ranges]


def _web_units(wanted: Path, config: CurateConfig, first: int) -> list[Unit]:
    """Neighbouring buckets together, while they are few and hold few addresses.

    Hosts are slow, so many must take turns: one bucket after the other would take the sum of their times.
    """
    sizes: Counter[int] = Counter()
    for path in wanted.glob(f"{addresses.WEB}-*.parquet"):
        sizes.update(pq.read_table(path, columns=["bucket"], partitioning=None)["bucket"].to_pylist())
    groups: list[list[int]] = []
    for bucket in sorted(sizes):
        held = sum(sizes[other] for other in groups[-1]) if groups else 0
        if groups and len(groups[-1]) < BUCKETS_AT_ONCE and held + sizes[bucket] <= config.pictures_a_part:
            groups[-1].append(bucket)
        else:
            groups.append([bucket])
    return [Unit("web", f"web-{n:05d}", first + n, found[0], found[-1]) for n, found in enumerate(groups)]


def _write_index(folder: Path, units: Sequence[Path], runner: Runner) -> None:
    write_lookup(folder, run_files(units, KEY_FILES), runner, "first")

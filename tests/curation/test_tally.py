"""Tallies of parts add to that of the whole, and never leave the disk unbalanced."""

from pathlib import Path

import pytest

from mm1.curation.funnel import Counts, Unbalanced
from mm1.curation.samples import KEPT, Sample
from mm1.curation.tally import Tally, total


def tally(names: list[str]) -> Tally:
    made = Tally()
    for name in names:
        made.enter("rules", "page")
        if name < "m":
            made.keep("rules", "page", name, lambda name=name: Sample(name, ()))
        else:
            made.drop("rules", "page", "late", name, lambda name=name: Sample(name, ()))
        made.statistics.word("first", name[0])
    return made


def test_the_whole_is_the_sum_of_its_parts_however_it_was_cut(tmp_path: Path) -> None:
    names = [f"{letter}{number}" for number in range(3) for letter in "aqbzmc"]
    whole = tally(names)
    for cut in (1, 4, 7):
        folders = [tmp_path / f"{cut}-{start}" for start in range(0, len(names), cut)]
        for place, folder in enumerate(folders):
            folder.mkdir()
            tally(names[place * cut : (place + 1) * cut]).save(folder)
        found = total(folders)
        assert found.counts == whole.counts == {("rules", "page"): Counts(18, 9, found.counts["rules", "page"].dropped)}
        assert found.samples.of("rules", KEPT) == whole.samples.of("rules", KEPT)
        assert found.statistics.to_json() == whole.statistics.to_json()


def test_what_was_lost_on_the_way_is_not_written(tmp_path: Path) -> None:
    made = tally(["a", "z"])
    made.enter("rules", "page")
    with pytest.raises(Unbalanced):
        made.save(tmp_path)
    assert not list(tmp_path.iterdir())

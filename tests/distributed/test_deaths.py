from __future__ import annotations

import pytest
import torch.distributed as dist

from mm1.distributed.deaths import telling_of_deaths
from mm1.distributed.lost import RankLost


@pytest.mark.parametrize(
    "words",
    [
        "[../third_party/gloo/gloo/transport/tcp/pair.cc:419] writev [10.0.0.2]:4711: Broken pipe",
        "Connection closed by peer [10.0.0.2]:4711",
        "Read error [10.0.0.2]:4711: Connection reset by peer",
        "NCCL communicator was aborted on rank 3.",
        "ncclRemoteError: remote process exited or there was a network error",
    ],
)
def test_each_library_has_its_own_words_for_it(words: str) -> None:
    error = RuntimeError(words)
    with pytest.raises(RankLost, match="another rank ended") as told, telling_of_deaths():
        raise error
    assert told.value.__cause__ is error  # a developer wants to know


def test_a_store_that_is_gone_is_told_whatever_its_words() -> None:
    with pytest.raises(RankLost, match="another rank ended"), telling_of_deaths():
        raise dist.DistNetworkError("failed to recv, got 0 bytes")


def test_a_connection_of_something_else_is_left_as_it_is() -> None:
    with pytest.raises(ConnectionResetError), telling_of_deaths():
        raise ConnectionResetError("Connection reset by peer")


def test_other_errors_are_left_as_they_are() -> None:
    with pytest.raises(RuntimeError, match=r"^shapes do not fit$"), telling_of_deaths():
        raise RuntimeError("shapes do not fit")

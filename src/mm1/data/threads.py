"""Tensors computed by one thread for a while: a sum over several threads depends on how many there are.

    with one_thread():
        scores = model(batch)        # the same to the bit on a machine of two cores and of two hundred

Also for timings that are compared by the core. Knows nothing of what is computed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Sets the number of torch's threads to one, and back when it is left, however it is left."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

"""How many threads a tensor operation may use: one.

Two busy cores ran the fit of the embedded scene 20 times slower with two threads than with one (368 s against 16 s: OpenMP threads wait for each
other). A choice measured at the start does not know what the machine does a minute later, and the last bits of the result would depend on it.
Tiles run beside each other instead, one to a core.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Run torch operations of this thread on ``count`` cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)

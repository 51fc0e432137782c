"""One progress bar, so that every long step looks the same and can be silenced the same way."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # without ipywidgets tqdm falls back to a text bar, which is no news to anyone
    from tqdm.auto import tqdm


@contextmanager
def bar(total: int | None = None, *, desc: str, unit: str, enabled: bool = True) -> Iterator[Any]:
    """Show a progress bar on stderr while the block runs; call ``update(n)`` on what it yields.

    Parameters
    ----------
    total : int, optional
        Number of steps; without it only a count and a rate are shown.
    desc : str
        What is being done, e.g. ``"writing"``.
    unit : str
        What is counted, e.g. ``"tile"``.
    enabled : bool
        False prints nothing at all.

    Yields
    ------
    tqdm.tqdm
        The bar.

    Examples
    --------
    >>> with bar(3, desc="writing", unit="tile", enabled=False) as steps:
    ...     for _ in range(3):
    ...         steps.update()
    """
    # ASCII characters only: logs and Windows consoles without UTF-8 must not fail on a progress bar.
    with tqdm(total=total, desc=desc, unit=unit, disable=not enabled, file=sys.stderr, ascii=True, dynamic_ncols=True) as steps:
        yield steps

"""The device that torch computes on, and what a GPU asks for: one tile at a time, numbers of full precision, results by way of pinned memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from geofuse.errors import InvalidInput

_turns: dict[str, threading.Lock] = {}


def torch_device(device: str) -> str:
    """The torch device that ``device`` means, ``auto`` too.

    Raises
    ------
    InvalidInput
        It cannot be used.

    Examples
    --------
    >>> torch_device("cpu")
    'cpu'
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:  # which lists twenty kinds that are of no use here
        raise _rejected(device, "torch knows no device of that name") from error
    try:
        torch.zeros(1, device=found)
    except (RuntimeError, AssertionError) as error:
        raise _rejected(device, str(error).splitlines()[0]) from error
    return device


def _rejected(device: str, reason: str) -> InvalidInput:
    return InvalidInput(f"The device {device!r} cannot be used: {reason}. Expected 'auto', 'cpu' or a GPU such as 'cuda:0'.")


def memory_of(device: str) -> int | None:
    """Bytes that a run may use of a GPU; None for the processor.

    A share of all that it has and not what is free now, so that a resumed run finds the same tiles; a full one is met when it comes to it.
    """
    return int(0.8 * torch.cuda.mem_get_info(device)[1]) if torch.device(device).type == "cuda" else None


@contextmanager
def turn(device: str) -> Iterator[None]:
    """Let one thread at a time of this process use a GPU; a processor takes all.

    The other threads read and write meanwhile, so that a GPU with two of them is busy, and its memory holds what one tile takes.
    """
    if torch.device(device).type == "cpu":
        yield
        return
    with _turns.setdefault(device, threading.Lock()), full_precision():
        yield


@contextmanager
def full_precision() -> Iterator[None]:
    """Compute in float32 where float32 was asked for: no TF32, whose 10 bits leave errors of 1e-3, and which is the default in convolutions.

    The switches are those of the process; they are put back.
    """
    switches: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [each.allow_tf32 for each in switches]
    for each in switches:
        each.allow_tf32 = False
    try:
        yield
    finally:
        for each, was in zip(switches, before, strict=True):
            each.allow_tf32 = was


def to_host(made: torch.Tensor) -> np.ndarray:
    """A tensor as an array of this machine's memory; from a GPU by way of pinned memory, which the copy engine reaches by itself."""
    if not made.is_cuda:
        return made.cpu().numpy()
    host = torch.empty(made.shape, dtype=made.dtype, pin_memory=True)
    host.copy_(made, non_blocking=True)
    torch.cuda.current_stream(made.device).synchronize()
    return host.numpy()


def out_of_memory(error: BaseException) -> bool:
    """Whether a device said that it has no memory left; its libraries have words of their own for it."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in ("CUDA error: out of memory", "ALLOC_FAILED"))


def release(device: str) -> None:
    """Give back the memory that is kept for tensors to come."""
    if torch.device(device).type == "cuda":
        torch.cuda.empty_cache()

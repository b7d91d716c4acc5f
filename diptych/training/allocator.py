"""Telling the C library to keep the memory that a training step frees, for the next step."""

from __future__ import annotations

import contextlib
import ctypes

# Names and numbers of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_memory() -> None:
    """On a processor, activations are given back and asked for again at every step, and each page of them faults.

    Kept, a step of a small model takes a tenth less time (docs/LOG.md). It concerns the whole process, so programs
    decide on it, not the library. Does nothing where the C library is not glibc.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)

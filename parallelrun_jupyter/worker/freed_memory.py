"""Keeps the memory that a mini-batch frees, so that the next one need not get it from the system again."""

from __future__ import annotations

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of ``mallopt`` in glibc."""

_KEPT_BYTES = 64 << 20
_LARGEST_BYTES = 32 << 20
"""Larger blocks go back at once; glibc permits no more than this."""


def keep_freed_memory() -> None:
    """Let this process keep up to 64 MiB of freed memory; for processes that read tables.

    The DataFrame of a mini-batch is a few MiB. By default glibc returns them to the system when they are
    freed, and each page costs a fault when the next mini-batch uses it: a fifth of all CPU time of a run
    over a CSV file. Without glibc, nothing changes.
    """
    try:
        import ctypes

        mallopt = ctypes.CDLL(None).mallopt
    except (ImportError, OSError, AttributeError):
        return  # a Python without ctypes, or another C library
    mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
    mallopt(_MMAP_THRESHOLD, _LARGEST_BYTES)

"""Frees memory after an exception, so that a lack of memory can still be described and reported."""

from __future__ import annotations

import gc
import mmap

from .error_types import drop_frames, is_out_of_memory

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any

_BYTES = 1 << 22


class MemoryReserve:
    """Address space that counts toward a process's limit, but takes no memory until it is used."""

    def __init__(self) -> None:
        self._space: Any = None
        self.fill()

    def fill(self) -> None:
        """Reserve the space, if it is free and the limit allows it."""
        if self._space is None:
            try:
                self._space = mmap.mmap(-1, _BYTES)
            except (OSError, MemoryError):
                pass  # the script itself holds too much

    def release(self) -> None:
        """Give up the space; nothing is allocated for that."""
        if self._space is not None:
            self._space.close()
            self._space = None

    def free_for(self, error: BaseException) -> None:
        """Give up the space and, if memory is lacking, the variables of the calls that have ended."""
        self.release()
        if is_out_of_memory(error):
            drop_frames(error)
            gc.collect()

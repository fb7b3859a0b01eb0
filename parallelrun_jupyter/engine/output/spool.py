"""The rows that a node keeps until they are in the store: files, each as long as somebody needs it."""

from __future__ import annotations

import os
import shutil
from bisect import bisect_right
from pathlib import Path

FILE_BYTES = 64 << 20


class Spool:
    """Takes rows, tells where they are, and forgets them: a file goes when all of it may.

    Parameters
    ----------
    folder
        Where the files are; it is made anew.
    file_bytes
        A file of so many bytes gets no more of them.
    """

    def __init__(self, folder: Path, file_bytes: int = FILE_BYTES) -> None:
        self.folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700, parents=True)
        self._file_bytes = file_bytes
        self._fd = -1
        self._end = 0
        #: the offsets at which files begin, and how many bytes of each are needed
        self._starts: list[int] = []
        self._needed: dict[int, int] = {}
        self.trouble = ""

    @property
    def is_empty(self) -> bool:
        """Whether nothing is kept that is needed."""
        return not any(self._needed.values())

    def keep(self, rows: bytes) -> tuple[int, int]:
        """Take rows; return 0, for they are in no part, and their offset.

        A disk that refuses is told by ``trouble``: the node cannot go on, and says so.
        """
        offset = self._end
        self._end += len(rows)
        try:
            if self._fd < 0 or offset - self._starts[-1] >= self._file_bytes:
                self._begin(offset)
            data = memoryview(rows)
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError as error:
            self.trouble = f"{error.strerror or error} ({self.folder})"
        else:
            self._needed[self._starts[-1]] += len(rows)
        return 0, offset

    def _begin(self, offset: int) -> None:
        """Begin a new file, of the rows from an offset on."""
        self._close_file()
        path = self.folder / f"{offset}.rows"
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._starts.append(offset)
        self._needed[offset] = 0
        if len(self._starts) > 1:
            self._drop_if_done(self._starts[-2])

    def place(self, offset: int) -> tuple[str, int]:
        """Return the file that holds the rows of an offset, and where in it they begin."""
        start = self._start_of(offset)
        return str(self.folder / f"{start}.rows"), offset - start

    def release(self, offset: int, length: int) -> None:
        """Forget rows."""
        start = self._start_of(offset)
        self._needed[start] -= length
        self._drop_if_done(start)

    def _drop_if_done(self, start: int) -> None:
        if not self._needed[start] and start != self._starts[-1]:
            self._starts.remove(start)
            del self._needed[start]
            (self.folder / f"{start}.rows").unlink(missing_ok=True)

    def _start_of(self, offset: int) -> int:
        return self._starts[bisect_right(self._starts, offset) - 1]

    def _close_file(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def close(self) -> None:
        """Forget all of it."""
        self._close_file()
        shutil.rmtree(self.folder, ignore_errors=True)

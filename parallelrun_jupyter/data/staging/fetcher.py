"""Fetching files of a store to local files, in an event loop."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from ...errors import InputError
from ..storage.storage import StorageSpec

_SMALL_BYTES = 1 << 20


class Fetcher:
    """One store, opened in the running event loop.

    Parameters
    ----------
    storage
        Which one.
    threads
        Where the calls of a file system wait that knows no event loop.
    """

    def __init__(self, storage: StorageSpec, threads: Executor) -> None:
        self.storage = storage
        self._threads = threads
        self._files: Any = None

    async def open(self) -> Any:
        """Open the store, which imports its packages; return the file system.

        Raises
        ------
        ConfigError, MissingExtraError
            As `StorageSpec.open`.
        """
        if self._files is None:
            # Of Azure's only the client is used, which is at home where it is first called; the file
            # system itself closes things at exit, in a loop that has to be there still.
            loop = asyncio.get_running_loop()
            is_azure = self.storage.protocol == "az"
            how: dict[str, Any] = {} if is_azure else {"asynchronous": True, "loop": loop}
            files = self.storage.open(**how)
            if hasattr(files, "set_session"):
                await files.set_session()
            self._files = files
        return self._files

    async def fetch(self, url: str, size: int, version: int | str, path: Path) -> None:
        """Write a file of the store to a local one, whole.

        Parameters
        ----------
        url, size, version
            What was listed; a size below 0 is unknown.
        path
            Where to write it.

        Raises
        ------
        FileNotFoundError
            It is gone.
        InputError
            It is not what was listed.
        """
        files = await self.open()
        if self.storage.protocol == "az":
            from ..storage.azure_blobs import download

            await download(files, url, str(path), version)
        elif not getattr(files, "async_impl", False):
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._threads, files.get_file, url, str(path))
        elif 0 <= size <= _SMALL_BYTES:
            path.write_bytes(await files._cat_file(url))  # noqa: SLF001, ASYNC240 - the coroutines of fsspec are named so; a small file
        else:
            await files._get_file(url, str(path))  # noqa: SLF001 - the coroutines of fsspec are named so
        found = os.stat(path).st_size
        if size >= 0 and found != size:
            msg = (
                f"the input {url!r} has {found:,} bytes and had {size:,} when the run was planned: "
                "it has changed. Start a new run."
            )
            raise InputError(msg)

    async def close(self) -> None:
        """Close the connections."""
        files, self._files = self._files, None
        client = getattr(files, "service_client", None)
        if client is not None:
            await client.close()
            if getattr(files, "credential", None) is not None:
                await files.credential.close()

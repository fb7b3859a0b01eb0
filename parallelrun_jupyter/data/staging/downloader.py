"""Downloads of files of an object store, in an event loop."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from ...errors import InputError
from ..storage.storage import StorageSpec

_SMALL_BYTES = 1 << 20


class Downloader:
    """An object store that is opened in the running event loop.

    Parameters
    ----------
    storage
        The store.
    threads
        Threads for file systems without coroutines.
    """

    def __init__(self, storage: StorageSpec, threads: Executor) -> None:
        self.storage = storage
        self._threads = threads
        self._files: Any = None

    async def open(self) -> Any:
        """Open the store, which imports its packages, and return the file system.

        Raises
        ------
        ConfigError, MissingExtraError
            The store cannot be opened; see `StorageSpec.open`.
        """
        if self._files is None:
            # Only the client of adlfs is used, which binds to the loop of its first call. The file
            # system itself needs its own loop, in which it closes connections at exit.
            loop = asyncio.get_running_loop()
            is_azure = self.storage.protocol == "az"
            arguments: dict[str, Any] = {} if is_azure else {"asynchronous": True, "loop": loop}
            files = self.storage.open(**arguments)
            if hasattr(files, "set_session"):
                await files.set_session()
            self._files = files
        return self._files

    async def download(self, url: str, size: int, version: int | str, path: Path) -> None:
        """Download a file to a local path.

        Parameters
        ----------
        url, size, version
            The file, as listed; a size below 0 is unknown.
        path
            The local path.

        Raises
        ------
        FileNotFoundError
            The file was deleted.
        InputError
            The file has changed since it was listed.
        """
        files = await self.open()
        if self.storage.protocol == "az":
            from ..storage.azure_blobs import download

            await download(files, url, str(path), version)
        elif not getattr(files, "async_impl", False):
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._threads, files.get_file, url, str(path))
        elif 0 <= size <= _SMALL_BYTES:
            path.write_bytes(await files._cat_file(url))  # noqa: SLF001, ASYNC240 - fsspec names its coroutines so; a small file
        else:
            await files._get_file(url, str(path))  # noqa: SLF001 - fsspec names its coroutines so
        actual = os.stat(path).st_size
        if size >= 0 and actual != size:
            msg = (
                f"the input {url!r} has {actual:,} bytes but had {size:,} when the run was "
                "planned: "
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

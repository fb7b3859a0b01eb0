"""Downloads: the logs and the output file of a run, streamed as plain text."""

from __future__ import annotations

import asyncio
from pathlib import Path

from jupyter_server.auth.decorator import authorized
from tornado import web
from tornado.iostream import StreamClosedError

from ..errors import OutputError
from ..runs.logs import remote_logs
from ..runs.logs.reader import worker_logs
from ..runs.run_folder import RunFolder
from ..runs.run_lookup import find_run
from .followers import Followers
from .run_handler import RunsHandler

_PIECE_BYTES = 1 << 18


class _FileHandler(RunsHandler):
    """Streams files, one after another."""

    async def send(self, name: str, paths: list[Path], *, named: bool) -> None:
        """Send files as a download called ``name``; with ``named``, each after a line with its name."""
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.set_header("X-Content-Type-Options", "nosniff")
        plain = name.replace('"', "_").replace("\\", "_")
        self.set_header("Content-Disposition", f'attachment; filename="{plain}"')
        loop = asyncio.get_running_loop()
        try:
            for path in paths:
                if named:
                    self.write(f"==> {path.name} <==\n")
                with path.open("rb") as file:
                    while piece := await loop.run_in_executor(None, file.read, _PIECE_BYTES):
                        self.write(piece)
                        await self.flush()
        except StreamClosedError:
            return  # the page was closed
        await self.finish(set_content_type="text/plain; charset=utf-8")


class LogFileHandler(_FileHandler):
    """The log of one worker, or of all workers."""

    @web.authenticated
    @authorized
    async def get(self, run_id: str) -> None:
        """Send the text."""
        worker = self.get_query_argument("worker", "")

        def find() -> list[Path]:
            folder = find_run(run_id)
            remote_logs.fetch(folder)
            return worker_logs(folder, worker or None)

        paths = await self.answer(find)
        if worker and not paths:
            msg = f"run {run_id} has no log of a worker {worker!r}."
            raise web.HTTPError(404, msg, reason="no such log")
        name = f"{run_id}-{paths[0].stem}.log" if worker else f"{run_id}.log"
        await self.send(name, paths, named=not worker)


class ResultHandler(_FileHandler):
    """The output file of a run."""

    @web.authenticated
    @authorized
    async def get(self, run_id: str) -> None:
        """Send the text."""
        path = await self.answer(lambda: local_output(find_run(run_id), self.followers))
        await self.send(path.name, [path], named=False)


def local_output(folder: RunFolder, followers: Followers) -> Path:
    """Return the path of a run's output file, if record and journal agree on it.

    Raises
    ------
    OutputError
        The run has not completed, or the file is not on this machine.
    """
    record = folder.read_record()
    path = folder.final_file(record)
    published = followers.ask(folder, lambda state: state.output)
    if not published:
        msg = f"run {folder.run_id} has no output file yet; it is published when the run completes."
        raise OutputError(msg)
    if published != str(path) or not path.is_file():
        msg = (
            f"the output of run {folder.run_id} is {published}, which is not a file on this server."
        )
        raise OutputError(msg)
    return path

"""Whole files of a run: its logs, and what it has put out. Sent in pieces, as text and no other."""

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
from .followers import Followers
from .run_handler import RunsHandler, find_run

_PIECE_BYTES = 1 << 18


class _FileHandler(RunsHandler):
    """Sends files, one after another."""

    async def send(self, name: str, paths: list[Path], *, named: bool) -> None:
        """Send files under a name; with ``named``, each behind a line that names it."""
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
            return  # the page has gone away
        await self.finish(set_content_type="text/plain; charset=utf-8")


class LogFileHandler(_FileHandler):
    """The whole log of one worker, or of all of them."""

    @web.authenticated
    @authorized
    async def get(self, run_id: str) -> None:
        """Answer with the text."""
        worker = self.get_query_argument("worker", "")

        def find() -> list[Path]:
            folder = find_run(run_id)
            remote_logs.bring(folder)
            return worker_logs(folder, worker or None)

        paths = await self.answer(find)
        if worker and not paths:
            msg = f"run {run_id} has no log of a worker {worker!r}."
            raise web.HTTPError(404, msg, reason="no such log")
        name = f"{run_id}-{paths[0].stem}.log" if worker else f"{run_id}.log"
        await self.send(name, paths, named=not worker)


class ResultHandler(_FileHandler):
    """The final file of a run."""

    @web.authenticated
    @authorized
    async def get(self, run_id: str) -> None:
        """Answer with the text."""
        path = await self.answer(lambda: final_file(find_run(run_id), self.followers))
        await self.send(path.name, [path], named=False)


def final_file(folder: RunFolder, followers: Followers) -> Path:
    """Return the final file of a run: where its record puts it, and where its journal says it is.

    Raises
    ------
    OutputError
        There is none (yet), or it is not on this machine.
    """
    record = folder.read_record()
    path = folder.final_file(record)
    said = followers.ask(folder, lambda state: state.output)
    if not said:
        msg = f"run {folder.run_id} has no final file; a run has one once it is completed."
        raise OutputError(msg)
    if said != str(path) or not path.is_file():
        msg = f"the output of run {folder.run_id} is {said}, which this server cannot send."
        raise OutputError(msg)
    return path

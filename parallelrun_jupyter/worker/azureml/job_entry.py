"""The entry script of a job in Azure ML: runs mini-batches as a worker does, and writes their results as files.

The job's ``code`` folder has ``settings.json``, a copy of the package of workers, the snapshot of the user's
script in ``script``, and in ``uses`` the variables that it gets by value. Azure calls `init` once
in each process, `run` with the path of one plan file, and `shutdown`. The results are files, see
``job_results.py``.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import time
import zlib

from .. import own_package, status_page
from ..attempt import Attempt, AttemptRunner
from ..failures import Timeout, describe
from ..item_ranges import merged
from ..plan_line import PlanLine
from ..script import EntryScript
from ..spending import Spending
from . import finder
from .job_results import NUMBER_DIGITS, ResultFiles
from .job_streams import PlainLog, PlainStreams, UserSurroundings

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any

ARGUMENT = "--parallelrun_"
"""Prefix of the job's own arguments: the paths of its inputs and outputs by name."""

SETTINGS_FILE = "settings.json"
PACKAGES_FOLDER = "packages"
"""The folder with the packages that the job carries itself."""

_NO_FILE = -1
"""In place of the descriptor of a status page that no other process reads."""

_SHARE_OF_LIMIT = 0.8
"""The share of the time limit of a mini-batch after which no more parts of it run."""

_NOT_DIVIDED = ("throttled", "load_timeout")
"""Kinds of failures that say little about the items of a mini-batch."""


def paths_in(words: list[str]) -> dict[str, str]:
    """Return the paths of the job's inputs and outputs by name, from its arguments."""
    places = [k for k, word in enumerate(words[:-1]) if word.startswith(ARGUMENT)]
    return {words[k][len(ARGUMENT) :]: words[k + 1] for k in places}


def mini_batch_of(path: str) -> int:
    """Return the number of the mini-batch of a plan file."""
    return int(os.path.basename(path).partition(".")[0])


class JobWorker:
    """Runs the mini-batches of one process of the job.

    Parameters
    ----------
    code
        The job's folder of code.
    """

    def __init__(self, code: str) -> None:
        self._code = code
        self._roots = [os.path.join(code, "script")]
        self._tries: dict[int, int] = {}
        self._spent = [0, 0]
        self._streams = PlainStreams()

    # Calls of Azure

    def init(self) -> None:
        """Load the user's script and call its ``init()``; an exception is recorded, then raised."""
        began = time.monotonic()
        with open(os.path.join(self._code, SETTINGS_FILE), encoding="ascii") as file:
            self._settings = json.load(file)
        self._roots += self._settings["more_roots"]
        self._paths = paths_in(sys.argv)
        self._pid = os.getpid()
        self._page = status_page.StatusPage(_NO_FILE)
        node = re.sub(r"[^A-Za-z0-9-]+", "-", socket.gethostname()) or "node"
        # A process of a node that was restarted may have the id of an earlier one.
        self._results = ResultFiles(
            self._paths["results"],
            "%s-%d-%06x" % (node, self._pid, int(time.time() * 10) % (1 << 24)),
        )
        sys.stdout.write("parallelrun worker %s\n" % self._results.worker)
        sys.stdout.flush()
        facts = {"worker": self._results.worker, "node": node, "pid": self._pid}
        function = "start"
        try:
            start = self._start()
            self._surroundings = UserSurroundings(start["cwd"], start["argv"])
            with self._surroundings:
                self._prepare(start)
                function = "import"
                script = self._load(start)
                function = "init"
                script.init()
        except BaseException as error:  # the user's code
            failure = describe(error, self._roots, function)
            self._results.write_worker(dict(facts, failure=failure))
            raise
        self._script = script
        self._page.write(status_page.WAITING, -1, time.monotonic())
        facts["init_ms"] = int((time.monotonic() - began) * 1000)
        facts["run_line"] = self._runner.run_line
        self._results.write_worker(facts)
        self._results.report(self._page)

    def run(self, plan_files: list[str]) -> list[str]:
        """Run the mini-batches of some plan files.

        Returns
        -------
        list
            The number of each, as Azure counts the results.

        Raises
        ------
        BaseException
            The exception of the last mini-batch that failed and may be tried again.
        """
        done, last_error = [], None
        for path in plan_files:
            error = self._run_one(mini_batch_of(path), self._line_of(path))
            last_error = error or last_error
            done.append("%0*d" % (NUMBER_DIGITS, mini_batch_of(path)))
        if last_error is not None:
            raise last_error
        return done

    def shutdown(self) -> None:
        """Call the script's ``shutdown()``."""
        with self._surroundings:
            self._script.shutdown()

    # Start

    def _start(self) -> dict[str, Any]:
        """Return the settings of a worker, with the keys ``protocol.START_KEYS``."""
        settings, snapshot = self._settings, self._roots[0]
        script = os.path.join(snapshot, settings["script"])
        output_dir = self._paths.get("files", self._paths["results"])
        return dict(
            settings["start"],
            script=script,
            argv=[script, *map(self._argument, settings["arguments"])],
            cwd=snapshot,
            sys_path=list(dict.fromkeys([os.path.dirname(script), snapshot])),
            log="",
            roots=self._roots,
            output_dir=output_dir,
            log_dir=os.path.join(output_dir, "logs"),
            agent_name=self._results.worker,
            uses={"folder": os.path.join(self._code, "uses"), "names": settings["uses"]},
        )

    def _argument(self, argument: Any) -> str:
        if not isinstance(argument, dict):
            return str(argument)
        if "output" in argument:
            return self._paths["files"]
        return self._side_path(argument["side"])

    def _side_path(self, number: int) -> str:
        return os.path.join(self._paths["side_%d" % number], self._settings["sides"][number])

    def _prepare(self, start: dict[str, Any]) -> None:
        for name, number in self._settings["side_variables"].items():
            os.environ[name] = self._side_path(number)
        os.environ["AZUREML_BI_OUTPUT_PATH"] = start["output_dir"]
        if "data" in self._paths:
            from ..memory_items import FOLDER_VARIABLE

            os.environ[FOLDER_VARIABLE] = self._paths["data"]
        sys.path[:0] = start["sys_path"]
        self._use_packages()
        names = ("output_dir", "log_dir", "agent_name")
        finder.install(dict({name: start[name] for name in names}, working_dir=start["cwd"]))
        own_package.install()
        self._runner = AttemptRunner(
            start, self._page, PlainLog(), self._streams, self._leave_if_forked
        )

    def _use_packages(self) -> None:
        """Let packages that the job carries be imported in place of others of the environment."""
        folder = os.path.join(self._code, PACKAGES_FOLDER)
        if not os.path.isdir(folder):
            return
        sys.path.insert(0, folder)
        for package in os.listdir(folder):  # the environment may have imported another version
            for name in list(sys.modules):
                if name == package or name.startswith(package + "."):
                    del sys.modules[name]

    def _load(self, start: dict[str, Any]) -> EntryScript:
        values: dict[str, Any] = {}
        if start["uses"]["names"]:
            from ..uses import load_uses, name_in_main

            values = load_uses(start["uses"]["folder"], start["uses"]["names"])
            name_in_main(values)
        script = EntryScript(start["script"], values)
        self._runner.prepare(script.run, Spending(start["calls"], self._spend))
        return script

    # Mini-batches

    def _line_of(self, path: str) -> PlanLine:
        with open(path, "rb") as file:
            line = PlanLine.decode(file.read())
        root = self._paths.get("input_%d" % line.input_number)
        if root is not None:
            line.paths = [os.path.join(root, *relative.split("/")) for relative in line.paths]
        return line

    def _run_one(self, mini_batch: int, line: PlanLine) -> BaseException | None:
        """Run one mini-batch and write its results; return its exception if Azure is to try it again.

        Items that have failed while others have not are tried again here: each try is an attempt.
        """
        part, began = line, time.monotonic()
        for _ in range(self._settings["max_try"]):
            reply, error = self._try(mini_batch, part)
            if error is not None and part is line:
                return error if self._may_retry(reply[-1]) else None
            left = self._left(line, part, reply)
            if left is None or time.monotonic() - began > self._limit_s:
                break
            part = left
        return None

    @property
    def _limit_s(self) -> float:
        """Seconds after which a call begins nothing more: Azure ends its process a little later."""
        return _SHARE_OF_LIMIT * float(self._settings["timeout_s"])

    def _left(self, line: PlanLine, part: PlanLine, reply: list[Any]) -> PlanLine | None:
        """Return the items of an attempt that are tried again; None if there are none."""
        if reply[0] == "failed":
            return part if self._may_retry(reply[-1]) else None
        if reply[0] == "done" or not self._settings["divides"]:
            return None
        groups = [ranges for ranges, _, failure in reply[-1] if self._may_retry(failure)]
        ranges = merged(tuple(pair) for ranges in groups for pair in ranges)
        return line.only(ranges) if ranges else None

    def _try(self, mini_batch: int, line: PlanLine) -> tuple[list[Any], BaseException | None]:
        """Run one attempt and write its result; return its reply, and the exception if it failed."""
        number = self._tries[mini_batch] = self._tries.get(mini_batch, 0) + 1
        attempt = Attempt(mini_batch, number, line)
        self._spent = [0, 0]
        with self._surroundings:
            self._runner.reserve.fill()
            reply, text, error = self._tried(attempt)
            if error is not None and self._may_divide(line, reply[-1]):
                # Not in an except block: failures of parts would have this one as their context.
                reply, text, is_answered = self._isolated(attempt, line, reply)
                error = None if is_answered else error
        self._page.write(status_page.WAITING, -1, time.monotonic())
        self._results.write(attempt, reply, text, self._spent)
        return reply, error

    def _tried(
        self, attempt: Attempt, answer: Any = None
    ) -> tuple[list[Any], bytes, BaseException | None]:
        """Return the reply of an attempt, its rows, and its exception; ``answer`` runs a part."""
        runner = self._runner
        try:
            if attempt.isolates:
                answered = runner.isolate(attempt, answer)
            else:
                answered = runner.answer(attempt, attempt.line)
            reply = runner.ended(attempt, answered)
            rows, text, _ = answered
        except BaseException as error:  # the user's code
            return runner.failed(attempt, error), b"", error
        if reply is None:
            micros = int((time.monotonic() - attempt.began) * 1e6)
            size, crc = len(text), zlib.crc32(text)
            row = [attempt.mini_batch, attempt.number, attempt.items, rows, micros, size, crc]
            reply = ["done", micros, size, [row]]
        return reply, text, None

    def _isolated(
        self, whole: Attempt, line: PlanLine, failed: list[Any]
    ) -> tuple[list[Any], bytes, bool]:
        """Run the items of a failed mini-batch in parts; return the reply, its rows, and whether items answered.

        The time limit is that of the whole call, so the parts end before Azure ends this process.
        """
        suspect = failed[-1].get("suspect", -1)
        parts = line.only(line.ranges_of_items, isolates=True, suspect=suspect)
        attempt = Attempt(whole.mini_batch, whole.number, parts)
        attempt.began = whole.began
        ends_at = whole.began + self._limit_s
        late: list[PlanLine] = []

        def answer(attempt: Attempt, part: PlanLine) -> Any:
            if time.monotonic() > ends_at:
                late.append(part)
                raise Timeout("its mini-batch has no time left to run it alone")
            return self._runner.answer(attempt, part)

        self._runner.reserve.fill()
        reply, text, error = self._tried(attempt, answer)
        if late:
            return failed, b"", False
        return reply, text, error is None

    def _may_divide(self, line: PlanLine, failure: dict[str, Any]) -> bool:
        kind = "throttled" if failure.get("is_throttled") else failure["kind"]
        return self._settings["divides"] and line.item_count > 1 and kind not in _NOT_DIVIDED

    def _may_retry(self, failure: dict[str, Any]) -> bool:
        """Return whether an error is tried again, by ``retry_on`` and ``no_retry_on``."""
        names = {failure["error"], *failure["bases"]} if "bases" in failure else {failure["error"]}
        if not names.isdisjoint(self._settings["no_retry_on"]):
            return False
        is_asked = "retry_after_s" in failure or "is_throttled" in failure
        retry_on = self._settings["retry_on"]
        return is_asked or not retry_on or not names.isdisjoint(retry_on)

    def _spend(self, _: int, __: int, tokens: int, nano_usd: int) -> None:
        self._spent[0] += tokens
        self._spent[1] += nano_usd

    def _leave_if_forked(self, error: BaseException | None = None) -> None:
        """End a child process that the script forked and that returned here: it is not the worker."""
        if os.getpid() != self._pid:
            os._exit(0 if error is None else 1)

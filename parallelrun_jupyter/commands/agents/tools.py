"""The tools as agents see them: names, parameters, hints and results."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import anyio
from anyio.to_thread import run_sync
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.tools import Tool
from mcp.types import CallToolResult, TextContent, ToolAnnotations
from pydantic import Field, WithJsonSchema

from ...errors import ParallelRunError
from ...runs.snapshot.follower import Follower
from . import acting, reading, trial
from .answers import Answer
from .bounds import LIMIT_BYTES, shortened, shown

WAIT_LIMIT_S = 600
_POLL_S = 0.25

RunId = Annotated[str, Field(description="Id of the run, as in list_runs.")]
Group = Annotated[
    str, Field(description="Only this group of failures, named as in show_failures. Default: all.")
]
Corrected = Annotated[
    str,
    Field(
        description="Path of a corrected script. Default: the run's own copy, which stays as it was."
    ),
]
Options = Annotated[dict[str, Any], WithJsonSchema(acting.option_schema())]


@dataclass(frozen=True, slots=True)
class Result:
    """The fields of a tool's result.

    Parameters
    ----------
    fields
        The names, and a description of each that needs one.
    """

    fields: dict[str, str]

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema."""
        fields = {**self.fields, "left_out": "List elements that did not fit."}
        properties = {name: {"description": text} if text else {} for name, text in fields.items()}
        return {"type": "object", "properties": properties, "required": list(fields)}


_RUN = {
    **dict.fromkeys((
        "run_id", "name", "created_at", "is_final", "state", "reason", "plan_finished", "mini_batches",
        "succeeded", "failed", "items", "items_left", "items_failed", "rows", "usd", "elapsed_s",
        "size_bytes", "output",
    ), ""),
    "failure_groups": "Failures by the line that raised them, without tracebacks.",
    "warnings": "",
    "folder": "The folder of the run.",
    "can_resume": "Whether resume_run would run anything.",
}  # fmt: skip


class Tools:
    """The functions behind the tools; an agent reads their docstrings and annotations."""

    def __init__(self, root: Path | None) -> None:
        self._root = root

    async def list_runs(
        self,
        limit: Annotated[int, Field(description="Maximum number of runs, at most 100.")] = 20,
        state: Annotated[
            str, Field(description="Only runs in this state, such as Failed. Default: all.")
        ] = "",
        name: Annotated[
            str, Field(description="Only runs with this text in their name or id; * is any text.")
        ] = "",
    ) -> Answer:
        """List the runs of this home, newest first."""
        return await run_sync(reading.list_runs, limit, state, name)

    async def show_run(self, run_id: RunId) -> Answer:
        """Show the progress of a run, without waiting: state, counts, failures, warnings."""
        return await run_sync(lambda: reading.show_run(reading.run_of(run_id)))

    async def wait_for_run(
        self,
        run_id: RunId,
        ctx: Context[Any, Any],
        timeout_s: Annotated[
            float, Field(description="Maximum seconds to wait, at most 600; the run goes on after.")
        ] = 50,
    ) -> Answer:
        """Wait until a run ends or the time is over, and show it, with is_final."""
        reading.within("timeout_s", timeout_s, 0, WAIT_LIMIT_S)
        run = await run_sync(reading.run_of, run_id)
        follower = await run_sync(Follower, run.folder)
        deadline = time.monotonic() + timeout_s
        told = -1
        while True:
            snapshot = await run_sync(follower.refresh)
            done = snapshot["items"] - snapshot["items_left"]
            if done > told:  # the protocol wants progress that grows
                told = done
                total = snapshot["items"] if snapshot["plan_finished"] else None
                await ctx.report_progress(done, total, snapshot["state"])
            if snapshot["is_final"] or time.monotonic() >= deadline:
                return await run_sync(reading.show_run, run)
            await anyio.sleep(_POLL_S)

    async def show_failures(
        self,
        run_id: RunId,
        group: Group = "",
        first_item: Annotated[
            int, Field(description="Number of failed items to skip, to read them in parts.")
        ] = 0,
        limit: Annotated[int, Field(description="Maximum number of failed items, to 200.")] = 20,
    ) -> Answer:
        """Show why a run failed: groups of failures with traceback and hint, and the failed items."""
        run = await run_sync(reading.run_of, run_id)
        return await run_sync(reading.show_failures, run, group, first_item, limit)

    async def show_logs(
        self,
        run_id: RunId,
        worker: Annotated[str, Field(description="Only of this worker, such as n0w1.")] = "",
        mini_batch: Annotated[
            int, Field(description="Only printed while this mini-batch ran; -1 for all.")
        ] = -1,
        text: Annotated[
            str, Field(description="Only lines with this text; case is ignored, * is any text.")
        ] = "",
        lines: Annotated[int, Field(description="Maximum number of lines, the last ones.")] = 50,
    ) -> Answer:
        """Show the last lines that the script printed or logged."""
        run = await run_sync(reading.run_of, run_id)
        return await run_sync(reading.show_logs, run, worker, mini_batch, text, lines)

    async def show_results(
        self,
        run_id: RunId,
        item: Annotated[
            str, Field(description="Only of items with this text in their path, or this number.")
        ] = "",
        latest: Annotated[
            bool, Field(description="The rows committed last, at most 10. Default: the first rows.")
        ] = False,
        rows: Annotated[int, Field(description="Maximum number of rows, at most 100.")] = 20,
        after: Annotated[
            list[int], Field(description="after of the answer before, to read on.")
        ] = [-1, -1],
    ) -> Answer:
        """Show rows that the script returned, also while the run is active."""
        run = await run_sync(reading.run_of, run_id)
        place = reading.place_of(after)
        return await run_sync(lambda: reading.show_results(run, item, rows, place, latest=latest))

    async def start_run(
        self,
        script: Annotated[
            str, Field(description="Path of the script, with run(mini_batch) and maybe init().")
        ],
        inputs: Annotated[list[str], Field(description="Files, folders, globs or URLs.")],
        arguments: Annotated[
            list[str], Field(description="Command-line arguments of the script.")
        ] = [],
        options: Options = {},
    ) -> Answer:
        """Start a run of a script over inputs; it goes on by itself, also when this server ends."""
        return await run_sync(acting.start_run, self._root, script, inputs, arguments, options)

    async def try_mini_batch(
        self,
        run_id: RunId,
        mini_batch: Annotated[int, Field(description="Number of the mini-batch.")],
        entry_script: Corrected = "",
        timeout_s: Annotated[
            float, Field(description="Seconds after which it is killed, at most 600.")
        ] = 50,
    ) -> Answer:
        """Run one mini-batch of a run apart, and show the script's output; the run stays as it is."""
        run = await run_sync(reading.run_of, run_id)
        return await trial.try_mini_batch(self._root, run, mini_batch, entry_script, timeout_s)

    async def resume_run(
        self,
        run_id: RunId,
        entry_script: Corrected = "",
        failed_only: Annotated[bool, Field(description="Run only the items that failed.")] = False,
        group: Group = "",
        error_threshold: Annotated[
            int | None,
            Field(description="Failed items to tolerate from now on; -1 for any number."),
        ] = None,
        budget: Annotated[
            str | None, Field(description="US dollars to spend in all, such as '40 USD'.")
        ] = None,
        compute: Annotated[
            str, Field(description="Where to continue. Default: the compute used before.")
        ] = "",
    ) -> Answer:
        """Run the items of an ended run that failed or are left; rows that exist are kept."""
        run = await run_sync(reading.run_of, run_id)
        return await run_sync(
            lambda: acting.resume_run(
                self._root, run, entry_script=entry_script, group=group, compute=compute,
                failed_only=failed_only, error_threshold=error_threshold, budget=budget,
            )
        )  # fmt: skip

    async def cancel_run(
        self,
        run_id: RunId,
        drain: Annotated[
            bool, Field(description="Let running mini-batches finish. Default: stop them.")
        ] = False,
    ) -> Answer:
        """Cancel a run; its rows so far are kept, and resume_run continues it."""
        run = await run_sync(reading.run_of, run_id)
        return await run_sync(lambda: acting.cancel_run(run, drain=drain))


READERS = {
    "list_runs": Result({"runs": "As 'parallelrun list --json'.", "warnings": ""}),
    "show_run": Result(_RUN),
    "wait_for_run": Result(_RUN),
    "show_failures": Result({
        "run_id": "", "state": "", "reason": "", "items_failed": "",
        "groups": "The costliest first, each with traceback and hint.",
        "failed_items": "In input order.",
        "has_more_items": "", "traceback": "Of the run itself, if it was not the script that failed.",
    }),
    "show_logs": Result({"run_id": "", "lines": "", "has_older": ""}),
    "show_results": Result({
        "run_id": "", "rows": "As 'parallelrun results --json'.", "columns": "",
        "output": "The file with all rows, once the run has completed.", "has_more": "", "after": "",
    }),
}  # fmt: skip
"""The tools that only read, with their results."""

ACTIONS = {
    "start_run": Result(_RUN),
    "try_mini_batch": Result({
        "run_id": "", "mini_batch": "", "is_ok": "", "exit_status": "", "is_timeout": "",
        "output": "The output of the script, and its traceback.",
    }),
    "resume_run": Result(_RUN),
    "cancel_run": Result({**_RUN, "is_canceling": "False if the run had already ended."}),
}  # fmt: skip
"""The tools that run scripts or change a run, with their results."""

_HARMLESS = ToolAnnotations(read_only_hint=True, destructive_hint=False, open_world_hint=False)
_OF_SCRIPTS = ToolAnnotations(read_only_hint=False, destructive_hint=True, open_world_hint=True)
"""An entry script may do anything, and so does a tool that runs one."""
_CANCEL = ToolAnnotations(
    read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False
)


def made_tools(names: Sequence[str], root: Path | None) -> list[Tool]:
    """Return the tools with these names."""
    functions = Tools(root)
    tools = []
    for name in names:
        function = getattr(functions, name)
        made = Tool.from_function(
            _answering(function),
            name=name,
            description=inspect.getdoc(function),
            annotations=_annotations(name),
            structured_output=False,
        )
        made.parameters["additionalProperties"] = False
        tools.append(made)
    return tools


def _annotations(name: str) -> ToolAnnotations:
    if name in READERS:
        return _HARMLESS
    return _CANCEL if name == "cancel_run" else _OF_SCRIPTS


def _answering(
    function: Callable[..., Awaitable[Answer]],
) -> Callable[..., Awaitable[CallToolResult]]:
    """Return the function with results of the protocol; errors of ours are results, too."""

    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> CallToolResult:
        try:
            made = await function(*args, **kwargs)
        except ParallelRunError as error:
            return _refused(error.worded("agent"))
        except OSError as error:
            return _refused(f"the files of the run could not be used: {error}")
        text = TextContent(type="text", text=made.text)
        return CallToolResult(content=[text], structured_content=made.fields)

    return call


def _refused(message: str) -> CallToolResult:
    text = shortened(shown(message), LIMIT_BYTES // 4)
    return CallToolResult(content=[TextContent(type="text", text=text)], is_error=True)

"""A snapshot as plain text: one line for a log, a few lines for a notebook or a terminal."""

from __future__ import annotations

import unicodedata

from ..errors import visible
from ..formatting import format_duration, plural
from ..runs.snapshot.snapshot import GroupRow, Job, Reused, Snapshot, WorkerRow
from .call_texts import call_notes, calls_line

BAR_CELLS = 24
_SHOWN_WORKERS = 8
_SHOWN_GROUPS = 3
PHASES = {
    "starting": "starting",
    "init": "in init()",
    "waiting": "waiting",
    "loading": "loading",
    "running": "in run()",
    "stopping": "stopping",
    "ended": "ended",
}


def share_done(snapshot: Snapshot) -> float:
    """Return the share of finished items, 0 to 1; 0 while the total is unknown."""
    if not snapshot["plan_finished"] or not snapshot["items"]:
        return 0.0
    return 1 - snapshot["items_left"] / snapshot["items"]


def headline(snapshot: Snapshot) -> str:
    """Return the state of a run as one phrase: ``Completed, 3 items failed``."""
    state = snapshot["state"]
    if state == "Completed" and snapshot["items_failed"]:
        state += f", {plural(snapshot['items_failed'], 'item')} failed"
    elif state == "Interrupted":
        state = f"Interrupted: {snapshot['reason']}"
    elif snapshot["reason"]:
        state += f": {snapshot['reason']}"
    return state


def is_reading_tables(snapshot: Snapshot) -> bool:
    """Return whether all rows of tables are read, to decide their types, before they are split."""
    is_split = snapshot["mini_batches"] or snapshot["plan_finished"]
    return not is_split and snapshot["items"] > 0


def progress_line(snapshot: Snapshot) -> str:
    """Return one line with counts, rate and times."""
    if not snapshot["mini_batches"] and not snapshot["plan_finished"]:
        activity = "listing the inputs"
        if snapshot["is_final"]:
            activity = "nothing has run"
        elif is_reading_tables(snapshot):
            activity = f"reading the inputs, {plural(snapshot['items'], 'row')} so far"
        return f"{activity} · {format_duration(snapshot['elapsed_s'])}"
    done = snapshot["items"] - snapshot["items_left"]
    if snapshot["plan_finished"]:
        total = f"{done:,} of {plural(snapshot['items'], 'item')}"
    else:
        total = f"{plural(done, 'item')} of {snapshot['items']:,} listed so far"
    known = snapshot["succeeded"] + snapshot["failed"]
    finished = max(known, snapshot["mini_batches"] - snapshot["left"])  # or counted by a service
    parts = [total, f"{finished:,} of {plural(snapshot['mini_batches'], 'mini-batch')}"]
    if snapshot["items_failed"]:
        parts.append(f"{plural(snapshot['items_failed'], 'item')} failed")
    if snapshot["retrying"] and not snapshot["is_final"]:
        parts.append(f"{snapshot['retrying']:,} to run again")
    if snapshot["items_per_s"] >= 0.05:
        rate = snapshot["items_per_s"]
        parts.append(f"{rate:,.0f} items/s" if rate >= 10 else f"{rate:.1f} items/s")
    parts.append(format_duration(snapshot["elapsed_s"]))
    if snapshot["eta_s"] is not None and not snapshot["is_final"]:
        parts.append(f"{time_left(snapshot)} left")
    return " · ".join(parts)


def time_left(snapshot: Snapshot) -> str:
    """Return the estimated time left: a range, ``12 s to 20 s``, or one value, ``about 12 s``."""
    low, high = (format_duration(snapshot[key] or 0) for key in ("eta_low_s", "eta_high_s"))
    return f"about {high}" if low == high else f"{low} to {high}"


def trouble_lines(snapshot: Snapshot) -> list[str]:
    """Return warnings about slow progress, and the use of the error limits."""
    lines = []
    if not snapshot["is_final"] and snapshot["quiet_s"] > snapshot["quiet_after_s"]:
        lines.append(f"! no progress for {format_duration(snapshot['quiet_s'])}")
    for row in snapshot["stragglers"]:
        running = format_duration(row["for_s"])
        lines.append(
            f"! mini-batch {row['mini_batch']:,} is much slower than the others: "
            f"on {row['worker']} for {running}"
        )
    for budget in snapshot["budgets"]:
        if budget["used"] and budget["allowed"]:
            nouns = plural(budget["allowed"], budget["noun"]).partition(" ")[2]
            lines.append(
                f"  {budget['used']:,} of {budget['allowed']:,} allowed failed {nouns} used "
                f"({budget['limit']})"
            )
    return lines


_ENDED = ("Completed", "Failed", "Canceled")
"""The states in which a job stays: how long says nothing."""


def note_lines(snapshot: Snapshot, *, has_ages: bool = True) -> list[str]:
    """Return the job of a service, the sources of rows that no call made, and the limit of a call's items.

    Without ages, a line is the same until what it tells has changed.
    """
    job = snapshot.get("job")  # missing in snapshots of older versions
    has_ages = has_ages and not snapshot["is_final"]
    lines = [job_line(job, has_age=has_ages)] if job is not None else []
    reused = snapshot["reused"]
    if reused is not None:
        lines.append(reused_line(reused, snapshot["items"]))
    lines += _copied_lines(snapshot)
    if snapshot["items_per_call"]:
        most = plural(snapshot["items_per_call"], "item")
        lines.append(f"run() receives at most {most}: more do not fit into memory")
    return lines


def job_line(job: Job, *, has_age: bool) -> str:
    """Return the state of the job that a service runs: ``Azure ML job j1: Queued for 3:20``.

    The TypeScript module ``job`` has the same words.
    """
    what = f"Azure ML job {job['name']}" if job["name"] else "Azure ML"
    words = job["status"]
    if has_age and job["status"] not in _ENDED:
        words += f" for {format_duration(job['since_s'])}"
    if job["detail"]:
        words += f" ({job['detail']})"
    return f"{what}: {words}"


def _copied_lines(snapshot: Snapshot) -> list[str]:
    copied = snapshot["duplicates_copied"]
    verb = "has" if copied == 1 else "have"
    words = f"{plural(copied, 'duplicate')} {verb} the rows of items with the same content"
    return [words] if copied else []


def reused_line(reused: Reused, items: int) -> str:
    """Return the origin of reused results: ``90 items taken from run r1, 10 run: 8 new, 2 changed``.

    The others of the run's ``items`` have no row there, for example because they failed.
    """
    without_row = max(0, items - reused["items"] - reused["new"] - reused["changed"])
    counts = (
        (reused["new"], "new"),
        (reused["changed"], "changed"),
        (without_row, "without a row there"),
    )
    kinds = ", ".join(f"{count:,} {word}" for count, word in counts if count)
    to_run = f"{reused['new'] + reused['changed'] + without_row:,} run"
    gone = f"; {reused['gone']:,} gone" if reused["gone"] else ""
    taken = f"{plural(reused['items'], 'item')} taken from run {reused['run_id']}"
    return f"{taken}, {to_run}{f': {kinds}' if kinds else ''}{gone}"


def bar(share: float, cells: int = BAR_CELLS) -> str:
    """Return a progress bar with a resolution of an eighth of a cell."""
    eighths = round(share * cells * 8)
    full, part = divmod(eighths, 8)
    text = "█" * full + (" ▏▎▍▌▋▊▉"[part] if part else "")
    return text + "░" * (cells - len(text))


def failure_lines(snapshot: Snapshot) -> list[str]:
    """Return the first groups of failures, the costliest first."""
    lines = [failure_line(group) for group in snapshot["groups"][:_SHOWN_GROUPS]]
    hidden = len(snapshot["groups"]) - _SHOWN_GROUPS + snapshot["groups_hidden"]
    if hidden > 0:
        lines.append(f"  and {plural(hidden, 'other kind')} of failure: run.failures() shows all")
    return lines


def failure_line(group: GroupRow) -> str:
    """Return a group of failures in one line, and its hint, if any, in a second."""
    hint = f"\n  hint: {plain(group['hint'])}" if group["hint"] else ""
    place = f"{group_mark(group)} {plain(group['group'])}"
    return f"{place}: {plain(group['message'])}  ({group_fate(group)}){hint}"


def group_mark(group: GroupRow) -> str:
    """Return the mark of a group of failures: ``✗``, or ``↻`` for calls that a server refused and nothing lost."""
    return "↻" if group["kind"] == "throttled" and not group["items_failed"] else "✗"


def group_fate(group: GroupRow) -> str:
    """Return the effect of a group of failures: ``3 attempts, 5 items failed, first in ...``."""
    if group["first_mini_batch"] < 0:
        return f"{plural(group['attempts'], 'attempt')} to start a worker"
    missing = group.get("items_missing", 0)
    failed = group["items_failed"] - missing
    effects = []
    if failed:
        effects.append(f"{plural(failed, 'item')} failed")
    if missing:
        effects.append(f"{plural(missing, 'item')} without a result")
    if group["mini_batches_lost"]:
        effects.append(f"{plural(group['mini_batches_lost'], 'mini-batch')} lost")
    fate = ", ".join(effects) or "retried"
    first = f"first in mini-batch {group['first_mini_batch']:,}"
    if group_mark(group) == "↻":
        return f"{plural(group['attempts'], 'call')} refused and tried again, {first}"
    return f"{plural(group['attempts'], 'attempt')}, {fate}, {first}"


def worker_lines(snapshot: Snapshot) -> list[str]:
    """Return a line for each of the first workers."""
    lines = []
    for row in snapshot["workers"][:_SHOWN_WORKERS]:
        failed = f", {row['failed']:,} failed" if row["failed"] else ""
        doing = activity(row)
        lines.append(f"  {row['worker']:<6} {row['succeeded']:>7,} done{failed}  {doing}")
    hidden = len(snapshot["workers"]) - _SHOWN_WORKERS + snapshot["workers_hidden"]
    if hidden > 0:
        lines.append(f"  and {plural(hidden, 'other worker')}")
    return lines


def activity(row: WorkerRow) -> str:
    """Return the activity of a worker: ``in run(), mini-batch 7, 3 of 10, for 12 s``."""
    doing = PHASES.get(row["phase"], row["phase"])
    calls = row.get("calls")  # missing in snapshots of older versions
    if calls:
        return f"{doing}, {worker_calls_text(*calls)}"
    if row["mini_batch"] >= 0:
        doing += f", mini-batch {row['mini_batch']:,}"
    progress = row.get("progress")  # missing in snapshots of older versions
    if progress:
        doing += f", {call_progress_text(*progress)}, for {format_duration(row['since_s'])}"
    return doing


def worker_calls_text(in_flight: int, waiting: int) -> str:
    """Return the calls of a worker: ``48 calls in flight, 12 waiting``."""
    words = f"{plural(in_flight, 'call')} in flight"
    return f"{words}, {waiting:,} waiting" if waiting else words


def call_progress_text(done: int, of: int, counts_items: int) -> str:
    """Return the progress within a call of ``run()``: ``3 of 10``, or ``37 of 100 items``."""
    if of < 0:
        return f"{done:,} done"
    return f"{done:,} of {plural(of, 'item') if counts_items else f'{of:,}'}"


def text_view(snapshot: Snapshot) -> str:
    """Return the whole view as a few lines of text."""
    name = plain(snapshot["name"])
    lines = [f"{name}  {plain(headline(snapshot))}  [{snapshot['run_id']}]"]
    share = share_done(snapshot)
    lines.append(f"{bar(share)} {int(100 * share):3d}%  {progress_line(snapshot)}")
    lines += filter(None, [calls_line(snapshot)])
    lines += note_lines(snapshot)
    lines += call_notes(snapshot)
    lines += trouble_lines(snapshot)
    lines += failure_lines(snapshot)
    lines += [f"! {plain(text)}" for text in snapshot["warnings"]]
    if snapshot["output"]:
        lines.append(f"{plural(snapshot['rows'], 'row')} in {plain(snapshot['output'])}")
    if snapshot["state"] == "Failed":
        lines.append(f"more: run.failures(), run.logs(), parallelrun logs {snapshot['run_id']}")
    lines += _resume_lines(snapshot)
    if not snapshot["is_final"]:
        lines += worker_lines(snapshot)
    return "\n".join(lines)


def _resume_lines(snapshot: Snapshot, *, has_python: bool = True) -> list[str]:
    """Return how to resume a run, or to list the failed items of a completed run and run them again."""
    command = f"parallelrun resume {snapshot['run_id']}"
    calls = snapshot.get("calls")
    if snapshot["is_final"] and calls and calls["held_by"] == "budget":
        call = "run.resume(budget=...), " if has_python else ""
        return [f"to resume with a larger budget: {call}{command} --budget USD"]
    if not snapshot["can_resume"]:
        return []
    if snapshot["state"] == "Failed" and not snapshot["mini_batches"]:
        return []  # nothing has run: the inputs must change first, and then a new run does the same
    if snapshot["state"] != "Completed":
        lines = [f"to resume: {'run.resume(), ' if has_python else ''}{command}"]
        if stopped_at_threshold(snapshot):
            call = "run.resume(error_threshold=-1), " if has_python else ""
            lines.insert(
                0,
                f"to run all, and list each item that fails: {call}{command} --error-threshold -1",
            )
        return lines
    call = "run.resume(failed_only=True), " if has_python else ""
    items = plural(snapshot["items_lost"], "failed item")
    shown = f"parallelrun failures {snapshot['run_id']} --items"
    shown = f"run.failed_items(), {shown}" if has_python else shown
    return [
        f"to list the {items}: {shown}",
        f"to run the {items} again: {call}{command} --failed-only",
    ]


def stopped_at_threshold(snapshot: Snapshot) -> bool:
    """Return whether a run has ended before all items, since more failed than ``error_threshold`` allows."""
    is_stopped = snapshot["state"] == "Failed" and "error_threshold allows" in snapshot["reason"]
    return is_stopped and snapshot["items_left"] > 0


def plain(text: str) -> str:
    """Return a user's text on one line, without control characters."""
    shown = visible(text)
    return "".join(c if unicodedata.category(c) not in {"Cc", "Cf"} else " " for c in shown)


class LinePrinter:
    """Selects the lines worth printing: states, new warnings and failures, every ``step_percent``."""

    def __init__(self, step_percent: int = 5) -> None:
        self._step = step_percent
        self._last_step = -1
        self._last_state = ""
        self._is_reading = False
        self._printed_groups: set[str] = set()
        self._printed_notes: set[str] = set()

    def lines(self, snapshot: Snapshot) -> list[str]:
        """Return the lines to print for a snapshot, often none."""
        ageless = note_lines(snapshot, has_ages=False)
        notes = [*ageless, *(f"! {plain(text)}" for text in snapshot["warnings"])]
        later = [] if snapshot["is_final"] else _copied_lines(snapshot)  # the number still grows
        lines = [line for line in notes if line not in {*self._printed_notes, *later}]
        self._printed_notes.update(lines)
        for line, group in zip(failure_lines(snapshot), snapshot["groups"], strict=False):
            if group["group"] not in self._printed_groups:
                self._printed_groups.add(group["group"])
                lines.append(line)
        percent = int(share_done(snapshot) * 100)
        state = snapshot["state"]
        step = percent // self._step
        is_reading, was_reading = is_reading_tables(snapshot), self._is_reading
        self._is_reading = is_reading
        is_new = state != self._last_state or step != self._last_step
        if snapshot["is_final"] or is_new or (is_reading and not was_reading):
            self._last_state, self._last_step = state, step  # a change of types drops rows: fewer
            shown = headline(snapshot)
            done = f"{percent} % · " if snapshot["plan_finished"] else ""
            lines.append(f"{plain(shown).removesuffix('.')}: {done}{progress_line(snapshot)}")
            lines += filter(None, [calls_line(snapshot)])
        if snapshot["is_final"] and snapshot["output"]:
            lines.append(f"{plural(snapshot['rows'], 'row')} in {plain(snapshot['output'])}")
        lines += _resume_lines(snapshot, has_python=False)
        return lines

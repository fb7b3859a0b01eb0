"""The message about a child process that ended, with its last output."""

from __future__ import annotations

import json
import signal

from hypothesis import given
from hypothesis import strategies as st

from parallelrun_jupyter.engine.child_process import LOST, child_end, death_text, exit_text
from parallelrun_jupyter.worker.child_loop import crash_message


class Unspeakable(Exception):
    """An exception whose text cannot be made."""

    def __str__(self) -> str:
        raise ZeroDivisionError


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def test_a_signal_is_named_and_a_kill_has_its_usual_cause() -> None:
    assert exit_text(3) == "exit code 3"
    assert exit_text(-signal.SIGSEGV) == "signal 11 (SIGSEGV)"
    assert exit_text(-200) == "signal 200"
    assert death_text(-9) == (
        "signal 9 (SIGKILL): killed from outside, often because memory ran out"
    )


def test_an_end_says_where_its_details_are_only_where_there_are_any() -> None:
    silent = child_end(None, -9, "")
    assert silent.error == LOST
    assert silent.sentence.endswith("because memory ran out.")
    said = child_end(None, 1, "ImportError: no pyarrow")
    assert said.traceback == "ImportError: no pyarrow"
    assert said.sentence == (
        "its process died with exit code 1 "
        "(its last lines are in logs/driver.log of the run's folder)."
    )
    crash = child_end(["RuntimeError", "boom.", "Traceback ..."], 1, "noise of a library")
    assert (crash.error, crash.traceback) == ("RuntimeError", "Traceback ...")
    assert crash.sentence == (
        "RuntimeError: boom (the traceback is in logs/driver.log of the run's folder)."
    )


@given(st.text())
def test_the_last_message_is_json_and_holds_type_text_and_traceback(said: str) -> None:
    kind, error, message, trace = json.loads(
        json.dumps(crash_message(raised(RuntimeError(said)))).encode("ascii")
    )
    assert (kind, error, message) == ("crashed", "RuntimeError", said[:4000])
    assert trace.startswith("Traceback (most recent call last):")
    assert "in raised" in trace


def test_whatever_is_raised_can_be_told() -> None:
    _, error, message, trace = crash_message(raised(Unspeakable()))
    assert (error, message) == ("Unspeakable", "its text could not be created: ZeroDivisionError")
    assert "in raised" in trace
    _, error, message, _ = crash_message(raised(SystemExit(0)))
    assert (error, message) == ("SystemExit", "0")
    _, _, message, trace = crash_message(raised(ValueError("x" * 1_000_000)))
    assert len(message) + len(trace) <= 20_000, "it fits into a pipe and into the journal's reserve"

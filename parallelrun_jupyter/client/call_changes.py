"""The limits of calls that a resume changes, and whether the budget allows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..config.run_config import ParallelRunConfig
from ..errors import RunFolderError
from ..formatting import plural
from ..runs.journal.calls import CallsState
from ..runs.run_record import RunRecord
from .calls import limits_of_calls

NAMES = ("budget", "rate_limit", "token_limit", "concurrency")
"""Settings of calls that a resume may change."""


def changed_calls(settings: Mapping[str, Any], record: RunRecord) -> dict[str, Any]:
    """Return the values of the record's calls that settings replace; those that are None do not.

    Raises
    ------
    ConfigError
        A value is invalid.
    RunFolderError
        ``concurrency`` is given for a run whose worker makes one call at a time.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    if not given:
        return {}
    values = limits_of_calls(ParallelRunConfig(**given))
    concurrency = given.get("concurrency")
    if concurrency is not None:
        if record.calls.concurrency == 1 and concurrency > 1:
            # Its mini-batches may have many items, and its functions need not bear threads.
            msg = (
                f"run {record.run_id} makes one call at a time in each worker, and concurrency is "
                f"{concurrency}. Submit a new run with this concurrency; only a run that has it can change it."
            )
            raise RunFolderError(msg)
        values["concurrency"] = concurrency
    return values


def check_budget(record: RunRecord, spent: CallsState | None) -> None:
    """Refuse a resume whose budget does not allow another call.

    Raises
    ------
    RunFolderError
        The budget is spent; the message has the figures.
    """
    budget = record.calls.budget_usd
    if budget is None or spent is None or not spent.nano_usd:
        return
    calls = spent.calls_spent
    if spent.nano_usd * (calls + 1) <= round(budget * 1e9) * calls:
        return
    usd, mean = spent.nano_usd / 1e9, spent.mean_usd
    msg = (
        f"run {record.run_id} cannot be resumed: its budget is {budget:,.10g} USD, and it has spent "
        f"{usd:,.4f} USD for {plural(calls, 'call')}, {mean:,.2g} USD for each. Give a larger "
        f"budget: run.resume(budget='{2 * budget:.10g} USD')."
    )
    raise RunFolderError(msg)

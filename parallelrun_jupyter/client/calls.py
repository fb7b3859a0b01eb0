"""The calls of a new run: how many are in flight, and what limits them."""

from __future__ import annotations

from dataclasses import replace

from ..config.call_form import DEFAULT_CONCURRENCY, CallForm
from ..config.call_settings import parse_budget, parse_prices, parse_rate
from ..config.run_config import ParallelRunConfig
from ..config.step import ParallelRunStep
from ..data.batching import BatchSpec
from ..data.datasets.tabular_dataset import TabularDataset
from ..errors import ConfigError
from ..formatting import parse_mini_batch_size
from ..runs.run_record import RunCalls
from ..worker.function_script import ITEM, KEYWORDS


def calls_of(config: ParallelRunConfig, form: CallForm, call: str) -> RunCalls:
    """Return the calls of a run.

    Parameters
    ----------
    config
        Its settings.
    form
        The form of its ``run()``.
    call
        What a call of a function of the notebook gets; empty for other scripts.
    """
    concurrency = config.concurrency or (DEFAULT_CONCURRENCY if form.is_async else 1)
    is_several = form.is_async or concurrency > 1
    return RunCalls(
        concurrency=concurrency,
        by_item=is_several and form.names_item and not call,
        token_prices=parse_prices(config.token_prices) if config.token_prices else {},
        **limits_of_calls(config),
    )


def limits_of_calls(config: ParallelRunConfig) -> dict[str, float]:
    """Return the limits in settings, by their names in `RunCalls`; those that are not set are left out."""
    limits = {}
    if config.rate_limit:
        limits["rate_per_s"] = parse_rate(config.rate_limit)
    if config.token_limit:
        limits["tokens_per_s"] = parse_rate(config.token_limit)
    if config.budget:
        limits["budget_usd"] = parse_budget(config.budget)
    return limits


def gets_items(calls: RunCalls, call: str) -> bool:
    """Return whether each call gets one item, so that a mini-batch is one item."""
    return calls.by_item or (calls.is_limited and call in {ITEM, KEYWORDS})


def cut_of(step: ParallelRunStep, calls: RunCalls, call: str) -> BatchSpec:
    """Return the size of the mini-batches: one item if each call gets one.

    Raises
    ------
    ConfigError
        The settings ask for another size.
    """
    cut = step.cut
    if not gets_items(calls, call):
        return cut
    config = step.config
    what = "map() calls its function" if call else "run(item) is called"
    for name in ("partition_keys", "mini_batch_rows", "mini_batch_size"):
        value = getattr(config, name)
        if value is None or _is_one(name, value):
            continue
        other = "use map_batches()" if call else "take the mini-batch: async def run(mini_batch)"
        msg = (
            f"{name} is {value!r}, but {what} with one item at a time {_why(calls)}. Leave {name} out; or, "
            f"for several items in a call, {other}."
        )
        raise ConfigError(msg)
    if isinstance(step.inputs[0], TabularDataset):
        return replace(cut, rows=1)
    return replace(cut, size=1)


def _why(calls: RunCalls) -> str:
    if calls.concurrency > 1:
        return f"when several calls are in flight (concurrency is {calls.concurrency})"
    return "when calls are limited (rate_limit, token_limit, budget)"


def _is_one(name: str, value: object) -> bool:
    if name == "mini_batch_rows":
        return value == 1
    if name == "mini_batch_size" and isinstance(value, int | str):
        size = parse_mini_batch_size(value)
        return size.count == 1 and not size.has_unit
    return False

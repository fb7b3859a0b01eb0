"""What a trial in the notebook gives to calls: an event loop for async ones, and an account of what they spend."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ..runs.run_record import RunCalls
from ..worker.calls.by_item import collected
from ..worker.spending import Spending

if TYPE_CHECKING:  # slow to import, and every run imports this
    import asyncio

_END_S = 2.0
"""Seconds to wait for the end of the event loop; a call may block it."""


class TrialLoop:
    """An event loop in a thread of its own, since that of the notebook is running.

    It starts with the first async call.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def __enter__(self) -> TrialLoop:  # noqa: PYI034 - Self is newer than Python 3.10
        return self

    def finish(self, result: Any) -> Any:
        """Return the result of a call, awaited if it is async; exceptions are those of the call."""
        __tracebackhide__ = True
        kind = type(result)
        if not (hasattr(kind, "__await__") or hasattr(kind, "__anext__")):
            return result
        import asyncio

        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._run, args=(self._loop,), daemon=True)
            self._thread.start()
        future = asyncio.run_coroutine_threadsafe(collected(result), self._loop)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_END_S)

    @staticmethod
    def _run(loop: asyncio.AbstractEventLoop) -> None:
        import asyncio

        loop.run_forever()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


class TrialSpending:
    """Adds up what the calls of a trial spend.

    Parameters
    ----------
    calls
        The settings, with the prices of tokens.
    run_id
        The first part of the idempotency keys.
    """

    def __init__(self, calls: RunCalls | None = None, run_id: str = "trial") -> None:
        self.tokens = self.nano_usd = 0
        prices = calls.token_prices if calls is not None else {}
        self._spending = Spending({"prices": prices, "run_id": run_id}, self._add)
        self.key = self._spending.key

    def of(self, _: Any) -> Callable[[int, int, int, float], None]:
        """Return the function that counts what a call spends."""
        return self._spending.of(_Trial)

    def _add(self, _mini_batch: int, _attempt: int, tokens: int, nano_usd: int) -> None:
        self.tokens += tokens
        self.nano_usd += nano_usd

    @property
    def text(self) -> str:
        """A sentence about it; empty if nothing was spent."""
        if not (self.tokens or self.nano_usd):
            return ""
        tokens = f"{self.tokens:,} tokens" if self.tokens else ""
        usd = f"{self.nano_usd / 1e9:.6g} USD" if self.nano_usd else ""
        return f"it spent {' and '.join(filter(None, (tokens, usd)))}"


class _Trial:
    mini_batch = 0
    number = 1

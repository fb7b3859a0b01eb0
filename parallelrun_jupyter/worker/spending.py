"""What calls spend: tokens and US dollars, by the prices of the run."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any, Callable

_NANO = 10**9


class Spending:
    """Reports what the calls of one worker spend.

    Parameters
    ----------
    calls
        Settings: ``prices`` has US dollars for a million tokens by name (``input``, ``output``), and
        ``run_id`` names the run.
    report
        Receives a mini-batch, its attempt, tokens, and billionths of a US dollar.
    """

    def __init__(self, calls: dict[str, Any], report: Callable[[int, int, int, int], None]) -> None:
        self._input_price = calls["prices"].get("input", 0.0)
        self._output_price = calls["prices"].get("output", 0.0)
        self._report = report
        self.key = calls["run_id"]

    def of(self, attempt: Any) -> Callable[[int, int, int, float], None]:
        """Return the function that reports what an attempt spends."""

        def spend(tokens: int, input_tokens: int, output_tokens: int, usd: float) -> None:
            millionths = (tokens + input_tokens) * self._input_price
            millionths += output_tokens * self._output_price
            nano_usd = round(usd * _NANO + millionths * 1000)
            total = int(tokens + input_tokens + output_tokens)
            self._report(attempt.mini_batch, attempt.number, total, nano_usd)

        return spend

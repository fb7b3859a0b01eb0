"""The exception by which a script asks for a delay before the next try."""

from __future__ import annotations


class RetryAfter(Exception):
    """Ask for a delay before the items are tried again.

    Parameters
    ----------
    seconds
        The delay: a number, or a text with one, such as the header ``Retry-After``.
    reason
        Why, for the list of failures.

    Raises
    ------
    ValueError
        ``seconds`` is not a number of seconds.

    Examples
    --------
    >>> response = requests.get(url)
    >>> if response.status_code == 429:
    ...     raise RetryAfter(float(response.headers["Retry-After"]), "too many requests")
    """

    __module__ = "parallelrun_jupyter"  # the module from which scripts import it

    def __init__(self, seconds: float, reason: str = "") -> None:
        super(RetryAfter, self).__init__(seconds, reason)
        self.seconds = _checked(seconds)
        self.reason = reason

    def __str__(self) -> str:
        text = "try again after %g s" % self.seconds
        return "%s: %s" % (text, self.reason) if self.reason else text


def _checked(seconds: object) -> float:
    # Not isinstance(seconds, float): numpy's numbers are accepted.
    is_number = hasattr(seconds, "__float__") and not isinstance(seconds, bool)
    try:  # the text of a header, too
        number = float(seconds) if is_number or isinstance(seconds, str) else -1.0  # type: ignore[arg-type]
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise ValueError(
            "RetryAfter(%r): expected the delay in seconds, a number from 0 on, such as "
            "RetryAfter(30)" % (seconds,)
        )
    return number

"""Reads from exceptions of HTTP clients what a server asks for, without importing their packages.

Known are httpx and openai (``response``), requests (``response``), aiohttp (``status``, ``headers``), urllib
(``code``, ``headers``), azure-core (``status_code``, ``response``) and botocore (``response`` as a dict).
"""

from __future__ import annotations

import math
import time

from .error_types import links

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any

FEWER_CALLS = (429, 503, 529)
"""Statuses by which a server asks for fewer calls; some say 529 when they are overloaded."""

_LONGEST_S = 24 * 3600.0


def asked_by_server(error: BaseException) -> tuple[bool, float | None]:
    """Return whether a server asks for fewer calls, and for which delay in seconds; None if it does not say.

    The delay is that of the header ``Retry-After``, a number of seconds or a date, or of
    ``retry-after-ms``; if several errors are in a group, the longest one.
    """
    throttled, others = [], []
    for link in links(error, follow_context=True):
        if isinstance(link, (SystemExit, KeyboardInterrupt)):
            continue
        try:
            response = getattr(link, "response", None)
            status = _status_of(link, response)
            delay_s = None if status is None else _delay_of(_headers_of(link, response))
        except Exception:  # noqa: S112 - a property of another package's exception
            continue
        if status in FEWER_CALLS:
            throttled.append(delay_s)
        elif delay_s is not None:
            others.append(delay_s)
    delays = [delay_s for delay_s in throttled or others if delay_s is not None]
    return bool(throttled), max(delays, default=None)


def _status_of(error: Any, response: Any) -> int | None:
    values = [
        getattr(error, "status_code", None),
        getattr(response, "status_code", None),
        getattr(error, "status", None),
        getattr(error, "code", None),
    ]
    if isinstance(response, dict):
        values.append(response.get("ResponseMetadata", {}).get("HTTPStatusCode"))
    # An http.HTTPStatus is an int, too.
    return next((int(v) for v in values if isinstance(v, int) and 100 <= v < 600), None)


def _headers_of(error: Any, response: Any) -> Any:
    if isinstance(response, dict):
        return response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    headers = getattr(response, "headers", None)
    return getattr(error, "headers", None) if headers is None else headers


def _delay_of(headers: Any) -> float | None:
    if not hasattr(headers, "get"):
        return None
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = _header(headers, name)
        if value is None:
            continue
        delay_s = _seconds(str(value).strip(), unit_s)
        # A server that is too busy and asks for no time at all, or for a past one, tells nothing.
        if delay_s is not None and delay_s > 0:
            return min(delay_s, _LONGEST_S)
    return None


def _header(headers: Any, name: str) -> Any:
    """Return a header; most clients ignore the case of names, but not all do."""
    for form in (name, name.title()):
        value = headers.get(form)
        if value is not None:
            return value
    return None


def _seconds(text: str, unit_s: float) -> float | None:
    """Return the seconds until a time of a header: a number, or a date."""
    try:
        seconds = float(text) * unit_s
    except ValueError:
        pass
    else:
        return None if math.isnan(seconds) else seconds
    from email.utils import mktime_tz, parsedate_tz

    date = parsedate_tz(text)
    try:
        return None if date is None else mktime_tz(date) - time.time()
    except (ValueError, OverflowError):  # a year that no calendar has
        return None

"""The errors of Azure's packages, as those of a `JobService`."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from .service import (
    CredentialError,
    JobNotFoundError,
    ServiceError,
    TransientError,
)

_CLIENT = "azure.ai.ml"
_TRANSIENT = re.compile(
    r"\b(429|5\d\d|time[d ]*out|TooManyRequests|InternalServerError|ServiceUnavailable|connection)\b",
    re.IGNORECASE,
)
"""In what Azure's client says of its own checks, which hide the status of an answer."""

_REFUSED = 400

_QUERY = re.compile(r"\?[^\s'\")>]+")
"""The part of an address that may have a signature, which opens a store to all who read it."""


def azure_core() -> Any:
    """Return the errors of Azure's packages."""
    return importlib.import_module("azure.core.exceptions")


def first_line(error: BaseException) -> str:
    """Return what an error says, in one line: the message of Azure's answer, if it has one.

    What may be secret in addresses is left out.
    """
    said = _answer_in(error)
    if not said:
        lines = str(getattr(error, "message", None) or error).strip().splitlines()
        said = lines[0] if lines else type(error).__name__
    return _QUERY.sub("?...", said).strip()[:400]


def _answer_in(error: BaseException) -> str:
    """Return the message in the JSON of an answer, with its code; empty if there is none."""
    text = str(getattr(error, "message", None) or error)
    start, end = text.find("{"), text.rfind("}") + 1
    try:
        value = json.loads(text[start:end])
    except ValueError:
        return ""
    mistakes = value.get("errors")
    if (
        isinstance(mistakes, list) and mistakes and isinstance(mistakes[0], dict)
    ):  # of its own checks
        inner, code = mistakes[0], mistakes[0].get("value")
        words = str(inner.get("message") or "").split("\n")[0].rstrip(".")
    else:
        inner = value.get("error", value)
        inner = inner if isinstance(inner, dict) else {}
        words, code = " ".join(str(inner.get("message") or "").split()), inner.get("code")
    return f"{words[:400]} ({code})" if words and code else words[:400]


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Raise the errors of Azure's packages as those of a `JobService`; ``what`` names the request.

    Raises
    ------
    TransientError, CredentialError, JobNotFoundError, ServiceError
        As the names say.
    """
    try:
        yield
    except _foreign_errors() as error:
        raise _translation(what, error) from error


def _foreign_errors() -> tuple[type[Exception], ...]:
    """Return the classes of the errors of Azure's packages; those of requests are OSErrors."""
    return azure_core().AzureError, OSError


def _translation(what: str, error: Exception) -> Exception:
    """Return the error to raise in place of one of Azure's packages."""
    core, cause = azure_core(), _cause_of(error)
    text = f"{what}: {first_line(error)}"
    if isinstance(cause, CredentialError):
        return cause
    if isinstance(cause, core.ClientAuthenticationError):
        return CredentialError(text)
    if type(cause).__module__.startswith(_CLIENT):
        text = f"{what}: {first_line(cause)}"
        return TransientError(text) if _TRANSIENT.search(text) else ServiceError(text)
    response = getattr(cause, "response", None)
    status = getattr(cause, "status_code", None) or getattr(response, "status_code", None)
    if status is not None:
        return _translation_of_status(text, int(status), getattr(response, "headers", {}) or {})
    is_network = isinstance(cause, core.AzureError | ConnectionError | TimeoutError)
    module = type(cause).__module__.partition(".")[0]
    if is_network or module in {"requests", "urllib3", "http"}:
        return TransientError(text)
    if module == "azure":
        return ServiceError(text)
    return error


def _cause_of(error: Exception) -> BaseException:
    """Return the error of the network beneath those that Azure's client wraps around it."""
    core = azure_core()
    found: BaseException | None = error
    own: BaseException | None = None
    while found is not None:
        is_azures = isinstance(found, core.AzureError | CredentialError | OSError)
        if type(found).__module__.startswith(_CLIENT):
            own = found  # the innermost of these says most
        elif is_azures and not isinstance(found, FileNotFoundError):
            return found
        found = found.__cause__ or (found.__context__ if own is found else None)
    return own or error


def _translation_of_status(text: str, status: int, headers: Mapping[str, str]) -> Exception:
    if status == 401:
        return CredentialError(text)
    if status == 404:
        return JobNotFoundError(text)
    if status in {408, 429} or status >= 500 or status < _REFUSED:
        return TransientError(text, _delay_in(headers))
    return ServiceError(text)


def _delay_in(headers: Mapping[str, str]) -> float | None:
    for name, unit in (
        ("retry-after-ms", 1000.0),
        ("x-ms-retry-after-ms", 1000.0),
        ("retry-after", 1.0),
    ):
        text = next((value for key, value in headers.items() if key.lower() == name), "")
        if text.isdecimal():
            return float(text) / unit
    return None

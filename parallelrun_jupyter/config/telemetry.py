"""The environment variables that switch OpenTelemetry on, checked at submit."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping

from ..errors import ConfigError, MissingExtraError

TELEMETRY = "PARALLELRUN_TELEMETRY"
SPANS = "PARALLELRUN_TELEMETRY_SPANS"
OTLP = "otlp"
DEFAULT_SPANS = 1000
_EXPORTER = "opentelemetry.exporter.otlp.proto.http"


def spans_of(environ: Mapping[str, str]) -> int:
    """Return the maximum number of spans of succeeded attempts, and as many of failed ones.

    Raises
    ------
    ConfigError
        The variable is not a whole number from 0.
    """
    text = environ.get(SPANS) or str(DEFAULT_SPANS)
    if not (text.isascii() and text.isdigit()):
        raise ConfigError(f"{SPANS} is {text!r}; expected a whole number from 0.")
    return int(text)


def check_telemetry(environ: Mapping[str, str] = os.environ) -> None:
    """Check that what the variables ask for can be done.

    Raises
    ------
    ConfigError
        A variable has no such value.
    MissingExtraError
        The packages of OpenTelemetry are not installed.
    """
    value = environ.get(TELEMETRY)
    if not value:
        return
    if value != OTLP:
        msg = f"{TELEMETRY} is {value!r}; expected {OTLP!r}, or no such variable to switch it off."
        raise ConfigError(msg)
    spans_of(environ)
    try:
        is_there = importlib.util.find_spec(_EXPORTER) is not None
    except ModuleNotFoundError:
        is_there = False
    if not is_there:
        msg = (
            f"{TELEMETRY} is {OTLP!r}, which needs the packages of OpenTelemetry: "
            "pip install 'parallelrun-jupyter[telemetry]'."
        )
        raise MissingExtraError(msg)

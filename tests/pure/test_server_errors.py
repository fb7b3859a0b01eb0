"""What a server asks for, read from the errors of its clients, however strange they are."""

from __future__ import annotations

import http
import time
from email.utils import formatdate
from typing import Any

import pytest

from parallelrun_jupyter.worker.failures import describe
from parallelrun_jupyter.worker.server_errors import asked_by_server


class Response:
    def __init__(self, status: Any, **headers: str) -> None:
        self.status_code = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class StatusError(Exception):
    def __init__(self, status: Any, **headers: str) -> None:
        super().__init__(f"status {status}")
        self.response = Response(status, **headers)


@pytest.mark.parametrize(
    ("headers", "delay_s"),
    [
        ({"Retry_After": "7"}, 7.0),
        ({"retry_after_ms": "1500", "Retry_After": "9"}, 1.5),
        ({"Retry_After": "-3"}, None),
        ({"Retry_After": "0"}, None),
        ({"Retry_After": "1e9"}, 24 * 3600.0),
        ({"Retry_After": "inf"}, 24 * 3600.0),
        ({"Retry_After": "nan"}, None),
        ({"Retry_After": "soon"}, None),
        ({"Retry_After": ""}, None),
        ({"Retry_After": "Fri, 31 Dec 99999999 23:59:59 GMT"}, None),
        ({"Retry_After": formatdate(0, usegmt=True)}, None),
        ({}, None),
    ],
)
def test_a_delay_is_a_number_or_a_date_and_nothing_else(
    headers: dict[str, str], delay_s: float | None
) -> None:
    error = StatusError(429, **headers)
    assert asked_by_server(error) == (True, delay_s)
    failure = describe(error, [], "run")
    assert failure["message"] == "status 429"
    assert failure["is_throttled"] is True


def test_a_date_is_counted_from_now() -> None:
    is_throttled, delay_s = asked_by_server(
        StatusError(503, Retry_After=formatdate(time.time() + 30, usegmt=True))
    )
    assert is_throttled
    assert delay_s is not None
    assert 27 < delay_s <= 30


@pytest.mark.parametrize("status", [429, 503, 529, http.HTTPStatus.TOO_MANY_REQUESTS])
def test_statuses_that_ask_for_fewer_calls(status: int) -> None:
    assert asked_by_server(StatusError(status)) == (True, None)


@pytest.mark.parametrize("status", [400, 500, 404, True, None, "429", 4290])
def test_other_statuses_do_not(status: Any) -> None:
    assert asked_by_server(StatusError(status)) == (False, None)


def test_a_code_that_is_an_enum_is_read_as_that_of_google_s_clients() -> None:
    class TooManyRequests(Exception):
        code = http.HTTPStatus.TOO_MANY_REQUESTS

    assert asked_by_server(TooManyRequests()) == (True, None)


def test_of_several_errors_the_refusals_and_the_longest_delay_count() -> None:
    class ErrorGroup(Exception):
        exceptions = (
            StatusError(500, Retry_After="100"),
            StatusError(429, Retry_After="2"),
            StatusError(429, Retry_After="5"),
            ValueError(),
        )

    error = LookupError()
    error.__cause__ = ErrorGroup()
    assert asked_by_server(error) == (True, 5.0)


def test_a_property_that_raises_hides_no_error() -> None:
    class Unfinished(Exception):
        @property
        def response(self) -> Response:
            msg = "the request was never sent"
            raise RuntimeError(msg)

    error = Unfinished("cut")
    error.__cause__ = StatusError(503, Retry_After="4")
    assert asked_by_server(error) == (True, 4.0)
    assert describe(error, [], "run")["message"] == "cut"

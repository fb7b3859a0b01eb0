"""Requests to Azure ML: their errors have no secrets, and none of them lets a run wait for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from parallelrun_jupyter.backends.azureml.azure_errors import translated
from parallelrun_jupyter.backends.azureml.poller import Gone, Poller, Report
from parallelrun_jupyter.backends.azureml.service import (
    CredentialError,
    JobStatus,
    ServiceError,
    TransientError,
)
from parallelrun_jupyter.backends.azureml.workspace import Workspace

requests = pytest.importorskip("requests")
exceptions = pytest.importorskip("azure.core.exceptions")

SIGNED = "https://a.blob.core.windows.net/c/log.txt?sv=2021&sp=r&sig=ab%2Fcd"


def http_error(status: int) -> Any:
    response = requests.Response()
    response.status_code, response.url, response.reason = status, SIGNED, "why"
    return requests.HTTPError(f"{status} Server Error: why for url: {SIGNED}", response=response)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (http_error(503), TransientError),
        (http_error(403), ServiceError),
        (http_error(401), CredentialError),
        (requests.ConnectionError(f"Max retries exceeded with url: {SIGNED}"), TransientError),
        (exceptions.ServiceRequestError("(url: /c?comp=list&sig=ab%2Fcd)"), TransientError),
        (exceptions.HttpResponseError(f"refused at '{SIGNED}'"), TransientError),
    ],
)
def test_errors_have_no_signatures(error: Exception, kind: type[Exception]) -> None:
    with pytest.raises(kind) as raised, translated("read a log file"):
        raise error
    assert "sig=" not in str(raised.value)
    assert str(raised.value).startswith("read a log file: ")
    assert "?..." in str(raised.value)


def test_errors_of_this_machine_stay_what_they_are() -> None:
    with pytest.raises(OSError, match="No space left"), translated("download"):
        raise OSError(28, "No space left on device")


class Service:
    """A service whose requests raise an error."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def status(self, _name: str) -> JobStatus:
        raise self._error

    def read_result(self, _name: str, _path: str) -> bytes:
        raise self._error


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("ask", [lambda p: p.watch("j"), lambda p: p.read("j", ["done/1"])])
@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            KeyError("history"),
            Gone(
                "a request to Azure ML ended with KeyError: 'history'; driver.log has where",
                is_failure=True,
            ),
        ),
        (CredentialError("expired"), Gone("expired", is_credential=True)),
        (ServiceError("no access"), Gone("no access", is_refused=True)),
        (OSError("no space"), Gone("no space", is_local=True)),
    ],
)
def test_an_error_of_a_request_is_reported(
    ask: Callable[[Poller], None], error: BaseException, expected: Gone
) -> None:
    reports: list[Report] = []
    posted = threading.Event()

    def post(report: Report) -> None:
        reports.append(report)
        posted.set()

    poller = Poller(lambda: Service(error), post, 0.01)  # type: ignore[arg-type,return-value] # some of it
    ask(poller)
    assert posted.wait(10)
    poller.close(5)
    assert reports == [expected]


def test_a_workspace_without_a_run_history_is_refused_with_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Client:
        class workspaces:  # noqa: N801 - as in the client
            @staticmethod
            def get(_: str) -> Any:
                return type("Answer", (), {"discovery_url": "https://discovery"})

    ids = {"subscription_id": "s", "resource_group": "g", "workspace_name": "w"}
    workspace = Workspace(Client(), None, ids, "scope")
    monkeypatch.setattr(workspace, "_ask", lambda url: {"api": url})
    with pytest.raises(ServiceError, match="no address of its run history"):
        workspace.list_logs("job")

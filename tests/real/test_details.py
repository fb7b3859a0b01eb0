"""RunDetails: one follower for a run, no message before a view sends hello, a true saved output."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import comm
import nbformat
import pytest
from comm.base_comm import BaseComm

from parallelrun_jupyter import ParallelRunConfig, Run, submit
from parallelrun_jupyter.notebook.display import Place
from parallelrun_jupyter.notebook.feed import followed
from parallelrun_jupyter.notebook.run_details import CellOutput, RunDetails
from parallelrun_jupyter.views.mime_bundle import RUN_MIME
from tests.conftest import SCRIPTS

WIDGET_MIME = "application/vnd.jupyter.widget-view+json"
VIEW = "a view"


class Publisher:
    """IPython's display publisher, as far as a place needs it."""

    def __init__(self) -> None:
        self.shown: list[tuple[bool, dict[str, Any]]] = []

    def publish(
        self, data: dict[str, Any], metadata: Any = None, *, transient: Any, update: bool = False
    ) -> None:
        assert transient["display_id"]
        assert metadata == {}
        self.shown.append((update, data))


class Comms:
    """The messages over the comms of this process."""

    def __init__(self) -> None:
        self.opened: list[RecordingComm] = []

    def updates(self) -> list[tuple[float, Any]]:
        return [
            (at, data["state"]["output"])
            for channel in self.opened
            for at, kind, data in channel.sent
            if kind == "comm_msg" and data.get("method") == "update" and "output" in data["state"]
        ]

    def say(self, **content: Any) -> None:
        """Be a view: send something to the widget."""
        message = {"content": {"data": {"method": "custom", "content": content}}, "buffers": []}
        self.opened[-1].handle_msg(message)


class RecordingComm(BaseComm):
    sent: list[tuple[float, str, Any]]

    def publish_msg(self, msg_type: str, data: Any = None, *_: Any, **__: Any) -> None:
        if not hasattr(self, "sent"):
            self.sent = []
        self.sent.append((time.monotonic(), msg_type, data))

    @property
    def is_closed(self) -> bool:
        return any(kind == "comm_close" for _, kind, _ in self.sent)


@pytest.fixture
def comms(monkeypatch: pytest.MonkeyPatch) -> Comms:
    found = Comms()

    def create(*args: Any, **keys: Any) -> RecordingComm:
        opened = RecordingComm(*args, **keys)
        found.opened.append(opened)
        return opened

    monkeypatch.setattr(comm, "create_comm", create)
    return found


@pytest.fixture(autouse=True)
def feeds_end() -> Iterator[None]:
    yield
    deadline = time.monotonic() + 30
    while followed() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert followed() == 0, "a run that has ended is still followed"


def start(numbers: Path, script: str = "slow.py", **settings: Any) -> Run:
    config = ParallelRunConfig(
        entry_script=str(SCRIPTS / script),
        **{"mini_batch_size": 1, "process_count_per_node": 1, **settings},
    )
    return submit(config, inputs=str(numbers / "*.txt"))


def show(run: Run, *, has_views: bool = True) -> Publisher:
    publisher = Publisher()
    CellOutput(run.folder, Place(publisher, has_views=has_views)).open()
    return publisher


def feed_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("parallelrun feed")]


def wait_for_last(publisher: Publisher) -> dict[str, Any]:
    deadline = time.monotonic() + 30
    while not publisher.shown[-1][1][RUN_MIME]["snapshot"]["is_final"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return publisher.shown[-1][1]


def test_any_number_of_views_are_told_by_one_thread(numbers: Path, comms: Comms) -> None:
    run = start(numbers)
    publishers = [show(run) for _ in range(3)]
    assert len(feed_threads()) == 1
    run.wait_for_completion(show_output=False)
    for publisher in publishers:
        assert wait_for_last(publisher)[RUN_MIME]["run_id"] == run.run_id


def test_nothing_is_sent_before_a_view_says_hello_and_little_after(
    numbers: Path, comms: Comms
) -> None:
    run = start(numbers)
    show(run)
    time.sleep(1.0)
    assert comms.updates() == []
    began = time.monotonic()
    comms.say(say="hello", view=VIEW)
    while len(comms.updates()) < 5:
        assert time.monotonic() < began + 30
        time.sleep(0.02)
    assert len(comms.updates()) <= 5 * (time.monotonic() - began) + 2
    comms.say(say="bye", view=VIEW)
    time.sleep(0.3)
    silent = len(comms.updates())
    time.sleep(0.7)
    assert len(comms.updates()) == silent
    run.cancel()
    run.wait_for_completion(show_output=False, raise_on_error=False)


def test_colab_is_told_which_widget_manager_to_use(
    numbers: Path, comms: Comms, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As google.colab.output is, for as much as anywidget asks of it.
    colab = ModuleType("google.colab.output")
    url = "https://ssl.gstatic.com/colab-widgets/manager"
    monkeypatch.setattr(colab, "enable_custom_widget_manager", lambda: None, raising=False)
    monkeypatch.setattr(colab, "_widgets", SimpleNamespace(_installed_url=url), raising=False)
    monkeypatch.setitem(sys.modules, "google.colab.output", colab)
    told: list[dict[str, Any]] = []

    class ColabPublisher(Publisher):
        def publish(self, data: Any, metadata: Any = None, **keys: Any) -> None:
            told.append(metadata)
            super().publish(data, {}, **keys)

    run = start(numbers)
    publisher = ColabPublisher()
    CellOutput(run.folder, Place(publisher, has_views=True)).open()
    run.wait_for_completion(show_output=False)
    wait_for_last(publisher)
    manager = {WIDGET_MIME: {"colab": {"custom_widget_manager": {"url": url}}}}
    assert told[:-1] == [manager] * (len(told) - 1)
    assert len(told) >= 3, "the milestones are told as well"
    assert told[-1] == {}


class DeafPlace(Place):
    """An output whose kernel runs a cell."""

    is_running = True

    def is_deaf(self) -> bool:
        return self.is_running


def test_while_a_cell_runs_a_view_need_not_say_hello(numbers: Path, comms: Comms) -> None:
    run = start(numbers)
    place = DeafPlace(Publisher(), has_views=True)
    CellOutput(run.folder, place).open()
    began = time.monotonic()
    while len(comms.updates()) < 2:
        assert time.monotonic() < began + 30
        time.sleep(0.02)
    assert len(comms.updates()) <= time.monotonic() - began + 1, "more than one in a second"
    place.is_running = False
    time.sleep(0.3)
    silent = len(comms.updates())
    time.sleep(1.2)
    assert len(comms.updates()) == silent
    run.cancel()
    run.wait_for_completion(show_output=False, raise_on_error=False)


def test_nothing_is_sent_while_nothing_changes(numbers: Path, tmp_path: Path, comms: Comms) -> None:
    script = tmp_path / "long.py"
    script.write_text("import time\ndef run(mini_batch):\n    time.sleep(60)\n    return []\n")
    run = start(numbers, str(script))
    show(run)
    comms.say(say="hello", view=VIEW)
    deadline = time.monotonic() + 30
    while not any(output["snapshot"]["running"] for _, output in comms.updates()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    before, quiet_since = -1, time.monotonic()
    while time.monotonic() - quiet_since < 2.5:  # the first seconds report the use of the start
        assert time.monotonic() < deadline + 15
        if len(comms.updates()) != before:
            before, quiet_since = len(comms.updates()), time.monotonic()
        time.sleep(0.05)
    time.sleep(1.5)
    assert len(comms.updates()) == before
    run.cancel()
    run.wait_for_completion(show_output=False, raise_on_error=False)


def test_a_run_that_has_ended_needs_no_widget(numbers: Path, comms: Comms) -> None:
    run = start(numbers, "echo.py")
    run.wait_for_completion(show_output=False)
    publisher = show(run)
    assert len(publisher.shown) == 1
    assert WIDGET_MIME not in publisher.shown[0][1]
    assert comms.opened == []


def test_messages_are_few_and_small_and_the_last_one_is_the_end(
    tmp_path: Path, comms: Comms
) -> None:
    many = tmp_path / "many"
    many.mkdir()
    for number in range(3000):
        (many / f"{number:05d}.txt").touch()
    run = start(many, "echo.py")
    show(run)
    comms.say(say="hello", view=VIEW)
    run.wait_for_completion(show_output=False)
    deadline = time.monotonic() + 30
    while not comms.updates()[-1][1]["snapshot"]["is_final"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    told = comms.updates()
    times = [at for at, _ in told]
    for first, sixth in zip(times[1:], times[6:], strict=False):
        assert sixth - first > 0.9, "more than five in a second"
    assert max(len(json.dumps(output)) for _, output in told) <= 20_000
    comms.say(say="bye", view=VIEW)


def test_the_saved_output_is_refreshed_at_the_milestones_and_ends_without_a_widget(
    numbers: Path, comms: Comms
) -> None:
    run = start(numbers)
    publisher = show(run)
    run.wait_for_completion(show_output=False)
    last = wait_for_last(publisher)
    assert publisher.shown[0][0] is False
    assert WIDGET_MIME in publisher.shown[0][1]
    assert all(is_update for is_update, _ in publisher.shown[1:])
    assert 3 <= len(publisher.shown) <= 5
    assert set(last) == {RUN_MIME, "text/html", "text/plain"}
    assert "Completed" in last["text/html"]


def test_the_widget_is_closed_when_nobody_needs_it_any_more(numbers: Path, comms: Comms) -> None:
    unseen = start(numbers)
    show(unseen)
    unseen.wait_for_completion(show_output=False)
    deadline = time.monotonic() + 30
    while not all(channel.is_closed for channel in comms.opened):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    seen = start(numbers)
    show(seen)
    comms.say(say="hello", view=VIEW)
    seen.wait_for_completion(show_output=False)
    time.sleep(0.8)
    assert not comms.opened[-1].is_closed, "a view was still open"
    comms.say(say="bye", view=VIEW)
    assert all(channel.is_closed for channel in comms.opened)


def test_a_view_asks_for_log_failures_and_cancel_over_the_comm(numbers: Path, comms: Comms) -> None:
    run = start(numbers)
    show(run)
    comms.say(say="hello", view=VIEW)
    comms.say(id=1, ask="logs", worker="", mini_batch=-1)
    comms.say(id=2, ask="failures", group="none")
    comms.say(id=3, ask="nonsense")
    comms.say(id=4, ask="cancel", drain=False)
    answers = {
        data["content"]["id"]: data["content"]
        for _, kind, data in comms.opened[-1].sent
        if kind == "comm_msg" and data.get("method") == "custom" and "id" in data["content"]
    }
    assert answers[1]["answer"]["has_older"] is False
    assert answers[2]["answer"]["attempts"] == 0
    assert "unknown query" in answers[3]["error"]
    assert answers[4] == {"id": 4, "answer": None}
    assert run.wait_for_completion(show_output=False, raise_on_error=False) == "Canceled"
    comms.say(say="bye", view=VIEW)


def test_an_executor_gets_no_widget(numbers: Path, comms: Comms) -> None:
    run = start(numbers)
    publisher = show(run, has_views=False)
    assert comms.opened == []
    assert set(publisher.shown[0][1]) == {RUN_MIME, "text/html", "text/plain"}
    run.wait_for_completion(show_output=False)
    wait_for_last(publisher)


def test_outside_of_a_notebook_it_is_text(
    numbers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = start(numbers, "echo.py")
    run.wait_for_completion(show_output=False)
    RunDetails(run).show()
    assert "Completed" in capsys.readouterr().out
    assert repr(RunDetails(run)) == f"RunDetails('{run.run_id}')"
    assert "Completed" in RunDetails(run)._repr_mimebundle_()["text/html"]


def test_an_executed_notebook_holds_the_truth_and_no_widget_state(
    numbers: Path, tmp_path: Path
) -> None:
    nbclient = pytest.importorskip("nbclient")
    cells = [
        "%load_ext parallelrun_jupyter",
        f"%%parallelrun --input '{numbers}/*.txt' --workers 1 --as run\n"
        "import time\n"
        "def run(mini_batch):\n    time.sleep(0.02)\n    return mini_batch",
        "run.wait_for_completion(show_output=False)\nimport time; time.sleep(1.5)",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    nbclient.NotebookClient(notebook, timeout=60, kernel_name="python3").execute(cwd=str(tmp_path))
    (output,) = notebook.cells[1].outputs
    assert output.data[RUN_MIME]["snapshot"]["state"] == "Completed"
    assert "Completed" in output.data["text/html"]
    assert WIDGET_MIME not in output.data
    assert "widgets" not in notebook.metadata

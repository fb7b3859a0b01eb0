"""The server extension: its responses, and that it refuses requests without the token."""

from __future__ import annotations

import http.client
import json
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parallelrun_jupyter import ParallelRunConfig, Run, submit
from parallelrun_jupyter.server.handlers import handlers
from parallelrun_jupyter.views.mime_bundle import RUN_MIME
from parallelrun_jupyter.views.pipeline_output import PIPELINE_MIME
from tests.conftest import SCRIPTS
from tests.real.jupyter_process import TOKEN, Jupyter

BASE = "/hub/user-1/"
ROUTES = (
    *(("GET", what) for what in ("snapshot", "output", "failures", "mini-batch", "grid")),
    *(("GET", what) for what in ("log-file", "result", "failed-items")),
    *(("POST", what) for what in ("logs", "cancel", "resume", "previews", "results")),
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jupyter]:
    started = Jupyter(tmp_path_factory.mktemp("server"), "server", BASE)
    try:
        yield started
    finally:
        started.stop()


@pytest.fixture
def home(server: Jupyter, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PARALLELRUN_HOME", str(server.home))
    return server.home


@pytest.fixture(autouse=True)
def nothing_left() -> None:
    """The server has the tests' home in its environment, and stays for the module."""


def ask(
    server: Jupyter,
    path: str,
    method: str = "GET",
    body: object = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, dict[str, str], Any]:
    """Return the status, the headers and the JSON of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    sent = {"Authorization": f"token {TOKEN}"} if headers is None else headers
    data = None if body is None else json.dumps(body)
    root = "" if path.startswith("/hub/") else f"{BASE}parallelrun/runs"
    connection.request(method, f"{root}{path}", data, sent)
    response = connection.getresponse()
    text = response.read()
    connection.close()
    kind = response.getheader("Content-Type", "")
    answer = json.loads(text) if text and "json" in kind else text
    return response.status, dict(response.getheaders()), answer


def start(numbers: Path, script: str = "echo.py", **settings: Any) -> Run:
    config = ParallelRunConfig(
        entry_script=str(SCRIPTS / script),
        **{"mini_batch_size": 5, "process_count_per_node": 1, **settings},
    )
    return submit(config, inputs=str(numbers / "*.txt"))


def test_every_handler_refuses_without_the_token(server: Jupyter, numbers: Path) -> None:
    run = start(numbers)
    run.wait_for_completion(show_output=False)
    routes = handlers(BASE)
    assert len(routes) == 17
    for route, handler, _ in routes:
        path = route.replace("([^/]+)", run.run_id).removeprefix(f"{BASE}parallelrun/runs")
        methods = [name for name in ("get", "post", "put", "delete") if name in vars(handler)]
        assert methods
        for method in methods:
            for headers in ({}, {"Authorization": "token wrong"}):
                status, _, answer = ask(server, path, method.upper(), {}, headers)
                assert status == 403, (path, method, answer)
                assert run.run_id not in str(answer)
    assert run.status == "Completed"


def test_a_cookie_alone_cancels_nothing(server: Jupyter, numbers: Path) -> None:
    run = start(numbers)
    run.wait_for_completion(show_output=False)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request("GET", f"{BASE}tree?token={TOKEN}")
    response = connection.getresponse()
    cookies = [v.split(";")[0] for k, v in response.getheaders() if k.lower() == "set-cookie"]
    response.read()
    connection.close()
    assert any(cookie.startswith("username-") for cookie in cookies)
    headers = {"Cookie": "; ".join(cookies)}
    assert ask(server, f"/{run.run_id}/snapshot", headers=headers)[0] == 200
    status, _, answer = ask(server, f"/{run.run_id}/cancel", "POST", {}, headers)
    assert status == 403
    assert "_xsrf" in str(answer)
    assert list(run.folder.control.iterdir()) == []
    token = next(c.partition("=")[2] for c in cookies if c.startswith("_xsrf="))
    headers["X-XSRFToken"] = urllib.parse.unquote(token)
    assert ask(server, f"/{run.run_id}/cancel", "POST", {"drain": True}, headers)[0] == 202
    assert [path.name for path in run.folder.control.iterdir()] == ["cancel-drain"]


def test_a_run_is_listed_looked_at_and_read(
    server: Jupyter, numbers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKS", str(tmp_path))
    run = start(numbers, "talks.py")
    run.wait_for_completion(show_output=False, raise_on_error=False)
    _, _, listed = ask(server, "")
    row = next(row for row in listed["runs"] if row["run_id"] == run.run_id)
    assert row["is_read"]
    assert row["state"] == run.status
    status, headers, output = ask(server, f"/{run.run_id}/snapshot")
    assert status == 200
    assert output["snapshot"]["run_id"] == run.run_id
    assert output["snapshot"]["mini_batches"] == 12
    seen = headers["X-Run-Version"]
    assert ask(server, f"/{run.run_id}/snapshot?seen={seen}")[0] == 204
    _, _, log = ask(server, f"/{run.run_id}/logs", "POST", {"lines": 3})
    assert len(log["lines"]) == 3
    _, _, one = ask(server, f"/{run.run_id}/logs", "POST", {"mini_batch": 2})
    assert one["lines"]
    assert all("#2 " in line for line in one["lines"] if "#" in line)
    _, _, bundle = ask(server, f"/{run.run_id}/output")
    assert set(bundle) == {
        "application/vnd.parallelrun.run+json", "text/html", "text/plain",
    }  # fmt: skip
    assert TOKEN not in json.dumps(bundle)


def test_files_are_sent_whole_and_as_text(server: Jupyter, numbers: Path) -> None:
    run = start(numbers, "talks.py", environment_variables={"MARKS": str(numbers)})
    run.wait_for_completion(show_output=False, raise_on_error=False)
    status, headers, text = ask(server, f"/{run.run_id}/log-file")
    assert status == 200
    assert headers["Content-Type"] == "text/plain; charset=utf-8"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Disposition"].startswith("attachment")
    (log,) = run.folder.user_logs.glob("*.log")
    assert text == f"==> {log.name} <==\n".encode() + log.read_bytes()
    assert ask(server, f"/{run.run_id}/log-file?worker={log.stem}")[2] == log.read_bytes()
    for worker in ("none", "..%2fdriver", "*"):
        assert ask(server, f"/{run.run_id}/log-file?worker={worker}")[0] == 404
    rows = start(numbers)
    rows.wait_for_completion(show_output=False)
    status, _, text = ask(server, f"/{rows.run_id}/result")
    assert (status, text) == (200, Path(rows.snapshot()["output"]).read_bytes())
    status, _, answer = ask(server, f"/{run.run_id}/result")
    if run.status != "Completed":
        assert (status, "no output file" in answer["message"]) == (500, True)


def test_a_mini_batch_and_a_part_of_the_grid_are_told(server: Jupyter, numbers: Path) -> None:
    run = start(numbers)
    run.wait_for_completion(show_output=False)
    _, _, detail = ask(server, f"/{run.run_id}/mini-batch?mini_batch=3")
    assert detail["state"] == "succeeded"
    assert [Path(item).stem for item in detail["items"]] == ["015", "016", "017", "018", "019"]
    assert [(row["attempt"], row["succeeded"]) for row in detail["attempts"]] == [(1, True)]
    _, _, none = ask(server, f"/{run.run_id}/mini-batch?mini_batch=999")
    assert (none["state"], none["items"], none["attempts"]) == ("left", [], [])
    _, _, part = ask(server, f"/{run.run_id}/grid?first=10&count=99")
    assert (part["first"], part["count"], part["per_cell"], part["cells"]) == (10, 2, 1, "++")


def test_a_run_is_resumed_with_what_had_failed(server: Jupyter, numbers: Path) -> None:
    mark = numbers.parent / "mended"
    script = numbers.parent / "mends.py"
    script.write_text(
        f"import os\ndef run(mini_batch):\n"
        f"    assert os.path.exists({str(mark)!r}) or not mini_batch[0].endswith('010.txt')\n"
        f"    return mini_batch\n"
    )
    run = start(numbers, str(script), error_threshold=10, run_max_try=1)
    run.wait_for_completion(show_output=False)
    assert run.snapshot()["items_failed"] == 1
    mark.touch()
    wrong = {"failed_only": True, "group": "AssertionError at mends.py:9 in run"}
    status, _, answer = ask(server, f"/{run.run_id}/resume", "POST", wrong)
    assert status == 400
    assert "Did you mean 'AssertionError at mends.py:3 in run'?" in answer["message"]
    right = {"failed_only": True, "group": "AssertionError at mends.py:3 in run"}
    status, _, answer = ask(server, f"/{run.run_id}/resume", "POST", right)
    assert (status, answer) == (202, {})
    assert run.wait_for_completion(show_output=False) == "Completed"
    assert run.snapshot()["items_failed"] == 0
    status, _, answer = ask(server, f"/{run.run_id}/resume", "POST", {})
    assert status == 409
    assert "nothing to resume" in answer["message"]


def test_failures_are_told_by_their_group(server: Jupyter, numbers: Path) -> None:
    run = start(numbers, "init_raises.py")
    run.wait_for_completion(show_output=False, raise_on_error=False)
    _, _, output = ask(server, f"/{run.run_id}/snapshot")
    assert output["snapshot"]["state"] == "Failed"
    assert output["headline"].startswith("Failed")
    _, _, none = ask(server, f"/{run.run_id}/failures?group=nothing%20like%20it")
    assert none == {"group": "nothing like it", "traceback": "", "rows": [], "attempts": 0}


def test_failed_items_and_their_previews_are_sent(server: Jupyter, numbers: Path) -> None:
    script = numbers.parent / "odd.py"
    script.write_text(
        "def run(mini_batch):\n    assert '012' not in ' '.join(mini_batch)\n    return mini_batch\n"
    )
    run = start(numbers, str(script), error_threshold=10, run_max_try=1, mini_batch_size=1)
    run.wait_for_completion(show_output=False)
    group = urllib.parse.quote("AssertionError at odd.py:2 in run")
    _, _, page = ask(server, f"/{run.run_id}/failed-items?group={group}")
    [item] = page["items"]
    assert (item["mini_batch"], item["position"], item["tries"]) == (12, 0, 1)
    assert item["name"].endswith("012.txt")
    assert not page["has_more"]
    after = f"mini_batch={item['mini_batch']}&position={item['position']}"
    _, _, rest = ask(server, f"/{run.run_id}/failed-items?group={group}&{after}")
    assert rest["items"] == []
    _, _, shown = ask(server, f"/{run.run_id}/previews", "POST", {"items": [[12, 0], [999, 0]]})
    assert [row["outcome"] for row in shown] == ["shown", "none"]
    assert shown[0]["text"] == (numbers / "012.txt").read_text().strip()
    for bad in ({}, {"items": [[1]]}, {"items": [["/etc/passwd", 0]]}):
        status, _, answer = ask(server, f"/{run.run_id}/previews", "POST", bad)
        assert (status, "expected pairs such as [0, 3]" in answer["message"]) == (400, True)


def test_rows_are_sent_in_pages(server: Jupyter, numbers: Path) -> None:
    run = start(numbers, mini_batch_size=7)
    run.wait_for_completion(show_output=False)
    rows: list[str] = []
    question = {"order": "first", "after": [-1, -1]}
    while True:
        _, _, page = ask(server, f"/{run.run_id}/results", "POST", question)
        assert 0 < len(page["rows"]) <= 20
        rows += [row["cells"][0] for row in page["rows"]]
        if not page["has_more"]:
            break
        question["after"] = page["after"]
    assert rows == list(run.to_pandas()["row"])
    _, _, found = ask(server, f"/{run.run_id}/results", "POST", {"text": "N*042"})
    [row] = found["rows"]
    assert (row["mini_batch"], row["position"], row["number"]) == (6, 0, 42)
    assert row["name"] == str(numbers / "042.txt")
    for bad, said in (
        ({"order": "random"}, "contains the order 'random'"),
        ({"text": 5}, "and the text 5; expected latest or first, and a text"),
        ({"after": [1]}, "expected pairs such as [0, 3]"),
        ({"text": "a" * 1001}, "has 1,001 characters; expected at most 1,000"),
    ):
        status, _, answer = ask(server, f"/{run.run_id}/results", "POST", bad)
        assert (status, said in answer["message"]) == (400, True), answer
    _, _, bundle = ask(server, f"/{run.run_id}/output")
    assert bundle["text/html"].count("<details open><summary>") == 2
    assert "latest rows" in bundle["text/html"]


def test_a_run_is_canceled(server: Jupyter, numbers: Path) -> None:
    run = start(numbers, "slow.py")
    status, _, _ = ask(server, f"/{run.run_id}/cancel", "POST", {})
    assert status == 202
    assert run.wait_for_completion(show_output=False, raise_on_error=False) == "Canceled"
    _, _, output = ask(server, f"/{run.run_id}/snapshot")
    assert output["snapshot"]["state"] == "Canceled"


@pytest.mark.parametrize(
    "run_id",
    ["..", "%2e%2e", "..%2f..%2foutside", "%2fetc", ".hidden", "a%2fb", "a%5cb", "%00", "x" * 200],
)
def test_ids_do_not_lead_out_of_the_runs_folder(server: Jupyter, run_id: str) -> None:
    for method, what in ROUTES:
        status, _, answer = ask(server, f"/{run_id}/{what}", method, {})
        assert status == 404
        assert "outside" not in str(answer) or "%2f" in run_id


def test_a_link_does_not_lead_out_of_the_runs_folder(
    server: Jupyter, numbers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARALLELRUN_HOME", str(tmp_path / "other"))
    run = start(numbers)
    run.wait_for_completion(show_output=False)
    link = server.home / "runs" / "linked"
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(run.folder.path)
    try:
        for method, what in ROUTES:
            assert ask(server, f"/linked/{what}", method, {})[0] == 404
    finally:
        link.unlink()
    assert list(run.folder.control.iterdir()) == []


def test_questions_that_make_no_sense_are_answered_with_a_sentence(
    server: Jupyter, numbers: Path
) -> None:
    status, _, answer = ask(server, "/20261123-000000000-none/snapshot")
    assert status == 404
    assert "there is no run" in answer["message"]
    run = start(numbers)
    run.wait_for_completion(show_output=False)
    status, _, answer = ask(server, f"/{run.run_id}/grid?first=many")
    assert status == 400
    assert answer["message"] == "first is 'many'; expected a whole number."
    for question, said in (
        ({"lines": "many"}, "a query of the log contains 'many'; expected int."),
        ({"since": {"n0w0": "x"}}, "a query of the log contains 'x'; expected int."),
        ({"text": "a" * 1001}, "has 1,001 characters; expected at most 1,000"),
    ):
        status, _, answer = ask(server, f"/{run.run_id}/logs", "POST", question)
        assert (status, said in answer["message"]) == (400, True), answer


def test_a_log_filter_that_a_regular_expression_would_hang_on_is_answered_at_once(
    server: Jupyter, tmp_path: Path, numbers: Path
) -> None:
    script = tmp_path / "prints.py"
    script.write_text("def run(b):\n    print('a' * 1000)\n    return b\n")
    config = ParallelRunConfig(
        entry_script=str(script), mini_batch_size=1, process_count_per_node=1
    )
    run = submit(config, inputs=str(numbers))
    run.wait_for_completion(show_output=False)
    for text in ("(a|aa)+$", "(a+)+b", "a*" * 400 + "b"):
        began = time.monotonic()
        status, _, window = ask(server, f"/{run.run_id}/logs", "POST", {"text": text})
        assert (status, window["lines"]) == (200, [])
        assert time.monotonic() - began < 5
    _, _, window = ask(server, f"/{run.run_id}/logs", "POST", {"text": "A*A"})
    assert len(window["lines"]) == 60


def test_a_damaged_run_does_not_hide_the_others(server: Jupyter, numbers: Path) -> None:
    run = start(numbers)
    run.wait_for_completion(show_output=False)
    damaged = server.home / "runs" / "20991231-000000000-bad1"
    damaged.mkdir()
    (damaged / "run.json").write_text("{")
    try:
        _, _, listed = ask(server, "")
        assert run.run_id in [row["run_id"] for row in listed["runs"]]
        status, _, answer = ask(server, f"/{damaged.name}/snapshot")
        assert status == 500
        assert "damaged" in answer["message"]
    finally:
        (damaged / "run.json").unlink()
        damaged.rmdir()


def test_a_pipeline_is_shown_and_canceled_step_by_step(server: Jupyter, tmp_path: Path) -> None:
    from parallelrun_jupyter import azureml_v2

    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "one.txt").write_text("one")
    (tmp_path / "score.py").write_text("import time\ndef run(items):\n    time.sleep(60)\n")
    flag = tmp_path / "flag"
    (tmp_path / "pipeline.yml").write_text(f"""
type: pipeline
jobs:
  wait:
    type: command
    environment: azureml:base:1
    command: while [ ! -e {flag} ]; do sleep 0.1; done; echo 1 > ${{{{outputs.done}}}}/done
    outputs: {{done: {{}}}}
  score:
    type: parallel
    inputs:
      texts: {{type: uri_folder, path: ./texts}}
      done: ${{{{parent.jobs.wait.outputs.done}}}}
    input_data: ${{{{inputs.texts}}}}
    mini_batch_size: "1"
    task: {{type: run_function, code: ., entry_script: score.py, environment: azureml:base:1}}
""")
    job = azureml_v2.run(tmp_path / "pipeline.yml")
    place = f"{BASE}parallelrun/pipelines/{job.run_id}"
    key = job.record.steps[-1].key

    def get(step: str = "") -> dict[str, Any]:
        status, _, bundle = ask(server, f"{place}/output?step={step}")
        assert status == 200
        found: dict[str, Any] = bundle
        return found

    assert get(key)["text/plain"] == "score: not started"
    before = get()[PIPELINE_MIME]
    flag.touch()
    deadline = time.monotonic() + 30
    while RUN_MIME not in get(key):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert get(key)[RUN_MIME]["run_id"] == job.steps[-1].run_id
    assert get()[PIPELINE_MIME]["version"] != before["version"]
    assert ask(server, f"{place}/output?step=none")[0] == 404
    assert ask(server, f"{BASE}parallelrun/pipelines/..%2Fruns/output")[0] == 404
    assert ask(server, f"{place}/cancel", "POST", {}, {})[0] in {401, 403}
    assert ask(server, f"{place}/cancel", "POST", {})[0] == 202
    assert job.wait_for_completion(show_output=False, timeout_s=60) == "Canceled"
    assert get()[PIPELINE_MIME]["may_cancel"] is False

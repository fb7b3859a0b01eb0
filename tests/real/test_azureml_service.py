"""The emulator of Azure Machine Learning, as the real client of Azure sees it."""

from __future__ import annotations

import csv
import datetime as dt
import functools
import http.client
import itertools
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from parallelrun_jupyter import ParallelRunConfig, submit
from tests.azureml_service.blobs import Place, place_of
from tests.azureml_service.logs import COLUMNS
from tests.azureml_service.names import DATA_CONTAINER, WORKSPACE_ID
from tests.azureml_service.notebook import Cell, Notebook
from tests.azureml_service.recordings import Player, Recorder
from tests.azureml_service.script import Fault
from tests.azureml_service.service import AzureMLService, RefusedError
from tests.azureml_service.submission import send_job
from tests.azureml_service.tokens import make_token
from tests.real.conftest import end_of

TERMINAL = {"Completed", "Failed", "Canceled"}
SCRIPT = """
import argparse, logging, pathlib, time

def init():
    global options
    parser = argparse.ArgumentParser()
    parser.add_argument("--bad", default="")
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--names", default="")
    options, _ = parser.parse_known_args()
    print("the script is ready")

def run(paths):
    logging.getLogger("user").warning("a mini-batch of %d", len(paths))
    time.sleep(options.seconds)
    numbers = [int(pathlib.Path(path).read_text()) for path in paths]
    if options.bad and int(options.bad) in numbers:
        raise ValueError(f"number {options.bad} is bad")
    end = pathlib.Path(options.names).read_text() if options.names else ""
    return [f"{pathlib.Path(path).name},{2 * number}{end}" for path, number in zip(paths, numbers)]
"""
SUBMIT = """
from azure.ai.ml import Input, Output, dsl
from azure.ai.ml.entities import Environment
from azure.ai.ml.parallel import RunFunction, parallel_run_function
from tests.azureml_service.client_side import ml_client

ml = ml_client()

def make(arguments, limit, **more):
    return parallel_run_function(
        name="score", inputs={"data": Input(type="uri_folder", mode="ro_mount"), **more},
        outputs={"rows": Output(type="uri_file", mode="rw_mount")}, input_data="${{inputs.data}}",
        instance_count=2, max_concurrency_per_instance=1, mini_batch_size="5", logging_level="INFO",
        mini_batch_error_threshold=limit, retry_settings={"max_retries": 1, "timeout": 60},
        task=RunFunction(
            code="code", entry_script="score.py", program_arguments=arguments,
            environment=Environment(image="mcr.microsoft.com/emulated:1"), append_row_to="${{outputs.rows}}",
        ),
    )

def send(arguments="", limit=-1, path="numbers"):
    step = make(arguments, limit)

    @dsl.pipeline(default_compute="cpu-cluster")
    def numbers(data):
        score = step(data=data)

    return ml.jobs.create_or_update(numbers(data=Input(type="uri_folder", path=path)), experiment_name="tests")

"""


@pytest.fixture
def work(numbers: Path) -> Path:
    """Return the folder of ``numbers`` and ``code``."""
    (numbers.parent / "code").mkdir()
    (numbers.parent / "code" / "score.py").write_text(SCRIPT)
    return numbers.parent


@pytest.fixture
def cell(azureml_notebook: Notebook, work: Path) -> Callable[..., Cell]:
    """Return a function that runs a cell after the definition of ``send``."""

    def run(code: str, *, fails: bool = False, **values: Any) -> Cell:
        return azureml_notebook.run(SUBMIT + code, work, fails=fails, **values)

    return run


@pytest.fixture
def send(azureml_service: AzureMLService, work: Path) -> Callable[..., str]:
    """Return a function that sends a job without the real client; it returns its name."""
    script, data = work / "code" / "score.py", work / "numbers"
    return functools.partial(send_job, azureml_service, script, data)


def wait_for(service: AzureMLService, name: str, states: set[str], timeout_s: float = 60) -> str:
    """Wait until a run is in one of some states; return it."""
    until = time.monotonic() + timeout_s
    while (status := str(service.run(name).get("status"))) not in states:
        assert time.monotonic() < until, (status, service.log_of(name))
        time.sleep(0.02)
    return status


def details_of(service: AzureMLService, name: str) -> dict[str, Any]:
    details: dict[str, Any] = service.get(f"{service.history}/runs/{name}/details")
    return details


def text_of(service: AzureMLService, files: dict[str, str], pattern: str) -> str:
    """Return the text of the one log file whose path matches."""
    [path] = [path for path in files if re.fullmatch(pattern, path)]
    return service.fetch(files[path]).decode()


def processed(overview: str) -> list[tuple[int, int]]:
    """Return the counts of all lines of progress."""
    lines = re.findall(r"Processed (\d+) of (\d+) mini batches in \d+:\d\d:\d\d\.", overview)
    return [(int(done), int(planned)) for done, planned in lines]


def test_a_job_runs_and_its_rows_are_those_of_a_local_run(
    cell: Callable[..., Cell], azureml_service: AzureMLService, work: Path
) -> None:
    # The client uploads a folder only if the service has none with the same content.
    number = time.time_ns()
    (work / "numbers" / "059.txt").write_text(str(number))
    (work / "code" / "score.py").write_text(f"{SCRIPT}# {number}\n")
    done = cell("""
job = send()
ml.jobs.stream(job.name)
[child] = ml.jobs.list(parent_job_name=job.name)
ml.jobs.download(child.name, output_name="rows", download_path="down")
ml.jobs.download(child.name, download_path="logs")
found = ml.jobs.get(job.name)
value = [found.name, found.status, found.experiment_name, child.name, child.status, child.display_name, child.compute]
""")
    name, status, experiment, child, *rest = done.value
    assert (status, experiment, rest) == (
        "Completed",
        "tests",
        ["Completed", "score", "cpu-cluster"],
    )
    assert f"step score is submitted as run {child}" in done.out
    script = str(work / "code" / "score.py")
    run = submit(
        ParallelRunConfig(entry_script=script, mini_batch_size=5),
        inputs=work / "numbers", output=work / "local",
    )  # fmt: skip
    assert end_of(run) == "Completed"
    [local] = (work / "local").iterdir()
    downloaded = work / "down" / "named-outputs" / "rows" / "rows"
    assert downloaded.read_bytes() == local.read_bytes()
    assert len(local.read_bytes().splitlines()) == 60
    uploads = [one for one in azureml_service.requests() if one["status"] == 201]
    assert sum("/numbers/" in one["path"] for one in uploads) == 60
    assert sum("score.py" in one["path"] for one in uploads) == 1
    logs = work / "logs" / "artifacts" / "logs"
    assert "60 items" in next(logs.glob("job_progress_overview.*.txt")).read_text()
    assert azureml_service.run(name)["status"] == "Completed"


def test_a_failing_job_shows_the_users_traceback(
    cell: Callable[..., Cell], azureml_service: AzureMLService
) -> None:
    done = cell(
        "job = send('--bad 7', limit=0)\nvalue = job.name\nml.jobs.stream(job.name)", fails=True
    )
    assert "JobException" in done.error
    assert "Failed nodes: /score" in done.error
    [child] = azureml_service.children(done.value)
    assert (azureml_service.run(done.value)["status"], child["status"]) == ("Failed", "Failed")
    details = details_of(azureml_service, child["name"])
    assert details["error"]["error"]["message"].startswith("Execution failed")
    files = details["logFiles"]
    errors = [azureml_service.fetch(files[path]).decode() for path in files if "user/error" in path]
    assert re.search(r'File "/mnt/azureml/.*/score.py", line \d+, in run', "".join(errors))
    assert 'raise ValueError(f"number {options.bad} is bad")' in "".join(errors)
    table = text_of(azureml_service, files, "logs/sys/job_report/processed_mini-batches.csv")
    rows = [row for row in csv.DictReader(table.splitlines()) if row["Status"] == "RUN_EXCEPTION"]
    assert [(row["Mini-batch Id"], row["Picked Count"]) for row in rows] == [("1", "1"), ("1", "2")]
    assert {row["Error Category"] for row in rows} == {"ValueError"}


def test_a_canceled_job_ends(cell: Callable[..., Cell], azureml_service: AzureMLService) -> None:
    name = cell("job = send('--seconds 30')\nvalue = job.name").value
    wait_for(azureml_service, name, {"Running"})
    until = time.monotonic() + 30
    while not [one for one in azureml_service.children(name) if one["status"] == "Running"]:
        assert time.monotonic() < until
    cell("ml.jobs.begin_cancel(name).result()", name=name)
    assert wait_for(azureml_service, name, TERMINAL) == "Canceled"
    assert [one["status"] for one in azureml_service.children(name)] == ["Canceled"]
    assert cell("value = ml.jobs.get(name).status", name=name).value == "Canceled"


def test_log_files_grow_while_the_job_runs(
    send: Callable[..., str], azureml_service: AzureMLService
) -> None:
    azureml_service.set_script(overview_every_s=0.1)
    name = send(arguments="--seconds 0.4")
    states: list[str] = []
    overviews: list[str] = []
    tables: list[str] = []
    files: dict[str, str] = {}
    while not states or states[-1] not in TERMINAL:
        children = azureml_service.get(f"{azureml_service.history}/runs/{name}/children")["value"]
        for child in children:
            details = details_of(azureml_service, child["runId"])
            states.append(details["status"])
            files = details["logFiles"]
            for kind, texts in (("job_progress_overview", overviews), ("processed_", tables)):
                paths = [path for path in files if kind in path]
                texts += [azureml_service.fetch(files[path]).decode() for path in paths]
        time.sleep(0.05)
    assert azureml_service.run(name)["course"] == [
        "NotStarted", "Preparing", "Running", "Finalizing", "Completed",
    ]  # fmt: skip
    assert azureml_service.children(name)[0]["course"] == [
        "NotStarted", "Queued", "Preparing", "Starting", "Running", "Finalizing", "Completed",
    ]  # fmt: skip
    assert all(later.startswith(one) for one, later in itertools.pairwise(overviews))
    assert processed(overviews[-1])[-1] == (12, 12)
    assert len({done for done, _ in processed(overviews[-1])}) > 2
    assert len({text.count("\n") for text in tables}) > 2
    assert tables[-1].splitlines()[0] == ",".join(COLUMNS)
    assert tables[-1].count("\n") == 13
    lines = [line.split(" ", 1)[1] for line in overviews[-1].splitlines()]
    assert lines[:2] == ["Start the simulator.", "The overviewer on 0 started."]
    assert re.fullmatch(
        r"Scheduling finished. Scheduled 12 mini batches in \d+ seconds. "
        r"There are 12 tasks with 60 items.", lines[2],
    )  # fmt: skip
    one = next(path for path in files if path.startswith("logs/user/stdout/"))
    assert azureml_service.fetch(files[one]) == b"the script is ready\n"
    start = {"Range": "bytes=4-9"}
    assert azureml_service.fetch(files[one], headers=start) == b"script"
    expected = {"job_result.txt", "sys/master_role.txt", "readme.txt"}
    assert {f"logs/{path}" for path in expected} < files.keys()
    assert any(re.fullmatch(r"logs/sys/node/10\.0\.0\.\d/process000\.txt", path) for path in files)


def test_requests_fail_as_scripted(
    cell: Callable[..., Cell], azureml_service: AzureMLService
) -> None:
    name = cell("job = send()\nvalue = job.name").value
    wait_for(azureml_service, name, TERMINAL)
    run = f"{azureml_service.history}/runs/{name}"
    azureml_service.set_faults(
        Fault("GET .*/details", status=429, headers={"Retry-After": "1"}, times=1),
        Fault("GET .*/details", status=500, times=1),
        Fault("GET .*/children", cut="before", times=1),
        Fault("GET .*/children", cut="within", times=1),
        Fault("GET .*/discovery", wait_s=0.5),
    )
    seen: list[Any] = []
    for _ in range(3):
        try:
            seen.append(len(azureml_service.get(f"{run}/details")))
        except RefusedError as error:
            seen.append((error.status, error.headers.get("Retry-After")))
    assert seen[:2] == [(429, "1"), (500, None)]
    assert len(seen) == 3
    for _ in range(2):
        with pytest.raises((OSError, http.client.HTTPException)):
            azureml_service.get(f"{run}/children")
    started = time.monotonic()
    azureml_service.get(f"{azureml_service.url}/discovery")
    assert time.monotonic() - started >= 0.5
    assert len(azureml_service.get(f"{run}/children")["value"]) == 1
    azureml_service.set_faults(Fault("GET .*/jobs/", status=429, times=2))
    assert cell(
        "value = ml_client(retry_total=3, retry_backoff_factor=0.01).jobs.get(name).status",
        name=name,
    ).value
    asked = [one["status"] for one in azureml_service.requests() if f"/jobs/{name}?" in one["path"]]
    assert asked[-3:] == [429, 429, 200]
    azureml_service.set_script(sas_seconds=-5)
    files = details_of(azureml_service, name)["logFiles"]
    with pytest.raises(RefusedError) as raised:
        azureml_service.fetch(files["logs/azureml/executionlogs.txt"])
    assert raised.value.status == 403
    azureml_service.set_script(vanished=(name,))
    with pytest.raises(RefusedError) as raised:
        azureml_service.get(f"{run}/details")
    assert raised.value.status == 404
    assert "ResourceNotFoundError" in cell("ml.jobs.get(name)", name=name, fails=True).error


def test_the_cluster_misbehaves_as_scripted(
    send: Callable[..., str], azureml_service: AzureMLService
) -> None:
    azureml_service.set_script(
        overview_rotates_after=3, overview_stops_after=8, overview_every_s=0, table_at_end=True,
        skew_hours=5, no_logs="logs/sys/perf/.*", unknown_lines=True,
    )  # fmt: skip
    name = send(arguments="--seconds 0.2")
    tables = 0
    while azureml_service.run(name)["status"] not in TERMINAL:
        for child in azureml_service.children(name):
            files = details_of(azureml_service, child["name"])["logFiles"]
            is_over = details_of(azureml_service, child["name"])["status"] != "Running"
            tables += not is_over and any("processed_" in path for path in files)
    [child] = azureml_service.children(name)
    details = details_of(azureml_service, child["name"])
    files = details["logFiles"]
    assert tables == 0
    assert any("processed_" in path for path in files)
    assert not any("perf" in path for path in files)
    overviews = sorted(path for path in files if "overview" in path)
    assert len(overviews) == 2
    texts = [azureml_service.fetch(files[path]).decode() for path in overviews]
    assert texts[0].count("Heartbeat 17 of 23.") > 2
    assert "Start the simulator" in texts[0]
    assert "Start the simulator" not in texts[1]
    assert 3 <= processed(texts[1])[-1][0] < 8
    now = dt.datetime.now(dt.timezone.utc)
    for stamp in (texts[1].split(" ")[0], details["startTimeUtc"].removesuffix("Z")):
        ahead = dt.datetime.fromisoformat(stamp).replace(tzinfo=dt.timezone.utc) - now
        assert 4.9 < ahead.total_seconds() / 3600 < 5


def test_a_job_survives_the_service(
    send: Callable[..., str], cell: Callable[..., Cell], azureml_service: AzureMLService
) -> None:
    name = send(arguments="--seconds 0.3")
    wait_for(azureml_service, name, {"Running"})
    before = azureml_service.url
    azureml_service.kill()
    with pytest.raises(ConnectionRefusedError):
        azureml_service.get(f"{azureml_service.url}/discovery")
    azureml_service.start()
    assert azureml_service.url == before
    wait_for(azureml_service, name, TERMINAL)
    assert cell("value = ml.jobs.get(name).status", name=name).value == "Completed"


def test_registered_data_and_steps_one_after_the_other(
    cell: Callable[..., Cell], azureml_service: AzureMLService, work: Path
) -> None:
    done = cell("""
from azure.ai.ml import command
from azure.ai.ml.entities import Data
data = ml.data.create_or_update(Data(name="numbers", version="1", type="uri_folder", path="numbers"))
first = command(
    name="choose", inputs={"data": Input(type="uri_folder")}, outputs={"chosen": Output(type="uri_folder")},
    command="cp ${{inputs.data}}/00*.txt ${{outputs.chosen}}", environment=Environment(image="emulated:1"),
)
second = make("", -1)

@dsl.pipeline(default_compute="cpu-cluster")
def both(data):
    choose = first(data=data)
    score = second(data=choose.outputs.chosen)
    return {"all": score.outputs.rows}

job = ml.jobs.create_or_update(both(data=Input(type="uri_folder", path="azureml:numbers:1")))
ml.jobs.stream(job.name)
ml.jobs.download(job.name, all=True, download_path="all")
value = {one.display_name: one.status for one in ml.jobs.list(parent_job_name=job.name)}
""")
    assert done.value == {"choose": "Completed", "score": "Completed"}
    rows = (work / "all" / "named-outputs" / "all" / "rows").read_text().splitlines()
    assert rows == [f"00{number}.txt,{2 * number}" for number in range(10)]
    log = (work / "all" / "artifacts" / "logs" / "azureml" / "executionlogs.txt").read_text()
    assert log.index("step choose is Completed") < log.index("step score is submitted")


def test_arguments_and_outputs_are_those_of_the_job(
    cell: Callable[..., Cell], azureml_service: AzureMLService, work: Path
) -> None:
    (work / "names.txt").write_text(",of a side input")
    done = cell("""
from azure.ai.ml.entities import Environment
step = make("--names ${{inputs.names}}", -1, names=Input(type="uri_file", mode="download"))
folder = "azureml://datastores/workspaceblobstore/paths/given/"

@dsl.pipeline(default_compute=ml.compute.get("cpu-cluster").name)
def numbers(data):
    score = step(data=data, names=Input(type="uri_file", path="names.txt"))
    score.outputs.rows = Output(type="uri_file", path=folder + "${{name}}/rows.csv")

job = ml.jobs.create_or_update(numbers(data=Input(type="uri_folder", path="numbers")))
ml.jobs.stream(job.name)
[child] = ml.jobs.list(parent_job_name=job.name)
made = ml.environments.create_or_update(Environment(name="made", version="3", image="emulated:1"))
value = [job.name, child.name, ml.datastores.get_default().name, ml.environments.get("made", label="latest").version,
         job.name in [one.name for one in ml.jobs.list()], ml.workspaces.get().name]
""")
    _, child, *rest = done.value
    assert rest == ["workspaceblobstore", "3", True, "workshop"]
    place = Place(DATA_CONTAINER, f"given/{child}/rows.csv")
    rows = azureml_service.blobs.read(place).decode().splitlines()
    assert rows == [f"{number:03d}.txt,{2 * number},of a side input" for number in range(60)]


def test_a_client_without_a_cloud_finds_the_workspace_of_a_config_file(
    cell: Callable[..., Cell], azureml_service: AzureMLService
) -> None:
    done = cell("""
import os
from azure.ai.ml import MLClient
from tests.azureml_service.client_side import Credential, write_config
write_config(".")
before = os.environ.pop("AZUREML_CURRENT_CLOUD", "")
plain = MLClient.from_config(Credential(), enable_telemetry=False)
value = [plain.workspace_name, plain.compute.get("cpu-cluster").size, plain.jobs._api_url]
os.environ["AZUREML_CURRENT_CLOUD"] = before
""")
    assert done.value == ["workshop", "STANDARD_D2_V2", azureml_service.url]


def test_two_jobs_at_once_sent_in_the_form_of_the_real_client(
    send: Callable[..., str], cell: Callable[..., Cell], azureml_service: AzureMLService
) -> None:
    slow, quick = send(arguments="--seconds 30"), send()
    real = cell("value = send().name").value
    assert wait_for(azureml_service, quick, TERMINAL) == "Completed"
    azureml_service.cancel(slow)
    assert wait_for(azureml_service, slow, TERMINAL) == "Canceled"
    assert wait_for(azureml_service, real, TERMINAL) == "Completed"
    rows = []
    for name in (quick, real):
        [child] = azureml_service.children(name)
        rows.append(azureml_service.blobs.read(place_of(child["outputs"]["rows"]["uri"])))
    assert rows[0] == rows[1]
    sent = [azureml_service.state.read("jobs", name) for name in (quick, real)]
    ours, clients = [one["properties"] for one in sent if one]
    assert ours.keys() <= clients.keys()
    assert ours["jobs"]["score"].keys() <= clients["jobs"]["score"].keys()
    assert ours["jobs"]["score"]["inputs"] == clients["jobs"]["score"]["inputs"]
    assert ours["jobs"]["score"]["outputs"] == clients["jobs"]["score"]["outputs"]
    assert ours["inputs"]["data"].keys() <= clients["inputs"]["data"].keys()


def test_a_token_is_asked_for(azureml_service: AzureMLService) -> None:
    jobs = f"{azureml_service.url}{WORKSPACE_ID}/jobs"
    assert "value" in azureml_service.get(jobs)
    for header in ("", "Basic eDp5", f"Bearer {make_token('x', seconds=-1)}"):
        with pytest.raises(RefusedError) as raised:
            azureml_service.fetch(jobs, headers={"Authorization": header})
        assert raised.value.status == 401


def test_a_recording_plays_what_the_service_answered(
    send: Callable[..., str], azureml_service: AzureMLService, work: Path
) -> None:
    name = send(arguments="--bad 7 --seconds 0.2")
    recorder = Recorder(name, azureml_service.history, azureml_service.fetch)
    recorder.record()
    recorder.write(work / "job.json")
    player = Player(work / "job.json")
    player.at = player.duration_s
    [child] = azureml_service.children(name)
    details = details_of(azureml_service, child["name"])
    played = json.loads(player.answer("GET", f"{player.history}/runs/{child['name']}/details").body)
    assert {**played, "logFiles": {}} == {**details, "logFiles": {}}
    assert played["logFiles"].keys() == details["logFiles"].keys()
    for path, url in details["logFiles"].items():
        assert player.answer("GET", played["logFiles"][path]).body == azureml_service.fetch(url)
    text = (work / "job.json").read_text()
    signature = azureml_service.history.partition("//")[2].partition("/")[0]
    assert "sig=" not in text
    assert signature not in text


def test_nothing_else_is_reached(azureml_service: AzureMLService, work: Path) -> None:
    code = (
        "import urllib.request; urllib.request.urlopen('https://management.azure.com', timeout=9)"
    )
    environ = {**azureml_service.environ, "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True)
    assert "403" in done.stderr
    refused = [one for one in azureml_service.requests() if one["status"] == 403]
    assert "management.azure.com:443" in {one["host"] for one in refused}


def test_a_job_for_an_unknown_compute_is_refused(
    cell: Callable[..., Cell], azureml_service: AzureMLService
) -> None:
    done = cell(
        """
step = make("", -1)

@dsl.pipeline(default_compute="gone")
def numbers(data):
    score = step(data=data)

ml.jobs.create_or_update(numbers(data=Input(type="uri_folder", path="numbers")))
""",
        fails=True,
    )
    assert "Unknown compute target gone." in done.error
    asked = [one for one in azureml_service.requests() if one["method"] == "PUT"]
    assert asked[-1]["status"] == 400


def test_the_ledger_is_plain_json(azureml_service: AzureMLService) -> None:
    azureml_service.get(f"{azureml_service.url}/discovery")
    row = azureml_service.requests()[-1]
    assert json.dumps(row)
    assert (row["method"], row["path"], row["status"]) == ("GET", "/discovery", 200)

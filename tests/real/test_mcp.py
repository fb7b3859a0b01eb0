"""Agents: the server of the Model Context Protocol, by the official client over stdio."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from mcp import Client, StdioServerParameters, stdio_client
from mcp.types import CallToolResult

from parallelrun_jupyter import ParallelRunConfig, Run, submit
from parallelrun_jupyter.commands.agents.bounds import LIMIT_BYTES
from parallelrun_jupyter.commands.cli import main
from tests.conftest import SCRIPTS
from tests.real.conftest import end_of

ECHO = str(SCRIPTS / "echo.py")
READERS = {
    "list_runs", "show_run", "wait_for_run", "show_failures", "show_logs", "show_results",
}  # fmt: skip
ACTIONS = {"start_run", "try_mini_batch", "resume_run", "cancel_run"}
SECRET = "hunter2-hunter2-hunter2"

Scenario = Callable[["Agent"], Awaitable[None]]


class Agent:
    """A client; it checks the bounds of every answer."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.progress: list[tuple[float, float | None]] = []

    async def call(self, tool: str, **arguments: Any) -> tuple[str, dict[str, Any]]:
        """Return the text and the fields of an answer."""
        result = await self.result(tool, **arguments)
        assert not result.is_error, text_of(result)
        assert result.structured_content is not None
        assert len(json.dumps(result.structured_content, ensure_ascii=False).encode()) < 20_100
        return text_of(result), dict(result.structured_content)

    async def refusal(self, tool: str, **arguments: Any) -> str:
        """Return the words of a refusal."""
        result = await self.result(tool, **arguments)
        assert result.is_error, text_of(result)
        return text_of(result)

    async def result(self, tool: str, **arguments: Any) -> CallToolResult:
        result = await self.client.call_tool(tool, arguments, progress_callback=self._note)
        assert len(text_of(result).encode()) <= LIMIT_BYTES
        return result

    async def _note(self, progress: float, total: float | None, message: str | None) -> None:
        assert message
        self.progress.append((progress, total))


def text_of(result: CallToolResult) -> str:
    [content] = result.content
    assert content.type == "text"
    return content.text


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "parallelrun_jupyter", "mcp", *map(str, words)]


def serve(scenario: Scenario, *words: object, cwd: Path | None = None, **variables: str) -> None:
    """Run a scenario with the official client and a server process."""
    first, *rest = command(*words)
    server = StdioServerParameters(
        command=first, args=rest, cwd=cwd, env={**os.environ, **variables}
    )

    async def session() -> None:
        async with Client(stdio_client(server), read_timeout_seconds=60) as client:
            await scenario(Agent(client))

    asyncio.run(session())


def numbers_in(folder: Path, count: int = 6) -> Path:
    folder.mkdir()
    for number in range(count):
        (folder / f"{number}.txt").write_text(str(number))
    return folder


BROKEN = """
print("imported", flush=True)

def run(mini_batch):
    print("looking at", len(mini_batch), "files")
    return [100 // int(open(path).read()) for path in mini_batch]
"""


def test_an_agent_finds_out_why_a_run_failed_repairs_it_and_reads_the_result(
    tmp_path: Path, home: Path
) -> None:
    script = tmp_path / "divide.py"
    script.write_text(BROKEN)
    numbers_in(tmp_path / "in")
    found: dict[str, Any] = {}

    async def scenario(agent: Agent) -> None:
        text, fields = await agent.call(
            "start_run",
            script="divide.py",
            inputs=["in/*.txt"],
            options={"mini_batch_size": 1, "run_max_try": 1, "workers": 2, "name": "division"},
        )
        run_id = fields["run_id"]
        assert text.startswith(f"started run {run_id}; wait_for_run waits for its end")
        text, fields = await agent.call("wait_for_run", run_id=run_id, timeout_s=60)
        assert (fields["state"], fields["items_failed"]) == ("Failed", 1)
        done = [progress for progress, _ in agent.progress]
        assert done == sorted(set(done))
        assert done[-1] <= 6

        text, fields = await agent.call("show_failures", run_id=run_id)
        [group] = fields["groups"]
        assert group["error"] == "ZeroDivisionError"
        assert "return [100 // int(open(path).read())" in group["traceback"]
        assert [item["item"] for item in fields["failed_items"]] == [str(tmp_path / "in" / "0.txt")]
        assert "return [100 // int(open(path).read())" in text
        failed = fields["failed_items"][0]["mini_batch"]

        text, fields = await agent.call("try_mini_batch", run_id=run_id, mini_batch=failed)
        assert (fields["is_ok"], fields["exit_status"]) == (False, 1)
        assert fields["output"].startswith("imported\nlooking at 1 files\nTraceback (most recent")
        assert "try_one.py" not in fields["output"]  # the traceback begins in the user's code

        script.write_text(BROKEN.replace("100 //", "100 // max(1, ").replace("read())", "read()))"))
        text, fields = await agent.call(
            "try_mini_batch", run_id=run_id, mini_batch=failed, entry_script="divide.py"
        )
        assert fields["is_ok"], text
        assert "run() returned 1 row for 1 item" in fields["output"]
        assert "the result: [100]" in fields["output"]

        await agent.call("resume_run", run_id=run_id, entry_script="divide.py")
        text, fields = await agent.call("wait_for_run", run_id=run_id, timeout_s=60)
        assert fields["state"] == "Completed", text
        text, fields = await agent.call("show_results", run_id=run_id)
        assert [row["cells"]["row"] for row in fields["rows"]] == [
            str(100 // max(1, number)) for number in range(6)
        ]
        assert fields["output"] == str(Run.attach(run_id).folder.output / "parallel_run_step.txt")

        text, fields = await agent.call("show_run", run_id=run_id)
        for name in ("left_out", "can_resume"):
            fields.pop(name)
        found.update(fields)
        text, fields = await agent.call("list_runs", name="divis*")
        assert [row["run_id"] for row in fields["runs"]] == [run_id]
        assert "it has already ended" in (await agent.call("cancel_run", run_id=run_id))[0]

    serve(scenario, "--allow-actions", "--root", tmp_path)
    shown = [sys.executable, "-m", "parallelrun_jupyter", "show", "--json"]
    assert found == json.loads(subprocess.run(shown, capture_output=True, timeout=60).stdout)
    rows = Path(found["output"]).read_text().split()
    assert rows == ["100", "100", "50", "33", "25", "20"]


def test_a_server_only_reads_unless_actions_are_allowed(numbers: Path, tmp_path: Path) -> None:
    run = submit(ParallelRunConfig(entry_script=ECHO, process_count_per_node=1), inputs=numbers)
    end_of(run)

    async def scenario(agent: Agent) -> None:
        listed = (await agent.client.list_tools()).tools
        assert {tool.name for tool in listed} == READERS
        assert all(tool.annotations and tool.annotations.read_only_hint for tool in listed)
        assert all("left_out" in (tool.output_schema or {})["properties"] for tool in listed)
        assert "only reads" in (agent.client.instructions or "")
        for name in ACTIONS:
            words = await agent.refusal(name, script=ECHO, inputs=[str(numbers)])
            assert words == (
                f"{name} is an action, and this server only reads. Ask the user to start it as "
                "'parallelrun mcp --allow-actions'."
            )
        assert (await agent.refusal("show_runs")).startswith(
            "there is no tool 'show_runs'. Did you mean 'show_run'?"
        )
        words = await agent.refusal("show_logs", run_id=run.run_id, minibatch=3)
        assert words.startswith(
            "show_logs has no argument 'minibatch'. Did you mean 'mini_batch'? Its arguments: run_id"
        )
        words = await agent.refusal("show_logs", run_id=run.run_id, lines="many")
        assert words.startswith("show_logs was called with wrong arguments. lines: Input should be")
        assert words.endswith("lines is 'many'.")
        words = await agent.refusal("show_logs", run_id=run.run_id, lines=5000)
        assert words == "lines is 5000; expected a number from 1 to 1,000."
        words = await agent.refusal("show_logs", run_id=run.run_id, text="a\0b")
        assert words.startswith("text of show_logs has a NUL character")
        words = await agent.refusal("show_failures", run_id=run.run_id, group="KeyError")
        assert words.endswith("has no group of failures 'KeyError'. Nothing failed in it.")
        pages, after = [], [-1, -1]
        for _ in range(3):
            _, fields = await agent.call("show_results", run_id=run.run_id, rows=25, after=after)
            pages += [row["cells"]["row"] for row in fields["rows"]]
            after = fields["after"]
        assert pages == list(run.to_pandas()["row"])
        assert not fields["has_more"]

    serve(scenario)
    assert [each.run_id for each in Run.list()] == [run.run_id]


def test_only_runs_of_the_home_are_shown(numbers: Path, tmp_path: Path, home: Path) -> None:
    run = submit(ParallelRunConfig(entry_script=ECHO, process_count_per_node=1), inputs=numbers)
    end_of(run)
    elsewhere = tmp_path / "elsewhere"
    run.folder.path.rename(elsewhere)
    link = run.folder.path.with_name("20260101-000000000-link")
    link.symlink_to(elsewhere)

    async def scenario(agent: Agent) -> None:
        words = await agent.refusal("show_logs", run_id=link.name)
        assert words == f"run {link.name} is a link to a folder outside {link.parent}."
        for run_id in (str(elsewhere), f"../../{elsewhere.name}", "", ".", "azureml:job", "a\n/b"):
            words = await agent.refusal("show_run", run_id=run_id)
            assert words == (
                f"run_id is {run_id!r}, which is not the id of a run. list_runs lists the runs."
            )
        words = await agent.refusal("show_run", run_id="20200101-000000000-none")
        assert words.startswith(f"there is no run '20200101-000000000-none' in {link.parent}.")

    serve(scenario)


def test_scripts_and_inputs_stay_in_the_root(numbers: Path, tmp_path: Path, home: Path) -> None:
    root = tmp_path / "root"
    numbers_in(root)
    (root / "echo.py").write_text(Path(ECHO).read_text())
    (root / "out.py").symlink_to(ECHO)
    (root / "up").symlink_to(tmp_path)

    async def scenario(agent: Agent) -> None:
        good: dict[str, Any] = {"script": "echo.py", "inputs": ["*.txt"]}
        for wrong in (
            {"script": ECHO}, {"script": "out.py"}, {"script": "../root/../x.py"},
            {"script": "up/x.py"}, {"inputs": [str(numbers)]}, {"inputs": ["*.txt", ".."]},
            {"inputs": ["up/*"]}, {"inputs": ["*/../../numbers/*"]}, {"inputs": ["~/*"]},
            {"inputs": ["az://container/x"]}, {"inputs": ["https://127.0.0.1/x"]},
            {"inputs": ["file:///etc/passwd"]}, {"inputs": [""]},
            {"options": {"output": str(tmp_path / "out")}},
            {"options": {"source_directory": "up"}},
        ):  # fmt: skip
            words = await agent.refusal("start_run", **(good | wrong))
            assert f"expected a path in {root}, which this server was started with" in words, wrong
        for name, value in (
            ("environment", "/bin/true"), ("compute", "tcp://127.0.0.1:1"), ("preload", ["os"]),
            ("environment_variables", ["PYTHONPATH=/tmp"]), ("notify", "https://127.0.0.1/"),
        ):  # fmt: skip
            words = await agent.refusal("start_run", **good, options={name: value})
            assert words.startswith(f"the option {name} is {value!r}, but this server was started")
        words = await agent.refusal("start_run", **good, options={"mini_batchsize": 1})
        assert words.startswith(
            "there is no option 'mini_batchsize'. Did you mean 'mini_batch_size'?"
        )
        words = await agent.refusal("start_run", **good, options={"dry_run": str(root / "x")})
        assert words.startswith("there is no option 'dry_run'.")
        words = await agent.refusal("start_run", **good, options={"error_threshold": "few"})
        assert "--error-threshold: invalid int value: 'few'" in words
        words = await agent.refusal("start_run", **good, options={"isolate_failures": "yes"})
        assert words == "the option isolate_failures is 'yes'; expected true or false."

    serve(scenario, "--allow-actions", "--root", root)
    assert Run.list() == []


LOUD = """
import os, subprocess, sys, warnings
os.write(1, b"raw bytes on 1\\n")

def run(mini_batch):
    print(os.environ.get("SERVICE_TOKEN"), "\\x1b[2J", file=sys.stderr)
    subprocess.run(["echo", "from a child"])
    warnings.warn("a warning")
    print("x" * 1_000_000)
    for k in range(3000):
        print("line", k, "é" * 50)
    raise ValueError("{} https://u:p@host/?sig=abc&x=1".format(os.environ["SERVICE_TOKEN"]) + "y" * 50_000)
"""


def test_large_outputs_are_bounded_and_secrets_hidden(tmp_path: Path, home: Path) -> None:
    script = tmp_path / "loud.py"
    script.write_text(LOUD)
    numbers_in(tmp_path / "in", 300)

    async def scenario(agent: Agent) -> None:
        options = {"mini_batch_size": 100, "run_max_try": 1, "workers": 1, "error_threshold": -1}
        _, fields = await agent.call(
            "start_run", script=str(script), inputs=[str(tmp_path / "in")], options=options
        )
        run_id = fields["run_id"]
        await agent.call("wait_for_run", run_id=run_id, timeout_s=60)
        answers = [
            await agent.call("show_run", run_id=run_id),
            await agent.call("show_failures", run_id=run_id, limit=200),
            await agent.call("show_logs", run_id=run_id, lines=1000),
            await agent.call("show_logs", run_id=run_id, lines=1000, text="stderr"),
            await agent.call("try_mini_batch", run_id=run_id, mini_batch=0),
        ]
        for text, fields in answers:
            shown = text + json.dumps(fields)
            assert SECRET not in shown
            assert "sig=abc" not in shown
            assert "u:p@" not in shown
            assert "\x1b" not in text
        (_, _), (text, fields), (log, window), _, (trial, tried) = answers
        assert "<value of SERVICE_TOKEN> https://<hidden>@host/?sig=<hidden>&x=1" in text
        assert fields["left_out"] > 0
        assert "lines left out. Give group for one of the groups" in text
        assert len(fields["failed_items"]) + fields["left_out"] == 200
        assert "line 2999" in log
        assert log.startswith("[")
        assert any(line.endswith("é" * 50) for line in window["lines"])
        assert window["left_out"] > 0
        assert tried["output"].startswith(
            "raw bytes on 1\n<value of SERVICE_TOKEN>  [2J\nfrom a child"
        )
        assert "bytes left out" in trial

    serve(scenario, "--allow-actions", SERVICE_TOKEN=SECRET)


def test_only_messages_of_the_protocol_are_on_stdout(tmp_path: Path, home: Path) -> None:
    script = tmp_path / "loud.py"
    script.write_text(LOUD)
    numbers_in(tmp_path / "in", 3)
    # A module that every Python process here imports at its start, also those of the run.
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, sys\n"
        "if 'mcp' in sys.argv or 'mcp' in sys.orig_argv:\n"
        "    import threading, os, time, warnings, logging\n"
        "    def talk():\n"
        "        for _ in range(400):\n"
        "            time.sleep(0.005)\n"
        "            if 'mcp.server.stdio' in sys.modules and sys.stdout is sys.stderr:\n"
        "                print('a print'); os.write(1, b'raw'); warnings.warn('a warning')\n"
        "                logging.warning('a log'); os.system('echo a child')\n"
        "    threading.Thread(target=talk, daemon=True).start()\n"
        "    atexit.register(print, 'at the exit')\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    environ = {
        **os.environ, "PYTHONPATH": path, "SERVICE_TOKEN": SECRET, "PYTHONWARNINGS": "always",
    }  # fmt: skip
    run = submit(
        ParallelRunConfig(entry_script=str(script), run_max_try=1, process_count_per_node=1,
                          environment_variables={"SERVICE_TOKEN": SECRET}),
        inputs=str(tmp_path / "in"),
    )  # fmt: skip
    end_of(run)
    messages = [
        request(1, "initialize", protocolVersion="2025-06-18", capabilities={},
                clientInfo={"name": "test", "version": "1"}),
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        request(2, "tools/list"),
        "this is not JSON",
        request(3, "tools/call", name="try_mini_batch",
                arguments={"run_id": run.run_id, "mini_batch": 0}),
        request(4, "tools/call", name="show_logs", arguments={"run_id": run.run_id}),
    ]  # fmt: skip
    with subprocess.Popen(
        command("--allow-actions"), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, env=environ,
    ) as server:  # fmt: skip
        assert server.stdin
        assert server.stdout
        for message in messages:
            line = message if isinstance(message, str) else json.dumps(message)
            server.stdin.write(f"{line}\n")
            server.stdin.flush()
        lines: list[str] = []
        while not {1, 2, 3, 4} <= {json.loads(line).get("id") for line in lines}:
            lines.append(server.stdout.readline())
            assert lines[-1]
        rest, errors = server.communicate(timeout=30)
    for line in [*lines, *rest.splitlines()]:
        assert json.loads(line)["jsonrpc"] == "2.0", line
    assert server.returncode == 0
    assert "a print" in errors  # the attack took place


def request(number: int, method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


SLOW = """
import pathlib, os, time

def run(mini_batch):
    pathlib.Path(__file__ if False else "pid").write_text(str(os.getpid()))
    time.sleep(float(os.environ.get("NAP_S", "0.3")))
    return [open(path).read() for path in mini_batch]
"""


@pytest.mark.parametrize("how", ["kill", "end of stdin"])
def test_a_run_goes_on_when_the_server_ends(how: str, tmp_path: Path, home: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    numbers_in(tmp_path / "in", 6)
    found: dict[str, str] = {}

    async def scenario(agent: Agent) -> None:
        options = {"mini_batch_size": 1, "workers": 1}
        _, fields = await agent.call("start_run", script="slow.py", inputs=["in"], options=options)
        found["run_id"] = fields["run_id"]
        _, fields = await agent.call("wait_for_run", run_id=found["run_id"], timeout_s=0.3)
        assert not fields["is_final"]
        if how == "kill":
            servers = [
                process for process in psutil.Process().children()
                if process.cmdline()[1:4] == ["-m", "parallelrun_jupyter", "mcp"]
            ]  # fmt: skip
            assert len(servers) == 1
            servers[0].kill()

    serve(scenario, "--allow-actions", "--root", tmp_path)
    run = Run.attach(found["run_id"])
    assert end_of(run) == "Completed"
    assert list(run.to_pandas()["row"]) == [str(number) for number in range(6)]


def opening(server: subprocess.Popen[str], *calls: dict[str, Any]) -> None:
    """Open a session by hand, and make calls without waiting for their answers."""
    assert server.stdin
    assert server.stdout
    client = {"name": "test", "version": "1"}
    first = request(
        1, "initialize", protocolVersion="2025-06-18", capabilities={}, clientInfo=client
    )
    server.stdin.write(f"{json.dumps(first)}\n")
    server.stdin.flush()
    assert '"id":1' in server.stdout.readline()
    for call in ({"jsonrpc": "2.0", "method": "notifications/initialized"}, *calls):
        server.stdin.write(f"{json.dumps(call)}\n")
    server.stdin.flush()


def started(*words: object, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env={**os.environ, **variables},
    )  # fmt: skip


@pytest.mark.parametrize("end", ["stdin", "SIGINT", "SIGKILL"])
def test_the_server_ends_in_the_middle_of_a_trial(end: str, tmp_path: Path, home: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    numbers_in(tmp_path / "in", 1)
    config = ParallelRunConfig(entry_script="slow.py", source_directory=str(tmp_path))
    run = submit(config, inputs=str(tmp_path / "in"))
    assert end_of(run) == "Completed"
    pid = run.folder.script / "pid"
    pid.unlink(missing_ok=True)
    arguments = {"run_id": run.run_id, "mini_batch": 0, "timeout_s": 1 if end == "SIGKILL" else 300}
    with started("--allow-actions", NAP_S="100") as server:
        opening(server, request(2, "tools/call", name="try_mini_batch", arguments=arguments))
        for _ in range(1000):
            if pid.exists() and pid.read_text():
                break
            time.sleep(0.02)
        trial = psutil.Process(int(pid.read_text()))
        began = time.monotonic()
        if end == "SIGINT":
            server.send_signal(signal.SIGINT)
        if end == "SIGKILL":
            server.kill()
        assert server.stdin
        server.stdin.close()
        assert server.wait(20) == {"stdin": 0, "SIGINT": 130, "SIGKILL": -9}[end]
        assert time.monotonic() - began < 10
        assert server.stderr
        assert server.stderr.read() == ""
    psutil.wait_procs([trial], timeout=15)
    assert not trial.is_running()


LEAVES_A_CHILD = """
import subprocess

def run(mini_batch):
    print("looking")
    subprocess.Popen(["sleep", "100"])
    return [open(path).read() for path in mini_batch]
"""


def test_a_trial_ends_with_its_script_though_a_child_of_it_holds_the_output(
    tmp_path: Path, home: Path
) -> None:
    (tmp_path / "leaves.py").write_text(LEAVES_A_CHILD)
    inputs = numbers_in(tmp_path / "in", 1)
    run = submit(ParallelRunConfig(entry_script=ECHO), inputs=str(inputs))
    assert end_of(run) == "Completed"

    async def scenario(agent: Agent) -> None:
        text, fields = await agent.call(
            "try_mini_batch", run_id=run.run_id, mini_batch=0, timeout_s=30,
            entry_script=str(tmp_path / "leaves.py"),
        )  # fmt: skip
        assert text.startswith("mini-batch 0: the script succeeded\nlooking\n")
        assert (fields["is_ok"], fields["exit_status"], fields["is_timeout"]) == (True, 0, False)

    serve(scenario, "--allow-actions")


def test_without_its_package_the_command_says_what_to_install(tmp_path: Path, home: Path) -> None:
    (tmp_path / "mcp").mkdir()
    (tmp_path / "mcp" / "__init__.py").write_text("")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    with started(PYTHONPATH=path) as server:
        out, errors = server.communicate(timeout=60)
    assert (server.returncode, out) == (2, "")
    assert errors == (
        "parallelrun: 'parallelrun mcp' needs version 2 of the package mcp: "
        "pip install 'parallelrun-jupyter[mcp]'.\n"
    )


def test_a_root_is_a_folder(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mcp", "--root", ECHO]) == 2
    assert capsys.readouterr().err == (
        f"parallelrun: --root is {ECHO!r}, which is not a folder; give the path of one.\n"
    )

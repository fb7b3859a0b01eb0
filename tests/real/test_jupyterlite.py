"""A JupyterLite site with recordings: the panel, a tab and a saved notebook play them, without a server."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from parallelrun_jupyter.runs.journal.files import JournalReader
from parallelrun_jupyter.runs.journal.state import RunState
from parallelrun_jupyter.runs.run_folder import RunFolder
from parallelrun_jupyter.runs.snapshot.snapshot import take_snapshot
from parallelrun_jupyter.views.mime_bundle import saved_bundle
from parallelrun_jupyter.views.recording import Recording, take_recording
from parallelrun_jupyter.views.report import RecordedRun
from tests.journals import Course, record, write_log, write_run
from tests.real.jupyter_pages import IN_CHROMIUM
from tests.real.test_player import served
from tests.real.view_page import ROOT

pytestmark = IN_CHROMIUM
LABEXTENSION = ROOT / "parallelrun_jupyter" / "labextension"


def recorded(home: Path) -> tuple[RunFolder, Recording]:
    course = Course(mini_batches=24, workers=2, fails=lambda k, _a: k == 11)
    folder = write_run(home, course)
    write_log(folder, "n0w0", [("STDOUT", 1, "model loaded")])
    state = RunState()
    state.apply_all(JournalReader(folder.journal).read())
    return folder, take_recording(folder, state, take_snapshot(folder, record(), state))


def notebook_of(recording: Recording) -> dict[str, Any]:
    """Return a notebook with the output of a run that was saved after its end."""
    data = saved_bundle(recording["output"])
    output = {"output_type": "display_data", "data": data, "metadata": {}}
    cell = {
        "cell_type": "code",
        "id": "run",
        "metadata": {},
        "source": "run",
        "outputs": [output],
        "execution_count": 1,
    }
    return {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


@pytest.fixture
def site(home: Path, tmp_path: Path) -> Path:
    """Build a site with one recording and one notebook, in a folder with nothing but this extension."""
    _, recording = recorded(home)
    files = tmp_path / "files"
    RecordedRun(recording).save(_made(files / "recordings") / "digits.json")
    (files / "saved.ipynb").write_text(json.dumps(notebook_of(recording)))
    prefix = tmp_path / "prefix" / "share" / "jupyter" / "labextensions"
    shutil.copytree(LABEXTENSION, prefix / "parallelrun-jupyter")
    command = [sys.executable, "-m", "jupyterlite_core.app", "build", "--ignore-sys-prefix"]
    command += ["--contents", "files", "--output-dir", "site"]
    command += [f"--FederatedExtensionAddon.extra_labextensions_path={prefix}"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    return tmp_path / "site"


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def test_recordings_play_in_a_site_without_a_server(site: Path, opened: Browser) -> None:
    with served(site) as url:
        page = opened.new_page(viewport={"width": 1400, "height": 1000})
        requests: list[str] = []
        errors: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{url}lab/index.html?path=saved.ipynb")
        view = page.locator(".jp-Notebook .pr-run")
        page.locator(".jp-Notebook .pr-run[data-state=Running]").wait_for(timeout=60_000)
        first = int(view.locator(".pr-key-done b").inner_text())
        page.wait_for_function(
            "n => Number(document.querySelector('.jp-Notebook .pr-key-done b').innerText) > n",
            arg=first,
        )
        page.locator(".jp-Dialog").wait_for()  # which kernel? there is none
        page.keyboard.press("Escape")
        page.get_by_role("tab", name=re.compile("Parallel runs", re.IGNORECASE)).first.click()
        page.locator(".pr-list").get_by_text("digits").first.wait_for()
        page.locator(".jp-Notebook .pr-run[data-state=Completed]").wait_for(timeout=60_000)
        view.locator(".pr-group summary").first.click()
        view.locator(".pr-attempts tbody tr").first.wait_for()
        assert (
            page.locator("button:visible", has_text=re.compile("Cancel|Resume|again")).count() == 0
        )
        assert [r for r in requests if "/parallelrun/" in r] == []
        assert {r.split("/")[2] for r in requests if r.startswith("http")} == {url.split("/")[2]}
        if os.environ.get("PARALLELRUN_SHOTS"):
            page.screenshot(path=Path(os.environ["PARALLELRUN_SHOTS"]) / "lite.png")
        assert errors == []
        page.close()

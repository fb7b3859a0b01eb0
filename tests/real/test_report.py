"""One file that shows a run: the same views, no network; and a run as lines of JSON."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parallelrun_jupyter import ParallelRunConfig, Run, submit
from parallelrun_jupyter.commands.cli import main
from parallelrun_jupyter.errors import OutputError
from parallelrun_jupyter.notebook.live import watch_json
from parallelrun_jupyter.runs.snapshot.follower import Follower
from tests.real.hostile_run import hostile_run


@pytest.fixture
def failing(numbers: Path, tmp_path: Path) -> Run:
    return hostile_run(numbers, tmp_path)


def test_a_report_holds_the_run_and_asks_nobody(failing: Run, tmp_path: Path) -> None:
    path = failing.report(tmp_path / "run.html")
    text = path.read_text()
    assert text.count("</script>") == 2
    assert "https://" not in text
    assert len(text) < 300_000
    assert failing.report(tmp_path / "new" / "run.html").is_file()
    with pytest.raises(OutputError, match=r"could not be written .*; choose another path"):
        failing.report(path / "run.html")


def test_the_terminal_writes_a_report_and_json(
    failing: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "out.html"
    assert main(["report", failing.run_id, "--to", str(target)]) == 0
    assert capsys.readouterr().out.strip() == str(target)
    assert main(["watch", failing.run_id, "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["succeeded"] == 59


def test_json_is_written_when_there_is_news(numbers: Path, tmp_path: Path) -> None:
    script = tmp_path / "steps.py"
    script.write_text("import time\ndef run(b):\n    time.sleep(0.05)\n    return b\n")
    config = ParallelRunConfig(
        entry_script=str(script), mini_batch_size=2, process_count_per_node=1
    )
    run = submit(config, inputs=str(numbers / "*.txt"))
    stream = io.StringIO()
    last = watch_json(Follower(run.folder), stream)
    told = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert told[-1]["state"] == last["state"] == "Completed"
    assert len(told) >= 4
    assert [one["succeeded"] for one in told] == sorted(one["succeeded"] for one in told)


@pytest.fixture
def opened() -> Iterator[Any]:
    pytest.importorskip("playwright")
    from tests.real.jupyter_pages import browser, chromium

    if chromium() is None and "CI" not in os.environ:
        pytest.skip("there is no Chromium: apt-get install chromium")
    with browser() as found:
        yield found


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_report_shows_the_same_views_offline(failing: Run, tmp_path: Path, opened: Any) -> None:
    from tests.real.view_page import AXE

    path = failing.report(tmp_path / "run.html")
    context = opened.new_context(offline=True, viewport={"width": 900, "height": 900})
    page = context.new_page()
    asked: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(path.as_uri())
    view = page.locator(".pr-run[data-state=Completed]")
    view.wait_for()
    assert page.title() != "owned"
    view.locator(".pr-group summary").click()
    view.locator(".pr-attempts button").first.click()
    view.locator(".pr-one li", has_text="013.txt").wait_for()
    view.locator("summary", has_text="Log").click()
    view.get_by_label("Search the log").fill("020.txt")
    view.locator(".pr-log:not(:has(> div + div))", has_text="020.txt").wait_for()
    view.locator(".pr-grid canvas").focus()
    page.keyboard.press("End")
    hint = view.locator(".pr-hint", has_text="mini-batch 59: done")
    hint.first.wait_for()
    assert view.locator("button:visible", has_text="Resume").count() == 0
    assert view.locator("script, img").count() == 0
    assert asked == [path.as_uri()]
    assert errors == []
    if AXE.is_file():
        page.evaluate(AXE.read_text())
        found = page.evaluate("axe.run(document).then((r) => r.violations.map((v) => v.id))")
        assert found == []
    if os.environ.get("PARALLELRUN_SHOTS"):
        page.screenshot(path=Path(os.environ["PARALLELRUN_SHOTS"]) / "report.png", full_page=True)
    context.close()


def test_the_terminal_writes_a_recording_with_its_player(
    failing: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "run.json"
    assert main(["report", failing.run_id, "--to", str(target)]) == 0
    assert capsys.readouterr().out.strip() == str(target)
    recording = json.loads(target.read_text())
    assert recording["output"]["run_id"] == failing.run_id
    assert recording["frames"]["packed"]
    assert "parallelrun-player" in (tmp_path / "parallelrun-player.js").read_text()

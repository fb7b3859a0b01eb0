"""A recorded job plays identically on any machine."""

from __future__ import annotations

import itertools
import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests import azureml_service
from tests.azureml_service.recordings import Player

FOLDER = Path(azureml_service.__file__).parent / "recorded"
RECORDED = sorted(FOLDER.glob("*.json"))


def read(player: Player, url: str) -> Any:
    reply = player.answer("GET", url)
    assert reply.status == 200, (url, reply)
    return json.loads(reply.body)


def course(player: Player) -> list[Any]:
    """Return all that a reader sees at each time of a change."""
    seen = []
    for at in player.times:
        player.at = at
        run = f"{player.history}/runs/{player.job}"
        children = read(player, f"{run}/children")["value"]
        for name in [player.job, *(child["runId"] for child in children)]:
            details = read(player, f"{player.history}/runs/{name}/details")
            texts = {
                path: player.answer("GET", url).body for path, url in details["logFiles"].items()
            }
            seen.append((at, name, details["status"], details["error"], texts))
    return seen


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_it_plays_identically(path: Path) -> None:
    assert course(Player(path)) == course(Player(path))


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("completed", ["Running", "Finalizing", "Completed"]),
        ("failed", ["Running", "Finalizing", "Failed"]),
    ],
)
def test_states_and_logs_over_time(name: str, end: list[str]) -> None:
    player = Player(FOLDER / f"{name}.json")
    seen = course(player)
    states = [status for _, run, status, _, _ in seen if run != player.job]
    assert [one for at, one in enumerate(states) if one not in states[:at]][-3:] == end
    for run in {run for _, run, *_ in seen}:
        logs = [texts for _, one, _, _, texts in seen if one == run]
        for earlier, later in itertools.pairwise(logs):
            assert earlier.keys() <= later.keys()
            assert all(later[path].startswith(text) for path, text in earlier.items())
    *_, texts = seen[-1]
    table = texts["logs/sys/job_report/processed_mini-batches.csv"].decode()
    assert table.count("RUN_EXCEPTION") == 2
    assert any(b"number 7 is bad" in text for path, text in texts.items() if "user/error" in path)


def test_ranges_and_unknown_things() -> None:
    player = Player(RECORDED[0])
    player.at = player.duration_s
    details = read(player, f"{player.history}/runs/{player.job}/details")
    url = details["logFiles"]["logs/azureml/executionlogs.txt"]
    whole = player.answer("GET", url).body
    part = player.answer("GET", url, {"Range": "bytes=10-"})
    assert (part.status, part.body) == (206, whole[10:])
    assert player.answer("GET", url, {"Range": "bytes=3-5"}).body == whole[3:6]
    assert player.answer("GET", url, {"range": f"bytes={len(whole)}-"}).status == 416
    assert player.answer("GET", f"{player.history}/runs/other").status == 404
    assert player.answer("PUT", f"{player.history}/runs/{player.job}").status == 405
    player.at = -1
    assert player.answer("GET", f"{player.history}/runs/{player.job}").status == 404


def test_it_is_served_on_loopback() -> None:
    player = Player(RECORDED[0])
    player.at = player.duration_s
    with player.serve() as base:
        url = f"{player.history}/runs/{player.job}/details"
        assert url.startswith(base)
        with urllib.request.urlopen(url) as answer:
            files = json.loads(answer.read())["logFiles"]
        assert all(one.startswith(base) for one in files.values())
        with urllib.request.urlopen(files["logs/azureml/executionlogs.txt"]) as answer:
            assert b"step score is Completed" in answer.read()

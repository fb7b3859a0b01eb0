"""The driver of a function's run starts while the run is written, and nothing depends on its success."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

import parallelrun_jupyter as parallelrun
from parallelrun_jupyter.client.launcher import warm_drivers
from parallelrun_jupyter.errors import ConfigError


def double(item: int) -> int:
    return 2 * item


def driver_of(run: Any) -> psutil.Process:
    return psutil.Process(json.loads(run.folder.driver.read_text())["pid"])


def is_driver(process: psutil.Process) -> bool:
    try:
        return process.cmdline()[3:4] == ["drive"]
    except psutil.Error:
        return False  # it has ended


def drivers() -> list[psutil.Process]:
    """Return the drivers of this test's home that have detached, by their command lines."""
    home = os.environ["PARALLELRUN_HOME"]
    while any(map(is_driver, psutil.Process().children())):
        time.sleep(0.01)  # until they have detached
    found = []
    for process in psutil.process_iter():
        try:
            if is_driver(process) and process.environ().get("PARALLELRUN_HOME") == home:
                found.append(process)
        except psutil.Error:
            continue
    return found


def fork_server_of(driver: psutil.Process) -> psutil.Process:
    """Return the fork server; the workers, which it has forked, have its command line, too."""
    living = [child for child in driver.children() if child.status() != psutil.STATUS_ZOMBIE]
    return min(living, key=lambda child: child.create_time())


def test_driver_and_fork_server_start_while_the_values_are_written() -> None:
    written_at = 0.0

    def items() -> Iterator[int]:
        nonlocal written_at
        time.sleep(1.5)
        yield from range(100)
        written_at = time.time()

    run = parallelrun.map(double, items(), process_count_per_node=1)
    assert run.results() == [2 * item for item in range(100)]
    driver = driver_of(run)
    fork_server = fork_server_of(driver)
    assert driver.create_time() < written_at - 1
    assert fork_server.create_time() < written_at - 0.5
    assert [driver.pid] == [one.pid for one in drivers()], "a second driver was started"
    again = parallelrun.map(double, range(10), process_count_per_node=1)
    assert again.results() == [2 * item for item in range(10)]
    assert driver_of(again) == driver
    assert fork_server_of(driver) == fork_server, "the fork server was started again"


def test_a_run_whose_prepared_driver_dies_gets_another_one() -> None:
    def items() -> Iterator[int]:
        for one in drivers():
            one.kill()
            one.wait(30)
        yield from range(10)

    run = parallelrun.map(double, items(), process_count_per_node=1)
    assert run.results() == [2 * item for item in range(10)]


def test_a_prepared_driver_waits_for_the_run_that_can_be_submitted() -> None:
    def items() -> Iterator[Any]:
        yield (number for number in range(3))

    with pytest.raises(parallelrun.ParallelRunError, match="cannot be stored"):
        parallelrun.map(double, items(), process_count_per_node=1)
    [driver] = drivers()
    run = parallelrun.map(double, range(10), process_count_per_node=1)
    assert run.results() == [2 * item for item in range(10)]
    assert driver_of(run) == driver


def test_workers_with_variables_of_their_own_have_no_prepared_driver() -> None:
    with pytest.raises(ConfigError):
        parallelrun.map(double, range(3), environment_variables={"A": "1"}, error_threshold=-2)
    assert drivers() == []
    run = parallelrun.map(double, range(3), environment_variables={"A": "1"})
    assert run.results() == [0, 2, 4]


def test_a_prepared_driver_ends_with_its_notebook() -> None:
    def items() -> Iterator[int]:
        warm_drivers.dismiss()
        yield from ()

    with pytest.raises(parallelrun.ParallelRunError, match="empty"):
        parallelrun.map(double, items(), process_count_per_node=1)
    for one in drivers():
        one.wait(30)
    assert drivers() == []

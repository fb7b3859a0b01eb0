"""The kernel's counter of kills explains deaths, each kill one of them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from parallelrun_jupyter.engine.node.memory_kills import MemoryKills, own_counters


def test_each_kill_explains_one_death_after_the_start(tmp_path: Path) -> None:
    counter = tmp_path / "memory.events"
    counter.write_text("low 0\nhigh 0\nmax 12\noom 2\noom_kill 2\noom_group_kill 0\n")
    kills = MemoryKills([tmp_path / "absent", counter])
    before = kills.count()
    assert before == 2
    assert not kills.explain_death(before)
    counter.write_text("oom_kill 4\n")
    assert not kills.explain_death(kills.count()), "it started after the kills"
    assert [kills.explain_death(before) for _ in range(3)] == [True, True, False]


def test_the_first_file_with_a_count_is_read(tmp_path: Path) -> None:
    without = tmp_path / "vmstat"
    without.write_text("nr_free_pages 4\npgfault 9\n")
    counter = tmp_path / "other"
    counter.write_text("oom_kill 7\n")
    assert MemoryKills([without, counter]).count() == 7
    assert MemoryKills([without]).count() == 0
    assert not MemoryKills([]).explain_death(0)


def test_the_file_of_the_own_cgroup_comes_first(tmp_path: Path) -> None:
    membership = tmp_path / "cgroup"
    membership.write_text("4:memory:/old\n0::/user.slice/run-7.scope\n")
    assert own_counters(membership) == [
        Path("/sys/fs/cgroup/user.slice/run-7.scope/memory.events"),
        Path("/proc/vmstat"),
    ]
    assert own_counters(tmp_path / "absent") == [Path("/proc/vmstat")]


@pytest.mark.skipif(sys.platform != "linux", reason="a file of Linux")
def test_this_machine_counts() -> None:
    kills = MemoryKills()
    before = kills.count()
    assert before >= 0
    assert kills.count() >= before

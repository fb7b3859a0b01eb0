"""The shown part of the workers' logs: the last lines, and the last state of a progress bar."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from parallelrun_jupyter.errors import ConfigError
from parallelrun_jupyter.formatting import text_filter
from parallelrun_jupyter.runs.logs import reader
from parallelrun_jupyter.runs.logs.reader import LogQuery, find_lines
from parallelrun_jupyter.runs.run_folder import RunFolder
from parallelrun_jupyter.views.queries import log_query, log_window
from parallelrun_jupyter.worker.streams import OPEN_END


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    found = RunFolder(tmp_path)
    found.user_logs.mkdir(parents=True)
    return found


def line(second: float, level: str, mini_batch: int, text: str, *, is_open: bool = False) -> bytes:
    stamp = f"2026-11-18T10:{int(second) // 60:02d}:{second % 60:06.3f}Z"
    end = OPEN_END if is_open else b""
    return f"{stamp} {level} #{mini_batch} {text}".encode() + end + b"\n"


def write(folder: RunFolder, worker: str, *lines: bytes) -> None:
    with open(folder.user_logs / f"{worker}.log", "ab") as log:
        log.writelines(lines)


def said(lines: list[str]) -> list[str]:
    return [row.split(" ", 4)[4] for row in lines]


def test_a_number_of_lines_below_zero_is_refused(folder: RunFolder) -> None:
    (folder.user_logs / "n0w0.log").write_bytes(line(1, "STDOUT", 3, "hello"))
    with pytest.raises(ConfigError, match="lines is -3"):
        reader.tail(folder, -3)
    with pytest.raises(ConfigError, match="lines is -3"):
        reader.of_mini_batch(folder, 3, -3)


def test_a_bar_that_goes_on_shows_its_last_state_and_its_end_replaces_it(folder: RunFolder) -> None:
    write(folder, "n0w0", line(0, "STDOUT", 3, "begin"), line(1, "STDERR", 3, "10 %", is_open=True))
    write(folder, "n0w0", line(3, "STDERR", 3, "20 %", is_open=True), line(3, "STDOUT", 3, "text"))
    for shown in (
        reader.tail(folder, 10),
        reader.of_mini_batch(folder, 3, 10),
        [row.rstrip("\r") for row in find_lines(folder, LogQuery()).lines],
    ):
        assert said(shown) == ["begin", "20 %", "text"]
        assert "\r" not in "".join(shown)
    write(folder, "n0w0", line(4, "STDERR", 3, "100 %"))
    assert said(reader.tail(folder, 10)) == ["begin", "text", "100 %"]
    assert said(find_lines(folder, LogQuery(text="%")).lines) == ["100 %"]


def test_bars_that_were_written_together_stay_together(folder: RunFolder) -> None:
    for second in (1, 3):
        bars = [line(second, "STDERR", 1, f"{name} {second}", is_open=True) for name in "ab"]
        write(folder, "n0w0", *bars)
    assert said(reader.tail(folder, 10)) == ["a 3", "b 3"]


def test_a_window_tells_the_page_which_lines_the_next_ones_replace(folder: RunFolder) -> None:
    write(folder, "n0w0", line(1, "STDERR", 1, "x" * 5000, is_open=True))
    first = log_window(folder, LogQuery())
    assert [row[-1] for row in first["lines"]] == ["\r"]
    assert first["cut_lines"] == 1
    write(folder, "n0w0", line(2, "STDERR", 1, "done"))
    later = log_window(folder, LogQuery(since=first["ends"]))
    assert said(later["lines"]) == ["done"]


def test_logs_of_earlier_versions_are_read_with_bars_as_one_line(folder: RunFolder) -> None:
    bar = "".join(f"\r{k}/150" for k in range(151))
    windows = [line(k, "STDOUT", 1, f"line {k}\r") for k in range(3)]
    error = line(5, "ERROR", 1, "ValueError: 'a\rb'")
    write(folder, "n0w0", *windows, line(4, "STDERR", 1, bar), error)
    expected = ["line 0", "line 1", "line 2", "150/150", "ValueError: 'a b'"]
    assert said(reader.tail(folder, 100)) == expected
    assert said(reader.of_mini_batch(folder, 1, 100)) == expected
    assert said(find_lines(folder, LogQuery()).lines) == expected


def test_the_tail_has_as_many_lines_as_were_asked_for_however_long_they_are(
    folder: RunFolder,
) -> None:
    write(folder, "n0w0", *(line(k, "STDOUT", 1, f"{k} " + "x" * 10_000) for k in range(50)))
    assert [row.split(" ")[0] for row in said(reader.tail(folder, 40))] == list(
        map(str, range(10, 50))
    )
    assert reader.tail(folder, 0) == []


def test_a_search_ends_in_time_whatever_is_typed(folder: RunFolder) -> None:
    write(folder, "n0w0", *(line(k % 60, "STDOUT", 1, "a" * 5000) for k in range(2000)))
    for text in ("(a|aa)+$", "(a+)+b", "a*" * 500, "a" * 999 + "b"):
        began = time.perf_counter()
        assert find_lines(folder, LogQuery(text=text + "!")).lines == []
        assert time.perf_counter() - began < 4.0, "two seconds of search, and some"


def test_a_text_that_is_too_long_is_refused_and_old_pages_are_understood() -> None:
    with pytest.raises(ConfigError, match=r"has 1,001 characters; expected at most 1,000"):
        log_query({"text": "x" * 1001})
    assert log_query({"text": "a.*b", "is_regex": True}).text == "a.*b"


def test_the_last_state_of_a_mini_batch_is_shown_whatever_came_after(folder: RunFolder) -> None:
    write(folder, "n0w0", line(1, "STDERR", 1, "50 %", is_open=True), line(2, "STDERR", 2, "next"))
    assert said(reader.of_mini_batch(folder, 1, 10)) == ["50 %"]
    assert said(find_lines(folder, LogQuery(mini_batch=1)).lines) == ["50 %\r"]
    assert said(reader.tail(folder, 10)) == ["next"]


@pytest.mark.parametrize("text", ["(a|aa)+$", "a" * 400 + "b", "a*" * 400 + "b", "*a*a*b"])
def test_the_time_to_filter_a_line_grows_with_its_length_only(text: str) -> None:
    has_text = text_filter(text)

    def seconds(chars: int) -> float:
        line = "a" * chars
        times = []
        for _ in range(5):
            began = time.process_time()
            assert not has_text(line)
            times.append(time.process_time() - began)
        return min(times)

    assert seconds(320_000) < 80 * seconds(20_000), "16 times the text; quadratic were 256 times"


def test_a_line_that_almost_has_a_tag_is_read_in_linear_time(folder: RunFolder) -> None:
    write(folder, "n0w0", b"2026-11-18T" + b"Z" * 5_000_000 + b"\n")
    began = time.process_time()
    assert len(find_lines(folder, LogQuery(mini_batch=1)).lines) == 0
    assert time.process_time() - began < 2.0

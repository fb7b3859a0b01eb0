"""Makes the data of the workloads, the same every time, and beside it the rows that are right."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from .scripts.table import FEATURES
from .workload import (
    CSV,
    ENDPOINT,
    FIRST,
    FRAME,
    ITEMS,
    JSON_LINES,
    PARQUET,
    TABLE,
    Workload,
)

COLUMNS = ["id", *FEATURES, "text"]
"""The columns of the tables."""

_SUFFIXES = {CSV: "csv", JSON_LINES: "jsonl", PARQUET: "parquet"}

_BYTES_OF_ROWS = 22 << 20
"""About the bytes of a hundred thousand rows as CSV."""


def _once(source: Path, make: Callable[[Path, IO[str]], None]) -> str:
    """Make a folder or a file, and its right rows, unless it is there already; return its path."""
    expected, unfinished = Path(f"{source}.expected"), Path(f"{source}.unfinished")
    if not expected.exists():
        shutil.rmtree(source, ignore_errors=True)
        with unfinished.open("w", encoding="utf-8") as rows:
            make(source, rows)
        unfinished.replace(expected)
    return str(source)


def _touch(names: list[str]) -> Callable[[Path, IO[str]], None]:
    """Return a maker of empty files; it expects their names, except those that always fail."""

    def make(folder: Path, rows: IO[str]) -> None:
        folder.mkdir()
        for name in names:
            (folder / name).touch()
            rows.write(f"{name}\n")

    return make


def _empty(folder: Path, *, is_small: bool) -> Workload:
    count = 2_000 if is_small else 20_000

    def make(source: Path, rows: IO[str]) -> None:
        for number in range(count * 5):
            part = source / f"{number // 1000:03d}"
            if number % 1000 == 0:
                part.mkdir(parents=True)
            (part / f"{number:06d}.txt").touch()
            rows.write(f"{part}/{number:06d}.txt\n")

    source = _once(folder / f"empty-{count}", make)
    return Workload("empty", "empty", source, size=5, amount=count)


def _images(folder: Path, *, is_small: bool, engine: str, size: int) -> Workload:
    count = 500 if is_small else 10_000
    made = folder / "digits"
    model = str(made / "model.npz")

    def make(source: Path, rows: IO[str]) -> None:
        from parallelrun_jupyter.commands.demo import write_digits

        from .scripts import images_numpy

        write_digits(made)
        digits = sorted((made / "digits").iterdir())
        source.mkdir()
        for number in range(count):
            shutil.copyfile(digits[number % len(digits)], source / f"{number:06d}.png")
        os.environ["BENCHMARK_MODEL"] = model
        images_numpy.init()
        found = images_numpy.run(sorted(str(path) for path in source.iterdir()))
        rows.writelines(f"{row}\n" for row in found)

    source = _once(folder / f"images-{count}", make)
    return Workload(
        f"images-{engine}", f"images_{engine}", source, size=size, amount=count, unit="images",
        environ={"BENCHMARK_MODEL": model},
    )  # fmt: skip


def _table(folder: Path, *, is_small: bool, kind: str, is_quoted: bool = False) -> Workload:
    name = {CSV: "csv-quoted" if is_quoted else "csv-plain"}.get(kind, kind)
    megabytes = 8 if is_small else 256
    write = {CSV: _write_csv, JSON_LINES: _write_json_lines, PARQUET: _write_parquet}[kind]

    def make(path: Path, rows: IO[str]) -> None:
        write(path, _rows_of_table(rows, is_quoted=is_quoted), megabytes << 20)

    source = _once(folder / f"{name}-{megabytes}.{_SUFFIXES[kind]}", make)
    amount, unit = os.path.getsize(source) / 1e6, "MB"
    if kind == PARQUET:  # its size tells little: repeated values take no room
        amount, unit = Path(f"{source}.expected").read_bytes().count(b"\n"), "rows"
    return Workload(
        name, "table", source, kind=TABLE, format=kind, is_quoted=is_quoted, amount=amount,
        unit=unit, about=_ABOUT["table"],
    )  # fmt: skip


def _rows_of_table(rows: IO[str], *, is_quoted: bool) -> Iterator[list[list[Any]]]:
    """Yield blocks of rows: a number, numbers and a text; if quoted, one text in twenty has line ends.

    The numbers are multiples of 1/64, so that sums of scores are exact in any order. The right rows of a
    block are written when it is taken.
    """
    from .scripts.table import WEIGHTS

    rng = random.Random(1)
    words = ("alpha", "βήτα", "gamma", "naïve", "größe", "数据", "данные", "omega", "🙂", "row")
    tails: list[tuple[list[Any], int]] = []
    for number in range(4_096):
        text = " ".join(rng.choices(words, k=rng.randint(8, 24)))
        if is_quoted and number % 20 == 0:
            text = f'{text}\nthey said "{text[:9]}",\r\n{text[9:40]}'
        xs = [rng.randint(-256, 256) / 64 for _ in FEATURES]
        score = sum(x * w for x, w in zip(xs, WEIGHTS, strict=True)) + len(text)
        tails.append(([*xs, text], int(score * 256)))
    for first in itertools.count(0, 10_000):
        picked = list(enumerate(rng.choices(tails, k=10_000), first))
        rows.write("".join(f"{number},{score}\n" for number, (_, score) in picked))
        yield [[number, *tail] for number, (tail, _) in picked]


def _write_csv(path: Path, blocks: Iterator[list[list[Any]]], size: int) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(",".join(COLUMNS) + "\n")
        while file.tell() < size:
            for number, *xs, text in next(blocks):
                field = text.replace('"', '""')
                file.write(f'{number},{",".join(f"{x:.6f}" for x in xs)},"{field}"\n')


def _write_json_lines(path: Path, blocks: Iterator[list[list[Any]]], size: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        while file.tell() < size:
            for row in next(blocks):
                line = json.dumps(dict(zip(COLUMNS, row, strict=True)), ensure_ascii=False)
                file.write(line + "\n")


def _write_parquet(path: Path, blocks: Iterator[list[list[Any]]], size: int) -> None:
    """Write about as many rows as the CSV file has; a row group has a hundred thousand."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    kinds = [pa.int64(), *[pa.float64()] * (len(COLUMNS) - 2), pa.string()]
    schema = pa.schema(list(zip(COLUMNS, kinds, strict=True)))
    with ParquetWriter(path, schema) as writer:
        for _ in range(-(-size // _BYTES_OF_ROWS)):
            rows = [row for _ in range(10) for row in next(blocks)]
            columns = [list(column) for column in zip(*rows, strict=True)]
            writer.write_table(pa.table(columns, schema=schema))


def _uneven(folder: Path, *, is_small: bool) -> Workload:
    count = 20 if is_small else 200
    rng = random.Random(3)
    names = [f"{number:04d}-{rng.randint(10, 300):03d}.txt" for number in range(count)]
    source = _once(folder / f"uneven-{count}", _touch(names))
    return Workload("uneven", "sleeps", source, workers=4, amount=count)


def _faults(folder: Path, *, is_small: bool, is_transient: bool) -> Workload:
    count = 200 if is_small else 1_000
    places = list(range(count))
    random.Random(7).shuffle(places)
    one, half = count // 100, count // 200
    kinds = dict.fromkeys(places[:one], "raise")
    kinds |= dict.fromkeys(places[one : one + half], "hang")
    kinds |= dict.fromkeys(places[one + half : one + 2 * half], "kill")
    names = [f"{number:04d}-{kinds.get(number, 'good')}.txt" for number in range(count)]
    source = _once(folder / f"faults-{count}", _touch(names))
    ends = {"raise": "exception", "hang": "timeout", "kill": "crash"}
    failures = {str(number): ends[kind] for number, kind in kinds.items()}
    return Workload(
        "faults-transient" if is_transient else "faults-poison", "faults", source, workers=4,
        timeout_s=1, retries=2 if is_transient else 0, amount=count, limit_s=15 if is_small else 30,
        failures={} if is_transient else failures,
    )  # fmt: skip


def _items(folder: Path, *, is_small: bool, is_first: bool) -> Workload:
    count = 100 if is_first else 500 if is_small else 20_000
    made = folder / "functions"
    made.mkdir(exist_ok=True)
    rounds = made / "rounds-of-a-millisecond"
    if not rounds.exists():
        rounds.write_text(str(rounds_of_a_millisecond()))

    def make(_: Path, rows: IO[str]) -> None:
        from .scripts.functions import spin

        rows.writelines(f"{spin(item)}\n" for item in range(count))

    name = "map-first" if is_first else "map"
    return Workload(
        name, "functions", _once(made / f"items-{count}", make), amount=count, unit="items",
        kind=FIRST if is_first else ITEMS, count=count,
        samples=0 if not is_first else 3 if is_small else 20,
        environ={"BENCHMARK_SPIN": rounds.read_text()}, about=_ABOUT[name],
    )  # fmt: skip


def rounds_of_a_millisecond() -> int:
    """Return how often `functions.spin` has to compute."""
    from .scripts import functions

    functions.ROUNDS = 2_000
    seconds = []
    for item in range(100):
        began = time.perf_counter()
        functions.spin(item)
        seconds.append(time.perf_counter() - began)
    rounds = round(functions.ROUNDS * 0.001 / statistics.median(seconds))
    functions.ROUNDS = 0  # what is right does not depend on it
    return rounds


def _frame(folder: Path, *, is_small: bool, has_text: bool) -> Workload:
    rows = 200_000 if is_small else 6_400_000 if has_text else 8_000_000

    def make(_: Path, expected: IO[str]) -> None:
        from .scripts.functions import score
        from .values import frame_of, rows_of

        scores = score(frame_of(rows, has_text=has_text))
        frame_of.cache_clear()  # it has the size of the measured one
        expected.writelines(f"{row}\n" for row in rows_of(scores))

    name = "frame-text" if has_text else "frame"
    source = _once(folder / f"{name}-{rows}", make)
    megabytes = rows * (8 * 16 + (35 if has_text else 0)) / 1e6
    return Workload(
        name, "functions", source, amount=megabytes, unit="MB", kind=FRAME, count=rows,
        has_text=has_text, about=_ABOUT["frame"],
    )  # fmt: skip


def _endpoint(folder: Path, *, is_small: bool) -> Workload:
    count = 200 if is_small else 2_000

    def make(_: Path, rows: IO[str]) -> None:
        from .scripts.endpoint import prompt_of

        rows.writelines(f"{prompt_of(item)}\n" for item in range(count))

    return Workload(
        "endpoint", "endpoint", _once(folder / f"endpoint-{count}", make), workers=1, amount=count,
        unit="calls", kind=ENDPOINT, count=count, rate=300, latency_s=0.2, about=_ABOUT["endpoint"],
    )  # fmt: skip


_ABOUT = {
    "endpoint": (
        "Calls of a server on loopback that takes 200 ms for each, permits 300 a second (30 of them at "
        "once), and answers the others with 429 and Retry-After: 1. The number of refused calls, and of "
        "calls billed again and items lost when all processes are killed at half and the engine is "
        "started again, are from the ledger of the server. Memory is without the server."
    ),
    "table": (
        "A script that gets DataFrames and returns a row for each of theirs. polars-bound and pyarrow-bound "
        "read the file, score it in one expression and write the rows, with as many threads as the others "
        "have processes: no script runs, and no row is accounted for."
    ),
    "map": (
        "A function that computes for a millisecond, in the one line that each engine has for it; the "
        "start of its processes is in the time, and all values are in the caller, in order, at the "
        "end. The number of executor is its chunksize: the best of them is its time."
    ),
    "map-first": (
        "From the call to the first value in the caller, in a process that has called it before; the "
        "pools and clusters of the others run already."
    ),
    "frame": (
        "A function that scores the rows of a DataFrame that is in memory; all scores are in the "
        "caller, in order, at the end. Memory is that of all processes, shared pages by their "
        "share, with the DataFrame itself; files in /dev/shm that nobody has mapped are not in it."
    ),
}

WORKLOADS: dict[str, Callable[..., Workload]] = {
    "empty": _empty,
    "images-numpy": lambda *a, **k: _images(*a, **k, engine="numpy", size=5),
    "images-tensorflow": lambda *a, **k: _images(*a, **k, engine="tensorflow", size=50),
    "csv-plain": lambda *a, **k: _table(*a, **k, kind=CSV),
    "csv-quoted": lambda *a, **k: _table(*a, **k, kind=CSV, is_quoted=True),
    "json-lines": lambda *a, **k: _table(*a, **k, kind=JSON_LINES),
    "parquet": lambda *a, **k: _table(*a, **k, kind=PARQUET),
    "uneven": _uneven,
    "faults-poison": lambda *a, **k: _faults(*a, **k, is_transient=False),
    "faults-transient": lambda *a, **k: _faults(*a, **k, is_transient=True),
    "map": lambda *a, **k: _items(*a, **k, is_first=False),
    "map-first": lambda *a, **k: _items(*a, **k, is_first=True),
    "frame": lambda *a, **k: _frame(*a, **k, has_text=False),
    "frame-text": lambda *a, **k: _frame(*a, **k, has_text=True),
    "endpoint": _endpoint,
}
"""By name, a function that makes the data of a workload in a folder, once."""

NEEDED = {
    "images-numpy": ("PIL", "sklearn"),
    "images-tensorflow": ("PIL", "sklearn", "tensorflow"),
    "parquet": ("pyarrow",),
    "frame": ("pandas",),
    "frame-text": ("pandas", "pyarrow"),
}
"""Packages that a workload needs beyond those of this project."""

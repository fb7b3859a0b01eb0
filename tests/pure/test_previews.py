"""Previews of failed items: real pictures, tables and texts, whole, damaged, gone, or deadly."""

from __future__ import annotations

import base64
import io
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from parallelrun_jupyter.runs.run_folder import RunFolder
from parallelrun_jupyter.views import previews as previews_module
from parallelrun_jupyter.views.preview_process import PICTURE_BYTES, SIDE, preview_of
from parallelrun_jupyter.views.previews import Preview, previews
from parallelrun_jupyter.worker.plan_line import PlanLine

Image = pytest.importorskip("PIL.Image", reason="pictures are scaled with Pillow")


def folder_with(tmp_path: Path, *lines: PlanLine) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    folder.plan.write_bytes(b"".join(line.encode() + b"\n" for line in lines))
    return folder


def files(tmp_path: Path, *paths: Path | str) -> RunFolder:
    names = list(map(str, paths))
    return folder_with(tmp_path, PlanLine(0, names, [1] * len(names), [1] * len(names)))


def of_first(folder: RunFolder, count: int = 1) -> list[Preview]:
    return previews(folder, [(0, k) for k in range(count)])


def picture(size: tuple[int, int] = (800, 600)) -> Any:
    circle = Image.radial_gradient("L").resize(size)
    return Image.merge("RGB", (circle, circle.rotate(90), circle.rotate(180)))


def decoded(shown: str) -> Any:
    data = base64.b64decode(shown.partition(",")[2])
    assert len(data) <= PICTURE_BYTES
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


@pytest.mark.parametrize("end", ["jpg", "png", "gif", "webp", "bmp"])
def test_a_picture_is_made_small(tmp_path: Path, end: str) -> None:
    path = tmp_path / f"a.{end.upper()}"
    picture().save(path)
    [shown] = of_first(files(tmp_path, path))
    assert (shown["outcome"], shown["detail"]) == ("shown", "")
    assert decoded(shown["picture"]).size == (SIDE, SIDE * 3 // 4)


@pytest.mark.parametrize("end", ["jpg", "png", "bmp"])
def test_the_part_of_a_truncated_picture_that_can_be_decoded_is_shown(
    tmp_path: Path, end: str
) -> None:
    path = tmp_path / f"a.{end}"
    picture().save(path)
    whole = decoded(preview_of({"path": str(path)})["picture"]).convert("RGB")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    shown = preview_of({"path": str(path)})
    assert shown["outcome"] == "partial"
    assert "truncated" in shown["detail"]
    part = decoded(shown["picture"]).convert("RGB")
    rows = range(0, 72, 8) if end != "bmp" else range(71, -1, -8)  # bitmaps begin at the bottom
    near = [_near(part.getpixel((48, y)), whole.getpixel((48, y))) for y in rows]
    assert near[:5] == [True] * 5
    assert not near[-1]
    assert not __import__("PIL.ImageFile").ImageFile.LOAD_TRUNCATED_IMAGES


def _near(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return all(abs(x - y) < 24 for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize(
    "data", [b"no picture at all", b"\x89PNG\r\n\x1a\n", b"%!PS-Adobe-3.0 EPSF"]
)
def test_what_is_no_picture_has_a_reason(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(data)
    [shown] = of_first(files(tmp_path, path))
    assert (shown["outcome"], shown["picture"]) == ("unreadable", "")
    assert shown["detail"]


def test_a_picture_of_noise_and_one_with_transparency_fit(tmp_path: Path) -> None:
    noise = tmp_path / "noise.png"
    Image.frombytes("RGB", (400, 400), os.urandom(480_000)).save(noise)
    clear = tmp_path / "clear.png"
    Image.new("RGBA", (300, 100), (9, 99, 199, 0)).save(clear)
    tiny = tmp_path / "tiny.png"
    Image.new("I;16", (8, 8), 1000).save(tiny)
    shown = of_first(files(tmp_path, noise, clear, tiny), 3)
    assert [row["outcome"] for row in shown] == ["shown"] * 3
    sizes = [decoded(row["picture"]).size for row in shown]
    assert sizes == [(96, 96), (96, 32), (8, 8)]
    assert decoded(shown[1]["picture"]).getpixel((0, 0))[3] == 0


def test_a_huge_picture_is_not_decoded(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("1", (12_000, 12_000)).save(path)
    started = time.monotonic()
    [shown] = of_first(files(tmp_path, path))
    assert shown["outcome"] == "large"
    assert time.monotonic() - started < 5


def test_without_pillow_a_small_picture_is_sent_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    picture((40, 30)).save(path)
    large = tmp_path / "b.png"
    large.write_bytes(path.read_bytes() + bytes(65 * 1024))
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    shown = preview_of({"path": str(path)})
    assert base64.b64decode(shown["picture"].partition(",")[2]) == path.read_bytes()
    assert preview_of({"path": str(large)}) == {"outcome": "large"}


def test_a_text_has_its_first_lines_and_other_bytes_have_nothing(tmp_path: Path) -> None:
    text, cut, binary = tmp_path / "a.txt", tmp_path / "cut.md", tmp_path / "a.npy"
    text.write_text("".join(f"line {k} {'x' * 500}\n" for k in range(100)))
    cut.write_bytes(b"x" * 4095 + "\u00e9".encode())
    binary.write_bytes(bytes(range(256)))
    empty, gone, pipe = tmp_path / "empty", tmp_path / "gone", tmp_path / "pipe"
    empty.touch()
    os.mkfifo(pipe)
    shown = of_first(files(tmp_path, text, cut, binary, empty, gone, pipe, "https://s/a.png"), 7)
    assert [row["outcome"] for row in shown] == [
        "shown", "shown", "none", "empty", "missing", "none", "remote",
    ]  # fmt: skip
    lines = shown[0]["text"].splitlines()
    assert [line.split()[1] for line in lines] == [str(k) for k in range(8)]
    assert max(map(len, lines)) == 200
    assert shown[1]["text"] == "x" * 200


def table_line(path: Path, **table: Any) -> PlanLine:
    made = {"format": "json_lines", "encoding": "utf-8", "columns": ["city", "price"],
            "types": ["string", "float64"], **table}  # fmt: skip
    stat = path.stat()
    return PlanLine(0, [str(path)], [stat.st_size], [stat.st_mtime_ns],
                    ranges=[[0, stat.st_size]], table=made, rows=3)  # fmt: skip


def test_a_row_of_a_table_has_its_values(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [
        {"city": "Bonn", "price": 1.5},
        {"city": "<b>", "price": -2},
        {"city": None, "price": 0},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder = folder_with(tmp_path, table_line(path))
    shown = previews(folder, [(0, 1), (0, 0), (0, 3)])
    assert [row["columns"] for row in shown[:2]] == [
        [["city", "<b>"], ["price", "-2.0"]],
        [["city", "Bonn"], ["price", "1.5"]],
    ]
    assert shown[2]["outcome"] == "none"
    path.write_text("changed")
    [late] = previews(folder, [(0, 1)])
    assert late["outcome"] == "unreadable"
    assert "was changed after the run was planned" in late["detail"]


def test_a_large_table_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("{}\n")
    line = table_line(path)
    line.ranges = [[0, 17 << 20]]
    [shown] = previews(folder_with(tmp_path, line), [(0, 0)])
    assert shown["outcome"] == "large"


def test_an_item_that_ends_the_process_does_not_hide_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(previews_module, "_MODULE", "tests.preview_crashes")
    paths = [tmp_path / name for name in ("a.txt", "crash", "b.txt", "b.crash", "c.txt")]
    for path in paths:
        path.write_text(path.name)
    shown = of_first(files(tmp_path, *paths), 5)
    assert [row["outcome"] for row in shown] == [
        "shown", "crashed", "shown", "crashed", "shown",
    ]  # fmt: skip
    assert shown[4]["text"] == "c.txt"


def test_a_slow_item_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(previews_module, "_MODULE", "tests.preview_crashes")
    monkeypatch.setattr(previews_module, "_TIMEOUT_S", 2.0)
    paths = [tmp_path / name for name in ("a.txt", "slow", "c.txt")]
    for path in paths:
        path.write_text(path.name)
    started = time.monotonic()
    shown = of_first(files(tmp_path, *paths), 3)
    assert [row["outcome"] for row in shown] == ["shown", "stopped", "stopped"]
    assert time.monotonic() - started < 10

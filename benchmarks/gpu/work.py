"""The inputs, the model, and the rows that are right."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .devices import Batches
from .scripts import images, table

_DIFFERENT = 64
"""Different images, and rows of the table, which follow one another again and again."""


@dataclass(frozen=True)
class Work:
    """A script over its input.

    Parameters
    ----------
    name
        ``images`` or ``table``.
    source
        The folder of the files, or the CSV file.
    mini_batch_size
        Files of a mini-batch, or its bytes of the table.
    size
        Files or rows of it, for a process written by hand.
    """

    name: str
    source: str
    mini_batch_size: int | str
    size: int

    @property
    def script(self) -> str:
        """The path of the entry script."""
        return str(Path(__file__).parent / "scripts" / f"{self.name}.py")

    def files(self) -> list[str]:
        """Return the paths of the images in order."""
        return sorted(entry.path for entry in os.scandir(self.source))

    def batches(self) -> Batches:
        """Return the input of a process written by hand."""
        if self.name == "table":
            return Batches(table=self._parts)
        paths, size = self.files(), self.size
        files = [paths[start : start + size] for start in range(0, len(paths), size)]
        return Batches(files, images.read)

    def names(self) -> Iterator[str]:
        """Yield the first field of each row, in order."""
        if self.name == "images":
            return map(os.path.basename, self.files())
        with open(self.source, encoding="ascii") as file:
            count = sum(1 for _ in file) - 1
        return map(str, range(count))

    def _parts(self) -> Iterator[Any]:
        import pandas as pd

        for frame in pd.read_csv(self.source, chunksize=self.size):
            yield table.pixels_of(frame)


def make(folder: Path, *, is_small: bool) -> tuple[dict[str, Work], str]:
    """Make the inputs and the model; return them by name, and the path of the model."""
    model = folder / "model.npz"
    rng = np.random.default_rng(1)
    np.savez(model, w0=rng.normal(size=(64, 32)), w1=rng.normal(size=(32, 10)))
    files = folder / "images"
    files.mkdir()
    _write_images(files, 320 if is_small else 19_200)
    csv = folder / "table.csv"
    rows_a_megabyte = _write_table(csv, (2 if is_small else 256) << 20)
    size, kilobytes = (16, 128) if is_small else (64, 1024)
    works = [
        Work("images", str(files), size, size),
        Work("table", str(csv), f"{kilobytes}KB", rows_a_megabyte * kilobytes // 1024),
    ]
    return {one.name: one for one in works}, str(model)


def expected(work: Work, model: str) -> list[str]:
    """Return the right rows."""
    with np.load(model) as file:
        w0, w1 = file["w0"], file["w1"]
    if work.name == "images":
        pixels = images.read(work.files()[:_DIFFERENT])
    else:
        pixels = next(work.batches().one_by_one())[:_DIFFERENT]
    digits: list[int] = (np.maximum(pixels @ w0, 0) @ w1).argmax(1).tolist()
    return [f"{name},{digits[k % _DIFFERENT]}" for k, name in enumerate(work.names())]


def _write_images(folder: Path, count: int) -> None:
    """Write a few images, and the others as links to them."""
    from PIL import Image

    rng = np.random.default_rng(2)
    for number in range(count):
        path = folder / f"{number:06d}.png"
        if number < _DIFFERENT:
            coarse = rng.integers(0, 256, (images.BOXES, images.BOXES), "uint8")
            noise = rng.integers(0, 16, (images.SIDE, images.SIDE), "uint8")
            block = np.ones((images.SIDE // images.BOXES,) * 2, "uint8")
            Image.fromarray(np.kron(coarse // 2, block) + noise).save(path)
        else:
            os.link(folder / f"{number % _DIFFERENT:06d}.png", path)


def _write_table(path: Path, size: int) -> int:
    """Write a table of whole numbers; return how many rows are a megabyte."""
    rng = np.random.default_rng(3)
    tails = [",".join(map(str, row)) for row in rng.integers(0, 256, (_DIFFERENT, 64)).tolist()]
    with path.open("w", encoding="ascii") as file:
        file.write(",".join(["id", *table.COLUMNS]) + "\n")
        number = 0
        while file.tell() < size:
            block = range(number, number + 1_000)
            file.writelines(f"{k},{tails[k % _DIFFERENT]}\n" for k in block)
            number = block.stop
    return (number << 20) // path.stat().st_size


def rows_in(path: str | Path) -> Sequence[str]:
    """Return the rows of an output."""
    return Path(path).read_text(encoding="utf-8").splitlines()

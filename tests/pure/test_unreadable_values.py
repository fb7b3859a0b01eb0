"""A value that cannot be read back takes no other value with it; workers notice it at once if they can."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parallelrun_jupyter.errors import OutputError
from parallelrun_jupyter.runs.output.unreadable_values import values_of
from parallelrun_jupyter.worker.output import objects
from parallelrun_jupyter.worker.output.objects import (
    NotStored,
    blocks_of,
    class_of_notebook,
    encode_objects,
    not_stored,
)


class Picky:
    """Objects of which those with 3 cannot be read back."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __setstate__(self, state: dict[str, Any]) -> None:
        if state["number"] == 3:
            msg = "not three"
            raise ValueError(msg)
        self.__dict__.update(state)

    def __repr__(self) -> str:
        return f"Picky {self.number}"


class Made:
    """Objects that are made by a call, which fails for 3."""

    def __init__(self, number: int, *, is_checked: bool = False) -> None:
        if is_checked and number == 3:
            msg = "not made of three"
            raise ValueError(msg)
        self.number = number

    def __reduce__(self) -> Any:
        return _make, (self.number,)


def _make(number: int) -> Made:
    return Made(number, is_checked=True)


class Listed(list[Any]):
    """A list whose state fails after its items."""

    def __setstate__(self, state: Any) -> None:
        msg = "no state"
        raise ValueError(msg)


def stored(values: list[Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the block of values of a worker that checks none of them."""
    monkeypatch.setattr(
        objects, "_readable", objects._readable | {Picky, Made, Listed, type(sys.flags)}
    )
    [block] = blocks_of(encode_objects(values))
    return block


def test_the_other_values_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = Listed([1])
    listed.name = "n"  # type: ignore[attr-defined] # its state
    bad = Picky(3)
    values = [
        1, Picky(2), bad, Made(1), Made(3), {"a": [sys.flags]}, {"k": (Picky(3),)}, listed, "text", bad,
        {Picky(3): 1}, Picky(4), Made(5), [listed], np.arange(3), {frozenset([Picky(3)])},
    ]  # fmt: skip
    block = stored(values, monkeypatch)
    found, unread = values_of(block, class_of_notebook)
    assert unread == {
        2: "ValueError: not three",
        4: "ValueError: not made of three",
        5: unread[5],
        6: "ValueError: not three",
        7: "ValueError: no state",
        9: "ValueError: not three",
        10: "ValueError: not three",
        13: "ValueError: no state",
        15: "ValueError: not three",
    }
    assert "sys.flags" in unread[5]
    assert [found[1].number, found[3].number, found[11].number, found[12].number] == [2, 1, 4, 5]
    assert (found[0], found[8], found[14].tolist()) == (1, "text", [0, 1, 2])


def test_a_module_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "soon_gone.py").write_text(
        "class Thing:\n    x = 1\n\nclass Other(Thing):\n    pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import soon_gone  # type: ignore[import-not-found]

    block = stored([1, soon_gone.Thing(), "a", soon_gone.Thing(), soon_gone.Other], monkeypatch)
    assert values_of(block, class_of_notebook).unread == {}
    monkeypatch.undo()
    del sys.modules["soon_gone"]
    values, unread = values_of(block, class_of_notebook)
    assert unread == dict.fromkeys([1, 3, 4], "ModuleNotFoundError: No module named 'soon_gone'")
    assert (values[0], values[2]) == (1, "a")


def test_a_class_that_is_nowhere_keeps_its_own_error(monkeypatch: pytest.MonkeyPatch) -> None:
    block = stored([Picky(1)], monkeypatch)

    def find(name: str) -> Any:
        raise OutputError(name)

    monkeypatch.setattr(objects.FindsClasses, "find_class", lambda _, __, name: find(name))
    with pytest.raises(OutputError, match="Picky"):
        values_of(block, find)


def test_a_container_that_cannot_be_read_has_no_values(monkeypatch: pytest.MonkeyPatch) -> None:
    [block] = blocks_of(encode_objects(np.array([Picky(1), Picky(3)], object)))
    assert values_of(block, class_of_notebook) == ([], {-1: "ValueError: not three"})


def test_workers_read_the_first_value_of_each_type_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "_readable", set(objects._readable))
    with pytest.raises(
        NotStored, match=r"a flags, can be stored, but not read back \(TypeError: .*sys.flags"
    ):
        encode_objects([1, sys.flags])
    values = [1, Picky(3), Picky(3), "a"]
    assert list(not_stored(values)) == [1, 2]
    assert "(ValueError: not three); return the parts" in str(not_stored(values)[1][0])
    encode_objects([Picky(1)])
    encode_objects([Picky(3)])  # its type is known: not read again
    assert Picky in objects._readable

"""Compares two runs: settings, counts, times, and the items whose rows differ."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, ParallelRunError, visible
from ..formatting import plural
from ..runs.comparison.course import COUNTS, Course
from ..runs.comparison.items import DIFFERENCES, Difference, ItemComparison, ItemRows
from ..runs.comparison.settings import Setting, differing_settings
from ..runs.resume_request import read_resume
from ..runs.run_folder import RunFolder
from ..runs.run_record import RunRecord
from ..runs.snapshot.follower import Follower
from ..runs.snapshot.snapshot import Snapshot
from ..views.comparison import ComparisonTable, comparison_html, comparison_text
from ..worker.memory_items import MEMORY
from ..worker.output.formats import OBJECTS
from .result_values import check_objects, class_finder
from .script import FUNCTIONS
from .updates import files_of

if TYPE_CHECKING:
    import pandas as pd

_SIDES = ["this", "other"]
_ITEM_COLUMNS = ["item", "difference", *_SIDES]


class Comparison:
    """What differs in two runs, as `Run.compare` returns it; displayed as tables.

    Attributes
    ----------
    settings
        DataFrame with a row for each setting that differs: setting, this, other. Files of the
        script, modules beside it, and functions and variables that travelled by value have the
        beginning of their SHA-256.
    counts
        DataFrame by count (items, rows, failures, ...): this, other, change.
    times
        DataFrame by time or rate: this, other, change.
    items
        DataFrame with a row for each item whose rows differ: item, difference, this, other (its
        rows, or the result of a function, as text). At most ``limit`` rows; ``item_counts`` counts all items.
    item_counts
        Number of items by difference, such as ``"same"`` and ``"rows differ"``. Empty if the rows
        could not be compared.
    notes
        Texts about anything that could not be compared.
    """

    def __init__(self, this: RunFolder, other: RunFolder, limit: int) -> None:
        if isinstance(limit, bool) or limit < 0:
            msg = (
                f"limit is {limit!r}; expected the number of differing items to list, such as 1000."
            )
            raise ConfigError(msg)
        sides = [_Side.of(this), _Side.of(other)]
        self._title = " and ".join(side.title() for side in sides)
        self.notes = [note for side in sides for note in side.notes()]
        one, two = sides
        self._settings: list[Setting] = differing_settings(
            one.record, two.record, (_digests(this), _digests(other))
        )
        self._counts = [
            (name, *(int(side.counts[key]) for side in sides)) for name, key in COUNTS.items()
        ]
        times = [side.course.times(side.snapshot) for side in sides]
        self._times = [(name, *(each[name] for each in times)) for name in times[0]]
        self.item_counts: dict[str, int] = {}
        self._differences: list[Difference] = []
        why = _why_not_comparable(one.record, two.record)
        if why:
            self.notes.append(f"rows were not compared: {why}")
        else:
            self._compare_items(one, two, limit)

    def _compare_items(self, one: _Side, two: _Side, limit: int) -> None:
        with ExitStack() as files:
            rows = []
            has_one_variable = self._are_matched_by_number(one.variable, two.variable)
            for side in (one, two):
                try:
                    items = side.items(has_one_variable=has_one_variable)
                    rows.append(files.enter_context(closing(items)))
                except (ParallelRunError, OSError) as error:
                    self.notes.append(
                        f"rows were not compared: those of run {side.folder.run_id} could not be "
                        f"read: {error}{side.remedy}"
                    )
                    return
            compared = ItemComparison(rows[0], rows[1], limit)
        names = {"same": "same", "no_row": "no row in both runs", **DIFFERENCES}
        self.item_counts = {names[name]: number for name, number in compared.counts.items()}
        self._differences = compared.differences

    def _are_matched_by_number(self, *variables: dict[str, Any] | None) -> bool:
        """Return whether items are known by their number alone, whatever the name of their variable."""
        specs = [spec for spec in variables if spec is not None]
        if len(specs) != len(_SIDES):
            return False
        if specs[0]["count"] == specs[1]["count"]:
            return True
        if specs[0]["name"] != specs[1]["name"]:
            shown = [f"{spec['name']} ({plural(spec['count'], 'item')})" for spec in specs]
            self.notes.append(
                f"items were not matched: {' and '.join(shown)} have other names and numbers of items; "
                "MemoryDataset(values, name) gives both the same name"
            )
        return False

    @property
    def settings(self) -> pd.DataFrame:
        """The settings that differ."""
        return _frame(self._settings, ["setting", *_SIDES])

    @property
    def counts(self) -> pd.DataFrame:
        """The counts of both runs."""
        return _with_change(_frame(self._counts, ["count", *_SIDES]))

    @property
    def times(self) -> pd.DataFrame:
        """The times and rates of both runs."""
        return _with_change(_frame(self._times, ["time", *_SIDES]))

    @property
    def items(self) -> pd.DataFrame:
        """The items whose rows differ."""
        return _frame(self._differences, _ITEM_COLUMNS)

    def to_pandas(self) -> pd.DataFrame:
        """Return the items whose rows differ: the same as `items`."""
        return self.items

    def __repr__(self) -> str:
        return comparison_text(self._title, self._tables(), self.notes)

    def _repr_html_(self) -> str:
        return comparison_html(self._title, self._tables(), self.notes)

    def _tables(self) -> list[ComparisonTable]:
        tables = [
            ComparisonTable("settings", ["setting", *_SIDES], self._settings, "the same"),
            ComparisonTable("counts", ["count", *_SIDES], self._counts, ""),
            ComparisonTable("times", ["time", *_SIDES], self._times, ""),
        ]
        if self.item_counts:
            numbers = [
                f"{number:,} {name}"
                for name, number in self.item_counts.items()
                if number or name == "same"
            ]
            differing = sum(self.item_counts[name] for name in DIFFERENCES.values())
            tables.append(
                ComparisonTable(
                    f"items: {', '.join(numbers)}",
                    _ITEM_COLUMNS,
                    [(visible(each.item), *each[1:]) for each in self._differences],
                    "all rows are the same",
                    differing - len(self._differences),
                )
            )
        return tables


@dataclass(frozen=True, slots=True)
class _Side:
    """One of the two runs."""

    folder: RunFolder
    record: RunRecord
    snapshot: Snapshot
    course: Course

    @classmethod
    def of(cls, folder: RunFolder) -> _Side:
        folder.check_exists()
        follower = Follower(folder)
        record = read_resume(folder).applied_to(follower.record)
        return cls(folder, record, follower.refresh(), Course(folder))

    @property
    def counts(self) -> Mapping[str, Any]:
        return self.snapshot

    def title(self) -> str:
        started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.record.created_at))
        return f"run {self.folder.run_id} ({visible(self.record.name)}, {started})"

    def notes(self) -> list[str]:
        if self.snapshot["is_final"]:
            return []
        done = plural(self.snapshot["items_succeeded"], "item")
        return [f"run {self.folder.run_id} is {self.snapshot['state']}, with {done} so far"]

    @property
    def remedy(self) -> str:
        """What to do about rows that cannot be read."""
        if self.record.output.format == OBJECTS:
            return ""  # in the error
        return ". Each run needs an output of its own, or none, for this"

    @property
    def variable(self) -> dict[str, Any] | None:
        """The spec of the variable that is the only input; None for other inputs."""
        specs = self.record.inputs.datasets
        return specs[0] if [spec["kind"] for spec in specs] == [MEMORY] else None

    def items(self, *, has_one_variable: bool) -> ItemRows:
        find_class = None
        if self.record.output.format == OBJECTS:
            check_objects(self.folder, self.record)
            find_class = class_finder(self.folder, self.record)
        return ItemRows(
            self.folder, self.record, self.course.results, find_class,
            has_one_variable=has_one_variable,
        )  # fmt: skip


def _digests(folder: RunFolder) -> dict[str, str]:
    """Return the SHA-256 of the files of a run's script, and of what it got by value, by their names."""
    digests = {f"script {path}": digest for path, digest in files_of(folder.script).items()}
    for path, digest in files_of(folder.uses).items():
        name, _, kind = path.partition(".")
        if kind in {"pickle", "buffers"}:  # the others are source texts
            shown = "function" if name == FUNCTIONS else f"variable {name}"
            digests[shown if kind == "pickle" else f"{shown} (arrays)"] = digest
    return digests


def _why_not_comparable(this: RunRecord, other: RunRecord) -> str:
    """Return why the rows of two runs cannot be compared; "" if they can."""
    for record in (this, other):
        if not record.output.append_rows:
            return f"run {record.run_id} has output_action 'summary_only', and writes no rows"
        if record.output.in_parts:
            return (
                f"the rows of run {record.run_id} are in parts in a store, at {record.output.url}"
            )
    if this.output.format != other.output.format:
        return f"the outputs are {this.output.format} and {other.output.format}"
    return ""


def _frame(rows: Any, columns: list[str]) -> pd.DataFrame:
    import pandas as pd

    frame: pd.DataFrame = pd.DataFrame([tuple(row) for row in rows], columns=columns)
    return frame


def _with_change(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table of numbers by name, with a column for the change from the other run to this."""
    frame = frame.set_index(frame.columns[0])
    changed: pd.DataFrame = frame.assign(change=frame["this"] - frame["other"])
    return changed

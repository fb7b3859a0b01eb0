"""Tables of every format: types are decided once, rows stay whole, and errors locate bad input."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from parallelrun_jupyter import TabularDataset
from parallelrun_jupyter.data.batching import BatchSpec
from parallelrun_jupyter.data.tables import text_encoding, type_inference
from parallelrun_jupyter.engine.planning.fates import Fate
from parallelrun_jupyter.engine.planning.plan_file import write_plan
from parallelrun_jupyter.engine.scheduling.limits import Limits, stalled
from parallelrun_jupyter.errors import InputError
from parallelrun_jupyter.runs.journal.state import RunState
from parallelrun_jupyter.views.text import progress_line
from parallelrun_jupyter.worker.failures import BadInput
from parallelrun_jupyter.worker.plan_line import PlanLine
from parallelrun_jupyter.worker.tables import delimited
from parallelrun_jupyter.worker.tables.reader import load_table
from tests.pure.test_html import snapshot
from tests.pure.test_state import record

TEXT = pd.Series(["x"]).dtype.name
"""The type of a column of text: str from pandas 3 on, object before."""

LAW = settings(max_examples=120)
WHOLE = BatchSpec(1 << 60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


def rows_of(dataset: TabularDataset, cut: BatchSpec = WHOLE) -> list[Any]:
    return [PlanLine.decode(line) for line, _ in dataset.mini_batches(0, cut) if line]


def frames_of(dataset: TabularDataset, cut: BatchSpec = WHOLE) -> list[pd.DataFrame]:
    frames = []
    for row in rows_of(dataset, cut):
        frames.append(load_table(row))
        assert len(frames[-1]) == row.item_count
    return frames


def same_types(frames: list[pd.DataFrame]) -> None:
    for frame in frames:
        assert list(frame.dtypes) == list(frames[0].dtypes)


CELLS = {
    "int": st.integers(-(2**62), 2**62).map(str),
    "float": st.floats(-1e9, 1e9).map(lambda x: repr(round(x, 3))),
    "bool": st.sampled_from(["True", "False"]),
    "text": st.text(st.sampled_from('ab",;\n\r é😀\t'), min_size=1, max_size=5).map(
        lambda t: "x" + t
    ),
    "gap": st.just(""),
    "int or gap": st.sampled_from(["1", "22", ""]),
    "bool or gap": st.sampled_from(["True", ""]),
    "int or float": st.sampled_from(["1", "2.5"]),
    "int or text": st.sampled_from(["1", "x"]),
    "bool or int": st.sampled_from(["True", "1"]),
    "large": st.sampled_from([str(2**63 + 5), "3"]),
    "large or negative": st.sampled_from([str(2**63 + 5), "-3"]),
}


@st.composite
def typed_tables(draw: st.DrawFn) -> tuple[list[str], list[list[str]]]:
    kinds = draw(st.lists(st.sampled_from(sorted(CELLS)), min_size=1, max_size=4))
    count = draw(st.integers(1, 12))
    columns = [draw(st.lists(CELLS[kind], min_size=count, max_size=count)) for kind in kinds]
    if len(kinds) == 1:  # a line with only a gap is blank, not a row
        columns.append(["z"] * count)
        kinds = [*kinds, "text"]
    return kinds, [list(row) for row in zip(*columns, strict=True)]


@LAW
@example(
    table=(["gap", "text", "int"], [["", "x;", "-1000000"]] * 7 + [["", "xé\r", "0"]]),
    size=1, separator=",", line_end="\n", encoding="utf-8", quoting=csv.QUOTE_MINIMAL, is_wide=False,
)  # fmt: skip
@example(
    table=(["text", "large"], [["x\r", str(2**63 + 5)], ["x;", str(2**63 + 5)]]),
    size=1, separator=",", line_end="\n", encoding="utf-8", quoting=csv.QUOTE_MINIMAL, is_wide=False,
)  # fmt: skip
@given(
    table=typed_tables(),
    size=st.integers(1, 60),
    separator=st.sampled_from(",;\t|"),
    line_end=st.sampled_from(["\n", "\r\n"]),
    is_wide=st.booleans(),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "gb18030"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_types_are_decided_once_for_all_mini_batches(
    folder: Path, table: tuple[list[str], list[list[str]]], size: int, separator: str,
    line_end: str, encoding: str, quoting: Any, is_wide: bool,
) -> None:  # fmt: skip
    kinds, rows = table
    # pandas itself misreads an empty line, or one that begins with a blank, behind a lone return.
    is_misread = quoting == csv.QUOTE_MINIMAL and re.search(
        "\r[\r \t]", "\n".join(map("".join, rows))
    )
    assume(not is_misread)
    names = [f"c{k}" for k in range(len(kinds))]
    path = folder / "typed.csv"
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.writer(file, delimiter=separator, lineterminator=line_end, quoting=quoting)
        writer.writerows([names, *rows])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_encoding, "BLOCK_BYTES", 64)
        patch.setattr(delimited, "WIDE", 1 if is_wide else 256)
        patch.setattr(type_inference, "WIDE", 1 if is_wide else 256)
        dataset = TabularDataset.from_delimited_files(path, separator=separator, encoding=encoding)
        lines = rows_of(dataset, BatchSpec(size))
        frames = frames_of(dataset, BatchSpec(size))
    types = dict(zip(names, lines[0].table["types"], strict=True))
    read: dict[str, Any] = {"sep": separator, "encoding": encoding, "index_col": False}
    expected = pd.read_csv(path, dtype=types, **read)
    pd.testing.assert_frame_equal(pd.concat(frames, ignore_index=True), expected)
    same_types(frames)
    for name, inferred in pd.read_csv(path, low_memory=False, **read).dtypes.items():
        decided = types[str(name)]
        if decided in {"Int64", "UInt64"}:  # pandas has floats or text for large ones with gaps
            assert inferred.name in {"float64", TEXT}
            assert expected[name].isna().any()
        elif inferred.name in {"int64", "uint64", "bool", "float64"}:
            assert decided == inferred.name
        else:
            assert decided == "str"


DIGITS = st.one_of(
    st.integers(-(2**64), 2**64).map(str),
    st.integers(-(2**63), 2**63 - 1).map(str),
    st.integers(2**53 - 3, 2**53 + 9).map(str),
    st.integers(2**63 - 2, 2**64 + 2).map(str),
    st.integers(-20, 20).map(str),
)
NUMBERS = {
    "whole": DIGITS,
    "whole or gap": st.one_of(DIGITS, st.sampled_from(["", "NA"])),
    "small or gap": st.one_of(st.integers(-9, 9).map(str), st.just("")),
    "code": st.one_of(DIGITS, st.sampled_from(["007", "-01", "+00", "00", "0", "-0", " 012"])),
    "zero or fraction": st.sampled_from(["0", "0.5", "-0.25", "0e3", "10", "100.00"]),
    "fraction": st.floats(allow_nan=False).map(repr),
    "long fraction": st.sampled_from(["0.12345678901234567890123", "1.5", "12345678901234567.25"]),
    "whole or fraction": st.one_of(DIGITS, st.sampled_from(["1.5", "2.0", "1e3"])),
}


@st.composite
def columns_of_numbers(draw: st.DrawFn) -> list[list[str]]:
    kinds = draw(st.lists(st.sampled_from(sorted(NUMBERS)), min_size=1, max_size=3))
    count = draw(st.integers(1, 9))
    return [draw(st.lists(NUMBERS[kind], min_size=count, max_size=count)) for kind in kinds]


@settings(max_examples=400)
@given(columns=columns_of_numbers(), size=st.integers(1, 60), block=st.integers(20, 200),
       quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]), wide=st.sampled_from([1, 256]))  # fmt: skip
@example(columns=[["9007199254740993", ""]], size=1, block=20, quoting=csv.QUOTE_MINIMAL, wide=256)
@example(columns=[["9223372036854775813", ""]], size=1, block=20, quoting=csv.QUOTE_MINIMAL, wide=1)
@example(
    columns=[["", "1", "9007199254740993", "2.0"]], size=1, block=20, quoting=csv.QUOTE_ALL, wide=1
)
@example(columns=[["1.5", "9007199254740993"]], size=1, block=20, quoting=csv.QUOTE_MINIMAL, wide=1)
@example(
    columns=[["1", "12", "007"], ["0.5", "2", "3"]], size=1, block=20, quoting=csv.QUOTE_ALL, wide=1
)
def test_digits_are_read_as_written(
    folder: Path, columns: list[list[str]], size: int, block: int, quoting: Any, wide: int
) -> None:
    columns = [*columns, ["z"] * len(columns[0])]
    path = folder / "digits.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n", quoting=quoting)
        writer.writerows([[f"c{k}" for k in range(len(columns))], *zip(*columns, strict=True)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_encoding, "BLOCK_BYTES", block)
        patch.setattr(delimited, "WIDE", wide)
        patch.setattr(type_inference, "WIDE", wide)
        frames = frames_of(TabularDataset.from_delimited_files(path), BatchSpec(size))
    same_types(frames)
    joined = pd.concat(frames, ignore_index=True)
    for texts, name in zip(columns, joined.columns, strict=True):
        decided = joined[name].dtype.name
        for text, value in zip(texts, joined[name].tolist(), strict=True):
            if not text or (text == "NA" and decided != TEXT):
                assert pd.isna(value)
            elif decided == TEXT:
                assert value == text
            elif decided == "float64" and not text.strip("+-").isdigit():
                assert value == pytest.approx(float(text), rel=1e-15)  # pandas' own last digit
            else:
                assert int(value) == int(float(text) if "." in text or "e" in text else text)
                assert text.strip("+-") == "0" or not text.strip(" +-").startswith("0")
        plain = [text for text in texts if re.fullmatch(r"-?[1-9][0-9]{0,17}|0|NA|", text)]
        if plain == texts and set(texts) - {"", "NA"}:  # words alone are text
            assert decided in {"int64", "float64", "Int64"}, "no text where numbers hold all"


@LAW
@given(parts=st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=9), min_size=1, max_size=4),
       rows=st.integers(1, 5))  # fmt: skip
def test_mini_batches_by_rows_never_cross_a_file(
    folder: Path, parts: list[list[int]], rows: int
) -> None:
    paths = []
    for number, values in enumerate(parts):
        paths.append(folder / f"part{number}.csv")
        pd.DataFrame({"a": values}).to_csv(paths[-1], index=False)
    frames = frames_of(TabularDataset.from_delimited_files(paths), BatchSpec(1, rows=rows))
    expected = [
        values[start : start + rows] for values in parts for start in range(0, len(values), rows)
    ]
    assert [list(frame["a"]) for frame in frames] == expected


def write(folder: Path, **texts: str) -> list[Path]:
    paths = []
    for name, text in texts.items():
        paths.append(folder / f"{name}.csv")
        paths[-1].write_text(text)
    return paths


def test_headers(folder: Path) -> None:
    paths = write(folder, one="a,b\n1,x\n", two="a,b\n2,y\n", empty="", bare="a,b\n")
    read = TabularDataset.from_delimited_files
    assert read(paths).to_pandas_dataframe().to_dict("list") == {"a": [1, 2], "b": ["x", "y"]}
    none = read(paths, header="no_header").to_pandas_dataframe()
    assert none.to_dict("list") == {
        "Column1": ["a", "1", "a", "2", "a"], "Column2": ["b", "x", "b", "y", "b"]
    }  # fmt: skip
    first = read(paths[:2], header="from_first_file").to_pandas_dataframe()
    assert first["a"].tolist() == ["1", "a", "2"]
    other = write(folder, three="c,a\n0.5,3\n")
    joined = read([*paths, *other], header="all_files_different_headers")
    frames = frames_of(joined)
    same_types(frames)
    assert list(frames[0].columns) == ["a", "b", "c"]
    assert joined.to_pandas_dataframe()["a"].tolist() == [1, 2, 3]
    assert joined.to_pandas_dataframe()["c"].fillna(-1).tolist() == [-1, -1, 0.5]
    with pytest.raises(
        InputError, match=r"the header of '.*three\.csv' is c, a, but the header of '.*one"
    ):
        rows_of(read([*paths, *other]))
    with pytest.raises(InputError, match="header is 'maybe'; expected 'all_files_same_headers'"):
        read(paths, header="maybe")


def test_a_column_that_a_file_lacks_cannot_be_a_whole_number(folder: Path) -> None:
    paths = write(folder, one="a,b\n1,True\n", two="a\n2\n")
    dataset = TabularDataset.from_delimited_files(
        paths, header="all_files_different_headers", column_types={"a": int, "b": bool}
    )
    first, second = rows_of(dataset)
    assert load_table(first)["b"].tolist() == [True]
    with pytest.raises(
        BadInput, match=r"two\.csv has no column 'b', and bool has no missing values"
    ):
        load_table(second)


def test_given_types(folder: Path) -> None:
    paths = write(folder, dates="day,n,code,m\n2026-01-02,1,007,\n2026-02-03,,08,4\n")
    types = {"day": "datetime", "n": "Int64", "code": str, "m": float}
    frame = TabularDataset.from_delimited_files(paths, column_types=types).to_pandas_dataframe()
    assert [t.name for t in frame.dtypes] == ["datetime64[ns]", "Int64", TEXT, "float64"]
    assert frame["code"].tolist() == ["007", "08"]
    assert frame["day"].dt.month.tolist() == [1, 2]
    texts = TabularDataset.from_delimited_files(paths, column_types="str").take(1)
    assert texts["n"].tolist() == ["1"]
    with pytest.raises(InputError, match="names the column 'dya', .* Did you mean 'day'"):
        TabularDataset.from_delimited_files(paths, column_types={"dya": str}).check()
    with pytest.raises(InputError, match="contains 'itn64'; expected one of str, .* mean 'int64'"):
        TabularDataset.from_delimited_files(paths, column_types={"n": "itn64"})


@pytest.mark.parametrize("ending", ["gz", "bz2", "xz", "zip"])
def test_a_compressed_file_is_one_mini_batch(folder: Path, ending: str) -> None:
    frame = pd.DataFrame({"a": range(50), "b": ["x\ny"] * 50})
    path = folder / f"packed.csv.{ending}"
    frame.to_csv(path, index=False)
    frames = frames_of(TabularDataset.from_delimited_files(path), BatchSpec(20))
    assert len(frames) == 1
    pd.testing.assert_frame_equal(frames[0], frame)


VALUES = st.one_of(st.integers(-(2**63), 2**63 - 1), st.none(), st.booleans(), st.text(max_size=4),
                   st.floats(allow_nan=False, allow_infinity=False), st.lists(st.integers(), max_size=2))  # fmt: skip


@LAW
@example(rows=[{"a": None}, {"a": 2**53 + 1}], size=80, encoding="utf-8")
@given(
    rows=st.lists(
        st.dictionaries(st.sampled_from("abc"), VALUES, min_size=1), min_size=1, max_size=9
    ),
    size=st.integers(1, 80),
    encoding=st.sampled_from(["utf-8", "utf-16"]),
)
def test_json_lines(folder: Path, rows: list[dict[str, Any]], size: int, encoding: str) -> None:
    path = folder / "rows.jsonl"
    path.write_text(
        "\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding=encoding
    )
    dataset = TabularDataset.from_json_lines_files(path, encoding=encoding)
    frames = frames_of(dataset, BatchSpec(size))
    same_types(frames)
    joined = pd.concat(frames, ignore_index=True)
    assert set(joined.columns) == {name for row in rows for name in row}
    for name in joined.columns:
        for found, row in zip(joined[name].tolist(), rows, strict=True):
            value = row.get(name)
            assert (value is None and pd.isna(found)) or found == value


@LAW
@given(
    values=st.lists(st.one_of(st.none(), st.integers(-(2**53), 2**53)), min_size=1, max_size=12),
    group=st.integers(1, 4),
    cut=st.sampled_from([BatchSpec(1), BatchSpec(200), BatchSpec(1, rows=3), WHOLE]),
)
def test_parquet(folder: Path, values: list[int | None], group: int, cut: BatchSpec) -> None:
    frame = pd.DataFrame({
        "n": pd.array(values, dtype="Int64"),
        "is": pd.array([None if v is None else v > 0 for v in values], dtype="boolean"),
        "s": [None if v is None else str(v) for v in values],
    })  # fmt: skip
    path = folder / "rows.parquet"
    frame.to_parquet(path, row_group_size=group, index=False)
    frames = frames_of(TabularDataset.from_parquet_files(path), cut)
    same_types(frames)
    joined = pd.concat(frames, ignore_index=True)
    has_gap = None in values
    assert joined["n"].dtype.name == ("float64" if has_gap else "int64")
    assert joined["is"].dtype.name == ("object" if has_gap else "bool")
    assert [None if pd.isna(v) else int(v) for v in joined["n"]] == values
    texts = [None if v is None else str(v) for v in values]
    assert [None if pd.isna(v) else v for v in joined["s"]] == texts


def test_parquet_files_of_other_columns_or_types(folder: Path) -> None:
    paths = [folder / f"{name}.parquet" for name in ("one", "two", "three", "four")]
    pd.DataFrame({"a": [1], "b": ["x"]}).to_parquet(paths[0])
    pd.DataFrame({"b": ["y"], "a": [0.5]}).to_parquet(paths[1])
    pd.DataFrame({"a": [1]}).to_parquet(paths[2])
    pd.DataFrame({"a": ["x"], "b": ["x"]}).to_parquet(paths[3])
    read = TabularDataset.from_parquet_files
    assert read(paths[:2]).to_pandas_dataframe().to_dict("list") == {
        "a": [1.0, 0.5],
        "b": ["x", "y"],
    }
    with pytest.raises(InputError, match=r"'.*three\.parquet' has the columns a, but '.*one"):
        rows_of(read([paths[0], paths[2]]))
    with pytest.raises(InputError, match=r"the types of '.*four\.parquet' do not fit the types of"):
        rows_of(read([paths[0], paths[3]]))


@pytest.mark.parametrize("bad", ['4,"open,4', "4,ok,4,5,6"])
def test_a_bad_row_does_not_decide_the_types_of_the_others(folder: Path, bad: str) -> None:
    rows = [bad if number == 4 else f"{number},ok,{number}" for number in range(6)]
    path = folder / "bad.csv"
    path.write_text("\n".join(["i,text,j", *rows, ""]))
    first, *_ = rows_of(TabularDataset.from_delimited_files(path), BatchSpec(1, rows=4))
    frame = load_table(first)
    assert [kind.name for kind in frame.dtypes] == ["int64", TEXT, "int64"]
    assert list(frame["text"]) == ["ok"] * 4


BAD = [
    (b"a,b\n1,x\n2,y,z\n", {}, r"bad\.csv: the row at byte 8 has more fields than the 2 columns"),
    (b"a,b\n1,x,,,\n", {}, r"the row at byte 4 has more fields"),
    (b"a,b\n1,x\n\n2,y,z,w\n", {}, r"the row at byte 9 has more fields"),
    (b'a,b\n1,x\n2,"y\n', {}, r"bad\.csv: the quote at byte 10 is never closed"),
    (b"a,b\n1,x\n2,\xff\n", {}, r"the byte 0xff at offset 10 is not utf-8 \(invalid start byte\)"),
    (
        b"a,b\n1,x\nq,y\n",
        {"a": int},
        r"column 'a' contains 'q' in the row at byte 8, which is not a valid int64",
    ),
    (b"a,b\n1,x\n,y\n", {"a": int}, r"column 'a' contains nothing in the row at byte 8"),
    (
        b"a,b\nTrue,x\n,y\n",
        {"a": bool},
        r"column 'a' contains nothing in the row at byte 11, .* bool",
    ),
    (
        b"a,b\n1.5,x\n",
        {"a": int},
        r"column 'a' contains '1.5' in the row at byte 4, which is not a valid int64",
    ),
    (b"a,b\n2026-13-01,x\n", {"a": "datetime"}, r"contains '2026-13-01' in the row at byte 4"),
]


@pytest.mark.parametrize(("text", "types", "message"), BAD)
def test_errors_of_bad_text_name_file_and_offset(
    folder: Path, text: bytes, types: dict[str, Any], message: str
) -> None:
    path = folder / "bad.csv"
    path.write_bytes(text)
    dataset = TabularDataset.from_delimited_files(path, column_types=types or None)
    with pytest.raises(BadInput, match=message):
        frames_of(dataset)
    with pytest.raises(InputError, match=message):
        dataset.to_pandas_dataframe()


def test_bad_json_and_parquet(folder: Path) -> None:
    path = folder / "bad.jsonl"
    path.write_text('{"a": 1}\n{"a": }\n[1]\n{"a": 2}\n')
    rows = rows_of(TabularDataset.from_json_lines_files(path), BatchSpec(1))
    assert load_table(rows[0])["a"].tolist() == [1]
    with pytest.raises(BadInput, match=r"bad\.jsonl: the line at byte 9 is not JSON at byte 15"):
        load_table(rows[1])
    with pytest.raises(BadInput, match=r"the line at byte 17 is a list; expected a JSON object"):
        load_table(rows[2])
    assert load_table(rows[3])["a"].tolist() == [2]
    good, torn = folder / "good.parquet", folder / "torn.parquet"
    pd.DataFrame({"a": [1, 2]}).to_parquet(good)
    torn.write_bytes(good.read_bytes()[:-20])
    first, second = rows_of(TabularDataset.from_parquet_files([good, torn]))
    assert load_table(first)["a"].tolist() == [1, 2]
    with pytest.raises(BadInput, match=r"torn\.parquet could not be read"):
        load_table(second)
    with pytest.raises(InputError, match=r"torn\.parquet' could not be read as Parquet"):
        TabularDataset.from_parquet_files(torn).check()
    data = bytearray(good.read_bytes())
    data[10:40] = bytes(30)
    good.write_bytes(data)
    with pytest.raises(
        BadInput, match=r"good\.parquet: the column 'a' of the type int64 could not"
    ):
        frames_of(TabularDataset.from_parquet_files(good))


def test_a_missing_changed_or_torn_file_fails_only_its_own_mini_batches(folder: Path) -> None:
    paths = write(folder, kept="a\n1\n", gone="a\n2\n", changed="a\n3\n")
    packed = folder / "torn.csv.gz"
    packed.write_bytes(gzip.compress(b"a\n" + b"4\n" * 1000)[:-9])
    archive = folder / "two.csv.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("one.csv", "a\n1\n")
        file.writestr("two.csv", "a\n1\n")
    dataset = TabularDataset.from_delimited_files([*paths, packed, archive])
    kept, gone, changed, torn, two = rows_of(dataset)
    paths[1].unlink()
    paths[2].write_text("a\n3\n4\n")
    assert load_table(kept)["a"].tolist() == [1]
    for row, message in [
        (gone, r"the input .*gone\.csv no longer exists \(No such file"),
        (changed, r"the input .*changed\.csv was changed after the run was planned"),
        (torn, r"the input .*torn\.csv\.gz could not be read: .*[Ee]nd"),
        (two, r"two\.csv\.zip could not be read: the archive contains 2 files; expected one"),
    ]:
        with pytest.raises(BadInput, match=message):
            load_table(row)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"separator": "::"}, "separator is '::'; expected one ASCII character"),
        ({"quote": "''"}, "quote is \"''\"; expected one ASCII character"),
        (
            {"encoding": "utf9"},
            "unknown encoding 'utf9'; use, for example, 'utf8'",
        ),
    ],
)
def test_options_that_cannot_be_used(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TabularDataset.from_delimited_files("x.csv", **options)


def test_take_and_the_whole(folder: Path) -> None:
    frame = pd.DataFrame({"a": range(30)})
    text = io.StringIO()
    frame.to_csv(text, index=False)
    [path] = write(folder, whole=text.getvalue())
    dataset = TabularDataset.from_delimited_files(path)
    assert dataset.take(7)["a"].tolist() == list(range(7))
    pd.testing.assert_frame_equal(dataset.to_pandas_dataframe(), frame)
    assert repr(dataset) == f"TabularDataset of delimited FileDataset({str(path)!r})"


def test_wide_rows(folder: Path) -> None:
    frame = pd.DataFrame([[k * n for k in range(3000)] for n in range(6)])
    path = folder / "wide.csv"
    frame.to_csv(path, index=False)
    frames = frames_of(TabularDataset.from_delimited_files(path), BatchSpec(30_000))
    assert len(frames) == 4, "the first three rows are shorter"
    frame.columns = frame.columns.astype(str)
    pd.testing.assert_frame_equal(
        pd.concat(frames, ignore_index=True), frame, check_column_type=False
    )


@pytest.mark.parametrize("is_guessed", [True, False])
def test_planning_a_table_reports_progress_and_resumes(
    folder: Path, tmp_path: Path, is_guessed: bool
) -> None:
    # An unusual number: all rows are read before the first line.
    first = "0" if is_guessed else "+0"
    rows = "".join(f"{k},x\n" for k in range(1, 200))
    [path] = write(folder, planned=f"a,b\n{first},x\n{rows}")
    told: list[tuple[int, int, bool]] = []
    spec = TabularDataset.from_delimited_files(path).spec()
    run = record(inputs={"datasets": [spec], "mini_batch_size": 100})
    plan = tmp_path / "plan.jsonl"
    write_plan(run, plan, lambda *counts: told.append(counts))
    assert told[0][0] == is_guessed, "it moves, before the types are known"
    assert 0 < told[0][1] < 200
    whole = plan.read_bytes()
    assert told[-1] == (len(whole.splitlines()) - 1, 200, True)
    firsts = [PlanLine.decode(line).first for line in whole.splitlines()[:3]]
    assert firsts[:2] == [0, PlanLine.decode(whole.splitlines()[0]).rows]
    plan.write_bytes(whole[: len(whole) // 2])
    write_plan(run, plan, lambda *counts: told.append(counts), lambda *_: Fate.FIRST)
    assert plan.read_bytes() == whole
    path.write_text(path.read_text() + "200,y\n")
    with pytest.raises(InputError, match=r"planned\.csv' has changed since the run was planned"):
        write_plan(run, plan, lambda *counts: told.append(counts), lambda *_: Fate.FIRST)
    plan.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"planned\.csv' has changed since the run was planned"):
        write_plan(run, plan, lambda *counts: told.append(counts), lambda *_: Fate.FIRST)


def test_reading_ahead_is_shown_as_progress() -> None:
    limits = Limits(first_task_creation_timeout_s=600)
    reading = RunState(planned_items=5_000_000)
    assert stalled(reading, limits, 900_000, 0, 400_000) == ""
    assert "no mini-batch was listed within" in stalled(reading, limits, 900_000, 0, 200_000)
    shown = snapshot(mini_batches=0, items=5_000_000, plan_finished=False, elapsed_s=7.0)
    assert progress_line(shown) == "reading the inputs, 5,000,000 rows so far · 7.0 s"
    shown = snapshot(mini_batches=0, items=0, plan_finished=False, elapsed_s=7.0)
    assert progress_line(shown) == "listing the inputs · 7.0 s"
    shown = snapshot(mini_batches=0, items=9, plan_finished=False, elapsed_s=7.0, is_final=True)
    assert progress_line(shown) == "nothing has run · 7.0 s"

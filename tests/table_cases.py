"""Tables that every pandas version must read alike: each case writes files and the expected DataFrame.

A case is a function with the decorator `case`. It writes files into a folder, and returns their dataset
and the DataFrame that pandas of this interpreter reads.
"""

from __future__ import annotations

import datetime as dt
import decimal
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from parallelrun_jupyter import TabularDataset
from parallelrun_jupyter.data.batching import BatchSpec

WHOLE = BatchSpec(1 << 60)
ONE_ROW = BatchSpec(1, rows=1)
CUTS = {
    "whole": WHOLE,
    "one row": ONE_ROW,
    "two rows": BatchSpec(1, rows=2, assumes_types=True),
}

Made: TypeAlias = tuple[TabularDataset, pd.DataFrame]


@dataclass(frozen=True)
class Case:
    """A table, and the oldest versions that must read it.

    Older versions may refuse it as bad input, with a message that names the file and contains
    ``refusal``; or read it as all others do.
    """

    name: str
    make: Callable[[Path], Made]
    pandas: int = 1
    pyarrow: int = 0
    refusal: str = ""


CASES: list[Case] = []


def case(pandas: int = 1, pyarrow: int = 0, refusal: str = "") -> Callable[[Any], Any]:
    def add(make: Callable[[Path], Made]) -> Callable[[Path], Made]:
        CASES.append(Case(make.__name__, make, pandas, pyarrow, refusal))
        return make

    return add


def delimited(path: Path, text: str | bytes, types: Any = None, **options: Any) -> Made:
    """Write delimited text; return its dataset, and the DataFrame of the whole file."""
    path.write_bytes(
        text.encode(options.get("encoding", "utf-8")) if isinstance(text, str) else text
    )
    dataset = TabularDataset.from_delimited_files(path, column_types=types, **options)
    read = {"sep": options.get("separator", ","), "encoding": options.get("encoding", "utf-8")}
    types = types if isinstance(types, dict) else {}
    dates = [name for name, kind in types.items() if kind == "datetime"]
    plain = {name: kind for name, kind in types.items() if kind != "datetime"}
    frame = pd.read_csv(path, dtype=plain, parse_dates=dates, **read)
    return dataset, frame.astype(dict.fromkeys(dates, "datetime64[ns]"))


@case()
def numbers(folder: Path) -> Made:
    return delimited(folder / "a.csv", "i,f,u\n1,0.1,18446744073709551615\n-2,1e300,3\n3,-0.0,4\n")


@case()
def short_rows(folder: Path) -> Made:
    return delimited(folder / "a.csv", "a,b,c\n1,x\n2,y,0.5\n3\n\n4,z,1.5\n")


@case()
def gaps_in_every_type(folder: Path) -> Made:
    text = "i,f,s,b,n,t\n1,0.5,x,True,,2026-01-02\n,,,,,\n3,2.5,z,False,7,2026-12-31\n"
    types = {
        "i": "Int64",
        "f": "float64",
        "s": "str",
        "b": "boolean",
        "n": "Int32",
        "t": "datetime",
    }
    return delimited(folder / "a.csv", text, types)


@case()
def inferred_gaps(folder: Path) -> Made:
    return delimited(folder / "a.csv", "i,s,e\n1,x,\n,,\n3,z,\n")


@case()
def truth_values(folder: Path) -> Made:
    return delimited(folder / "a.csv", "b,c\nTrue,TRUE\nFalse,false\nTrue,true\n")


@case()
def quoted_line_ends(folder: Path) -> Made:
    return delimited(folder / "a.csv", 'a,b\n1,"x\ny"\n2,"say ""no"",\r\nplease"\n3,z\n')


@case()
def line_ends_of_old_macs(folder: Path) -> Made:
    return delimited(folder / "a.csv", "a,b\r1,x\r2,y\r")


@case()
def text_of_digits(folder: Path) -> Made:
    return delimited(folder / "a.csv", "a,b\n007,1\n08,2\n9,3\n", {"a": "str", "b": "str"})


@case()
def tabs_in_utf_16(folder: Path) -> Made:
    text = "größe\tb\n1\té\n2\t😀\n"
    return delimited(folder / "a.csv", text, separator="\t", encoding="utf-16")


@case()
def german_in_latin_1(folder: Path) -> Made:
    return delimited(folder / "a.csv", "a;b\nä;1,5\nö;2,5\n", separator=";", encoding="latin-1")


@case()
def chinese_in_gb18030(folder: Path) -> Made:
    return delimited(folder / "a.csv", "a,b\n你好,1\n世界,2\n", encoding="gb18030")


@case()
def very_many_columns(folder: Path) -> Made:
    names = [f"c{k}" for k in range(600)]
    rows = [",".join([f"s{r}", *(f"{k * r}" if k % 3 else f"{k}.25" for k in range(1, 600))])
            for r in range(3)]  # fmt: skip
    text = "\n".join([",".join(names), *rows, "s3,1,2.5"]) + "\n"
    types = {name: "float64" if k else "str" for k, name in enumerate(names)}
    types["c7"] = "Int64"
    return delimited(folder / "a.csv", text, types)


@case()
def very_many_columns_of_every_type(folder: Path) -> Made:
    cells = {
        "int64": ["1", "-2", "3"],
        "float64": ["0.1", "", "1e300"],
        "str": ['"a,""b""\nc"', "", "é"],
        "bool": ["True", "False", "TRUE"],
        "boolean": ["True", "", "false"],
        "Int64": ["9007199254740993", "", "-3"],
        "uint8": ["0", "255", "7"],
        "uint64": ["18446744073709551615", "3", "4"],
        "float32": ["0.25", "1", ""],
        "datetime": ["2026-01-02", "", "2026-12-31"],
    }
    kinds = list(cells) * 30
    rows = [",".join(cells[kind][row] for kind in kinds) for row in range(3)]
    names = [f"c{k}" for k in range(len(kinds))]
    text = "\r\n".join([",".join(names), *rows]) + "\r\n"
    return delimited(folder / "a.csv", text, dict(zip(names, kinds, strict=True)))


@case()
def some_of_the_columns(folder: Path) -> Made:
    (folder / "a.csv").write_text('a,b,c,d,e\n1,x\n2,"y\n,",0.5,NA,\n3,,1.5,q,w,\n')
    dataset = TabularDataset.from_delimited_files(folder / "a.csv", columns=["e", "c", "a"])
    return dataset, pd.DataFrame({"a": [1, 2, 3], "c": [None, 0.5, 1.5], "e": [None, None, "w"]})


@case()
def columns_joined_by_name(folder: Path) -> Made:
    (folder / "a.csv").write_text("a,b,t\n1,x,2026-01-02\n2,y,\n")
    (folder / "b.csv").write_text("c,a\n0.5,3\n")
    types = {"a": "int64", "b": "str", "t": "datetime", "c": "float64"}
    dataset = TabularDataset.from_delimited_files(
        folder, header="all_files_different_headers", column_types=types
    )
    frames = [pd.read_csv(folder / "a.csv", parse_dates=["t"]), pd.read_csv(folder / "b.csv")]
    frame = pd.concat(frames, ignore_index=True)
    return dataset, frame.astype({"a": "int64", "t": "datetime64[ns]"})


NEVER = 99
"""The oldest pandas that reads a table which every version must refuse."""


def refused(path: Path, text: str, types: Any, **options: Any) -> Made:
    """Write delimited text with a row that cannot be read."""
    path.write_text(text)
    dataset = TabularDataset.from_delimited_files(path, column_types=types, **options)
    return dataset, pd.DataFrame({"it is": ["refused"]})


@case(pandas=NEVER, refusal="the row at byte 12 has more fields than the 3 columns")
def a_row_too_wide_when_some_columns_are_read(folder: Path) -> Made:
    return refused(folder / "a.csv", "a,b,c\n1,2,3\n4,5,6,,7\n", "int64", columns=["b"])


@case(pandas=NEVER, refusal="the row at byte 8 has more fields than the 2 columns")
def a_row_of_more_fields(folder: Path) -> Made:
    return refused(folder / "a.csv", "a,b\n1,x\n2,y,z\n3,x\n", {"a": "int64", "b": "str"})


@case(
    pandas=NEVER, refusal="column 'a' contains 'q' in the row at byte 8, which is not a valid int64"
)
def a_text_among_numbers(folder: Path) -> Made:
    return refused(folder / "a.csv", "a,b\n1,x\nq\n3,x\n", {"a": "int64", "b": "str"})


@case(
    pandas=NEVER,
    refusal="column 'a' contains '200' in the row at byte 8, which is not a valid int8",
)
def a_number_that_is_too_large_for_its_type(folder: Path) -> Made:
    return refused(folder / "a.csv", "a,b\n1,x\n200,y\n", {"a": "int8", "b": "str"})


@case(
    pandas=NEVER,
    refusal="column 'a' contains '-1' in the row at byte 8, which is not a valid uint32",
)
def a_negative_number_of_a_type_that_has_none(folder: Path) -> Made:
    return refused(folder / "a.csv", "a,b\n1,x\n-1,y\n", {"a": "uint32", "b": "str"})


@case(
    pandas=NEVER,
    refusal="column 'a' contains '9223372036854775808' in the row at byte 8, which is not a valid ",
)
def a_number_above_all_of_its_type(folder: Path) -> Made:
    return refused(
        folder / "a.csv", "a,b\n1,x\n9223372036854775808,y\n", {"a": "Int64", "b": "str"}
    )


@case(
    pandas=NEVER, refusal="column 'a' contains 200 in the line at byte 8, which is not a valid int8"
)
def a_number_in_json_that_is_too_large_for_its_type(folder: Path) -> Made:
    path = folder / "a.jsonl"
    path.write_text('{"a":1}\n{"a":200}\n')
    dataset = TabularDataset.from_json_lines_files(path, column_types={"a": "int8"})
    return dataset, pd.DataFrame({"it is": ["refused"]})


@case()
def numbers_to_the_last_digit(folder: Path) -> Made:
    texts = ["0.30000000000000004", "9223372036854775807", "1.7976931348623157e308", "1e23"]
    text = "f,s\n" + "".join(f"{one},{one[0]}\n" for one in texts)
    types = {"f": "float64", "s": "int16"}
    short = pd.Series([int(one[0]) for one in texts], dtype="int16")
    columns = {"f": [float(one) for one in texts], "s": short}
    return stated(folder / "a.csv", text, columns, column_types=types)


NUMBERS: dict[str, Callable[[random.Random], str]] = {
    "up_to_13_digits": lambda r: _with_point(r, r.randint(1, 13)),
    "15_to_20_digits": lambda r: _with_point(r, r.randint(15, 20)),
    "exponents": lambda r: (
        f"{_with_point(r, r.randint(1, 9))}e{r.choice(['', '+', '-'])}{r.randint(0, 40)}"
    ),
}
"""Forms of numbers: before pandas 3, its fast parser reads only the first one exactly."""


def _with_point(rng: random.Random, digits: int) -> str:
    """Return a number of some digits, most with a point somewhere, and some with a sign."""
    text = str(rng.randrange(10 ** (digits - 1), 10**digits))
    place = rng.randint(0, digits)
    return rng.choice(["", "", "-"]) + (text[:place] or "0") + rng.choice([".", ""]) + text[place:]


def _numbers(form: str) -> Callable[[Path], Made]:
    def make(folder: Path) -> Made:
        rng = random.Random(form)
        texts = [NUMBERS[form](rng) for _ in range(500)]
        text = "f,s\n" + "".join(f"{one},x\n" for one in texts)
        columns = {"f": [float(one) for one in texts], "s": ["x"] * len(texts)}
        return stated(folder / "a.csv", text, columns, column_types={"f": "float64", "s": "str"})

    return make


CASES += [Case(f"numbers_with_{form}", _numbers(form)) for form in NUMBERS]


@case(pandas=NEVER, refusal="the quote at byte 10 is never closed")
def a_quote_that_is_never_closed(folder: Path) -> Made:
    return refused(folder / "a.csv", 'a,b\n1,x\n2,"y\n', {"a": "int64", "b": "str"})


@case(pandas=NEVER, refusal="column 'c400' contains 'q' in the row at byte ")
def a_text_in_one_of_very_many_columns(folder: Path) -> Made:
    names = [f"c{k}" for k in range(600)]
    rows = [["1"] * 600, ["1"] * 400 + ["q"] + ["1"] * 199]
    text = "\n".join(",".join(row) for row in [names, *rows]) + "\n"
    return refused(folder / "a.csv", text, "int64")


def stated(path: Path, text: str | bytes, columns: dict[str, Any], **options: Any) -> Made:
    """Write delimited text; return its dataset, and the stated columns as a DataFrame."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return TabularDataset.from_delimited_files(path, **options), pd.DataFrame(columns)


@case()
def codes_with_leading_zeros(folder: Path) -> Made:
    return stated(
        folder / "a.csv", "zip,n,price\n00123,1,0.5\n7,2,0\n08,3,10.25\n",
        {"zip": ["00123", "7", "08"], "n": [1, 2, 3], "price": [0.5, 0, 10.25]},
    )  # fmt: skip


@case()
def large_whole_numbers_with_gaps(folder: Path) -> Made:
    large, larger = 2**53 + 1, 2**63 + 5
    return stated(
        folder / "a.csv", f"i,u,w\n{large},{larger},x\n,,y\n-{large},1,z\n",
        {"i": pd.array([large, None, -large], "Int64"), "u": pd.array([larger, None, 1], "UInt64"),
         "w": ["x", "y", "z"]},
    )  # fmt: skip


@case()
def words_that_may_stand_for_nothing(folder: Path) -> Made:
    return stated(
        folder / "a.csv", "n,w,b\n1,NA,True\nNA,None,False\n3,,True\n4,null,False\n",
        {"n": [1, None, 3, 4], "w": ["NA", "None", None, "null"], "b": [True, False, True, False]},
    )  # fmt: skip


@case()
def words_of_the_user_that_stand_for_nothing(folder: Path) -> Made:
    return stated(
        folder / "a.csv", "n,w\n1,NA\n-,-\n3,x\n",
        {"n": [1, None, 3], "w": ["NA", None, "x"]}, missing=["-"],
    )  # fmt: skip


@case()
def nothing_stands_for_nothing(folder: Path) -> Made:
    return stated(
        folder / "a.csv", "n,w\n1,NA\n,\n3,None\n",
        {"n": [1, None, 3], "w": ["NA", "", "None"]}, missing=[],
    )  # fmt: skip


@case()
def dates_with_and_without_offsets(folder: Path) -> Made:
    texts = ["2026-01-02T10:00:00Z", "", "2026-01-02T10:00:00+02:00", "2026-06-30 23:30:00"]
    utc = ["2026-01-02 10:00", None, "2026-01-02 08:00", "2026-06-30 23:30"]
    times = pd.to_datetime(utc)  # type: ignore[arg-type]  # pandas takes None
    return stated(
        folder / "a.csv", "d,z\n" + "".join(f"{text},z\n" for text in texts),
        {"d": times.astype("datetime64[ns]"), "z": ["z"] * 4},
        column_types={"d": "datetime", "z": "str"},
    )  # fmt: skip


@case(pandas=NEVER, refusal="column 'd' contains '9999-12-31' in the row at byte 15")
def a_date_that_nanoseconds_cannot_hold(folder: Path) -> Made:
    return refused(
        folder / "a.csv", "d,z\n2026-01-02\n9999-12-31,y\n", {"d": "datetime", "z": "str"}
    )


@case()
def quotes_that_are_escaped(folder: Path) -> Made:
    return stated(
        folder / "a.csv", 'a,n\n"say \\"hi, you\\"",1\n"x\\\\",2\n',
        {"a": ['say "hi, you"', "x\\"], "n": [1, 2]}, escape="\\",
    )  # fmt: skip


@case(pandas=NEVER, refusal="the byte 0xff at offset 6 is not utf-8")
def a_byte_that_is_not_in_the_encoding(folder: Path) -> Made:
    path = folder / "a.csv"
    path.write_bytes(b"a,b\n1,\xff\n")
    dataset = TabularDataset.from_delimited_files(path, column_types={"a": "int64", "b": "str"})
    return dataset, pd.DataFrame({"it is": ["refused"]})


@case()
def json_lines(folder: Path) -> Made:
    path = folder / "a.jsonl"
    path.write_text(
        '{"i": 1, "f": 0.5, "s": "x", "b": true, "m": [1, 2], "g": 1}\n'
        '{"i": 9007199254740993, "f": 2, "s": null, "b": false, "m": {"k": null}}\n'
        '{"i": -3, "f": null, "s": "z", "b": true, "m": "text", "g": 2}\n'
    )
    frame = pd.DataFrame({
        "i": [1, 9007199254740993, -3], "f": [0.5, 2, None], "s": ["x", None, "z"],
        "b": [True, False, True], "m": pd.Series([[1, 2], {"k": None}, "text"], dtype=object),
        "g": [1, None, 2],
    })  # fmt: skip
    return TabularDataset.from_json_lines_files(path), frame


def parquet(folder: Path, name: str, **columns: Any) -> Made:
    """Write Parquet of small row groups; return its dataset and its DataFrame."""
    path = folder / f"{name}.parquet"
    pq.write_table(pa.table(columns), path, row_group_size=2)
    return TabularDataset.from_parquet_files(path), pd.read_parquet(path)


@case()
def parquet_of_plain_types(folder: Path) -> Made:
    return parquet(
        folder, "plain", i=[1, 2, 3], f=[0.5, None, 2.5], s=["x", None, "z"], b=[True, False, True],
        raw=[b"\0", None, b"x"], u8=pa.array([1, 2, 255], pa.uint8()), n=pa.nulls(3),
        f32=pa.array([0.5, None, 2.5], pa.float32()), large=pa.array(["x", None, "z"], pa.large_string()),
        words=pa.array(["x", "y", "x"]).dictionary_encode().cast(pa.string()),
    )  # fmt: skip


@case()
def parquet_with_gaps(folder: Path) -> Made:
    return parquet(folder, "gaps", i=[1, 2, 3, None], b=[True, False, True, None])


@case()
def parquet_of_times(folder: Path) -> Made:
    days = [dt.date(2026, 1, 2), None, dt.date(9999, 12, 31)]
    stamps = [dt.datetime(2026, 1, 2, 3, 4, 5, 6000), None, dt.datetime(1700, 1, 1)]
    columns = {unit: pa.array(stamps, pa.timestamp(unit)) for unit in ("ms", "us", "ns")}
    return parquet(
        folder, "times", d=pa.array(days), z=pa.array([stamps[0], None, stamps[0]], pa.timestamp("us", tz="Europe/Berlin")),
        time=pa.array([1, None, 3], pa.time64("us")), span=pa.array([1, None, -3], pa.duration("ms")), **columns,
    )  # fmt: skip


@case(pandas=2, refusal="the column 'old' of the type timestamp[us]")
def parquet_of_old_times(folder: Path) -> Made:
    stamps = [dt.datetime(1600, 1, 1), None, dt.datetime(9999, 12, 31)]
    return parquet(folder, "old", i=[1, 2, 3], old=pa.array(stamps, pa.timestamp("us")))


@case()
def parquet_of_decimals_and_lists(folder: Path) -> Made:
    return parquet(
        folder, "nested", d=pa.array([decimal.Decimal("1.20"), None, decimal.Decimal("-3.00")]),
        v=[[1.5, 2.5], None, []],
        words=[["a"], None, ["b", "c"]], record=[{"a": 1.5, "b": "x"}, None, {"a": None, "b": "y"}],
        two=pa.array([b"ab", None, b"cd"], pa.binary(2)),
    )  # fmt: skip


@case(pyarrow=6, refusal="the column 'fixed' of the type fixed_size_list<element: int32>[2]")
def parquet_of_lists_of_one_length(folder: Path) -> Made:
    kind = pa.list_(pa.int32(), 2)
    return parquet(folder, "fixed", fixed=pa.array([[1, 2], [3, 4], [5, 6]], kind))


@case()
def parquet_of_categories(folder: Path) -> Made:
    path = folder / "words.parquet"
    frame = pd.DataFrame({"w": pd.Categorical(["x", "y", None, "x"]), "k": range(4)})
    frame.to_parquet(path, row_group_size=2)
    return TabularDataset.from_parquet_files(path), frame.astype({"w": object})


@case(pyarrow=20, refusal="column 'v' of the type string_view")
def parquet_of_views(folder: Path) -> Made:
    return parquet(
        folder, "views", v=pa.array(["x", None, "a long text, no less"], pa.string_view())
    )


@case(pyarrow=15, refusal="column 'h' of the type halffloat")
def parquet_of_half_floats(folder: Path) -> Made:
    return parquet(folder, "half", h=pa.array([0.5, None, 2.5], pa.float16()))


@case(pyarrow=3, refusal="column 'd' of the type decimal256(50, 2)")
def parquet_of_large_decimals(folder: Path) -> Made:
    values = [decimal.Decimal("1.20"), None, decimal.Decimal("-3.00")]
    return parquet(folder, "large", d=pa.array(values, pa.decimal256(50, 2)))


@case()
def parquet_of_uuids(folder: Path) -> Made:
    values = pa.array([uuid.UUID(int=1).bytes, None, uuid.UUID(int=3).bytes], pa.binary(16))
    return parquet(folder, "ids", u=pa.ExtensionArray.from_storage(pa.uuid(), values))


@case()
def parquet_with_an_index(folder: Path) -> Made:
    frame = pd.DataFrame({"x": range(6), "y": [k / 2 for k in range(6)]})
    frame.to_parquet(folder / "a.parquet", row_group_size=2)
    frame.loc[[1, 4, 5]].to_parquet(folder / "b.parquet", row_group_size=2)
    joined = pd.concat([frame, frame.loc[[1, 4, 5]]], ignore_index=True)
    return TabularDataset.from_parquet_files(folder), joined


@case()
def parquet_with_keys_in_folders(folder: Path) -> Made:
    frame = pd.DataFrame(
        {"x": [1, 2, 3, 4], "year": [2024, 2024, 2025, 2025], "c": ["a", "b", "a", "a"]}
    )
    frame.to_parquet(folder / "t", partition_cols=["year", "c"])
    expected = pd.read_parquet(folder / "t").astype({"year": "int64", "c": "str"})
    return TabularDataset.from_parquet_files(folder / "t"), expected


_RANDOM_TYPES: list[tuple[pa.DataType, Callable[[random.Random], Any]]] = [
    (pa.int8(), lambda r: r.randint(-128, 127)),
    (pa.int64(), lambda r: r.randint(-(2**53), 2**53)),
    (pa.uint16(), lambda r: r.randint(0, 2**16 - 1)),
    (pa.float64(), lambda r: r.random()),
    (pa.bool_(), lambda r: r.random() < 0.5),
    (pa.string(), lambda r: r.choice(["", "x", "é😀"])),
    (pa.large_binary(), lambda r: r.choice([b"", b"\0x"])),
    (pa.string_view(), lambda r: r.choice(["", "x", "longer than twelve"])),
    (pa.binary_view(), lambda r: r.choice([b"", b"longer than twelve"])),
    (pa.date32(), lambda r: dt.date(r.randint(1, 9999), 2, 3)),
    (pa.time32("ms"), lambda r: r.randint(0, 86_399_999)),
    (pa.timestamp("s"), lambda r: dt.datetime(r.randint(1, 9999), 2, 3)),
    (pa.timestamp("us"), lambda r: dt.datetime(r.randint(1500, 2400), 2, 3, 4)),
    (pa.timestamp("ms", tz="UTC"), lambda r: dt.datetime(r.randint(1970, 2100), 2, 3)),
    (pa.duration("us"), lambda r: r.randint(-(10**15), 10**15)),
    (pa.decimal128(9, 2), lambda r: decimal.Decimal(r.randint(-999, 999)).scaleb(-2)),
    (pa.decimal64(9, 2), lambda r: decimal.Decimal(r.randint(-999, 999)).scaleb(-2)),
    (pa.float16(), lambda r: r.choice([0.5, -2.0])),
    (pa.null(), lambda r: None),
    (pa.list_(pa.float64()), lambda r: [r.random() for _ in range(r.randint(0, 2))]),
    (pa.list_(pa.string()), lambda r: r.choice([[], ["a", "b"]])),
    (pa.map_(pa.string(), pa.float64()), lambda r: [("k", r.random())]),
    (pa.struct([("a", pa.string()), ("b", pa.float64())]), lambda r: {"a": "x", "b": r.random()}),
]


def _random_parquet(seed: int) -> Callable[[Path], Made]:
    def make(folder: Path) -> Made:
        chosen = random.Random(seed)
        columns = {}
        for number, (kind, value) in enumerate(chosen.sample(_RANDOM_TYPES, 2)):
            share = chosen.choice([0.0, 0.3])
            values = [None if chosen.random() < share else value(chosen) for _ in range(5)]
            columns[f"c{number}"] = pa.array(values, kind)
        return parquet(folder, "random", **columns)

    return make


CASES.extend(
    Case(f"random_parquet_{seed}", _random_parquet(seed), 2, 20, " of the type ")
    for seed in range(25)
)

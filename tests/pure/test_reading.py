"""Delimited text and JSON lines are read as they are written, or refused with file and place."""

from __future__ import annotations

import csv
import io
import json
import re
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from parallelrun_jupyter import TabularDataset
from parallelrun_jupyter.commands.options import inputs_of, reading_of, run_options
from parallelrun_jupyter.data.batching import BatchSpec
from parallelrun_jupyter.data.datasets.inputs import dataset_of, open_path
from parallelrun_jupyter.data.tables import text_encoding
from parallelrun_jupyter.data.tables.table_files import InputWarning, input_warnings_to
from parallelrun_jupyter.errors import ConfigError, InputError
from parallelrun_jupyter.worker.failures import BadInput
from parallelrun_jupyter.worker.plan_line import PlanLine
from parallelrun_jupyter.worker.tables.delimited import MISTAKEN
from parallelrun_jupyter.worker.tables.reader import load_table
from parallelrun_jupyter.worker.tables.table_columns import MISSING

LAW = settings(max_examples=60)
WHOLE = BatchSpec(1 << 60)
read = TabularDataset.from_delimited_files
read_json = TabularDataset.from_json_lines_files


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reading")


def put(folder: Path, content: str | bytes, name: str = "a.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def frames_of(dataset: TabularDataset, cut: BatchSpec = WHOLE) -> list[pd.DataFrame]:
    return [load_table(PlanLine.decode(line)) for line, _ in dataset.mini_batches(0, cut) if line]


def joined(dataset: TabularDataset, rows: int = 1) -> pd.DataFrame:
    frames = frames_of(dataset, BatchSpec(1, rows=rows))
    assert all(list(frame.dtypes) == list(frames[0].dtypes) for frame in frames)
    return pd.concat(frames, ignore_index=True)


# Missing values

WORDS = st.sampled_from(["", "NA", "None", "null", "-", "x", "Null", "1", "2.5"])


@LAW
@given(
    table=st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=6),
    missing=st.lists(st.sampled_from(["", "NA", "-", "x", "1"]), max_size=3, unique=True),
    rows=st.integers(1, 4),
)
def test_the_given_words_are_missing_in_text(
    folder: Path, table: list[tuple[str, str]], missing: list[str], rows: int
) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("a", "b", "z"), *((*r, "z") for r in table)])
    path = put(folder, text.getvalue())
    found = joined(read(path, column_types="str", missing=missing), rows)
    expected = pd.read_csv(path, dtype="str", keep_default_na=False, na_values=missing)
    pd.testing.assert_frame_equal(found, expected)


@LAW
@given(
    values=st.lists(
        st.sampled_from(["", "NA", "-", "7", "-8", "9007199254740993"]), min_size=1, max_size=6
    ),
    missing=st.sampled_from([None, [], ["", "-"], ["-"], ["NA", "-"]]),
    rows=st.integers(1, 4),
)
def test_an_empty_field_of_numbers_is_always_missing(
    folder: Path, values: list[str], missing: list[str] | None, rows: int
) -> None:
    path = put(folder, "n,z\n" + "".join(f"{value},z\n" for value in values))
    found = joined(read(path, missing=missing), rows)["n"]
    absent = {"", *(MISSING if missing is None else missing)}
    has_words = any(re.fullmatch("NA|-", v) and v not in absent for v in values)
    if has_words or not set(values) - absent:
        return  # text, or nothing at all
    assert found.dtype.name in {"int64", "float64", "Int64"}
    for value, number in zip(values, found.tolist(), strict=True):
        assert pd.isna(number) if value in absent else number == int(value)


def test_words_such_as_na_are_text_in_text_and_missing_in_numbers(folder: Path) -> None:
    path = put(folder, "code,name,n,all\nNA,Null,1,NA\n,None,NA,NA\nDE,nan,3,\n")
    found = joined(read(path))
    assert found["code"].fillna("-").tolist() == ["NA", "-", "DE"]
    assert found["name"].tolist() == ["Null", "None", "nan"]
    assert found["n"].isna().tolist() == [False, True, False]
    assert found["all"].fillna("-").tolist() == ["NA", "NA", "-"], "it may be the code of Namibia"
    numbers = put(folder, "a,b\nNA,\nnull,\n", "b.csv")
    assert joined(read(numbers, inference="pandas")).isna().all(axis=None)
    typed = read(path, column_types={"code": "str", "name": "str", "n": "float64", "all": "str"})
    pd.testing.assert_frame_equal(joined(typed), found)


NUMERALS = st.sampled_from(
    ["", "5", "007", "x", str(2**63), str(2**64 - 1), str(2**70), "-", "1.5"]
)


@LAW
@given(values=st.lists(NUMERALS, min_size=1, max_size=6), rows=st.integers(1, 6))
@example(values=[str(2**63), ""], rows=2)
@example(values=["", str(2**64 - 1)], rows=2)
@pytest.mark.parametrize("missing", [None, ["", "-"]])
def test_a_gap_in_text_is_a_gap_among_large_numbers_too(
    folder: Path, missing: list[str] | None, values: list[str], rows: int
) -> None:
    MISTAKEN.clear()  # earlier mini-batches of the worker must not matter
    path = put(folder, "id,n\n" + "".join(f"{value},1\n" for value in values))
    expected = pd.read_csv(path, dtype={"id": "str"}, keep_default_na=False, na_values=missing or [""])  # fmt: skip
    found = joined(read(path, column_types={"id": "str", "n": "int64"}, missing=missing), rows)
    pd.testing.assert_frame_equal(found, expected)


def test_inference_of_pandas_gives_the_types_of_pandas(folder: Path) -> None:
    path = put(folder, "code,zip,id\nNA,007,9007199254740993\nDE,12,\n")
    found = joined(read(path, inference="pandas"), rows=9)
    pd.testing.assert_frame_equal(found, pd.read_csv(path))
    with pytest.raises(InputError, match="inference is 'clever'; expected 'exact' or 'pandas'"):
        read(path, inference="clever")
    with pytest.raises(InputError, match="missing contains 7; expected fields as they are"):
        read(path, missing=[7])  # type: ignore[list-item]


def test_plan_lines_and_records_of_older_versions_keep_their_meaning(folder: Path) -> None:
    path = put(folder, "code,n\nNA,007\n,\n")
    spec = read(path, inference="pandas").spec()
    assert set(spec["options"]) == {"separator", "quote", "encoding", "header", "column_types"}
    dataset = dataset_of(spec)
    [line] = [PlanLine.decode(line) for line, _ in dataset.mini_batches(0, WHOLE) if line]
    assert set(line.table) == {"format", "separator", "quote", "columns", "types", "encoding"}
    pd.testing.assert_frame_equal(load_table(line), pd.read_csv(path))
    line.table["empty_is_text"] = True
    line.table["types"][0] = "str"
    assert load_table(line)["code"].tolist() == ["NA", ""]


def test_whole_numbers_of_json_lines_are_exact_with_gaps(folder: Path) -> None:
    values = [2**53 + 1, None, -(2**63), 2**63 - 1, 5]
    path = put(folder, "".join(json.dumps({"n": value}) + "\n" for value in values), "n.jsonl")
    found = joined(read_json(path), rows=2)["n"]
    assert found.dtype.name == "Int64"
    assert [None if pd.isna(value) else value for value in found] == values
    assert joined(read_json(path, inference="pandas"))["n"].dtype.name == "object"


# Encodings

AZURE = {"utf8": "utf-8", "iso88591": "latin-1", "latin1": "latin-1", "ascii": "ascii",
         "utf16": "utf-16", "utf32": "utf-32", "utf8bom": "utf-8-sig", "windows1252": "cp1252"}  # fmt: skip


@pytest.mark.parametrize(("name", "codec"), AZURE.items())
def test_azures_names_of_encodings(folder: Path, name: str, codec: str) -> None:
    word = "abc" if name == "ascii" else "Größe"
    path = put(folder, f"{word},n\n{word},1\n".encode(codec), f"{name}.csv")
    step = f"read_delimited: {{encoding: {name}, header: all_files_same_headers}}"
    put(folder, f"paths: [file: ./{name}.csv]\ntransformations: [{{{step}}}]", "MLTable")
    lines = put(folder, json.dumps({word: word}, ensure_ascii=False).encode(codec), f"{name}.jsonl")
    for dataset in (read(path, encoding=name), open_path(folder), read_json(lines, encoding=name)):
        assert isinstance(dataset, TabularDataset)
        frame = dataset.to_pandas_dataframe()
        assert (frame.columns[0], frame.iloc[0, 0]) == (word, word)


@pytest.mark.parametrize(
    ("content", "encoding", "message"),
    [
        ("Größe,n\n1,2\n".encode("cp1252"), "utf8", "the byte 0xf6 at offset 2 is not utf-8"),
        ("a,b\nGröße,2\n".encode("cp1252"), "utf8", "the byte 0xf6 at offset 6 is not utf-8"),
        ("ü,b\n1,2\n".encode(), "ascii", "the byte 0xc3 at offset 0 is not ascii"),
        (b"a,\x81\n1,2\n", "windows1252", "the byte 0x81 at offset 2 is not cp1252"),
        ("a,b\n1,2\n".encode("utf-16"), "utf8", "offset 0 is not utf-8 .* give encoding='utf16'"),
        ("a,b\n1,2\n".encode("utf-16"), "latin1", "offset 3 is zero, .* give encoding='utf16'"),
        ("a,b\n1,2\n".encode("utf-16-le"), "utf8", "offset 1 is zero, .* encoding='utf-16-le'"),
        ("a,b\n1,2\n".encode("utf-16-be"), "cp1252", "offset 0 is zero, .* encoding='utf-16-be'"),
        ("a,b\n1,2\n".encode("utf-32"), "latin1", "is zero, .* give encoding='utf32'"),
        (b"a,b\n1,x\0y\n", "utf8", "the byte at offset 7 is zero, which is not text in utf-8"),
        ("a,b\n1,x\0y\n".encode("utf-16"), "utf16", "the byte at offset 16 is zero"),
        ("a\0,b\n1,x\n".encode("utf-16"), "utf16", "the byte at offset 4 is zero"),
        (b"\xff\xfea\0\x00\xd8,\0\n\0", "utf16", "the byte 0x00 at offset 4 is not utf-16-le"),
    ],
)
def test_errors_of_another_encoding_name_file_and_offset(
    folder: Path, content: bytes, encoding: str, message: str
) -> None:
    path = put(folder, content, "bad.csv")
    with pytest.raises(InputError, match=rf"bad\.csv.*{message}"):
        read(path, encoding=encoding).to_pandas_dataframe()
    good = put(folder, "a,b\n1,x\n".encode(AZURE.get(encoding, encoding)), "good.csv")
    with pytest.raises(BadInput, match=rf"bad\.csv.*{message}"):
        frames_of(read([good, path], encoding=encoding, column_types="str"))


def lines_in(encoding: str, invalid: int) -> bytes:
    return "".join(f"{k},{'Größe' if k < invalid else 'Size'}\n" for k in range(100)).encode(
        encoding
    )


def test_a_file_in_another_encoding_is_refused_at_once(folder: Path) -> None:
    path = put(folder, b"n,t\n" + lines_in("latin-1", 20), "latin.csv")
    with pytest.raises(InputError) as refused:
        read(path).check()
    for part in (str(path), "0xf6", "offset 8 ", "not utf-8", "encoding='latin1'", "--encoding"):
        assert part in str(refused.value)
    read(path, encoding="latin1").check()


@pytest.mark.parametrize(
    "content",
    [lines_in("latin-1", 7), "9,ö\n".encode() + lines_in("latin-1", 50), lines_in("utf8", 99)],
)
def test_a_file_with_some_invalid_rows_is_not_refused(folder: Path, content: bytes) -> None:
    read(put(folder, b"n,t\n" + content)).check()


@settings(max_examples=150)
@example(content=b',,a\n"', encoding="utf8", types=None)
@given(
    content=st.lists(
        st.sampled_from([b"a", b"1", b",", b"\n", b"\xe9", b"\xc3\xa9", b"\xff", b"\0", b"\x81", b'"'])
    ).map(b"".join),
    encoding=st.sampled_from(["utf8", "ascii", "cp1252", "latin-1", "utf-16-le", "gbk", "shift_jis"]),
    types=st.sampled_from([None, "str"]),
)  # fmt: skip
def test_bytes_that_are_not_in_the_encoding_are_never_read(
    folder: Path, content: bytes, encoding: str, types: Any
) -> None:
    content = "a,b\n".encode(encoding) + content
    path = put(folder, content, "soup.csv")
    try:
        text = content.decode(encoding)
        assume("\0" not in text)
    except UnicodeDecodeError:
        with pytest.raises(
            BadInput, match=r"soup\.csv.* (at offset|the row at|the quote at|ends at byte)"
        ):
            frames_of(read(path, encoding=encoding, column_types=types))
        return
    dataset = read(path, encoding=encoding, column_types=types)
    lines = [PlanLine.decode(line) for line, _ in dataset.mini_batches(0, WHOLE) if line]
    refused = ("more fields", "never closed")
    for line in lines:
        try:
            values = load_table(line).to_numpy().ravel()
        except BadInput as error:
            values = [] if any(word in str(error) for word in refused) else [str(error)]
        for value in values:
            assert not isinstance(value, str) or value.replace('"', "") in text.replace('"', "")


def test_a_json_key_that_is_not_in_the_encoding_is_not_a_column(folder: Path) -> None:
    path = put(folder, b'{"a": 1}\n{"Gr\xf6\xdfe": 2}\n', "keys.jsonl")
    lines = [
        PlanLine.decode(line) for line, _ in read_json(path).mini_batches(0, BatchSpec(1)) if line
    ]
    assert list(load_table(lines[0]).columns) == ["a"]
    with pytest.raises(BadInput, match=r"keys\.jsonl: the byte 0xf6 at offset 13 is not utf-8"):
        load_table(lines[1])


@pytest.mark.parametrize("encoding", ["utf9", "base64", None, 8])
def test_unknown_encodings_are_refused(folder: Path, encoding: Any) -> None:
    with pytest.raises(
        InputError, match="unknown encoding .*; use, for example, 'utf8' or 'latin-1'"
    ):
        read(folder, encoding=encoding)


# Dates

DATES = st.sampled_from(
    ["2020-01-02", "2020-01-02T10:00:00Z", "2020-01-02 10:00", "2020-01-02T10:00:00+02:00", "",
     "2020-06-30T23:30:00.123456-05:00", "1999-12-31 23:59:59.999999999"]
)  # fmt: skip


@LAW
@given(values=st.lists(DATES, min_size=1, max_size=7), rows=st.integers(1, 4))
def test_dates_are_those_that_pandas_parses_from_the_whole_column(
    folder: Path, values: list[str], rows: int
) -> None:
    given_values: list[str | None] = [value or None for value in values]
    # One by one: pandas 2 reads a value without an offset with the offset of an earlier value.
    columns = [pd.Series([value], dtype=object) for value in given_values]
    dates = [pd.to_datetime(column, format="ISO8601", utc=True) for column in columns]
    expected = pd.concat([date.astype("datetime64[ns, UTC]") for date in dates], ignore_index=True)
    expected = expected.dt.tz_localize(None).astype("datetime64[ns]").rename("when")
    path = put(folder, "when,z\n" + "".join(f"{value},z\n" for value in values))
    table = joined(read(path, column_types={"when": "datetime", "z": "str"}), rows)
    pd.testing.assert_series_equal(table["when"], expected)
    text = "".join(json.dumps({"when": value}) + "\n" for value in given_values)
    lines = read_json(put(folder, text, "a.jsonl"), column_types={"when": "datetime"})
    pd.testing.assert_series_equal(joined(lines, rows)["when"], expected)


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        ("9999-12-31", "datetime", "is beyond the years 1677 to 2262 .* 'datetime64\\[us\\]'"),
        ("0001-01-01", "datetime", "is beyond the years"),
        ("31.12.9999", "datetime:%d.%m.%Y", "is beyond the years"),
        ("2020-13-01", "datetime", "is not a date in the format ISO 8601"),
        ("01/02/2020", "datetime", "is not a date in the format ISO 8601; give the format"),
        ("now", "datetime", "is not a date in the format ISO 8601"),
        ("today", "datetime64[us]", "is not a date in the format ISO 8601"),
        ("2020-01-02", "datetime:%d.%m.%Y", "is not a date in the format %d.%m.%Y"),
    ],
)
def test_errors_of_dates_name_file_row_and_value(
    folder: Path, value: str, kind: str, message: str
) -> None:
    first = pd.Timestamp(2020, 1, 2).strftime(kind[9:] if ":" in kind else "%Y-%m-%d")
    path = put(folder, f"when,n\n{first},1\n{value},2\n", "dates.csv")
    place = 7 + len(first) + 3
    where = rf"dates\.csv: column 'when' contains '{re.escape(value)}' in the row at byte {place}, which "
    with pytest.raises(BadInput, match=where + message):
        frames_of(read(path, column_types={"when": kind, "n": "int64"}))
    rows = [json.dumps({"when": one}) + "\n" for one in (first, value)]
    lines = put(folder, "".join(rows), "dates.jsonl")
    where = rf"dates\.jsonl: column 'when' contains '{re.escape(value)}' in the line at byte {len(rows[0])}"
    with pytest.raises(BadInput, match=f"{where}, which {message}"):
        frames_of(read_json(lines, column_types={"when": kind}))


def test_the_last_day_is_a_date_in_microseconds(folder: Path) -> None:
    values = ["9999-12-31", "2020-01-02T10:00:00+02:00", "NaT", "", "0001-01-01"]
    path = put(folder, "when,z\n" + "".join(f"{value},z\n" for value in values))
    found = joined(read(path, column_types={"when": "datetime64[us]", "z": "str"}))["when"]
    assert found.dtype.name == "datetime64[us]"
    shown = [None if pd.isna(value) else str(value) for value in found]
    assert shown == [
        "9999-12-31 00:00:00",
        "2020-01-02 08:00:00",
        None,
        None,
        "0001-01-01 00:00:00",
    ]


@pytest.mark.parametrize("value", ["-2020-01-02", "-0001-12-31", "0000-01-01"])
def test_years_before_the_first_are_refused(folder: Path, value: str) -> None:
    path = put(folder, f"when\n2020-01-01\n{value}\n")
    with pytest.raises(
        BadInput, match=f"contains '{value}' in the row at byte 16, which is not a date"
    ):
        frames_of(read(path, column_types={"when": "datetime64[us]"}))


@pytest.mark.parametrize("value", [1.5, True, ["2020-01-01"]])
def test_json_dates_must_be_text_or_whole_numbers(folder: Path, value: Any) -> None:
    path = put(folder, json.dumps({"when": value}), "a.jsonl")
    with pytest.raises(BadInput, match=r"in the line at byte 0, which is not a valid date"):
        frames_of(read_json(path, column_types={"when": "datetime"}))


# Escapes

ESCAPED = st.lists(
    st.sampled_from(["\\", '"', '\\"', "\\\\", ",", "\n", "\r\n", "\\\n", "\\,", '""', "a", "é", " "]),
    max_size=14,
).map("".join)  # fmt: skip


@settings(max_examples=300)
@given(
    soup=ESCAPED, size=st.integers(1, 30), block=st.integers(1, 30),
    encoding=st.sampled_from(["utf-8", "utf-16"]),
)  # fmt: skip
@example(soup='"a"\\\n"b\\"c",\\\n', size=1, block=3, encoding="utf-8")
@example(soup='\\,"a\n"\\""b\n', size=1, block=3, encoding="utf-8")
def test_escapes_are_read_as_pandas_reads_them(
    folder: Path, soup: str, size: int, block: int, encoding: str
) -> None:
    path = put(folder, soup.encode(encoding), "escaped.csv")
    dataset = read(path, escape="\\", header=False, encoding=encoding, column_types="str")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_encoding, "BLOCK_BYTES", 4 * block)
        lines = [
            PlanLine.decode(line) for line, _ in dataset.mini_batches(0, BatchSpec(size)) if line
        ]
        columns = len(lines[0].table.get("columns", "1")) if lines else 1
        try:
            expected = pd.read_csv(
                io.BytesIO(soup.encode()), header=None, names=range(columns + 1), dtype="str",
                index_col=False, escapechar="\\", keep_default_na=False, na_values=[""],
            )  # fmt: skip
            assume(lines or not len(expected))
            is_good = not expected[columns].notna().any()
            del expected[columns]
        except pd.errors.ParserError:
            is_good = False
        if not is_good:
            with pytest.raises(BadInput, match=r"escaped\.csv"):
                frames_of(dataset, BatchSpec(size))
            return
        frames = frames_of(dataset, BatchSpec(size))
    if frames:
        found = pd.concat(frames, ignore_index=True)
        expected.columns = found.columns
        pd.testing.assert_frame_equal(found, expected)


def test_escapes_are_kept_while_types_are_inferred(folder: Path) -> None:
    path = put(folder, 'a\\,b,n,z\n"say \\"hi, you\\"",1,007\n"two\\\nlines",2,8\n')
    dataset = read(path, escape="\\")
    found = joined(dataset_of(dataset.spec()))  # type: ignore[arg-type] # a table
    assert list(found.columns) == ["a,b", "n", "z"]
    assert found.to_numpy().tolist() == [['say "hi, you"', 1, "007"], ["two\nlines", 2, "8"]]
    with pytest.raises(InputError, match="escape and quote are both '\"'; expected two different"):
        read(path, escape='"')
    with pytest.raises(InputError, match="escape is 'ab'; expected one ASCII character"):
        read(path, escape="ab")


@pytest.mark.parametrize("types", [None, "str"])
def test_a_file_that_looks_escaped_is_warned_about_once(folder: Path, types: Any) -> None:
    path = put(folder, 'a,b\n"say \\"hi\\"",1\n"\\"x\\" y",2\n', "looks.csv")
    said: list[str] = []
    with input_warnings_to(said.append):
        list(read([path, path], column_types=types).mini_batches(0, BatchSpec(1)))
    [text] = said
    assert "looks.csv' seems to escape quotes with a backslash: 'say \\\\\"hi" in text
    assert "give escape='\\\\'" in text
    with pytest.warns(InputWarning, match="seems to escape"):
        list(read(path, column_types=types).mini_batches(0, BatchSpec(1)))


@pytest.mark.parametrize(("given", "separator"), [(",", ";"), (",", "\t"), (",", "|"), (";", ",")])
def test_a_wrong_separator_is_warned_about_and_the_right_one_is_not(
    folder: Path, given: str, separator: str
) -> None:
    path = put(folder, f"id{separator}name\n1{separator}a\n", "sep.csv")
    said: list[str] = []
    with input_warnings_to(said.append):
        list(read(path, separator=given).mini_batches(0, WHOLE))
    [text] = said
    assert f"sep.csv' is read as a table of one column, {f'id{separator}name'!r}" in text
    assert f"the separator is {given!r}." in text
    assert f"give separator={separator!r}, or the option --separator {separator!r}" in text
    with input_warnings_to(said.append):
        list(read(path, separator=separator).mini_batches(0, WHOLE))
    assert said == [text]


@pytest.mark.parametrize("text", ["name\na;b\n", "a;b,c\n1,2\n", '"a,b;c"\n1\n'])
def test_a_separator_in_a_value_or_among_other_columns_is_no_wrong_separator(
    folder: Path, text: str
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(read(put(folder, text)).mini_batches(0, WHOLE))


@pytest.mark.parametrize(
    "text", ['a,b\n"C:\\dir\\",1\n', 'a\n"{""k"": ""x\\""y""}"\n', "a\n\\x\n", 'a\n"x\\"\n']
)
def test_backslashes_without_quotes_do_not_look_escaped(folder: Path, text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(read(put(folder, text)).mini_batches(0, WHOLE))


# Azure's meaning of empty_as_string


def test_empty_as_string_keeps_text_and_changes_no_number(folder: Path) -> None:
    from parallelrun_jupyter.azureml.data.tables import TabularDatasetFactory

    path = put(folder, "code,n,gap\nNA,1,\n,,\nDE,NA,\n")
    for kept in (False, True):
        table = TabularDatasetFactory.from_delimited_files(str(path), empty_as_string=kept)
        frame = table.to_pandas_dataframe()
        assert frame["code"].fillna("-").tolist() == (
            ["NA", "", "DE"] if kept else ["-", "-", "DE"]
        )
        assert frame["n"].isna().tolist() == [False, True, True]
        assert [isinstance(value, str) for value in frame["gap"]] == [kept] * 3
        if not kept:
            pd.testing.assert_frame_equal(frame, pd.read_csv(path))


# Options in the cell and in the terminal


def typed(*words: str) -> Any:
    return run_options("parallelrun run").parse_args(words)


def test_types_and_missing_words_as_command_line_options(folder: Path) -> None:
    path = put(folder, "id,when,t\n007,31 Jan, 2020,NA\n", "typed.csv").as_posix()
    put(folder, 'id,when,t\n007,"31 Jan, 2020",NA\n', "typed.csv")
    given_words = typed("--format", "csv", "--column-types", "id=str,when=datetime:%d %b, %Y,t=str",
                        "--missing", ",NA")  # fmt: skip
    [table] = inputs_of([path], "csv", reading=reading_of(given_words))
    frame = table.to_pandas_dataframe()
    assert frame["id"].tolist() == ["007"]
    assert frame["when"].tolist() == [pd.Timestamp(2020, 1, 31)]
    assert frame["t"].isna().all()
    more = typed("--format", "csv", "--column-types", "id=str", "--column-types", "t=str")
    assert reading_of(more) == {"column_types": {"id": "str", "t": "str"}}
    one = typed("--format", "jsonl", "--column-types", "str")
    assert reading_of(one) == {"column_types": "str"}
    none = typed("--format", "csv", "--no-missing")
    [table] = inputs_of([path], "csv", reading=reading_of(none))
    assert table.to_pandas_dataframe()["t"].tolist() == ["NA"]
    assert reading_of(typed("--missing", "-", "--missing", "x", "--format", "csv")) == {
        "missing": ["-", "x"]
    }
    assert reading_of(typed()) == {}
    some = typed("--format", "csv", "--columns", "t,id")
    [table] = inputs_of([path], "csv", reading=reading_of(some))
    assert list(table.to_pandas_dataframe()) == ["id", "t"]


@pytest.mark.parametrize("word", ["\\t", "\t"])
def test_separator_and_encoding_as_command_line_options(folder: Path, word: str) -> None:
    path = put(folder, "id\tname\n1\tGr\u00fc\u00dfe\n".encode("latin-1"), "tabs.csv").as_posix()
    options = typed("--format", "csv", "--separator", word, "--encoding", "latin1")
    [table] = inputs_of([path], "csv", reading=reading_of(options))
    assert table.to_pandas_dataframe().to_dict("list") == {"id": [1], "name": ["Gr\u00fc\u00dfe"]}
    lines = reading_of(typed("--format", "jsonl", "--encoding", "latin1"))
    assert lines == {"encoding": "latin1"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--separator", ";;"], "separator is ';;'; expected one ASCII character"),
        (["--separator", ""], "separator is ''; expected one ASCII character"),
        (["--encoding", "latin0"], "unknown encoding 'latin0'; use, for example, 'utf8'"),
    ],
)
def test_a_bad_separator_or_encoding_is_refused(
    folder: Path, words: list[str], message: str
) -> None:
    path = put(folder, "a\n1\n", "bad.csv").as_posix()
    with pytest.raises(InputError, match=re.escape(message)):
        inputs_of([path], "csv", reading=reading_of(typed("--format", "csv", *words)))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--column-types", "a=str"], "--column-types is for tables of the format csv or jsonl, but"
         " --format is missing. Add --format csv"),
        (["--column-types", "a=str", "--format", "parquet"], "but --format is parquet"),
        (["--missing", "-", "--format", "jsonl"], "--missing is for tables of the format csv, but"),
        (["--column-types", "a=str,int", "--format", "csv"], "expected NAME=TYPE, or several"),
        (["--column-types", "=str", "--format", "csv"], "expected NAME=TYPE"),
        (["--columns", "a"], "--columns is for tables of the format csv or jsonl or parquet, but"
         " --format is missing. Add --format csv"),
        (["--separator", ";"], "--separator is for tables of the format csv, but --format is missing."
         " Add --format csv"),
        (["--separator", ";", "--format", "jsonl"], "--separator is for tables of the format csv, but"
         " --format is jsonl. Leave --separator out"),
        (["--encoding", "latin1", "--format", "parquet"], "--encoding is for tables of the format csv"
         " or jsonl, but --format is parquet"),
        (["--missing", "-", "--no-missing"], "contradict each other"),
    ],
)  # fmt: skip
def test_bad_command_line_options_of_tables(words: list[str], message: str) -> None:
    with pytest.raises((ConfigError, InputError), match=re.escape(message)):
        reading_of(typed(*words))


def test_a_misspelled_variable_is_named() -> None:
    names = {"frame": pd.DataFrame({"a": [1]}), "_frames": [1], "fram_": 3}
    with pytest.raises(InputError, match=r"'fram': there is neither .* variable .*mean 'frame'\?"):
        inputs_of(["fram"], names=names)
    with pytest.raises(InputError, match="does not exist"):
        inputs_of(["other"], names=names)[0].check()

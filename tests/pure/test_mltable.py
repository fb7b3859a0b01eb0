from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from parallelrun_jupyter.data.datasets.inputs import FORMATS
from parallelrun_jupyter.data.datasets.mltable import MAKERS, MLTable, mltable_at, read_mltable
from parallelrun_jupyter.errors import InputError


def read(tmp_path: Path, text: str) -> MLTable:
    (tmp_path / "MLTable").write_text(text)
    return read_mltable(str(tmp_path / "MLTable"))


def test_everything_of_the_subset_is_read(tmp_path: Path) -> None:
    table = read(
        tmp_path,
        """
        $schema: https://azuremlschemas.azureedge.net/latest/MLTable.schema.json
        type: mltable
        paths:
          - file: ./a b.csv
          - folder: ../more
          - pattern: years/*/*.csv
          - folder: az://container/x
        transformations:
          - read_delimited:
              delimiter: ';'
              encoding: latin1
              header: all_files_same_headers
              empty_as_string: true
              include_path_column: true
          - extract_columns_from_partition_format: /{user}/{day:yyyy}/*.csv
          - drop_columns: [a, b]
          - drop_columns: c
          - convert_column_types:
              - columns: [n, m]
                column_type: int
              - columns: day
                column_type:
                  datetime:
                    formats: ['%d.%m.%Y']
        """,
    )
    assert table.paths == [str(tmp_path / "a b.csv"), str(tmp_path.parent / "more"),
                           str(tmp_path / "years/*/*.csv"), "az://container/x"]  # fmt: skip
    assert table.form == "csv"
    assert (table.reading["delimiter"], table.reading["encoding"]) == (";", "latin1")
    assert table.partition_format == "/{user}/{day:yyyy}/*.csv"
    assert table.drops == ["a", "b", "c"]
    assert table.types == {"n": "Int64", "m": "Int64", "day": "datetime:%d.%m.%Y"}


@pytest.mark.parametrize(
    ("step", "form"),
    [("read_parquet", "parquet"), ("read_parquet: {include_path_column: true}", "parquet"),
     ("read_json_lines: {encoding: utf8, invalid_lines: error}", "jsonl"), ("read_delimited:", "csv")],
)  # fmt: skip
def test_readers(tmp_path: Path, step: str, form: str) -> None:
    assert read(tmp_path, f"paths: [file: x]\ntransformations: [{{{step}}}]").form == form


def test_files_that_are_not_read(tmp_path: Path) -> None:
    table = read(tmp_path, "paths: [pattern: ./*.png]")
    assert (table.form, table.partition_format) == (None, None)
    step = "extract_columns_from_partition_format: {partition_format: '{a}/*'}"
    table = read(tmp_path, f"paths: [folder: ./x]\ntransformations: [{step}]")
    assert table.partition_format == "{a}/*"


READ = "paths: [file: x]\ntransformations:\n- read_delimited\n- "


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- 1", "it has no list of paths. Write, for example, paths: [{file: a.csv}]."),
        ("paths: [", "could not be read: while parsing"),
        ("paths: []", "its list of paths is empty"),
        ("paths: [x]", "its paths contain 'x'. Expected file, folder, pattern, such as"),
        ("paths: [file: ' ']", "its paths contain {'file': ' '}. Expected a text"),
        ("paths: [file: x]\nversion: 1", "'version' is not supported."),
        (READ + "filter: col('x') > 1", "the transformation 'filter' is not supported. Supported"),
        (READ + "drop_column: a", "Did you mean 'drop_columns'? Supported are convert_column_types, drop"),
        (READ + "a: 1\n  b: 2", "the transformation {'a': 1, 'b': 2} is not supported"),
        (READ + "read_parquet", "it reads its files twice. Keep one of read_delimited, read_json"),
        (READ + "drop_columns: {a: b}", "drop_columns names the columns {'a': 'b'}"),
        (READ + "convert_column_types: [{columns: a}]", "convert_column_types holds {'columns': 'a'}"),
        (READ + "convert_column_types: [{columns: a, column_type: stream_info}]",
         "the column type 'stream_info' is not supported. Supported are boolean, datetime"),
        (READ + "convert_column_types: [{columns: a, column_type: {datetime: {formats: [a, b]}}}]",
         "and datetime with one of formats"),
        (READ + "extract_columns_from_partition_format: [a]", "partition_format is ['a']. Expected"),
        ("paths: [file: x]\ntransformations: [drop_columns: a]", "it has columns, but does not read a table"),
        ("paths: [file: x]\ntransformations: [read_delimited: {delimitr: ';'}]",
         "read_delimited 'delimitr' is not supported. Did you mean 'delimiter'? Supported"),
        ("paths: [file: x]\ntransformations: [read_delimited: 5]", "read_delimited has the options 5"),
        ("paths: [file: x]\ntransformations: [read_json_lines: {invalid_lines: drop}]",
         "invalid_lines is 'drop', which would drop rows silently. Expected error."),
    ],
)  # fmt: skip
def test_anything_else_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, text)
    assert str(caught.value).startswith(f"the MLTable file '{tmp_path}/MLTable'")
    assert message in str(caught.value)


def test_where_such_a_file_is(tmp_path: Path) -> None:
    assert mltable_at(str(tmp_path)) is None
    assert mltable_at(str(tmp_path / "MLTable")) is None
    (tmp_path / "MLTable").write_text("")
    found: Any = str(tmp_path / "MLTable")
    assert mltable_at(str(tmp_path)) == mltable_at(found) == found


def test_every_format_that_can_be_named_can_be_read() -> None:
    assert tuple(MAKERS) == FORMATS

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from parallelrun_jupyter.data.partitions.path_format import (
    PartitionFormat,
    as_json,
    check_keys,
    combination,
)
from parallelrun_jupyter.errors import ConfigError, InputError
from parallelrun_jupyter.worker.tables.reader import key_values


@pytest.mark.parametrize(
    ("text", "path", "values"),
    [
        ("{user}/{season}/{genres}.wav", "/d/ada/summer/jazz.wav",
         {"user": "ada", "season": "summer", "genres": "jazz"}),
        ("data/{user}/{season}.wav", "/x/data/ada/summer.wav", {"user": "ada", "season": "summer"}),
        ("/{dept}/{day:yyyy/MM/dd}/data.parquet", "../Accounts/2019/01/31/data.parquet",
         {"dept": "Accounts", "day": datetime(2019, 1, 31)}),
        ("{at:yyyy-MM-dd HH.mm.ss}.csv", "/a/2019-02-28 23.59.01.csv",
         {"at": datetime(2019, 2, 28, 23, 59, 1)}),
        ("{year:yyyy}/*.csv", "/a/2020/any name.csv", {"year": datetime(2020, 1, 1)}),
        ("{at:dd.MM.yyyy}/*", "/a/31.12.2020/x", {"at": datetime(2020, 12, 31)}),
        ("{store}_{brand}.csv", "/a/5_the_big_one.csv", {"store": "5", "brand": "the_big_one"}),
        ("{a}.tar.gz", "/x/y.tar.gz", {"a": "y"}),
        ("{a}/{b}", "/x/*/.[é]", {"a": "*", "b": ".[é]"}),
        ("city={city}/*.parquet", "/x/city=S%C3%A3o%20Paulo%2FBR/part-0.parquet",
         {"city": "São Paulo/BR"}),
        ("city={city}/n={n}/*", "/x/city=__HIVE_DEFAULT_PARTITION__/n=/0", {"city": None, "n": ""}),
        ("{city}/*", "/x/50%25/0", {"city": "50%25"}),
        ("{a}.x", "b.x", {"a": "b"}),
        ("{line}.x", "/a/two\nlines.x", {"line": "two\nlines"}),
    ],
)  # fmt: skip
def test_paths_give_their_keys(text: str, path: str, values: dict[str, Any]) -> None:
    assert PartitionFormat(text).values(path) == values
    assert PartitionFormat(text).keys == list(values)


@pytest.mark.parametrize(
    ("text", "path", "why"),
    [
        ("{user}/{genres}.wav", "/d/ada/jazz.mp3", "its end has another form"),
        ("{user}/{genres}.wav", "jazz.wav", "its end has another form"),
        ("data/{user}.wav", "/my_data/ada.wav", "its end has another form"),
        ("{day:yyyy/MM/dd}/*", "/2019/1/31/x", "its end has another form"),
        ("{day:yyyy/MM/dd}/*", "/2019/02/31/x", "'day': day is out of range for month"),
        ("{day:yyyy/MM/dd}/*", "/2019/٠٢/21/x", "its end has another form"),
        ("{user}.wav/*", "/.wav/x", "its end has another form"),
    ],
)
def test_a_path_that_does_not_match_is_shown(text: str, path: str, why: str) -> None:
    with pytest.raises(InputError) as caught:
        PartitionFormat(text).values(path)
    message = str(caught.value)
    assert message.startswith(f"the input {path!r} does not match the partition_format {text!r}: ")
    assert why in message


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it is empty"),
        ("/", "it is empty"),
        ("data/*.csv", r"it contains no {key}"),
        ("{a}/{b}/", r"it ends in a folder, but must include the file's name \(as '/\*'\)"),
        ("{a}{b}.csv", "two keys have no text between them"),
        ("{a}/{a}.csv", "it contains the key 'a' twice"),
        ("{a/b}.csv", r"{a/b} has no name"),
        ("{}/x", "{} has no name"),
        ("{a/x", "'{' has no matching brace"),
        ("a}/{b}", "'}' has no matching brace"),
        ("{d:yyyy/mm/dd}", r"'yyyy/mm/dd' has no month \(MM; months are MM and minutes are mm\)"),
        ("{d:MM}", r"'MM' has no year \(yyyy;"),
        ("{d:}", r"'' has no year"),
        (
            "{d:yyyy/MMM}",
            "'yyyy/MMM' is not a date; expected each of yyyy, MM, dd, HH, mm, ss once",
        ),
        ("{d:yyyy/yyyy}", "is not a date; expected each of"),
    ],
)
def test_what_is_no_format(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        PartitionFormat(text)
    assert str(caught.value).startswith(f"partition_format is {text!r}: ")
    assert "Write, for example, '{user}/{day:yyyy/MM/dd}/*.wav'." in str(caught.value)


LITERAL = st.text("ab-_. é%(", min_size=1, max_size=4)
NAME = st.text("abcxyz 1", min_size=1, max_size=5).filter(lambda text: text.strip() == text)
VALUE = st.text(st.characters(exclude_characters="/", exclude_categories=["Cs"]), min_size=1)
DATES = ("yyyy", "yyyy/MM", "yyyyMMdd", "yyyy/MM/dd", "dd-MM-yyyy", "yyyy/MM/dd/HH/mm/ss")
TIME = st.datetimes(min_value=datetime(1, 1, 1))


@given(st.data())
def test_a_path_made_of_values_gives_them_back(data: st.DataObject) -> None:
    names = data.draw(st.lists(NAME, min_size=1, max_size=5, unique=True))
    text = data.draw(st.sampled_from(["", "lit/", "/"]))
    values: dict[str, Any] = {}
    for name in names:
        kind = data.draw(st.sampled_from(["text", "encoded", "date"]))
        if kind == "date":
            form = data.draw(st.sampled_from(DATES))
            text += f"{{{name}:{form}}}/"
            units = [u for u in ("yyyy", "MM", "dd", "HH", "mm", "ss") if u in form]
            year, month, day, *clock = data.draw(TIME).timetuple()[:6]
            hour, minute, second = clock if len(units) == 6 else (0, 0, 0)
            values[name] = datetime(year, month, day, hour, minute, second)
            if len(units) < 3:
                values[name] = values[name].replace(
                    day=1, month=values[name].month if "MM" in units else 1
                )
        elif kind == "encoded":
            text += f"{name}={{{name}}}/"
            values[name] = data.draw(st.none() | VALUE | st.just("") | st.just("a/b=%2F"))
        else:
            text += f"{{{name}}}/"
            values[name] = data.draw(VALUE)
    ending = data.draw(LITERAL)
    assume("{" not in ending)
    fmt = PartitionFormat(text + ending)
    path = fmt.path(values)
    for head in ("", "/", "/head/", "https://host/a b/"):
        assert fmt.values(head + path.lstrip("/")) == values
    assert list(fmt.values(path)) == names


@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text() | TIME))
def test_values_travel_to_a_worker_as_they_are(values: dict[str, Any]) -> None:
    there = key_values(json.loads(json.dumps(as_json(values))))
    assert there == values
    assert [type(v) for v in there.values()] == [type(v) for v in values.values()]
    assert "\n" not in combination(values)


def test_combinations_differ_where_their_values_do() -> None:
    texts = [
        combination({"a": value}) for value in ("1", 1, 1.5, True, None, "", datetime(1, 1, 1))
    ]
    assert len(set(texts)) == len(texts)


def test_keys_that_an_input_has_not_are_named() -> None:
    with pytest.raises(ConfigError, match=r"partition_keys is \['usr'\], but X has no key 'usr'\. Did"
                       r" you mean 'user'\? Its keys are: user, season\."):  # fmt: skip
        check_keys(["usr"], ["user", "season"], "X")
    with pytest.raises(
        ConfigError, match="but X has no partition keys. Give it a partition_format"
    ):
        check_keys(["user"], [], "X")

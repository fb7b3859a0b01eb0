from __future__ import annotations

import fnmatch
import os
import socket
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parallelrun_jupyter import Datastore, FileDataset, TabularDataset
from parallelrun_jupyter.data.batching import BatchSpec, group_items
from parallelrun_jupyter.data.datasets.inputs import mini_batches
from parallelrun_jupyter.data.local.file_versions import FileVersions
from parallelrun_jupyter.errors import InputError
from parallelrun_jupyter.worker.context import load
from parallelrun_jupyter.worker.failures import BadInput
from parallelrun_jupyter.worker.plan_line import PlanLine
from tests.pure.test_store_files import archive

BELOW = ["sub/d.png", "sub/_key=1/f.png", "sub/deep/e.png", "z/a.png"]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in [
        "b.png",
        "a.png",
        "c.txt",
        ".hidden.png",
        "sub/d.png",
        "sub/deep/e.png",
        "z/a.png",
        "z/MLTable",
    ]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


@pytest.fixture
def marked(tree: Path) -> Path:
    """Return the tree with the marker files that Spark leaves beside tables."""
    for name in ("_SUCCESS", "_temporary/0/half.png", "sub/_d.png", "sub/_key=1/f.png"):
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tree


def names(tree: Path, dataset: FileDataset) -> list[str]:
    return [os.path.relpath(path, tree) for path in dataset.to_path()]


def of_table(*path: Path | str) -> FileDataset:
    return FileDataset(list(path)).for_table()


def test_files_may_begin_with_an_underscore_as_those_of_cameras_do(marked: Path) -> None:
    tree = marked
    assert names(tree, FileDataset(tree / "*.png")) == ["a.png", "b.png"]
    (tree / "_DSC1234.png").write_text("x")
    assert names(tree, FileDataset(tree / "*.png")) == ["_DSC1234.png", "a.png", "b.png"]
    assert "_temporary/0/half.png" in names(tree, FileDataset(tree))
    assert ".hidden.png" not in names(tree, FileDataset(tree))


def test_a_folder_is_listed_folder_by_folder(marked: Path) -> None:
    listed = names(marked, of_table(marked))
    assert listed == [
        "a.png", "b.png", "c.txt", "sub/d.png", "sub/_key=1/f.png", "sub/deep/e.png", "z/a.png"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("glob", "expected"),
    [
        ("*.png", ["a.png", "b.png"]),
        ("*/*.png", ["sub/d.png", "z/a.png"]),
        ("**/*.png", ["a.png", "b.png", *BELOW]),
        ("**", ["a.png", "b.png", "c.txt", *BELOW]),
        ("**/deep/**/*.png", ["sub/deep/e.png"]),
        ("**/**/*.png", ["a.png", "b.png", *BELOW]),
        ("[ab].png", ["a.png", "b.png"]),
        ("?.txt", ["c.txt"]),
        (".*.png", [".hidden.png"]),
        ("*/MLTable", ["z/MLTable"]),
        ("_*", ["_SUCCESS"]),
        ("**/_*.png", ["sub/_d.png"]),
        ("_temporary/*/*.png", ["_temporary/0/half.png"]),
        ("_temporary", ["_temporary/0/half.png"]),
        ("_SUCCESS", ["_SUCCESS"]),
        ("s*/deep/*", ["sub/deep/e.png"]),
    ],
)
def test_globs(marked: Path, glob: str, expected: list[str]) -> None:
    assert names(marked, of_table(str(marked / glob))) == expected


def test_inputs_keep_the_order_they_are_given_in_and_may_repeat(tree: Path) -> None:
    listed = names(tree, FileDataset([tree / "c.txt", str(tree / "*.png"), tree / "c.txt"]))
    assert listed == ["c.txt", "a.png", "b.png", "c.txt"]


def test_a_name_with_magic_characters_is_taken_literally_where_it_exists(tree: Path) -> None:
    (tree / "x[1].png").write_text("x")
    assert names(tree, FileDataset(tree / "x[1].png")) == ["x[1].png"]


def test_a_link_back_is_not_followed_and_another_is(tree: Path) -> None:
    (tree / "sub" / "up").symlink_to(tree)
    (tree / "link").symlink_to(tree / "z")
    listed = names(tree, FileDataset(tree))
    assert listed.count("link/a.png") == 1
    assert not [name for name in listed if "up" in name]


def test_relative_paths_are_fixed_when_the_dataset_is_made(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tree)
    dataset = FileDataset("*.txt")
    monkeypatch.chdir("/")
    assert dataset.to_path() == [str(tree / "c.txt")]


def test_sizes_and_times_are_those_of_the_files(tree: Path) -> None:
    [[(path, size, mtime)]] = FileDataset(tree / "c.txt").folders()
    assert (size, mtime) == (len("c.txt"), os.stat(path).st_mtime_ns)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "*.jpg",
            r"the glob '.*/\*\.jpg' matches no file; '.*' contains \.hidden\.png, a\.png, b\.png",
        ),
        ("none/*.jpg", r"'.*/none' does not exist; '.*' contains"),
        ("none/x.jpg", r"the input '.*/none/x\.jpg' does not exist; '.*' contains"),
        ("empty", r"the input folder '.*/empty' contains no files\."),
        (
            "marks",
            r"'.*/marks' contains no files but _SUCCESS: names that begin with a dot, and in tables with an",
        ),
    ],
)
def test_an_input_that_matches_nothing_says_what_is_there(
    tree: Path, path: str, message: str
) -> None:
    (tree / "empty").mkdir()
    (tree / "marks").mkdir()
    (tree / "marks" / "_SUCCESS").touch()
    with pytest.raises(InputError, match=message):
        of_table(tree / path).check()


def test_what_no_worker_could_read_is_refused() -> None:
    with pytest.raises(InputError, match="is in the memory of this process, and the"):
        FileDataset("memory://x.png")
    with pytest.raises(InputError, match="an input path is empty"):
        FileDataset(" ")
    with pytest.raises(InputError, match="received an empty list"):
        FileDataset([])


def lines_of(dataset: FileDataset, size: int = 3) -> list[PlanLine]:
    return [
        PlanLine.decode(line) for line, _ in mini_batches([dataset.spec()], BatchSpec(size)) if line
    ]


def test_a_link_to_nothing_is_an_item_that_fails_by_itself(tree: Path) -> None:
    (tree / "sub" / "broken.png").symlink_to(tree / "nowhere")
    (tree / "itself.png").symlink_to("itself.png")
    dataset = FileDataset(tree)
    dataset.check()
    listed = names(tree, dataset)
    assert listed == [
        "a.png", "b.png", "c.txt", "itself.png", "sub/d.png", "sub/broken.png", "sub/deep/e.png", "z/a.png",
    ]  # fmt: skip
    lines = lines_of(dataset)
    assert sorted(path for row in lines for path in row.paths) == sorted(dataset.to_path())
    failed = {}
    for row in lines:
        try:
            load(row)
        except BadInput as error:
            [path] = row.paths
            failed[os.path.relpath(path, tree)] = str(error)
    assert failed == {
        "itself.png": f"the input {tree}/itself.png cannot be read: Too many levels of symbolic links",
        "sub/broken.png": f"the input {tree}/sub/broken.png cannot be read: No such file or directory",
    }
    (tree / "nowhere").write_text("repaired")
    [row] = [row for row in lines if row.paths == [f"{tree}/sub/broken.png"]]
    assert load(row) == row.paths, "a retry after a repair gets the file"


def test_links_to_nothing_that_a_glob_leaves_out_do_not_matter(tree: Path) -> None:
    (tree / "broken.png").symlink_to(tree / "nowhere")
    assert names(tree, FileDataset(tree / "*.txt")) == ["c.txt"]
    assert names(tree, FileDataset(tree / "*" / "*.png")) == ["sub/d.png", "z/a.png"]
    assert names(tree, FileDataset(tree / "*.png")) == ["a.png", "b.png", "broken.png"]
    assert "broken.png" in names(tree, FileDataset(f"{tree}/**/**/*.png"))
    with pytest.raises(InputError, match=r"could not be listed: No such file.*broken\.png"):
        FileDataset(tree / "broken.png").check()


def test_a_folder_that_goes_while_it_is_listed_is_named(tree: Path) -> None:
    listed = FileDataset(tree).listed()
    first = next(listed)
    (tree / "sub" / "deep" / "e.png").unlink()
    (tree / "sub" / "deep").rmdir()
    (tree / "sub" / "d.png").unlink()
    (tree / "sub").rmdir()
    rest = [os.path.relpath(path, tree) for paths in listed for path in paths]
    assert len(first) == 3
    assert rest == ["sub", "z/a.png"]


@pytest.mark.parametrize("types", [None, "str"])
def test_a_table_with_links_to_nothing_loses_only_those(tmp_path: Path, types: Any) -> None:
    for number in range(5):
        (tmp_path / f"{number}.csv").write_text(f"n\n{number}\n")
    for name in ("0-broken.csv", "3-broken.csv"):
        (tmp_path / name).symlink_to(tmp_path / "nowhere")
    table = TabularDataset.from_delimited_files(tmp_path / "*.csv", column_types=types)
    table.check()
    rows, failed = [], {}
    for line, _ in table.mini_batches(0, BatchSpec(1 << 20)):
        if line:
            row = PlanLine.decode(line)
            try:
                rows += [int(value) for value in load(row)["n"]]
            except BadInput as error:
                failed[os.path.basename(row.paths[0])] = str(error)
    assert rows == [0, 1, 2, 3, 4]
    assert failed.keys() == {"0-broken.csv", "3-broken.csv"}
    assert all("No such file or directory" in why for why in failed.values())


def test_a_resume_takes_links_to_nothing_as_they_were(tree: Path, tmp_path: Path) -> None:
    (tree / "broken.png").symlink_to(tree / "nowhere")
    plan = tmp_path / "plan.jsonl"
    spec = FileDataset(tree / "*.png").spec()
    plan.write_bytes(b"".join(line for line, _ in mini_batches([spec], BatchSpec(3))))
    rows = [PlanLine.decode(line) for line in plan.read_bytes().splitlines()]
    os.utime(plan, ns=(2**62, 2**62))  # all of this is in the past
    with closing(FileVersions(plan)) as versions:
        changes = [list(versions.changes(row)) for row in rows]
        assert changes == [[], []], "not looked at yet"
        versions.record()
        assert [list(versions.changes(row)) for row in rows] == [[], []]
        (tree / "nowhere").touch()
        changes = [list(versions.changes(row)) for row in rows]
        assert changes == [[], [(rows[1].paths.index(f"{tree}/broken.png"), False)]]
        (tree / "a.png").unlink()
        assert list(versions.changes(rows[0])) == [(rows[0].paths.index(f"{tree}/a.png"), True)]


@pytest.fixture(params=["pipe", "link", "device", "socket"])
def special(request: pytest.FixtureRequest, tree: Path) -> Path:
    """Return a file in ``z`` that is not a regular file."""
    path = tree / "z" / "x.special"
    if request.param == "pipe":
        os.mkfifo(path)
    elif request.param == "link":
        os.mkfifo(tree / ".hidden.pipe")
        path.symlink_to(tree / ".hidden.pipe")
    elif request.param == "device":
        path.symlink_to("/dev/zero")
    else:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    return path


@pytest.mark.parametrize("given", ["z/x.special", "z", "", "z/*", "**/x.*", "**"])
def test_what_a_run_would_wait_for_is_refused_at_once(
    tree: Path, special: Path, given: str
) -> None:
    with pytest.raises(InputError, match=rf"'{special}' is not a regular file but a pipe, a"):
        FileDataset(tree / given).to_path()


@pytest.mark.parametrize("given", ["z/x.special", "z", "z/*"])
def test_a_table_waits_for_no_pipe(tree: Path, special: Path, given: str) -> None:
    table = TabularDataset.from_delimited_files(tree / given)
    with pytest.raises(InputError, match=rf"'{special}' is not a regular file"):
        table.check()
    with pytest.raises(InputError, match="is not a regular file"):
        list(table.mini_batches(0, BatchSpec(9)))


def test_a_glob_that_leaves_it_out_is_read(tree: Path, special: Path) -> None:
    with pytest.raises(InputError, match="is not a regular file"):
        FileDataset(special.parent).check()
    assert names(tree, FileDataset(tree / "z" / "*.png")) == ["z/a.png"]
    assert names(tree, FileDataset(tree / "*" / "*" / "*.png")) == ["sub/deep/e.png"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("[v2]/*.txt", ["[v2]/a.txt", "[v2]/b[1].txt"]),
        ("[v2]", ["[v2]/a.txt", "[v2]/b[1].txt"]),
        ("[v2]/", ["[v2]/a.txt", "[v2]/b[1].txt"]),
        ("[v2]/a.txt", ["[v2]/a.txt"]),
        ("*/b[1].txt", ["[v2]/b[1].txt"]),
        ("**/b[1].txt", ["[v2]/b[1].txt"]),
        ("[[]v2]/*.txt", ["[v2]/a.txt", "[v2]/b[1].txt"]),
        ("[v3]/*.txt", ["v/a.txt"]),
        ("[v2]/[ab]*.txt", ["[v2]/a.txt", "[v2]/b[1].txt"]),
    ],
)
def test_brackets_are_a_name_where_something_has_that_name(
    tmp_path: Path, given: str, expected: list[str]
) -> None:
    for name in ("[v2]/a.txt", "[v2]/b[1].txt", "v/a.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert names(tmp_path, FileDataset(f"{tmp_path}/{given}")) == expected
    options = archive(
        tmp_path / "a.zip", {f"in/{n}": "" for n in ("[v2]/a.txt", "[v2]/b[1].txt", "v/a.txt")}
    )
    remote = FileDataset(f"zip://in/{given}", storage_options=options).to_path()
    assert remote == [f"zip://in/{name}" for name in expected]


def test_brackets_that_match_nothing_say_how_to_write_one(tmp_path: Path) -> None:
    (tmp_path / "[v2]-run").mkdir()
    with pytest.raises(InputError, match=r"for a bracket itself write '\[\[\]'"):
        FileDataset(tmp_path / "[v2]*" / "*.txt").check()


def test_what_may_not_be_listed_fails_and_the_rest_is_read(tree: Path) -> None:
    (tree / "sub").chmod(0)
    if os.access(tree / "sub", os.R_OK):
        pytest.skip("this user reads everything")
    try:
        assert names(tree, FileDataset(tree)) == ["a.png", "b.png", "c.txt", "sub", "z/a.png"]
        assert names(tree, FileDataset(f"{tree}/**/*.png")) == ["a.png", "b.png", "sub", "z/a.png"]
        [row] = [row for row in lines_of(FileDataset(tree)) if row.paths == [f"{tree}/sub"]]
        with pytest.raises(BadInput, match=r"sub could not be listed .* \(Permission denied\)"):
            load(row)
        table = TabularDataset.from_delimited_files(tree, column_types="str", header="no_header")
        planned = [PlanLine.decode(line) for line, _ in table.mini_batches(0, BatchSpec(9)) if line]
        [bad] = [row for row in planned if row.paths == [f"{tree}/sub"]]
        with pytest.raises(BadInput, match="Permission denied"):
            load(bad)
        with pytest.raises(InputError, match=r"could not be listed: Permission denied .*/sub"):
            FileDataset(tree / "sub").to_path()
        with pytest.raises(InputError, match=r"could not be listed: Permission denied .*/sub"):
            FileDataset(tree, partition_format="{name}.png").to_path()
    finally:
        (tree / "sub").chmod(0o700)


@pytest.mark.parametrize("given", [None, 5, b"a", [None], [["a"]], {"a": 1}.items()])
def test_what_is_no_path_is_said(given: Any) -> None:
    with pytest.raises(InputError, match="is not a path; expected a text|FileDataset received"):
        FileDataset(given)


def test_paths_are_taken_however_they_are_written(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tree))
    monkeypatch.chdir(tree)
    for path in (
        "z",
        "z/",
        "./z",
        Path("z"),
        Path("~/z"),
        "~/z/",
        f"file://{tree}/z",
        "z/../z//",
        ("z",),
    ):
        assert names(tree, FileDataset(path)) == ["z/a.png"], path


@given(st.lists(st.integers(0, 7), max_size=12), st.integers(1, 9))
def test_groups_hold_every_item_once_in_order(folder_sizes: list[int], size: int) -> None:
    numbers = iter(range(1000))
    folders = [[(str(next(numbers)), 0, 0) for _ in range(n)] for n in folder_sizes]
    groups = list(group_items(folders, size))
    assert [item for group in groups for item in group] == [i for f in folders for i in f]
    assert all(len(group) == size for group in groups[:-1])
    assert all(group for group in groups)


@settings(max_examples=60)
@given(
    st.sets(st.text("ab._", min_size=1, max_size=3).filter(lambda n: n.strip(".")), max_size=8),
    st.text("ab._*?", min_size=1, max_size=4),
)
def test_one_level_globs_agree_with_fnmatch(
    tmp_path_factory: pytest.TempPathFactory, found: set[str], glob: str
) -> None:
    folder = tmp_path_factory.mktemp("glob")
    for name in found:
        (folder / name).touch()
    if "**" in glob or not set(glob) & set("*?"):
        return
    hidden = glob.startswith((".", "_"))
    expected = [n for n in sorted(found) if fnmatch.fnmatchcase(n, glob)]
    expected = [n for n in expected if hidden or not n.startswith((".", "_"))]
    assert [os.path.basename(p) for p in of_table(str(folder / glob)).to_path()] == expected


def test_files_of_one_name_are_not_downloaded_over_each_other(tmp_path: Path) -> None:
    for name in ("a/x.txt", "b/x.txt", "b/[c]/x.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    dataset = FileDataset([tmp_path / "a" / "x.txt", tmp_path / "b" / "*.txt"])
    with pytest.raises(InputError, match=r"a/x.txt' and '.*/b/x.txt' would be the same local file"):
        dataset.download(tmp_path / "target")
    twice = FileDataset([tmp_path / "a" / "x.txt", tmp_path / "a" / "*.txt"])
    target = tmp_path / "twice"
    assert twice.download(target) == [str(target / "x.txt")] * 2
    assert (target / "x.txt").read_text() == "a/x.txt"
    named = FileDataset(tmp_path / "b" / "[c]").download(tmp_path / "named")
    assert named == [str(tmp_path / "named" / "x.txt")]


def test_a_download_of_what_cannot_be_read_names_it(tree: Path) -> None:
    (tree / "sub" / "broken.png").symlink_to(tree / "nowhere")
    with pytest.raises(InputError, match=r"could not be listed: No such file .*broken\.png"):
        FileDataset(tree).download(tree.parent / "target")
    with pytest.raises(InputError, match="nothing' could not be listed: No such file"):
        FileDataset(tree / "nothing").download(tree.parent / "target")


def test_an_empty_folder_is_not_the_current_one(tree: Path) -> None:
    store = Datastore.register_local("here", tree)
    with pytest.raises(InputError, match="folder is ''; expected a folder"):
        Datastore.register_local("nowhere", "")
    with pytest.raises(InputError, match="src_dir is ' '; expected a folder"):
        store.upload(" ")
    with pytest.raises(InputError, match="target_path is ''; expected a folder"):
        store.download("")
    with pytest.raises(InputError, match="target_path is ''; expected a folder"):
        FileDataset(tree).download("")
    (tree / "..dots").write_text("x")
    store.upload_files([tree / "..dots"], tree, "up")
    assert (tree / "up" / "..dots").read_text() == "x", "a name may begin with two dots"
    with pytest.raises(InputError, match="is not below relative_root"):
        store.upload_files([tree / "a.png"], tree / "sub")
    os.mkfifo(tree / "sub" / "pipe")
    with pytest.raises(InputError, match="pipe' to be uploaded is not a regular file"):
        store.upload(tree / "sub", "up")


def test_copies_keep_what_a_folder_of_code_needs(tree: Path, tmp_path: Path) -> None:
    (tree / "sub" / "__init__.py").touch()
    copies = FileDataset(tree / "sub").download(tmp_path / "copy")
    inside = sorted(os.path.relpath(path, tmp_path / "copy") for path in copies)
    assert inside == ["__init__.py", "d.png", "deep/e.png"]

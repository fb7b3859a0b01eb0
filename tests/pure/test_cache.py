from __future__ import annotations

import os
from pathlib import Path

import pytest

from parallelrun_jupyter.data.staging.cache import Cache, View, digest_of, open_cache, root_of
from parallelrun_jupyter.errors import ConfigError

SIZE = 1000


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", 10 * SIZE, clock=Clock())


def bring(cache: Cache, view: View, name: str) -> Path:
    """Fetch a file into the cache, as a stager does."""
    digest = digest_of("store", name, SIZE, "etag")
    link = view.place("0", name, digest)
    if not cache.use(digest, link, SIZE):
        temporary = cache.temporary(digest)
        temporary.write_bytes(name[-1:].encode() * SIZE)
        cache.add(digest, temporary, link)
    return link


def has(cache: Cache, name: str) -> bool:
    return cache.path_of(digest_of("store", name, SIZE, "etag")).exists()


def test_the_least_recently_used_goes_and_what_is_in_use_stays(cache: Cache) -> None:
    view = View(cache, "run")
    links = [bring(cache, view, f"c/{k}") for k in range(10)]
    for link in links[1:]:
        link.unlink()
    bring(cache, view, "c/1").unlink()  # used again, and given back
    bring(cache, view, "c/a")
    cache.settle()
    assert has(cache, "c/0"), "in use"
    assert not has(cache, "c/2"), "the oldest that is not"
    assert has(cache, "c/1"), "used since"
    assert links[0].read_bytes() == b"0" * SIZE
    kept = sum(has(cache, f"c/{k}") for k in (*range(10), "a"))
    assert kept == 9, "nine tenths of the limit"
    view.close()


def test_everything_in_use_is_kept_above_the_limit(cache: Cache) -> None:
    view = View(cache, "run")
    links = [bring(cache, view, f"c/{k:02d}") for k in range(15)]
    cache.settle()
    assert all(link.exists() for link in links)
    view.close()
    cache.make_room()
    assert not any(has(cache, f"c/{k:02d}") for k in range(15))


def test_another_cache_of_the_folder_sees_the_same(cache: Cache) -> None:
    view = View(cache, "one")
    bring(cache, view, "c/a.png")
    cache.settle()
    other = Cache(cache.folder, 10 * SIZE)
    twin = View(other, "two")
    link = twin.place("0", "c/a.png", "d")
    assert other.use(digest_of("store", "c/a.png", SIZE, "etag"), link, SIZE)
    assert link.name == "a.png"
    assert not other.use(digest_of("store", "c/a.png", SIZE, "new etag"), link, SIZE)
    view.close()
    twin.close()


def test_an_object_that_somebody_wrote_into_is_not_used(cache: Cache) -> None:
    view = View(cache, "run")
    link = bring(cache, view, "c/a")
    os.chmod(link, 0o600)
    link.write_bytes(b"short")
    again = view.path / "again"
    assert not cache.use(digest_of("store", "c/a", SIZE, "etag"), again, SIZE)
    view.close()


def test_views_of_the_dead_are_swept_and_those_of_the_living_stay(cache: Cache) -> None:
    alive, dead = View(cache, "alive"), View(cache, "dead")
    bring(cache, alive, "c/a")
    bring(cache, dead, "c/a")
    os.close(dead._lock)  # as the kernel does at the end of a process
    View(cache, "next").close()
    assert alive.path.exists()
    assert not dead.path.exists()
    alive.close()
    assert os.listdir(cache.folder / "views") == []


def test_names_stay_as_far_as_a_folder_can_have_them(cache: Cache) -> None:
    view = View(cache, "run")
    assert view.place("0", "c/a/b.png", "d1").relative_to(view.path) == Path("0/c/a/b.png")
    up = view.place("0", "c/../../x.png", "d2")
    assert up.resolve().is_relative_to(view.path.resolve())
    long = view.place("0", f"c/{'x' * 500}.png", "d3")
    assert long.suffix == ".png"
    long.touch()
    view.place("0", "c/file", "d4").touch()
    below = view.place("0", "c/file/below.txt", "d5")  # a blob may be a file and a folder
    below.touch()
    assert below.name == "below.txt"
    taken = view.place("0", "c/file", "d6")
    assert taken != view.path / "0/c/file"
    assert taken.name == "file"
    view.close()


def test_half_a_file_of_a_dead_process_goes(cache: Cache) -> None:
    temporary = cache.temporary(digest_of("store", "c/a", 1, ""))
    dead = temporary.with_name(temporary.name.replace(f".{os.getpid()}.", ".4194305."))
    dead.write_bytes(b"half")
    os.utime(dead, (1, 1))
    temporary.write_bytes(b"half")
    os.utime(temporary, (1, 1))
    cache.make_room()
    assert not dead.exists()
    assert temporary.exists(), "its process lives"


def test_a_file_without_a_version_is_not_shared() -> None:
    assert digest_of("s", "u", 1, "", "run1") != digest_of("s", "u", 1, "", "run2")
    assert digest_of("s", "u", 1, "e", "run1") == digest_of("s", "u", 1, "e", "run2")
    assert digest_of("s", "u", 1, "e") != digest_of("other", "u", 1, "e")


@pytest.mark.parametrize(
    ("url", "paths", "root"),
    [
        ("az://c/labels.txt", ["V/c/labels.txt"], "V/c/labels.txt"),
        ("az://c/folder", ["V/c/folder/one.txt"], "V/c/folder"),
        ("az://c/folder/*.txt", ["V/c/folder/one.txt"], "V/c/folder"),
        ("az://c", ["V/c/one.txt", "V/c/two.txt"], "V/c"),
        ("az://c/[v2]", ["V/c/[v2]/one.txt"], "V/c/[v2]"),
        ("az://c/[v2]", ["V/c/v/one.txt"], "V/c"),
        ("az://c/a[1].txt", ["V/c/a[1].txt"], "V/c/a[1].txt"),
        ("az://c/x/../y", ["V/c/x/%2E%2E/y/one.txt"], "V/c/x/%2E%2E/y"),
    ],
)
def test_a_dataset_stands_for_its_file_or_its_folder(
    tmp_path: Path, url: str, paths: list[str], root: str
) -> None:
    real = [path.replace("V", str(tmp_path), 1) for path in paths]
    for path in real:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).touch()
    assert root_of(tmp_path, url, real) == root.replace("V", str(tmp_path), 1)


def test_the_settings_of_the_cache(tmp_path: Path) -> None:
    environ = {"PARALLELRUN_CACHE": str(tmp_path / "c"), "PARALLELRUN_CACHE_SIZE": "5MB"}
    cache = open_cache(environ)
    assert (cache.folder, cache.limit_bytes) == (tmp_path / "c", 5 << 20)
    with pytest.raises(ConfigError, match="PARALLELRUN_CACHE_SIZE is 'much'; expected a size"):
        open_cache({**environ, "PARALLELRUN_CACHE_SIZE": "much"})

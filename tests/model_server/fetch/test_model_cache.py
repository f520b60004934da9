"""Cache of model versions that a node's pods share."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from contract.digest import folder_digest
from model_server.fetch.model_cache import ABANDONED_SECONDS, UNFINISHED, ModelCache

KIB = 1024


@pytest.fixture
def cache(tmp_path: Path) -> ModelCache:
    folder = tmp_path / "node"
    folder.mkdir()
    return ModelCache(folder, most_bytes=10 * KIB)


def version(tmp_path: Path, name: str, kib: int) -> tuple[str, Path]:
    """Return the folder of a version, and its digest."""
    folder = tmp_path / name
    (folder / "data").mkdir(parents=True)
    (folder / "MLmodel").write_text(name)
    (folder / "data" / "model").write_bytes(bytes(kib * KIB - len(name)))
    return folder_digest(folder), folder


def names(cache: ModelCache) -> set[str]:
    return {entry.name for entry in cache.folder.iterdir()}


def test_what_is_kept_can_be_taken_and_nothing_else(cache: ModelCache, tmp_path: Path) -> None:
    digest, files = version(tmp_path, "a", 1)
    assert not cache.take(digest, tmp_path / "taken")
    cache.keep(digest, files)
    assert cache.take(digest, tmp_path / "taken")
    assert folder_digest(tmp_path / "taken") == digest


@pytest.mark.parametrize("digest", ["..", ".", "../elsewhere", ""])
def test_a_digest_that_is_a_path_leads_nowhere(cache: ModelCache, tmp_path: Path, digest: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    assert not cache.take(digest, tmp_path / "taken")
    assert not (tmp_path / "taken").exists()
    assert (tmp_path / "elsewhere").exists()


def test_the_version_that_was_unused_for_the_longest_time_makes_room(cache: ModelCache, tmp_path: Path) -> None:
    kept = {name: version(tmp_path, name, 3) for name in ("a", "b", "c", "d")}
    for age, name in enumerate(("a", "b", "c")):
        digest, files = kept[name]
        cache.keep(digest, files)
        long_ago = time.time() - 100 + age
        os.utime(cache.folder / digest, (long_ago, long_ago))
    assert cache.take(kept["a"][0], tmp_path / "taken")
    cache.keep(*kept["d"])
    assert names(cache) == {kept[name][0] for name in ("a", "c", "d")}


def test_a_version_that_would_take_all_the_room_and_more_drives_out_nothing(cache: ModelCache, tmp_path: Path) -> None:
    small, large = version(tmp_path, "small", 1), version(tmp_path, "large", 11)
    cache.keep(*small)
    cache.keep(*large)
    assert names(cache) == {small[0]}


def test_what_a_pod_left_half_done_is_removed_when_it_is_old(cache: ModelCache, tmp_path: Path) -> None:
    for name, age in {"old": ABANDONED_SECONDS + 60, "new": 0}.items():
        folder = cache.folder / f"{UNFINISHED}{name}"
        folder.mkdir()
        os.utime(folder, (time.time() - age, time.time() - age))
    digest, files = version(tmp_path, "a", 1)
    cache.keep(digest, files)
    assert names(cache) == {digest, f"{UNFINISHED}new"}


def test_an_incomplete_copy_is_used_by_no_pod_and_is_removed(cache: ModelCache, tmp_path: Path) -> None:
    digest, files = version(tmp_path, "a", 1)
    cache.keep(digest, files)
    (cache.folder / digest / "data" / "model").write_bytes(b"")
    assert not cache.take(digest, tmp_path / "taken")
    assert not (tmp_path / "taken").exists()
    assert not names(cache)


def test_pods_that_start_at_once_on_a_node_too_small_for_all_leave_whole_versions(
    cache: ModelCache, tmp_path: Path
) -> None:
    versions = [version(tmp_path, name, 4) for name in "abcde"]

    def start(pod: int) -> None:
        digest, files = versions[pod % len(versions)]
        target = tmp_path / f"pod-{pod}"
        if cache.take(digest, target):
            assert folder_digest(target) == digest
        else:
            cache.keep(digest, files)

    with ThreadPoolExecutor(8) as pods:
        list(pods.map(start, range(200)))
    left = names(cache)
    assert left
    assert left <= {digest for digest, _ in versions}
    assert all(folder_digest(cache.folder / digest) == digest for digest in left)

import errno
import hashlib
import json
import os
import pickle
import resource
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import FileIO
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from numpy.typing import NDArray

from aqakit.features import catalog as catalogs
from aqakit.features import durable
from aqakit.features import shard as shards
from aqakit.features.errors import DiskFullError, StoreError, VideoError
from aqakit.features.packing import PackSummary
from aqakit.features.segments import Sampling
from aqakit.features.source import Source
from aqakit.features.spec import FeatureSpec
from aqakit.features.store import Failure, FeatureStore

SPEC = FeatureSpec("i3d", "rgb", "pool", Sampling("clips", 2), "i3d", "random-0")
KEY = SPEC.key


def source(content: str = "a", start: float | None = None, end: float | None = None) -> Source:
    return Source("v.mp4", 10, 20, content * 64, start, end)


def values(seed: int, rows: int = 6, width: int = 4) -> NDArray[np.float32]:
    return np.random.default_rng(seed).random((rows, width), np.float32)


def put(
    store: FeatureStore,
    video: str,
    seed: int = 0,
    origin: Source | None = None,
    spec: FeatureSpec = SPEC,
    rows: int = 6,
    width: int = 4,
) -> NDArray[np.float32]:
    data = values(seed, rows, width)
    with store.begin(spec, video, origin or source(), data.shape, 2) as part:
        part.append(data[:2])
        part.append(data[2:])
        part.finish(np.full((rows, 3), seed), np.full((rows, 2), seed), {"libraries": {"av": "1"}})
    return data


def files(store: FeatureStore, kind: str = "parts", key: str = KEY) -> list[Path]:
    return sorted((store.path / kind / key).glob("*.h5"))


def temporaries(store: FeatureStore) -> list[Path]:
    return sorted(store.path.rglob(".*.tmp"))


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore.create(tmp_path / "store")


# The store itself


def test_a_store_is_made_once_and_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "store"
    data = put(FeatureStore.create(path), "v")
    assert np.array_equal(FeatureStore.create(path).read(KEY, "v").values, data)
    assert np.array_equal(FeatureStore.open(path).read(KEY, "v").values, data)
    assert json.loads((path / "store.json").read_text()) == {
        "format": "aqakit-store",
        "version": 1,
    }


OTHER_VERSION = (
    "{}: is a store of version 2, this aqakit reads version 1; use the aqakit that wrote it, or "
    "extract into a new folder"
)
NO_MARKER = (
    "{}/store.json: does not describe a feature store; restore the file or name another folder"
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"format": "aqakit-store", "version": 2}', OTHER_VERSION),
        ("nonsense", NO_MARKER),
        ('["aqakit-store"]', NO_MARKER),
        ('{"format": "zip"}', NO_MARKER),
    ],
)
def test_another_format_or_version_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "store.json").write_text(content)
    for way in (FeatureStore.open, FeatureStore.create):
        with pytest.raises(StoreError) as caught:
            way(tmp_path)
        assert str(caught.value) == message.format(tmp_path)
    assert (tmp_path / "store.json").read_text() == content


def test_a_store_that_lost_its_marker_is_taken_up_again(store: FeatureStore) -> None:
    data = put(store, "v")
    store.record_failure("x", "is broken")
    (store.path / "store.json").unlink()
    (store.path / "notes.txt").touch()
    with pytest.raises(StoreError, match="holds other files \\('notes.txt'\\)"):
        FeatureStore.create(store.path)
    (store.path / "notes.txt").unlink()
    with pytest.raises(StoreError, match="no feature store here; run 'aqakit extract' first"):
        FeatureStore.open(store.path)
    assert np.array_equal(FeatureStore.create(store.path).read(KEY, "v").values, data)
    assert np.array_equal(FeatureStore.open(store.path).read(KEY, "v").values, data)


def test_a_request_to_extract_is_no_key(store: FeatureStore) -> None:
    put(store, "v")
    for text in ("", "i3d:pool", "i3d@clips-2", "i3d/i3d"):
        with pytest.raises(StoreError, match=f"^'{text}' is no key .*; name one that 'aqakit"):
            store.find_key(text)


def test_what_is_no_store_is_refused_untouched(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no feature store here; run 'aqakit extract' first"):
        FeatureStore.open(tmp_path)
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(StoreError, match="holds other files \\('thesis.tex'\\) and is no feature"):
        FeatureStore.create(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(StoreError, match=r"thesis\.tex is a file; name a folder for the store"):
        FeatureStore.create(tmp_path / "thesis.tex")
    with pytest.raises(StoreError, match="no feature store here"):
        FeatureStore.open(tmp_path / "thesis.tex")


def test_reading_writes_nothing(store: FeatureStore) -> None:
    put(store, "v")
    before = {path: path.stat().st_mtime_ns for path in store.path.rglob("*")}
    reader = FeatureStore.open(store.path)
    reader.keys()
    reader.read(KEY, "v")
    reader.has(KEY, "v", source())
    reader.failures()
    assert reader.verify() == []
    assert {path: path.stat().st_mtime_ns for path in store.path.rglob("*")} == before


# Features of videos


@pytest.mark.parametrize(
    "video", ["v07", "-x", "_", "a/b/../c", "with blank", "Übung 跳水", ".", "..", "x" * 5000,
              "a\nb", "a.b.c", "a\udcffb"]
)  # fmt: skip
def test_any_id_is_stored_and_read(store: FeatureStore, video: str) -> None:
    data = put(store, video, seed=3)
    assert files(store)[0].parent == store.path / "parts" / KEY
    for _ in range(2):
        fresh = FeatureStore.open(store.path)
        assert fresh.videos(KEY) == [video]
        feature = fresh.read(KEY, video)
        assert np.array_equal(feature.values, data)
        assert (feature.times == 3).all() and feature.times.shape == (6, 3)
        assert (feature.frame_times == 3).all() and feature.frame_times.shape == (6, 2)
        assert feature.times.dtype == feature.frame_times.dtype == np.float64
        assert fresh.has(KEY, video, source())
        store.pack()
    store.record_failure(video, "why", source())
    assert store.failures()[0].video == video


def test_ids_that_look_alike_in_file_names_are_kept_apart(store: FeatureStore) -> None:
    ids = ["a b", "a/b", "a-b", "A-b", "a_b", "-a-b-"]
    for seed, video in enumerate(ids):
        put(store, video, seed)
    for seed, video in enumerate(ids):
        assert np.array_equal(store.read(KEY, video).values, values(seed))


def test_a_feature_carries_where_it_came_from(store: FeatureStore) -> None:
    put(store, "v", origin=source("b", 1, 2.5))
    assert store.read(KEY, "v").provenance == {
        "libraries": {"av": "1"},
        "source": {
            "name": "v.mp4",
            "size_bytes": 10,
            "mtime_ns": 20,
            "sha256": "b" * 64,
            "start_seconds": 1,
            "end_seconds": 2.5,
        },
        "spec": json.loads(SPEC.to_json()),
    }
    assert store.spec(KEY) == SPEC


def test_what_is_missing_is_said_in_one_line(store: FeatureStore) -> None:
    put(store, "v")
    for missing in ((KEY, "v07"), ("i3d.other", "v")):
        with pytest.raises(StoreError) as caught:
            store.read(*missing)
        key, video = missing
        assert str(caught.value) == (
            f"no {key} features of video {video!r} in {store.path}; run 'aqakit extract' first"
        )
    with pytest.raises(StoreError, match=f"no x features in {store.path}; run"):
        store.spec("x")
    assert store.videos("x") == []


def test_features_are_found_by_a_part_of_their_key(store: FeatureStore) -> None:
    with pytest.raises(StoreError, match=r"no i3d features in .*store \(it is empty\); run 'aqa"):
        store.find_key("i3d")
    specs = [SPEC, replace(SPEC, backbone="i3d-r50"), replace(SPEC, backbone="flow-hist")]
    specs.append(replace(specs[2], layer="mean"))
    for spec in specs:
        put(store, "v", spec=spec)
    keys = [spec.key for spec in specs]
    assert store.keys() == sorted(keys)
    assert store.find_key("i3d") == keys[0]
    assert store.find_key("i3d-") == keys[1]
    assert store.find_key("flow-hist.rgb.mean") == keys[3]
    assert store.find_key("r50") == keys[1]
    assert store.find_key(keys[2]) == keys[2]
    with pytest.raises(StoreError) as caught:
        store.find_key("flow-hist")
    assert str(caught.value) == (
        f"{store.path}: 'flow-hist' may be {keys[3]}, {keys[2]}; name one in full"
    )
    with pytest.raises(StoreError, match=r"no c3d features in .* \(it holds flow.*\); run"):
        store.find_key("c3d")


def test_a_feature_of_altered_videos_is_meant_only_where_its_variant_is_named(
    store: FeatureStore,
) -> None:
    zoomed, masked = (replace(SPEC, variant=variant) for variant in ("zoom-125", "mask"))
    put(store, "v", spec=zoomed)
    assert store.find_key("i3d") == zoomed.key
    put(store, "v", spec=masked)
    with pytest.raises(StoreError, match="'i3d' may be"):
        store.find_key("i3d")
    put(store, "v")
    assert store.find_key("i3d") == KEY
    assert store.find_key("zoom-125") == zoomed.key


def test_the_overview_counts_what_can_be_read(store: FeatureStore) -> None:
    for number in range(4):
        put(store, f"v{number}")
    store.pack()
    put(store, "v0", seed=9, rows=8)
    found = store.overview(KEY)
    assert (found.videos, found.rows, found.parts, found.shards) == (4, 26, 1, 1)
    assert found.row_shapes == ((4,),)
    assert found.size_bytes == sum(
        path.stat().st_size for path in (*files(store), *files(store, "shards"))
    )


def test_a_changed_source_is_not_done_and_the_newest_wins(store: FeatureStore) -> None:
    old, new = source("a"), source("b")
    put(store, "v", 1, old)
    assert store.has(KEY, "v", old) and not store.has(KEY, "v", new)
    assert not store.has(KEY, "v", source("a", 0.5))
    put(store, "v", 2, new)
    assert len(files(store)) == 1  # the older one is gone
    assert store.has(KEY, "v", new) and not store.has(KEY, "v", old)
    assert np.array_equal(store.read(KEY, "v").values, values(2))
    put(store, "v", 3, new)  # extracted once more from the same source
    assert np.array_equal(store.read(KEY, "v").values, values(3))


def test_name_and_time_of_a_source_do_not_count_only_its_bytes_and_trim() -> None:
    one = source("a", 1, 2)
    assert one.identity == replace(one, name="w.mp4", size_bytes=0, mtime_ns=0).identity
    assert one.identity == replace(one, start_seconds=1.0).identity
    others = [source("b", 1, 2), source("a", 1), source("a", None, 2), source("a", 0, 2)]
    assert len({other.identity for other in [one, *others]}) == 5


def test_the_newest_wins_over_a_shard_and_whatever_the_clock_says(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, "v", 1, source("a"))
    put(store, "w", 5)
    store.pack()
    monkeypatch.setattr("time.time_ns", lambda: 1000)  # the clock of another machine
    put(store, "v", 2, source("b"))
    for reader in (store, FeatureStore.open(store.path)):
        assert np.array_equal(reader.read(KEY, "v").values, values(2))
        assert reader.videos(KEY) == ["v", "w"]
        assert not reader.has(KEY, "v", source("a"))
    assert store.pack() == PackSummary(videos=2, shards=1, removed=2)
    assert len(files(store, "shards")) == 1
    with h5py.File(files(store, "shards")[0]) as file:
        assert file["videos"]["id"].tolist() == [b"v", b"w"]
        assert np.array_equal(file["data"][:6], values(2))


def test_a_block_that_fails_leaves_no_trace(store: FeatureStore) -> None:
    data = put(store, "v", 1)
    with pytest.raises(ZeroDivisionError), store.begin(SPEC, "v", source("b"), (6, 4), 2) as part:
        part.append(values(2))
        raise ZeroDivisionError
    with (
        pytest.raises(ValueError, match="0 of 6 rows belong"),
        store.begin(SPEC, "v", source("b"), (6, 4), 2) as part,
    ):
        part.append(values(2))
    with (
        pytest.raises(ValueError, match="provenance must be JSON"),
        store.begin(SPEC, "v", source("b"), (6, 4), 2) as part,
    ):
        part.append(values(2))
        part.finish(np.zeros((6, 3)), np.zeros((6, 2)), {"x": object()})
    with pytest.raises(FileNotFoundError), store.begin(SPEC, "v", source("b"), (6, 4), 2):
        Path("/no/such/file").read_bytes()  # the caller's own error stays what it is
    assert np.array_equal(store.read(KEY, "v").values, data)
    assert len(files(store)) == 1 and temporaries(store) == []
    with store.claim("v") as mine:
        assert mine


def test_a_store_travels_to_another_process(store: FeatureStore) -> None:
    put(store, "v", 4)
    store.read(KEY, "v")
    again = pickle.loads(pickle.dumps(store))
    assert np.array_equal(again.read(KEY, "v").values, values(4))


# Rows


def test_rows_are_gathered_from_parts_shards_and_both(store: FeatureStore) -> None:
    ids = [f"v{number}" for number in range(5)]
    data = [put(store, video, seed, rows=3 + seed) for seed, video in enumerate(ids)]
    random = np.random.default_rng(0)
    videos = random.integers(5, size=200)
    rows = np.array([random.integers(3 + video) for video in videos])
    expected = np.array([data[video][row] for video, row in zip(videos, rows, strict=True)])
    before = store.rows(KEY, ids)
    assert before.counts.tolist() == [3, 4, 5, 6, 7]
    assert before.row_shape == (4,)
    assert before.dtype == np.float32
    assert np.array_equal(before.gather(videos, rows), expected)
    store.pack()
    assert np.array_equal(before.gather(videos, rows), expected)
    assert np.array_equal(store.rows(KEY, ids).gather(videos, rows), expected)
    put(store, "v2", 2, source("b"), rows=5)
    assert np.array_equal(store.rows(KEY, ids).gather(videos, rows), expected)
    store.pack(compress=True)
    assert np.array_equal(store.rows(KEY, ids).gather(videos, rows), expected)
    assert store.rows(KEY, ids[::-1]).gather([4, 0], [0, 6]).tolist() == [
        data[0][0].tolist(),
        data[4][6].tolist(),
    ]
    assert store.rows(KEY, ids).gather([], []).shape == (0, 4)


def test_rows_move_to_a_shard_under_a_reader_that_has_not_mapped_them(store: FeatureStore) -> None:
    put(store, "a", 1)
    put(store, "b", 2)
    reader = FeatureStore.open(store.path)
    rows = reader.rows(KEY, ["a", "b"])
    store.pack()
    assert np.array_equal(rows.gather([1], [3]), values(2)[3:4])
    assert np.array_equal(reader.read(KEY, "a").values, values(1))


@pytest.mark.parametrize(
    ("videos", "rows"),
    [([0], [6]), ([0], [-1]), ([1], [0]), ([-1], [0]), ([0, 0], [0]), (0, 0), ([[0]], [[0]])],
)
def test_rows_that_do_not_exist_are_refused(
    store: FeatureStore, videos: list[int], rows: list[int]
) -> None:
    put(store, "v")
    with pytest.raises(ValueError, match="must be"):
        store.rows(KEY, ["v"]).gather(videos, rows)


def test_rows_of_missing_or_unlike_videos_are_refused(store: FeatureStore) -> None:
    put(store, "v")
    put(store, "w", width=5)
    with pytest.raises(StoreError, match=r"rows of video 'w' have shape \(5,\), those of 'v' \(4,"):
        store.rows(KEY, ["v", "w"])
    with pytest.raises(StoreError, match="no .* features of video 'x'"):
        store.rows(KEY, ["v", "x"])
    with pytest.raises(ValueError, match="no video"):
        store.rows(KEY, [])
    store.pack()  # rows of two shapes cannot share a shard
    assert len(files(store, "shards")) == 2
    assert store.overview(KEY).row_shapes == ((4,), (5,))


def test_more_parts_than_open_files_can_be_read(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [f"v{number}" for number in range(60)]
    for seed, video in enumerate(ids):
        put(store, video, seed)
    rows = store.rows(KEY, ids)
    monkeypatch.setattr(shards, "_MAPS", 8)
    monkeypatch.setattr(shards, "_recently_mapped", deque())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.open(store.path, os.O_RDONLY)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + 30, hard))
    try:
        got = rows.gather(np.arange(60), np.zeros(60, int))
        with pytest.raises(StoreError, match="Too many open files.*run 'aqakit store pack'"):
            _ = [store.read(KEY, video) for video in ids]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert np.array_equal(got, [values(seed)[0] for seed in range(60)])


# Packing


def test_packing_changes_nothing_that_is_read(store: FeatureStore) -> None:
    other = replace(SPEC, backbone="c3d")
    for seed in range(6):
        put(store, f"v{seed}", seed)
        put(store, f"v{seed}", seed, spec=other)
    before = {v: store.read(KEY, v) for v in store.videos(KEY)}
    assert store.pack() == PackSummary(videos=12, shards=2, removed=12)
    assert files(store) == []
    fresh = FeatureStore.open(store.path)
    for reader in (store, fresh):
        assert reader.videos(KEY) == sorted(before)
        for video, old in before.items():
            new = reader.read(KEY, video)
            assert np.array_equal(new.values, old.values)
            assert np.array_equal(new.times, old.times)
            assert np.array_equal(new.frame_times, old.frame_times)
            assert new.provenance == old.provenance
            assert reader.has(KEY, video, source())
    assert store.pack() == PackSummary()  # nothing is left to do
    assert fresh.verify() == []


def test_a_shard_stays_below_its_size_and_small_ones_are_filled_up(store: FeatureStore) -> None:
    bytes_each = 6 * (4 * 4 + 5 * 8)
    for seed in range(5):
        put(store, f"v{seed}", seed)
    assert store.pack(max_bytes=2 * bytes_each).shards == 3
    for seed in range(5, 8):
        put(store, f"v{seed}", seed)
    assert store.pack().shards == 1  # the small shards join the new parts
    assert len(files(store, "shards")) == 1
    assert store.overview(KEY).videos == 8
    put(store, "big", 8, rows=100)
    assert store.pack(max_bytes=1).shards == 1
    assert np.array_equal(store.read(KEY, "big").values, values(8, 100))
    with pytest.raises(ValueError, match="max_bytes is 0"):
        store.pack(max_bytes=0)


def test_compressed_shards_read_alike_and_turn_back(store: FeatureStore) -> None:
    for seed in range(3):
        put(store, f"v{seed}", seed)
    store.pack(compress=True)
    with h5py.File(files(store, "shards")[0]) as file:
        assert file["data"].chunks and file["data"].compression == "gzip"
    assert store.pack(compress=True) == PackSummary()
    for seed in range(3):
        assert np.array_equal(store.read(KEY, f"v{seed}").values, values(seed))
    assert store.verify() == []
    assert store.pack() == PackSummary(videos=3, shards=1, removed=1)
    with h5py.File(files(store, "shards")[0]) as file:
        assert file["data"].chunks is None


def test_a_crash_between_shard_and_removal_leaves_every_video_once(store: FeatureStore) -> None:
    for seed in range(3):
        put(store, f"v{seed}", seed)
    kept = {path: path.read_bytes() for path in files(store)}
    store.pack()
    for path, content in kept.items():
        path.write_bytes(content)  # as if the parts had never been removed
    fresh = FeatureStore.open(store.path)
    assert fresh.videos(KEY) == ["v0", "v1", "v2"]
    assert fresh.overview(KEY).rows == 18
    assert fresh.pack() == PackSummary(removed=3)
    first = files(store, "shards")[0]
    twin = first.with_name("0009.h5")
    twin.write_bytes(first.read_bytes())  # as if an old shard had never been removed
    assert FeatureStore.open(store.path).pack() == PackSummary(removed=1)
    assert files(store, "shards") == [twin]
    assert np.array_equal(fresh.read(KEY, "v1").values, values(1))


def test_a_part_that_is_replaced_while_it_is_packed_stays(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, "v", 1)
    put(store, "w", 2)
    other = FeatureStore.open(store.path)
    plain = catalogs.Catalog.is_current

    def replace_first(self: catalogs.Catalog, shard: shards.Shard) -> bool:
        if shard.records[0].video == "v" and other.read(KEY, "v").times[0, 0] == 1:
            monkeypatch.setattr(catalogs.Catalog, "is_current", plain)
            monkeypatch.setattr(other, "_claimed", {"v"})  # the test stands for another moment
            put(other, "v", 3)
        return plain(self, shard)

    monkeypatch.setattr(catalogs.Catalog, "is_current", replace_first)
    assert store.pack() == PackSummary(videos=2, shards=1, removed=1)
    assert len(files(store)) == 1
    assert np.array_equal(store.read(KEY, "v").values, values(3))


def test_a_part_that_somebody_works_on_is_not_removed(store: FeatureStore) -> None:
    put(store, "v", 1)
    with FeatureStore.open(store.path).claim("v"):
        assert store.pack() == PackSummary(videos=1, shards=1)
    assert len(files(store)) == 1
    assert store.videos(KEY) == ["v"]
    assert store.pack() == PackSummary(removed=1)


def test_two_do_not_pack_at_once(store: FeatureStore) -> None:
    put(store, "v")
    with (
        FeatureStore.open(store.path)._packing(),
        pytest.raises(StoreError, match="another process is packing it; wait for it"),
    ):
        store.pack()


# Damage


def damage_content(path: Path) -> None:
    content = bytearray(path.read_bytes())
    at = content.index(values(1)[3].tobytes())
    content[at + 2] ^= 1
    path.write_bytes(content)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
    "last byte": lambda path: os.truncate(path, path.stat().st_size - 1),
    "zero bytes": lambda path: os.truncate(path, 0),
    "garbage": lambda path: path.write_bytes(os.urandom(4000)),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "wrong magic": lambda path: path.write_bytes(b"PK" + path.read_bytes()[2:]),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("packed", [False, True])
def test_a_damaged_file_does_not_stop_the_rest(
    store: FeatureStore, damage: str, packed: bool
) -> None:
    put(store, "v", 1)
    kind = "shards" if packed else "parts"
    if packed:
        store.pack()
    (path,) = files(store, kind)
    put(store, "w", 2)
    DAMAGE[damage](path)
    for reader in (FeatureStore.open(store.path), store):
        assert reader.videos(KEY) == ["w"]
        assert [found.path for found in reader.damaged] == [path]
        assert not reader.has(KEY, "v", source())
        assert reader.has(KEY, "w", source())
        assert reader.spec(KEY) == SPEC
        with pytest.raises(StoreError, match="no .* features of video 'v'"):
            reader.read(KEY, "v")
    (found,) = store.verify()
    assert (found.path, found.videos) == (path, ())
    assert "delete it" in found.cure and "\n" not in found.reason
    put(store, "v", 3)
    assert store.videos(KEY) == ["v", "w"]
    assert np.array_equal(store.read(KEY, "v").values, values(3))
    if not packed:
        assert store.damaged == store.verify() == []  # the new part took its place
    store.pack()
    assert store.videos(KEY) == ["v", "w"]
    assert path.exists() == packed  # an unreadable shard is nobody's to delete


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("compress", [False, True])
def test_verify_finds_a_flipped_bit_and_the_video_counts_as_not_done(
    store: FeatureStore, packed: bool, compress: bool
) -> None:
    put(store, "u", 0)
    put(store, "v", 1)
    if packed:
        store.pack(compress=compress)
        (path,) = files(store, "shards")
    else:
        path = next(path for path in files(store) if path.name.startswith("v"))
    if packed and compress:
        with h5py.File(path, "r+") as file:
            file["data"][9] = 0
    else:
        damage_content(path)
    assert store.has(KEY, "v", source())  # nobody has looked yet
    (found,) = store.verify()
    assert (found.path, found.videos) == (path, ("v",))
    assert found.reason == "its rows are not what was written"
    for reader in (store, FeatureStore.open(store.path)):
        assert reader.videos(KEY) == ["u"]
        assert not reader.has(KEY, "v", source()) and reader.has(KEY, "u", source())
        assert reader.overview(KEY).videos == 1
        with pytest.raises(StoreError, match=f"^{path}: rows of video 'v' are damaged; run"):
            reader.read(KEY, "v")
    summary = store.pack(compress=not compress)  # never copies damaged rows, never drops them
    assert summary.damaged == (path,) and path.exists()
    put(store, "v", 4)
    assert np.array_equal(store.read(KEY, "v").values, values(4))
    store.pack(compress=compress)
    assert store.videos(KEY) == ["u", "v"] and store.verify() == []


def test_a_part_under_a_wrong_name_is_told(store: FeatureStore) -> None:
    put(store, "v")
    put(store, "v", spec=replace(SPEC, backbone="c3d"))
    (path,) = files(store)
    path.rename(path.with_name("v.1234567890123456.h5"))
    (other,) = files(store, key=replace(SPEC, backbone="c3d").key)
    other.rename(path.with_name(other.name))
    reasons = sorted(found.reason for found in store.verify())
    assert reasons[0].startswith("holds another feature, c3d.rgb")
    assert reasons[1] == "holds another video, 'v'"


def test_strange_files_in_a_store_do_not_matter(store: FeatureStore) -> None:
    put(store, "v")
    (store.path / "parts" / "notes.txt").touch()
    (store.path / "parts" / "empty").mkdir()
    (store.path / "parts" / KEY / "readme").touch()
    (store.path / "damaged.json").write_text("[[1]]")
    (store.path / "failures").mkdir()
    (store.path / "failures" / "x.json").write_text("[]")
    fresh = FeatureStore.open(store.path)
    assert fresh.keys() == [KEY] and fresh.videos(KEY) == ["v"]
    assert fresh.failures() == [] and fresh.verify() == []


# Failures, sources and claims


def test_a_failure_is_kept_until_the_source_changes_or_it_is_cleared(store: FeatureStore) -> None:
    store.record_failure("-v/1", "no frame", source("a"), ["k2", "k1"])
    store.record_failure("gone", "no such file")
    fresh = FeatureStore.open(store.path)
    failure = Failure("-v/1", "no frame", source("a").identity, ("k1", "k2"))
    assert fresh.failures_of("-v/1", source("a")) == {"k1": "no frame", "k2": "no frame"}
    assert fresh.failures_of("-v/1", source("b")) == {}
    assert fresh.failures_of("-v/1", source("a", 1.0)) == {}
    assert fresh.failures() == [failure, Failure("gone", "no such file", None)]
    store.clear_failure("-v/1", ["k1"])
    store.clear_failure("-v/1", ["k1"])
    assert store.failures_of("-v/1", source("a")) == {"k2": "no frame"}
    store.clear_failure("-v/1", ["k2"])
    assert [failure.video for failure in store.failures()] == ["gone"]


def test_features_of_one_video_fail_each_for_its_own_reason(store: FeatureStore) -> None:
    store.record_failure("v", "too short", source("a"), ["k1", "k2"])
    store.record_failure("v", "not finite", source("a"), ["k2", "k3"])
    expected = {"k1": "too short", "k2": "not finite", "k3": "not finite"}
    assert store.failures_of("v", source("a")) == expected
    assert [failure.keys for failure in store.failures()] == [("k1",), ("k2", "k3")]


def test_an_unchanged_source_is_hashed_once(
    store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = tmp_path / "v.mp4"
    video.write_bytes(b"film")
    first = store.source(video, 1.0)
    assert (first.name, first.size_bytes, first.start_seconds) == ("v.mp4", 4, 1.0)
    assert first.sha256 == hashlib.sha256(b"film").hexdigest()
    hashed: list[object] = []
    plain = hashlib.file_digest

    def count(file: FileIO, name: str) -> object:
        hashed.append(file.name)
        return plain(file, name)

    monkeypatch.setattr(hashlib, "file_digest", count)
    assert FeatureStore.open(store.path).source(video, 1.0) == first
    assert hashed == []
    video.write_bytes(b"fil!")
    os.utime(video, ns=(0, first.mtime_ns + 1))
    assert store.source(video).sha256 != first.sha256
    assert len(hashed) == 1
    for record in (store.path / "sources").iterdir():
        record.write_text("{")  # a damaged memory only costs time
    store.source(video)
    assert len(hashed) == 2


def test_a_source_that_cannot_be_read_is_named(store: FeatureStore, tmp_path: Path) -> None:
    for path in (tmp_path / "none.mp4", tmp_path):
        with pytest.raises(VideoError, match=f"^{path}: .*; correct its path or its permissions"):
            store.source(path)


def test_a_video_is_claimed_once(store: FeatureStore) -> None:
    other = FeatureStore.open(store.path)
    with store.claim("v") as mine, other.claim("v") as theirs, store.claim("v") as again:
        assert (mine, theirs, again) == (True, False, False)
        with other.claim("w") as free:
            assert free
        put(store, "v")  # whoever holds the claim writes
        with pytest.raises(StoreError, match="another process works on video 'v'; wait for it"):
            put(other, "v")
    put(other, "v")


# Several processes


WRITER = """
import sys
import numpy as np
from pathlib import Path
from aqakit.features.store import FeatureStore
from aqakit.features.source import Source
from aqakit.features.spec import FeatureSpec

store, spec = FeatureStore.create(Path(sys.argv[1])), FeatureSpec.from_json(sys.argv[2])
source = Source("v", 1, 1, "a" * 64)
for seed in range(40):
    with store.claim(f"v{seed}") as mine:
        if mine and not store.has(spec.key, f"v{seed}", source):
            data = np.random.default_rng(seed).random((6, 4), np.float32)
            with store.begin(spec, f"v{seed}", source, data.shape, 2) as part:
                part.append(data)
                part.finish(np.zeros((6, 3)), np.zeros((6, 2)), {})
            print(seed)
"""


def test_processes_write_and_pack_while_another_reads(tmp_path: Path) -> None:
    path = tmp_path / "store"
    arguments = [sys.executable, "-c", WRITER, str(path), SPEC.to_json()]
    workers = [subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    packer, reader = FeatureStore.create(path), FeatureStore.open(path)
    seen: set[str] = set()
    while any(worker.poll() is None for worker in workers):
        packer.pack()
        found = set(reader.videos(KEY))
        assert seen <= found  # what was there once never vanishes
        seen = found
        for video in found:
            assert np.array_equal(reader.read(KEY, video).values, values(int(video[1:])))
    done = [int(word) for worker in workers for word in worker.communicate()[0].split()]
    assert [worker.returncode for worker in workers] == [0, 0]
    assert sorted(done) == list(range(40))  # each video was computed once
    assert set(reader.videos(KEY)) == {f"v{seed}" for seed in range(40)}
    assert reader.verify() == [] and temporaries(packer) == []


def test_readers_never_miss_a_video_while_shards_are_rewritten(store: FeatureStore) -> None:
    ids = [f"v{seed}" for seed in range(8)]
    for seed, video in enumerate(ids):
        put(store, video, seed)
    stop = threading.Event()
    problems: list[Exception] = []

    def read() -> None:
        try:
            while not stop.is_set():
                reader = FeatureStore.open(store.path)
                assert reader.videos(KEY) == ids
                rows = reader.rows(KEY, ids)
                got = rows.gather(np.arange(8), np.full(8, 5))
                assert np.array_equal(got, [values(seed)[5] for seed in range(8)])
        except (StoreError, AssertionError) as error:
            problems.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for thread in readers:
        thread.start()
    for turn in range(12):
        store.pack(compress=turn % 2 == 1)
        put(store, ids[turn % 8], turn % 8, source("abcdef"[turn % 6]))
    stop.set()
    for thread in readers:
        thread.join()
    assert problems == []


KILLED = """
import os, sys
import numpy as np
from pathlib import Path
from aqakit.features.store import FeatureStore
from aqakit.features.source import Source
from aqakit.features.spec import FeatureSpec

path, spec = Path(sys.argv[1]), FeatureSpec.from_json(sys.argv[2])
store = FeatureStore.create(path)
with store.claim("v"), store.begin(spec, "v", Source("v", 1, 1, "a" * 64), (6, 4), 2) as part:
    part.append(np.ones((3, 4)))
    print("half", flush=True)
    sys.stdin.read()
"""


def test_a_writer_killed_in_the_middle_leaves_a_clean_store(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, "w", 2)
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(store.path), SPEC.to_json()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"half\n"
        with store.claim("v") as mine:
            assert not mine
        put(store, "x", 3)  # another writer does not touch the file being written
        assert len(temporaries(store)) == 1
        process.send_signal(signal.SIGKILL)
    assert len(temporaries(store)) == 1
    assert store.videos(KEY) == ["w", "x"] and store.verify() == []
    assert not store.has(KEY, "v", source())
    with store.claim("v") as mine:  # the lock died with its process
        assert mine
    monkeypatch.setattr(durable, "_swept", set())  # as in the next process
    put(store, "v", 1)
    assert temporaries(store) == []
    assert np.array_equal(store.read(KEY, "v").values, values(1))


# A full disk


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    try:
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("a small file system can be mounted by root only")
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_keeps_everything_that_was_stored(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as folder:
        store = FeatureStore.create(folder / "store")
        written = 0
        with pytest.raises(DiskFullError) as caught:
            while True:
                put(store, f"v{written}", written, rows=100, width=300)
                written += 1
        assert written > 5
        message = str(caught.value)
        assert message.startswith(str(store.path)) and "free some" in message
        assert len(message.splitlines()) == 1
        assert temporaries(store) == []
        for reader in (store, FeatureStore.open(store.path)):
            assert len(reader.videos(KEY)) == written
            assert reader.verify() == []
            for seed in range(written):
                feature = reader.read(KEY, f"v{seed}")
                assert np.array_equal(feature.values, values(seed, 100, 300))
        del reader, feature  # the space of a removed file is free when nobody maps it any more
        with pytest.raises(DiskFullError):
            store.pack()
        assert temporaries(store) == [] and len(store.videos(KEY)) == written
        fill = folder / "fill"
        with pytest.raises(OSError), fill.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        with pytest.raises(DiskFullError):
            store.record_failure("x", "y" * 5000)
        assert store.failures() == []
        fill.unlink()
        for path in files(store)[: written // 2 + 1]:
            path.unlink()
        left = len(store.videos(KEY))
        assert store.pack() == PackSummary(videos=left, shards=1, removed=left)


def test_a_full_disk_is_met_before_any_row_is_computed(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as folder:
        store = FeatureStore.create(folder / "store")
        with (
            pytest.raises(DiskFullError),
            store.begin(SPEC, "v", source(), (1000, 1000), 2),
        ):
            pytest.fail("there is no space for these rows")


def test_a_disk_that_fills_while_rows_are_written_is_told_alike(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """File systems that copy on write do not keep what they reserved."""
    put(store, "w", 2)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for moment in ("append", "finish", "close"):
        with (
            pytest.raises(DiskFullError, match="free some"),
            store.begin(SPEC, "v", source(), (6, 4), 2) as part,
            monkeypatch.context() as patch,
        ):
            for step in ("append", "finish", "close"):
                if step == moment:
                    patch.setattr(os, "pwrite", full)
                if step == "append":
                    part.append(values(1))
                elif step == "finish":
                    part.finish(np.zeros((6, 3)), np.zeros((6, 2)), {})
                else:
                    part.close()
    assert temporaries(store) == [] and store.videos(KEY) == ["w"]
    assert np.array_equal(store.read(KEY, "w").values, values(2))


# Any sequence of operations against a plain dictionary


@dataclass
class Held:
    seed: int
    origin: Source


class StoreMachine(RuleBasedStateMachine):
    """Whatever is done in whatever order, the store holds what a dictionary would."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = FeatureStore.create(Path(self.folder.name) / "store")
        self.held: dict[str, Held] = {}
        self.seed = 0

    def teardown(self) -> None:
        self.folder.cleanup()

    @rule(video=st.sampled_from("abcd"), content=st.sampled_from("xy"), rows=st.integers(3, 6))
    def write(self, video: str, content: str, rows: int) -> None:
        self.seed += 1
        origin = source(content)
        put(self.store, video, self.seed, origin, rows=rows)
        self.held[video] = Held(self.seed, origin)

    @rule(compress=st.booleans(), max_bytes=st.sampled_from([1, 700, 1 << 30]))
    def pack(self, compress: bool, max_bytes: int) -> None:
        self.store.pack(max_bytes, compress)

    @rule()
    def open_again(self) -> None:
        self.store = FeatureStore.open(self.store.path)

    @rule(video=st.sampled_from("abcd"))
    def fail(self, video: str) -> None:
        with (
            pytest.raises(ZeroDivisionError),
            self.store.begin(SPEC, video, source("z"), (6, 4), 2) as part,
        ):
            part.append(values(0, 3))
            raise ZeroDivisionError

    @precondition(lambda self: self.held)
    @rule()
    def verify(self) -> None:
        assert self.store.verify() == []

    @invariant()
    def holds_what_was_written(self) -> None:
        assert self.store.videos(KEY) == sorted(self.held)
        for video, held in self.held.items():
            found = self.store.read(KEY, video)
            assert np.array_equal(found.values, values(held.seed, len(found.values)))
            assert (found.times == held.seed).all()
            assert self.store.has(KEY, video, held.origin)
            assert not self.store.has(KEY, video, source("z"))


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(max_examples=12, stateful_step_count=12, deadline=None)

import errno
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from aqakit.features import shard_writer
from aqakit.features.segments import Sampling
from aqakit.features.shard import DamagedError, Shard, open_shard
from aqakit.features.shard_writer import ShardWriter
from aqakit.features.spec import FeatureSpec, Precision

Arrays = tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]


def spec(precision: Precision = "float32") -> FeatureSpec:
    return FeatureSpec("c3d", "rgb", "fc6", Sampling("clips", 2), "caffe", precision=precision)


def arrays(rows: int, row_shape: tuple[int, ...] = (5,), frames: int = 2, seed: int = 0) -> Arrays:
    random = np.random.default_rng(seed)
    values = random.random((rows, *row_shape), np.float32)
    return values, random.random((rows, 3)), random.random((rows, frames))


@contextmanager
def descriptor(path: Path) -> Iterator[int]:
    opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    try:
        yield opened
    finally:
        os.close(opened)


def write(
    path: Path, videos: dict[str, Arrays], compress: bool = False, precision: Precision = "float32"
) -> Shard:
    first = next(iter(videos.values()))
    rows = sum(len(values) for values, _, _ in videos.values())
    with descriptor(path) as opened:
        writer = ShardWriter(
            opened, spec(precision), (rows, *first[0].shape[1:]), first[2].shape[1], compress
        )
        for video, (values, times, frame_times) in videos.items():
            for block in np.array_split(values, 2) if len(values) > 1 else [values]:
                writer.append(block)
            writer.end_video(
                video, times, frame_times, written_ns=7, source="f" * 64, provenance='{"a":1}'
            )
        writer.close()
    return open_shard(path)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    counts=st.lists(st.integers(1, 30), min_size=1, max_size=5),
    row_shape=st.lists(st.integers(1, 7), max_size=3).map(tuple),
    frames=st.integers(1, 6),
    compress=st.booleans(),
    precision=st.sampled_from(["float32", "float16"]),
    ids=st.lists(
        st.text(st.characters(exclude_characters="\0"), min_size=1, max_size=300),
        min_size=5,
        max_size=5,
        unique=True,
    ),
)
def test_what_is_written_reads_back(
    tmp_path: Path,
    counts: list[int],
    row_shape: tuple[int, ...],
    frames: int,
    compress: bool,
    precision: Precision,
    ids: list[str],
) -> None:
    path = tmp_path / "x.h5"
    path.unlink(missing_ok=True)
    videos = {ids[i]: arrays(count, row_shape, frames, seed=i) for i, count in enumerate(counts)}
    shard = write(path, videos, compress, precision)
    assert shard.spec == spec(precision)
    assert [record.video for record in shard.records] == list(videos)
    assert shard.compressed == compress
    for record, (values, times, frame_times) in zip(shard.records, videos.values(), strict=True):
        stored = shard.arrays(record)
        assert stored[0].dtype == precision
        assert np.array_equal(stored[0], values.astype(precision))
        assert np.array_equal(stored[1], times)
        assert np.array_equal(stored[2], frame_times)
        digest = hashlib.sha256(b"".join(array.tobytes() for array in stored)).hexdigest()
        assert record.sha256 == digest
    assert shard.unsound() == []


@pytest.mark.parametrize("compress", [False, True])
def test_rows_are_gathered_in_any_order(tmp_path: Path, compress: bool) -> None:
    values, times, frame_times = arrays(3000, (40,))
    shard = write(tmp_path / "x.h5", {"v": (values, times, frame_times)}, compress)
    index = np.random.default_rng(0).integers(3000, size=500)
    out = np.empty((500, 40), np.float32)
    shard.rows("data").take(index, out)
    assert np.array_equal(out, values[index])


def test_any_hdf5_tool_can_read_it(tmp_path: Path) -> None:
    videos = {"a": arrays(3), "b": arrays(4, seed=1)}
    write(tmp_path / "x.h5", videos)
    with h5py.File(tmp_path / "x.h5") as file:
        assert file["data"].chunks is None and file["data"].shape == (7, 5)
        assert np.array_equal(file["data"][3:], videos["b"][0])
        assert file["videos"]["id"].tolist() == [b"a", b"b"]
        assert file["videos"]["first"].tolist() == [0, 3]
        assert file["videos"]["rows"].tolist() == [3, 4]
        assert file.attrs["format"] == "aqakit-features"
        assert file.attrs["digest"] == spec().digest
        assert FeatureSpec.from_json(file.attrs["spec"]) == spec()
        assert file.attrs["complete"]


def test_values_are_a_read_only_view_of_the_file(tmp_path: Path) -> None:
    shard = write(tmp_path / "x.h5", {"v": arrays(3)})
    values = shard.arrays(shard.records[0])[0]
    assert not values.flags.owndata and not values.flags.writeable
    assert values.flags.aligned


def test_the_file_is_no_larger_than_its_rows_and_a_little(tmp_path: Path) -> None:
    plain = write(tmp_path / "plain.h5", {"v": arrays(1000, (100,))})
    zeros = (np.zeros((1000, 100), np.float32), np.zeros((1000, 3)), np.zeros((1000, 2)))
    packed = write(tmp_path / "packed.h5", {"v": zeros}, compress=True)
    rows = 1000 * (400 + 5 * 8)
    assert rows < plain.size_bytes < rows + 20_000
    assert packed.size_bytes < rows / 5


def test_a_large_provenance_has_room(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with descriptor(path) as opened:
        writer = ShardWriter(opened, spec(), (1, 5), 2)
        values, times, frame_times = arrays(1)
        writer.append(values)
        text = '{"a":"' + "b" * 300_000 + '"}'
        writer.end_video("v", times, frame_times, written_ns=1, source="", provenance=text)
        writer.close()
    assert open_shard(path).records[0].provenance == text


def test_wrong_use_is_refused(tmp_path: Path) -> None:
    values, times, frame_times = arrays(4)
    with descriptor(tmp_path / "a") as opened:
        for shape, frames in (((0, 5), 2), ((4, 0), 2), ((4, 5), 0)):
            with pytest.raises(ValueError, match="none may be 0"):
                ShardWriter(opened, spec(), shape, frames)
        writer = ShardWriter(opened, spec(), (4, 5), 2)
        end = {"written_ns": 0, "source": "", "provenance": "{}"}
        with pytest.raises(ValueError, match=r"rows are \(4, 4\)"):
            writer.append(values[:, :4])
        with pytest.raises(ValueError, match=r"rows are \(5,\)"):
            writer.append(values[0])
        with pytest.raises(ValueError, match="0 rows; there must be 4"):
            writer.append(values[:0])
        writer.append(values)
        with pytest.raises(ValueError, match="4 \\+ 1 rows; there must be 4 in all"):
            writer.append(values[:1])
        with pytest.raises(ValueError, match="must be text without NUL"):
            writer.end_video("a\0b", times, frame_times, **end)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="0 of 4 rows belong"):
            writer.close()
        writer.abandon()
    with descriptor(tmp_path / "b") as opened:
        writer = ShardWriter(opened, spec(), (4, 5), 2)
        writer.append(values)
        with pytest.raises(ValueError, match="arrays of video 'v' differ in rows"):
            writer.end_video("v", times[:2], frame_times, **end)  # type: ignore[arg-type]
        writer.abandon()


@pytest.mark.parametrize("compress", [False, True])
def test_an_unfinished_file_is_not_read(tmp_path: Path, compress: bool) -> None:
    path = tmp_path / "x.h5"
    with descriptor(path) as opened:
        writer = ShardWriter(opened, spec(), (4, 5), 2, compress)
        writer.append(arrays(4)[0])
        with pytest.raises(DamagedError):
            open_shard(path)
        writer.abandon()
    with pytest.raises(DamagedError, match=f"^{path}: is not a whole feature file"):
        open_shard(path)


def test_every_truncation_and_every_damaged_block_is_found(tmp_path: Path) -> None:
    """Whatever is cut or overwritten: an error, damaged rows named, or nothing of value hit."""
    path = tmp_path / "x.h5"
    videos = {"a": arrays(40), "b": arrays(40, seed=1)}
    write(path, videos)
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    broken = tmp_path / "broken.h5"
    for step in range(0, len(whole), 61):
        broken.write_bytes(whole[:step])
        with pytest.raises(DamagedError):
            open_shard(broken)
        noise = random.bytes(24)
        broken.write_bytes(whole[:step] + noise + whole[step + 24 :])
        assert _harmless_or_found(broken, videos), f"bytes from {step}"


def _harmless_or_found(path: Path, videos: dict[str, Arrays]) -> bool:
    try:
        shard = open_shard(path)
        unsound = {record.video for record in shard.unsound()}
    except DamagedError as error:
        return "\n" not in str(error)
    return all(
        record.video in unsound or _same(shard.arrays(record), videos[record.video])
        for record in shard.records
    )


def _same(stored: Sequence[NDArray[np.generic]], written: Arrays) -> bool:
    return all(np.array_equal(stored[i], written[i]) for i in range(3))


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 5000, b"not HDF5 at all", b"\x89HDF\r\n\x1a\n" + b"\xff" * 3000]
)
def test_other_files_are_damaged_not_fatal(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.h5"
    path.write_bytes(content)
    with pytest.raises(DamagedError, match="delete it and run 'aqakit extract' again"):
        open_shard(path)


@pytest.mark.parametrize(
    ("attribute", "value", "reason"),
    [("version", 2, "is of version 2, this aqakit reads version 1"),
     ("format", "zip", "never finished"), ("complete", False, "never finished"),
     ("digest", "0" * 64, "spec is damaged"), ("spec", "{}", "not a feature spec"),
     ("videos_sha256", "", "table of videos is damaged")],
)  # fmt: skip
def test_a_changed_attribute_is_named(
    tmp_path: Path, attribute: str, value: object, reason: str
) -> None:
    path = tmp_path / "x.h5"
    write(path, {"v": arrays(3)})
    with h5py.File(path, "r+") as file:
        file.attrs[attribute] = value
    with pytest.raises(DamagedError, match=reason):
        open_shard(path)


def test_hdf5_of_somebody_else_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["data"] = np.zeros(3)
    with pytest.raises(DamagedError, match="never finished"):
        open_shard(path)


def test_a_missing_file_is_no_damage(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_shard(tmp_path / "x.h5")
    shard = write(tmp_path / "y.h5", {"v": arrays(3)})
    shard.path.unlink()
    with pytest.raises(FileNotFoundError):
        shard.arrays(shard.records[0])


def test_a_file_cut_after_it_was_opened_is_damaged(tmp_path: Path) -> None:
    shard = write(tmp_path / "x.h5", {"v": arrays(300)})
    os.truncate(shard.path, 1000)
    with pytest.raises(DamagedError, match="shorter than it was"):
        shard.arrays(shard.records[0])
    assert len(shard.unsound()) == 1


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("allowed", range(12))
def test_a_disk_that_fills_anywhere_ends_in_that_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compress: bool, allowed: int
) -> None:
    """Also where the space cannot be reserved: HDF5 must neither hide the error nor hang on it."""
    writes = 0
    plain_write = os.pwrite

    def fill_up(opened: int, data: bytes, offset: int) -> int:
        nonlocal writes
        writes += 1
        if writes > allowed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return plain_write(opened, data, offset)

    monkeypatch.setattr(os, "pwrite", fill_up)
    values, times, frame_times = arrays(4)
    with descriptor(tmp_path / "x.h5") as opened:
        writer = ShardWriter(opened, spec(), (4, 5), 2, compress)
        try:
            with pytest.raises(OSError) as caught:
                writer.append(values)
                writer.end_video("v", times, frame_times, written_ns=0, source="", provenance="{}")
                writer.close()
            assert caught.value.errno == errno.ENOSPC
        finally:
            writer.abandon()
    with pytest.raises(DamagedError):
        open_shard(tmp_path / "x.h5")


def test_chunks_are_about_as_large_as_a_cache_likes() -> None:
    assert shard_writer._chunk_rows((5000, 1024), np.dtype("float32")) == 64
    assert shard_writer._chunk_rows((10, 1024), np.dtype("float32")) == 10
    assert shard_writer._chunk_rows((10, 2048, 14, 14), np.dtype("float32")) == 1

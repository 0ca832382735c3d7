import gzip
import io
import re
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.interpolate import make_interp_spline

from aqakit.features.dataset import Imported, Source, count_tasks
from aqakit.features.datasets import ui_prmd
from aqakit.features.errors import ManifestError, RecipeError
from aqakit.features.interchange import ignore_videos
from aqakit.features.manifest import Manifest, Pair
from aqakit.features.outcome import Outcome
from aqakit.features.store import FeatureStore

GOOD = "Segmented Movements/Kinect/Positions"
BAD = "Incorrect Segmented Movements/Kinect/Positions"
RAW = "kinect.track.moving.steps-20x4.raw.none.float32"
KEY = "kinect.track.moving.steps-20x4.raw-speed.none.float32"
KEYS = (RAW, KEY)


def text(values: NDArray[np.float64]) -> bytes:
    return "".join(",".join(f"{cell:.6f}" for cell in row) + "\n" for row in values).encode()


def motion(seed: int, samples: int = 45) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=(samples, 66)).cumsum(axis=0).round(6)


SMALL: dict[str, bytes] = {
    f"{GOOD}/m01_s01_e01_positions.txt": text(motion(1)),
    f"{GOOD}/m01_s01_e03_positions.txt": text(motion(2)),
    f"{BAD}/m01_s01_e01_positions_inc.txt": text(motion(3)),
    f"{BAD}/m01_s01_e02_positions_inc.txt.gz": gzip.compress(text(motion(4))),
    f"{GOOD}/m10_s10_e10_positions.txt": text(motion(5)),
    f"{BAD}/m09_s10_e10_positions_inc.txt": text(motion(6)),
}
IDS = [
    *("m01_s01_e01", "m01_s01_e03", "m01_s01_e01_inc", "m01_s01_e02_inc"),
    *("m09_s10_e10_inc", "m10_s10_e10"),
]


def as_folder(where: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        path = where / "dataset" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return where / "dataset"


def as_tar(where: Path, files: Mapping[str, bytes], mode: str = "w", name: str = "a.tar") -> Path:
    with tarfile.open(str(where / name), mode) as tar:  # type: ignore[call-overload]
        for member, data in files.items():
            info = tarfile.TarInfo(member)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return where / name


def as_tar_gz(where: Path, files: Mapping[str, bytes]) -> Path:
    return as_tar(where, files, "w:gz", "a.tgz")


def as_zip(where: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(where / "a.zip", "w") as archive:
        archive.mkdir(f"{GOOD}/old")
        for name, data in files.items():
            archive.writestr(name, data)
    return where / "a.zip"


Pack = Callable[[Path, Mapping[str, bytes]], Path]
PACKS: list[Pack] = [as_folder, as_tar, as_tar_gz, as_zip]


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore.create(tmp_path / "store")


def values_of(store: FeatureStore, id: str) -> NDArray[np.float64]:
    return store.read(KEY, id).values.astype(np.float64)


def ids(imported: Imported) -> list[str]:
    return [video.id for video in imported.manifest.videos]


def fill(folder: Path, store: FeatureStore, rate: float | None = None) -> list[Outcome]:
    source = Source(folder, rate=rate)
    return ui_prmd.fill(source, store, ui_prmd.read(source).manifest, ignore_videos)


# What is there


def test_the_whole_dataset(real_data: Path) -> None:
    made = ui_prmd.read(Source(real_data / "uiprmd" / "kinect_positions.tar"))
    assert made.notes == ()
    assert made.absent == ()
    counts = count_tasks(made)
    assert [one.task for one in counts][::9] == ["m01-deep-squat", "m10-standing-shoulder-scaption"]
    for one in counts:
        found = (one.videos, one.absent, one.subjects, one.scored, one.pairs, one.absent_pairs)
        assert found == (200, 0, 10, 200, 1000, 0)
    videos = {video.id: video for video in made.manifest.videos}
    assert len(videos) == 2000
    for pair in made.manifest.pairs:
        better, worse = videos[pair.better], videos[pair.worse]
        assert (better.score, worse.score) == (1, 0)
        assert (better.task, better.subject) == (worse.task, worse.subject)


def test_names_say_everything(tmp_path: Path) -> None:
    made = ui_prmd.read(Source(as_folder(tmp_path, SMALL)))
    assert ids(made) == IDS
    first, *_, last = made.manifest.videos
    assert (first.task, first.subject, first.trial, first.score) == (
        "m01-deep-squat",
        "s01",
        "e01",
        1,
    )
    assert (last.task, last.subject) == ("m10-standing-shoulder-scaption", "s10")
    ninth = made.manifest.videos[4]
    assert ninth.task == "m09-standing-shoulder-internal-external-rotation"
    assert (ninth.subject, ninth.trial, ninth.score) == ("s10", "e10", 0)
    assert {video.path for video in made.manifest.videos} == {None}
    # Neither another movement nor another subject makes a pair.
    assert made.manifest.pairs == (
        Pair("m01_s01_e01", "m01_s01_e01_inc"),
        Pair("m01_s01_e01", "m01_s01_e02_inc"),
        Pair("m01_s01_e03", "m01_s01_e01_inc"),
        Pair("m01_s01_e03", "m01_s01_e02_inc"),
    )


def test_missing_recordings_and_other_names_are_told(tmp_path: Path) -> None:
    strange = [
        f"{GOOD}/m01_s01_e02_positions_inc.txt",  # says incorrect, lies among the correct ones
        f"{GOOD}/m01_s01_e2_positions.txt",
        f"{GOOD}/m11_s01_e01_positions.txt",
        f"{GOOD}/notes.txt",
        f"{BAD}/m01_s01_e05_positions.txt",
    ]
    folder = as_folder(tmp_path, {**SMALL, **dict.fromkeys(strange, b"1")})
    made = ui_prmd.read(Source(folder))
    assert ids(made) == IDS
    missing, left_out = made.notes
    assert missing == (
        "1994 of the 2000 recordings are missing: m01_s01_e02, m01_s01_e04, m01_s01_e05 and 1991 more"
    )
    assert left_out == (
        "left out, as they are not named like m01_s01_e01_positions.txt, or _positions_inc.txt in "
        f"the folder of incorrect ones (5): {strange[4]}, {strange[0]}, {strange[1]} and 2 more"
    )


@pytest.mark.parametrize("pack", PACKS)
def test_other_files_of_the_dataset_are_no_recordings(tmp_path: Path, pack: Pack) -> None:
    others = [
        "Segmented Movements/Vicon/Positions/m01_s01_e01_positions.txt",
        "Segmented Movements/Kinect/Angles/m01_s01_e01_angles.txt",
        "Movements/Kinect/Positions/m01_s01_positions.txt",
        "Kinect/Positions/m01_s01_e09_positions.txt",
        f"__MACOSX/{GOOD}/._m01_s01_e01_positions.txt",
        f"{GOOD}/.DS_Store",
        f"{GOOD}/old/m01_s01_e09_positions.txt",
        "readme.txt",
    ]
    files = {f"UI-PRMD/{name}": data for name, data in SMALL.items()}
    made = ui_prmd.read(Source(pack(tmp_path, {**dict.fromkeys(others, b"1"), **files})))
    assert ids(made) == IDS
    assert len(made.notes) == 1


def test_an_archive_of_a_dot(tmp_path: Path) -> None:
    tar = as_tar(tmp_path, {f"./{name}": data for name, data in SMALL.items()})
    assert ids(ui_prmd.read(Source(tar))) == IDS


def test_a_tar_that_ends_with_a_zip(tmp_path: Path) -> None:
    inner = as_zip(tmp_path, {"a.txt": b"1"}).read_bytes()
    assert ids(ui_prmd.read(Source(as_tar(tmp_path, {**SMALL, "inner.zip": inner})))) == IDS


def test_links_in_an_archive_lead_nowhere(tmp_path: Path, store: FeatureStore) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_bytes(text(motion(9)))
    tar = as_tar(tmp_path, {**SMALL, "../../outside.txt": b"1"})
    with tarfile.open(tar, "a") as archive:
        for kind, name in ((tarfile.SYMTYPE, "e07"), (tarfile.LNKTYPE, "e08")):
            info = tarfile.TarInfo(f"{GOOD}/m01_s01_{name}_positions.txt")
            info.type, info.linkname = kind, str(secret)
            archive.addfile(info)
    before = {path for path in tmp_path.parent.rglob("*") if store.path not in path.parents}
    assert ids(ui_prmd.read(Source(tar))) == IDS
    assert len(fill(tar, store)) == len(IDS)
    after = {path for path in tmp_path.parent.rglob("*") if store.path not in path.parents}
    assert after == before


# What cannot be read


def test_paths_that_are_no_dataset(tmp_path: Path) -> None:
    def told(path: Path, videos: Path | None = None) -> str:
        with pytest.raises(ManifestError) as caught:
            ui_prmd.read(Source(path, videos=videos))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert told(tmp_path / "gone.tar") == (
        f"{tmp_path}/gone.tar: is no folder, .tar or .zip that can be read (No such file or "
        "directory); name the dataset's folder, or get the archive again"
    )
    (tmp_path / "x.tar").write_bytes(b"something else")
    assert "x.tar: is no folder, .tar or .zip that can be read (File is not a zip" in told(
        tmp_path / "x.tar"
    )
    whole = as_tar(tmp_path, SMALL).read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[: whole.rindex(b"m10_s10") + 700])
    assert "cut.tar: is no folder, .tar or .zip that can be read (unexpected end of data)" in told(
        tmp_path / "cut.tar"
    )
    packed = as_tar_gz(tmp_path, SMALL).read_bytes()
    (tmp_path / "cut.tgz").write_bytes(packed[: len(packed) // 2])
    assert "cut.tgz: is no folder, .tar or .zip that can be read (Compressed file ended" in told(
        tmp_path / "cut.tgz"
    )
    assert told(tmp_path, tmp_path / "v") == (
        f"{tmp_path}/v: UI-PRMD has skeletons, no videos; leave --videos out"
    )


@pytest.mark.parametrize("pack", PACKS)
@pytest.mark.parametrize("lost", [GOOD, BAD])
def test_one_kind_alone_makes_no_pairs(tmp_path: Path, pack: Pack, lost: str) -> None:
    path = pack(tmp_path, {n: data for n, data in SMALL.items() if not n.startswith(lost)})
    with pytest.raises(ManifestError) as caught:
        ui_prmd.read(Source(path))
    assert str(caught.value) == (
        f"{path}: no recordings in '{lost}'; name the folder, .tar or .zip that holds both "
        "'Segmented Movements' and 'Incorrect Segmented Movements'"
    )


def test_a_recording_twice(tmp_path: Path) -> None:
    name = f"{GOOD}/m01_s01_e01_positions.txt"
    folder = as_folder(tmp_path, {**SMALL, f"{name}.gz": b"1"})
    with pytest.raises(ManifestError) as caught:
        ui_prmd.read(Source(folder))
    assert str(caught.value) == (
        f"{folder}/{name} and {folder}/{name}.gz are one recording; move one away"
    )


# Into a store


def table_in(tar: tarfile.TarFile, name: str) -> NDArray[np.float64]:
    stream = tar.extractfile(name)
    assert stream is not None
    return np.loadtxt(gzip.decompress(stream.read()).decode().splitlines(), delimiter=",")


def columns_that_move() -> list[int]:
    """Places of the columns of the group, from the names of the columns."""
    joints = [column.partition(".")[0] for column in ui_prmd.COLUMNS]
    return [
        next(i for i, name in enumerate(ui_prmd.COLUMNS) if name == word)
        if "." in word
        else joints.index(word) + axis
        for word in ui_prmd.MOVING.columns
        for axis in (range(1) if "." in word else range(3))
    ]


def slowly(values: NDArray[np.float64], rate: float = 30) -> NDArray[np.float64]:
    """(20, 64): both channels of one recording, by SciPy's straight lines."""
    times = np.arange(len(values)) / rate
    edges = np.linspace(0, len(values) / rate, 21)
    line = make_interp_spline(times, values[:, columns_that_move()], k=1)
    rows = []
    for start, end in pairwise(edges):
        instants = start + (end - start) * np.array([1, 3, 5, 7]) / 8
        raw = line(instants.clip(max=times[-1])).mean(axis=0)
        stops = np.array([start, *times[(times > start) & (times < end)], end]).clip(max=times[-1])
        way = np.abs(np.diff(line(stops), axis=0)).sum(axis=0)
        rows.append(np.concatenate([raw, way / (end - start)]))
    return np.array(rows)


def test_the_columns_that_move(real_data: Path) -> None:
    places = columns_that_move()
    assert len({*places}) == 32
    still = sorted({*range(66)} - {*places})
    moved = np.zeros(66)
    with tarfile.open(real_data / "uiprmd" / "kinect_positions.tar") as tar:
        for name in tar.getnames():
            if re.search(r"_s0[38]_e04", name):
                values = table_in(tar, name)
                assert not np.ptp(values[:, still], axis=0).any()
                assert np.abs(values[:, still]).max() < 1e-4
                moved += values.std(axis=0) / 40
    assert (moved[places] > 0.01).all()


def test_real_recordings_step_by_step(real_data: Path, store: FeatureStore) -> None:
    path = real_data / "uiprmd" / "kinect_positions.tar"
    source = Source(path)
    whole = ui_prmd.read(source).manifest
    chosen = Manifest(tuple(video for video in whole.videos if video.id.endswith("3_s07_e05_inc")))
    told: list[tuple[int, int, str]] = []
    (outcome,) = ui_prmd.fill(source, store, chosen, lambda *step: told.append(step))
    assert outcome == Outcome("m03_s07_e05_inc", computed=KEYS)
    assert told == [(1, 2, "m03_s07_e05_inc"), (2, 2, "m03_s07_e05_inc")]
    with tarfile.open(path) as tar:
        values = table_in(tar, f"{BAD}/m03_s07_e05_positions_inc.txt.gz")
    found = store.read(KEY, "m03_s07_e05_inc")
    np.testing.assert_allclose(
        values_of(store, "m03_s07_e05_inc"), slowly(values), rtol=1e-5, atol=1e-4
    )
    assert found.times[-1, 2] == pytest.approx(len(values) / 30)
    assert found.provenance["names"][:4] == ["waist.x", "waist.y", "waist.z", "spine.y"]
    assert found.provenance["source"]["name"] == "m03_s07_e05_positions_inc.txt.gz"


@pytest.mark.parametrize("pack", PACKS)
def test_the_same_features_from_a_folder_and_an_archive(
    tmp_path: Path, store: FeatureStore, pack: Pack
) -> None:
    outcomes = fill(pack(tmp_path, SMALL), store)
    assert outcomes == [Outcome(id, computed=KEYS) for id in IDS]
    for id, seed in zip(IDS, (1, 2, 3, 4, 6, 5), strict=True):
        np.testing.assert_allclose(values_of(store, id), slowly(motion(seed)), rtol=1e-5, atol=1e-5)
    # The same bytes elsewhere are the same recordings, and nothing is computed twice.
    for again in PACKS:
        assert fill(again(tmp_path, SMALL), store) == [Outcome(id, kept=KEYS) for id in IDS]
    changed = {**SMALL, f"{GOOD}/m01_s01_e03_positions.txt": text(motion(7))}
    outcomes = fill(pack(tmp_path, changed), store)
    assert [outcome.video_id for outcome in outcomes if outcome.computed] == ["m01_s01_e03"]


def test_a_manifest_that_was_written_and_changed(tmp_path: Path, store: FeatureStore) -> None:
    source = Source(as_folder(tmp_path, SMALL))
    ui_prmd.read(source).manifest.write(tmp_path / "manifest")
    manifest = Manifest.read(tmp_path / "manifest")
    assert manifest == ui_prmd.read(source).manifest
    first, second, *_ = manifest.videos
    kept = (replace(first, start_seconds=0.5), second, replace(second, id="m05_s01_e01"))
    one, two, three = ui_prmd.fill(source, store, Manifest(kept), ignore_videos)
    assert store.read(KEY, one.video_id).times[[0, -1], [0, 2]].tolist() == [0.5, 1.5]
    assert store.read(KEY, two.video_id).times[[0, -1], [0, 2]].tolist() == [0, 1.5]
    expected = slowly(motion(1)[15:])
    np.testing.assert_allclose(values_of(store, one.video_id), expected, rtol=1e-5, atol=1e-5)
    assert three.failure == (
        f"{source.folder}: no file of recording 'm05_s01_e01'; take it out of the manifest, or get "
        "the file again"
    )


def test_another_rate(tmp_path: Path, store: FeatureStore) -> None:
    folder = as_folder(tmp_path, SMALL)
    fill(folder, store, rate=60)
    assert store.read(KEY, "m01_s01_e01").times[-1, 2] == 0.75
    values = values_of(store, "m01_s01_e01")
    np.testing.assert_allclose(values, slowly(motion(1), 60), rtol=1e-5, atol=1e-4)
    with pytest.raises(RecipeError, match="--rate 0 must be positive"):
        fill(folder, store, rate=0)


def test_a_broken_recording_fails_alone(tmp_path: Path, store: FeatureStore) -> None:
    packed = gzip.compress(text(motion(9)))
    broken = {
        "m02_s01_e01_positions.txt": b"",
        "m02_s01_e02_positions.txt.gz": packed[: len(packed) // 2],
        "m02_s01_e03_positions.txt.gz": gzip.compress(b"\n"),
        "m02_s01_e04_positions.txt": text(motion(1)[:, :65]),
        "m02_s01_e05_positions.txt": b"x" + text(motion(1)),
        "m02_s01_e06_positions.txt": text(motion(1))[:-40],
        "m02_s01_e07_positions.txt.gz": text(motion(1)),  # unpacked by a browser
    }
    folder = as_folder(tmp_path, {**SMALL, **{f"{GOOD}/{n}": data for n, data in broken.items()}})
    outcomes = {outcome.video_id: outcome for outcome in fill(folder, store)}
    assert len(outcomes) == 13
    told = [str(outcomes[f"m02_s01_e0{number}"].failure) for number in range(1, 8)]
    files = [f"{folder}/{GOOD}/{name}" for name in broken]
    assert told[0] == f"{files[0]}: is empty; get it again"
    assert told[1].startswith(f"{files[1]}: is no whole gzip file (Compressed file ended before")
    assert told[2] == f"{files[2]}: is empty; get it again"
    assert told[3] == f"{files[3]}: has 65 columns, not 66 (22 joints x 3); get it again"
    assert told[4] == f"{files[4]}: its first line is not all numbers; get it again"
    assert told[5].startswith(f"{files[5]}, line 45: 62 cells, 66 in the first line")
    assert told[6] == "None"
    assert all(outcomes[id].computed for id in (*IDS, "m02_s01_e07"))


BROKEN = f"{BAD}/m01_s01_e01_positions_inc.txt"


def flip(path: Path) -> None:
    """Other bytes in a stored member."""
    path.write_bytes(path.read_bytes().replace(text(motion(3))[:9], b"9" * 9))


def deflate(path: Path) -> None:
    """A member packed in blocks of a kind that there is not."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in SMALL.items():
            archive.writestr(name, data)
    whole = bytearray(path.read_bytes())
    whole[whole.index(BROKEN.encode()) + len(BROKEN)] = 0xFF
    path.write_bytes(whole)


def encrypt(path: Path) -> None:
    """A member that the directory says has a password."""
    data = bytearray(path.read_bytes())
    # The flags stand 38 bytes before the name of a member in the directory.
    data[data.rindex(BROKEN.encode()) - 38] |= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "words"),
    [(flip, "Bad CRC-32"), (deflate, "invalid block type"), (encrypt, "is encrypted")],
)
def test_a_damaged_member_fails_alone(
    tmp_path: Path, store: FeatureStore, damage: Callable[[Path], None], words: str
) -> None:
    path = as_zip(tmp_path, SMALL)
    damage(path)
    failures = {o.video_id: str(o.failure) for o in fill(path, store) if not o.computed}
    assert [*failures] == ["m01_s01_e01_inc"]
    (told,) = failures.values()
    assert told.startswith(f"{path}/{BROKEN}: cannot be read (")
    assert words in told
    assert told.endswith("); get it again")


def test_a_damaged_archive(tmp_path: Path) -> None:
    data = bytearray(as_tar(tmp_path, SMALL, "w:xz", "a.tar.xz").read_bytes())
    data[len(data) // 2] ^= 0xFF
    (tmp_path / "a.tar.xz").write_bytes(data)
    with pytest.raises(
        ManifestError, match="a.tar.xz: is no folder, .tar or .zip that can be read"
    ):
        ui_prmd.read(Source(tmp_path / "a.tar.xz"))


def test_a_claimed_recording_is_left_to_the_other_process(
    tmp_path: Path, store: FeatureStore
) -> None:
    folder = as_folder(tmp_path, SMALL)
    with FeatureStore.open(store.path).claim(IDS[0]):
        first, *others = fill(folder, store)
    assert first.skipped
    assert all(outcome.computed for outcome in others)

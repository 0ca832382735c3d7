import hashlib
from pathlib import Path

import pytest

from aqakit.extract import weights
from aqakit.extract.backbone import Checkpoint, Setup
from aqakit.extract.receipt import Receipt
from aqakit.features.errors import WeightsError


def one_line(error: pytest.ExceptionInfo[WeightsError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


# Reading


CHECKPOINTS = (
    Checkpoint("first.pth", "the first zoo", "https://example.org/first.pth", "ab12"),
    Checkpoint("second.pth", "the second zoo", "https://example.org/second.pth"),
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AQAKIT_WEIGHTS", str(tmp_path))
    return tmp_path


def test_the_folder_is_in_the_users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AQAKIT_WEIGHTS", raising=False)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert weights.folder() == Path("/home/somebody/.cache/aqakit/weights")


def test_missing_weights_say_where_to_get_them(folder: Path) -> None:
    with pytest.raises(WeightsError) as error:
        weights.find(CHECKPOINTS, "c3d")
    assert one_line(error) == (
        "no weights for c3d: first.pth is missing; run 'aqakit weights fetch c3d', "
        "or give --weights c3d=PATH, or --weights random"
    )


def test_the_preferred_file_is_found(folder: Path) -> None:
    (folder / "second.pth").write_bytes(b"any")
    assert weights.find(CHECKPOINTS, "c3d") == folder / "second.pth"
    content = b"aqakit 32294"  # found by trial: its SHA-256 begins with the published digits
    (folder / "first.pth").write_bytes(content)
    assert weights.find(CHECKPOINTS, "c3d") == folder / "first.pth"


def test_a_file_that_is_not_the_published_one_is_refused(folder: Path) -> None:
    (folder / "first.pth").write_bytes(b"half of it")
    found = hashlib.sha256(b"half of it").hexdigest()
    with pytest.raises(WeightsError) as error:
        weights.find(CHECKPOINTS, "c3d")
    assert one_line(error) == (
        f"{folder / 'first.pth'} is not the published file: its SHA-256 begins with {found[:12]}, "
        "not with ab12; run 'aqakit weights fetch first.pth' to replace it"
    )


def test_a_file_that_changed_since_it_was_fetched_is_refused(folder: Path) -> None:
    path = folder / "second.pth"
    path.write_bytes(b"as fetched")
    Receipt("https://example.org/second.pth", weights.digest(path), 10, "2026-01-01").write(path)
    assert weights.find(CHECKPOINTS, "c3d") == path
    before = weights.digest(path)[:12]
    path.write_bytes(b"altered!!!")
    with pytest.raises(WeightsError) as error:
        weights.find(CHECKPOINTS, "c3d")
    assert one_line(error) == (
        f"{path} has changed since it was fetched: its SHA-256 begins with "
        f"{weights.digest(path)[:12]}, not with {before}; "
        "run 'aqakit weights fetch second.pth' to replace it"
    )


def test_digest_and_identity(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(bytes(range(256)) * 10000)
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    assert weights.digest(path) == expected
    assert weights.identity(Setup("rgb", "caffe", weights=path)) == f"sha256-{expected[:12]}"
    assert weights.identity(Setup("rgb", "caffe", random_seed=4)) == "random-4"
    assert weights.identity(Setup("flow", "short-96")) == "none"


def test_a_missing_file_has_no_identity(tmp_path: Path) -> None:
    with pytest.raises(WeightsError) as error:
        weights.identity(Setup("rgb", "caffe", weights=tmp_path / "none.pth"))
    assert one_line(error).startswith(f"{tmp_path / 'none.pth'} cannot be read (No such file")

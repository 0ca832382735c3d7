"""``aqakit weights`` as a user runs it, with a server of this machine in place of the real ones."""

import functools
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from torch import Tensor

from aqakit.extract.backbone import Checkpoint, Setup
from aqakit.extract.backbones import c3d, i3d
from aqakit.extract.network import NetworkBackbone
from aqakit.extract.registry import known
from aqakit.extract.request import BACKBONES
from aqakit.features import plugins


def aqakit(*words: str) -> Result:
    from aqakit.cli import main

    return CliRunner(env={"COLUMNS": "300"}).invoke(main, ["weights", *words])


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "weights"
    monkeypatch.setenv("AQAKIT_WEIGHTS", str(path))
    return path


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Print nothing."""


def public_state() -> dict[str, Tensor]:
    """Random weights of I3D under the keys of the public file, with normalisation of its own."""
    backbone = i3d.build(Setup("rgb", "imagenet", random_seed=0))
    assert isinstance(backbone, NetworkBackbone)
    state = {}
    for own, value in backbone._network.state_dict().items():
        name = own.removeprefix("features.")
        if name.startswith("logits."):
            state[name.replace("logits.", "logits.conv3d.")] = value
        elif name.endswith(".conv3d.weight"):
            state[name] = value.half()
            unit = name.removesuffix("conv3d.weight") + "bn"
            for part in ("weight", "bias", "running_mean", "running_var"):
                state[f"{unit}.{part}"] = torch.ones(len(value))
    return state


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Address and folder of a server that has weights of I3D."""
    path = tmp_path_factory.mktemp("site")
    torch.save(public_state(), path / "i3d.pt")
    handler = functools.partial(Quiet, directory=str(path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", path
        server.shutdown()
        thread.join()


@pytest.fixture
def local(site: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let I3D's file lie on the server, and C3D's be gone."""
    address, path = site
    sha256 = hashlib.sha256((path / "i3d.pt").read_bytes()).hexdigest()
    good = Checkpoint("i3d.pt", "the zoo", f"{address}/i3d.pt", sha256, stream="rgb")
    gone = Checkpoint("c3d.pth", "the zoo", f"{address}/gone.pth")
    monkeypatch.setattr(i3d, "INFO", replace(i3d.INFO, checkpoints=(good,)))
    monkeypatch.setattr(c3d, "INFO", replace(c3d.INFO, checkpoints=(gone,)))
    return path / "i3d.pt"


def test_ls_names_every_known_file() -> None:
    result = aqakit("ls")
    assert result.exit_code == 0
    for part in ("rgb_imagenet.pt", "c3d.pickle", "2609088c2e8c, published", "none published"):
        assert part in result.output
    assert f"0 of {len(known())} files are here, 0 damaged" in result.output
    assert "Apache-2.0" in result.output
    for entry in known().values():
        places = " or ".join(entry.checkpoint.urls)
        assert f"{entry.checkpoint.file} is at {places}\n" in result.output


def test_fetched_checked_damaged_and_fetched_again(local: Path, folder: Path) -> None:
    result = aqakit("fetch", "i3d")
    assert result.exit_code == 0, result.output
    assert "1 here, 0 failed" in result.output
    path = folder / "i3d.pt"
    assert path.read_bytes() == local.read_bytes()
    assert "there already" in aqakit("fetch", "i3d.pt").output

    result = aqakit("check")
    assert result.exit_code == 0, result.output
    assert f"1 of {len(known())} files are here, 0 damaged" in result.output

    with path.open("r+b") as file:
        file.seek(1_000_000)
        file.write(b"damage")
    result = aqakit("check")
    assert result.exit_code == 3
    assert "damaged: i3d.pt is not the published file: its SHA-256 begins with" in result.output
    assert "run 'aqakit weights fetch i3d.pt' to replace it" in result.output
    assert aqakit("ls").exit_code == 0

    assert aqakit("fetch", "i3d").exit_code == 0
    assert aqakit("check").exit_code == 0


def test_some_and_all_failed(local: Path, folder: Path) -> None:
    result = aqakit("fetch", "c3d", "i3d")
    assert result.exit_code == 3
    assert "1 here, 1 failed" in result.output
    assert "c3d.pth could not be fetched" in " ".join(result.output.split())
    assert "gone.pth answered 404" in " ".join(result.output.split())
    assert (folder / "i3d.pt").exists()
    assert aqakit("fetch", "c3d").exit_code == 1


def test_no_published_checksum_is_said(
    local: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpublished = replace(i3d.INFO.checkpoints[0], sha256_prefix="")
    monkeypatch.setattr(i3d, "INFO", replace(i3d.INFO, checkpoints=(unpublished,)))
    assert "fetched; no published checksum" in aqakit("fetch", "i3d").output
    assert ", as fetched" in aqakit("ls").output
    path = folder / "i3d.pt"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    result = aqakit("check")
    assert result.exit_code == 3
    assert "has changed since it was fetched" in result.output


def test_all_fetches_every_file(local: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in set(plugins.names(BACKBONES)) - {"i3d", "c3d"}:
        module = plugins.load(BACKBONES, name)
        monkeypatch.setattr(module, "INFO", replace(module.INFO, checkpoints=()))
    result = aqakit("fetch", "--all")
    assert result.exit_code == 3
    assert "1 here, 1 failed" in result.output


@pytest.mark.parametrize("words", [[], ["i3d", "--all"]])
def test_wrong_usage(words: list[str]) -> None:
    result = aqakit("fetch", *words)
    assert result.exit_code == 2
    assert "name backbones or files, or say --all" in result.output


def test_an_unknown_name_is_one_line(folder: Path) -> None:
    result = aqakit("fetch", "i3d", "nothing")
    assert result.exit_code == 1
    assert result.output.startswith("Error: no backbone and no known file of weights is called")
    assert result.output.count("\n") == 1
    assert not folder.exists()


def test_a_folder_that_cannot_be_made_is_one_line(
    local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("AQAKIT_WEIGHTS", str(tmp_path / "file"))
    result = aqakit("fetch", "i3d")
    assert result.exit_code == 1
    assert "cannot be written" in result.output
    assert result.output.count("\n") == 1

"""The registry against the backbones it describes, and what it says of files on a disk."""

import hashlib
import re
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from aqakit.extract import registry
from aqakit.extract.backbone import BackboneInfo, Checkpoint, Setup
from aqakit.extract.backbones import c3d, i3d, resnet101
from aqakit.extract.network import NetworkBackbone
from aqakit.extract.partial import Origin, Part
from aqakit.extract.receipt import Receipt
from aqakit.extract.request import BACKBONES
from aqakit.features import plugins
from aqakit.features.errors import WeightsError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AQAKIT_WEIGHTS", str(tmp_path))
    return tmp_path


def test_every_checkpoint_of_every_backbone_is_known() -> None:
    known = registry.known()
    for name in plugins.names(BACKBONES):
        for checkpoint in plugins.load(BACKBONES, name).INFO.checkpoints:
            assert known[checkpoint.file].checkpoint == checkpoint
            assert name in known[checkpoint.file].backbones
    assert known["rgb_imagenet.pt"].backbones == ("i3d",)


def test_what_is_said_of_a_file_can_be_true() -> None:
    for name, entry in registry.known().items():
        checkpoint = entry.checkpoint
        assert re.fullmatch(r"[\w.-]+", name), "a name, not a path"
        assert re.fullmatch(r"([0-9a-f]{2})*", checkpoint.sha256_prefix)
        assert len(checkpoint.sha256_prefix) <= 64
        assert len(set(checkpoint.urls)) == len(checkpoint.urls)
        assert all(re.match(r"https?://\S+$", url) for url in checkpoint.urls)
        # Whoever offers a copy could offer anything, so a copy needs a checksum in full.
        assert not checkpoint.mirrors or len(checkpoint.sha256_prefix) == 64
        assert checkpoint.licence
        assert "\n" not in checkpoint.licence + checkpoint.layout


def network_of(name: str, checkpoint: Checkpoint) -> nn.Module:
    info: BackboneInfo = plugins.load(BACKBONES, name).INFO
    output = next(one for one in info.outputs if checkpoint.stream in (None, one.stream))
    setup = Setup(output.stream, output.presets[0], random_seed=0)
    backbone = plugins.load(BACKBONES, name).build(setup)
    assert isinstance(backbone, NetworkBackbone)
    return backbone._network


@pytest.mark.parametrize(
    "file", ["rgb_imagenet.pt", "flow_imagenet.pt", "I3D_8x8_R50.pyth", "resnet101-63fe2227.pth"]
)
def test_the_key_that_names_a_layout_exists(file: str) -> None:
    entry = registry.known()[file]
    own = network_of(entry.backbones[0], entry.checkpoint).state_dict()
    (key,) = re.findall(r"\S+\.weight", entry.checkpoint.layout)
    assert any(own_name.endswith(f".{key}") for own_name in own)


def test_a_backbone_means_its_preferred_file() -> None:
    chosen = registry.choose(["resnet101", "c3d.pickle", "resnet101-63fe2227.pth"])
    assert [entry.checkpoint.file for entry in chosen] == ["resnet101-63fe2227.pth", "c3d.pickle"]


def test_a_backbone_of_two_streams_means_a_file_of_each() -> None:
    chosen = registry.choose(["i3d", "rgb_imagenet.pt"])
    assert [entry.checkpoint.file for entry in chosen] == ["rgb_imagenet.pt", "flow_imagenet.pt"]
    assert [entry.checkpoint.stream for entry in chosen] == ["rgb", "flow"]


def test_a_file_that_serves_both_streams_is_chosen_once() -> None:
    assert resnet101.INFO.streams == ("rgb", "flow")
    assert [entry.checkpoint.stream for entry in registry.choose(["resnet101"])] == [None]


def test_names_that_mean_nothing() -> None:
    with pytest.raises(WeightsError) as error:
        registry.choose(["c3d", "c4d"])
    assert str(error.value).startswith("no backbone and no known file of weights is called 'c4d'; ")
    assert "choose among c3d, i3d, i3d-r50, resnet101, " in str(error.value)
    assert "c3d.pickle" in str(error.value)
    for name in ("flow-hist", "camera-motion"):
        with pytest.raises(WeightsError, match=f"{name} needs no weights; leave it out"):
            registry.choose([name])


def test_two_files_of_one_name_are_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    other = replace(i3d.INFO.checkpoints[0], url="https://example.org/rgb_imagenet.pt")
    monkeypatch.setattr(c3d, "INFO", replace(c3d.INFO, checkpoints=(other,)))
    with pytest.raises(ValueError, match=r"rgb_imagenet\.pt of i3d is not the one of \('c3d',\)"):
        registry.known()


# States

PICKLE = "c3d.pickle"


def test_missing_partial_and_present(folder: Path) -> None:
    entry = registry.known()[PICKLE]
    for describe in (registry.listed, registry.checked):
        assert (describe(entry).state, describe(entry).size_bytes) == ("missing", None)
    part = Part(folder / PICKLE)
    part.begin(Origin(entry.checkpoint.url))
    part.append([b"some"], lambda done, total: None)
    for describe in (registry.listed, registry.checked):
        file = describe(entry)
        assert (file.state, file.detail) == ("partial", "4 bytes so far")
    (folder / PICKLE).write_bytes(b"all of it")
    assert registry.listed(entry).state == "present"
    assert registry.listed(entry).size_bytes == 9


def test_the_published_size_shows_damage_without_reading(folder: Path) -> None:
    (folder / "rgb_imagenet.pt").write_bytes(b"half")
    file = registry.listed(registry.known()["rgb_imagenet.pt"])
    assert file.state == "damaged"
    assert file.detail == "has 4 bytes, the published file has 50883138"


def test_where_nothing_is_published_the_receipt_tells(folder: Path) -> None:
    entry, path = registry.known()[PICKLE], folder / PICKLE
    assert registry.listed(entry).checksum == "none published"
    path.write_bytes(b"as fetched")
    sha256 = hashlib.sha256(b"as fetched").hexdigest()
    Receipt("https://example.org", sha256, 10, "2026-01-01T00:00:00+00:00").write(path)
    assert registry.listed(entry).checksum == f"{sha256[:12]}, as fetched"
    path.write_bytes(b"altered!!!")
    assert registry.listed(entry).state == "present"  # of the same size
    assert registry.checked(entry).state == "damaged"
    assert "has changed since it was fetched" in registry.checked(entry).detail
    path.write_bytes(b"altered")
    assert registry.listed(entry).detail == "has 7 bytes, but had 10 when it was fetched"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"url": 1}', "null"])
def test_a_broken_receipt_is_none(folder: Path, text: str) -> None:
    (folder / f"{PICKLE}.json").write_text(text)
    assert Receipt.read(folder / PICKLE) is None


def test_what_is_no_state_dict_or_does_not_fit_is_damaged(folder: Path) -> None:
    entry, path = registry.known()[PICKLE], folder / PICKLE
    path.write_bytes(b"not weights")
    assert registry.checked(entry).detail.startswith("is neither a safetensors file nor")
    torch.save({"conv1.weight": torch.zeros(2)}, path)
    file = registry.checked(entry)
    assert file.state == "damaged"
    assert file.detail.startswith("does not fit C3D: it lacks ")
    assert "\n" not in file.detail


@pytest.mark.parametrize(
    ("file", "module", "built"),
    [
        ("rgb_imagenet.pt", i3d, [("rgb", "inception")]),
        ("flow_imagenet.pt", i3d, [("flow", "inception")]),
        ("resnet101-63fe2227.pth", resnet101, [("flow", "flow-224"), ("rgb", "imagenet")]),
    ],
)
def test_a_file_must_fit_every_network_that_it_is_for(
    file: str,
    module: ModuleType,
    built: list[tuple[str, str]],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    setups: list[Setup] = []
    monkeypatch.setattr(module, "build", setups.append)
    monkeypatch.setattr(registry, "fault", lambda path, checkpoint: None)
    (folder / file).write_bytes(b"weights")
    assert registry.checked(registry.known()[file]).state == "present"
    assert sorted((setup.stream, setup.preset) for setup in setups) == built
    assert {setup.weights for setup in setups} == {folder / file}

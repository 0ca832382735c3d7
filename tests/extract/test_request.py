"""From the words of a user to features."""

from pathlib import Path

import pytest

from aqakit.extract.request import plan_features
from aqakit.features.errors import RecipeError, WeightsError


def keys(*requests: str, weights: tuple[str, ...] = ("random",)) -> list[str]:
    return [feature.spec.key for feature in plan_features(requests, weights)]


def test_defaults_and_every_part_of_a_request() -> None:
    assert keys("flow-hist", "c3d", "i3d:logits@steps-10x16/imagenet") == [
        "flow-hist.flow.hist.stacks-100x3-10fps.short-64.none.float32",
        "c3d.rgb.fc6.clips-16.caffe.random-0.float32",
        "i3d.rgb.logits.steps-10x16.imagenet.random-0.float32",
    ]


def test_the_same_request_twice_is_one_feature() -> None:
    assert len(keys("flow-hist", "flow-hist:hist")) == 1


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ("i4d", "no backbone 'i4d'; choose one of: c3d, flow-hist, i3d, resnet101"),
        ("i3d:fc6", "i3d has no layer 'fc6'; choose one of: pool, logits"),
        ("i3d/caffe", "i3d has no preset 'caffe'; choose one of: inception"),
        ("i3d@stack-9", "'stack-9' is no sampling; write"),
        ("flow-hist@clips-1", "needs units of at least 2 frames"),
        ("i3d pool", "'i3d pool' is no feature; write BACKBONE"),
    ],
)
def test_a_request_that_fits_nothing(request_: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        keys(request_)


def test_weights_that_are_not_there_say_how_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AQAKIT_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsError, match=r"c3d_sports1m_pretrain\S*pth is missing; get it from"):
        keys("c3d", weights=())
    with pytest.raises(WeightsError, match="absent.pth cannot be read"):
        keys("c3d", weights=("absent.pth",))


def test_weights_that_could_be_for_several() -> None:
    with pytest.raises(WeightsError, match="could be for any of c3d, i3d; write BACKBONE=a.pth"):
        keys("c3d", "i3d", weights=("a.pth",))
    with pytest.raises(WeightsError, match="could be for any of no network"):
        keys("flow-hist", weights=("a.pth",))
    with pytest.raises(WeightsError, match="flow-hist is not among the networks"):
        keys("flow-hist", weights=("flow-hist=a.pth",))
    with pytest.raises(WeightsError, match="write BACKBONE=random to tell it from a.pth"):
        keys("c3d", weights=("a.pth", "random"))


def test_weights_by_backbone_and_by_content(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(b"weights")
    found = keys("c3d", "i3d", weights=(f"c3d={tmp_path / 'w.pth'}", "random"))
    assert found[0].split(".")[5].startswith("sha256-")
    assert found[1].split(".")[5] == "random-0"

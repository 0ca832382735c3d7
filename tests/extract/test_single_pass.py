"""One pass over a video gives what reading all of it into memory gives."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from aqakit.extract.backbones.flow_hist import flow_hist
from aqakit.extract.decode import decode, scan
from aqakit.extract.flow import TVL1
from aqakit.extract.request import Feature, plan_features
from aqakit.extract.single_pass import Seen, compute
from aqakit.extract.transforms import PRESETS
from aqakit.features.errors import VideoError
from aqakit.features.segments import Sampling, Units
from aqakit.features.spec import FeatureSpec

Write = Callable[..., Path]
Pictures = Callable[..., list[np.ndarray]]


class Part:
    """Collects what a store would write."""

    def __init__(self) -> None:
        self.rows: list[np.ndarray] = []
        self.times = np.zeros((0, 3))
        self.provenance: dict[str, Any] = {}

    def append(self, rows: np.ndarray) -> None:
        self.rows.extend(rows)

    def finish(
        self, times: np.ndarray, frame_times: np.ndarray, provenance: dict[str, Any]
    ) -> None:
        self.times, self.provenance = times, provenance


def brightness(sampling: str) -> Feature:
    """A backbone of one number a unit: the mean of its pixels."""

    def build(setup: object) -> Callable[..., dict[str, np.ndarray]]:
        return lambda images, seconds: {
            "mean": images.reshape(len(images), -1).mean(axis=1, keepdims=True).astype(np.float32)
        }

    info = SimpleNamespace(layers={"mean": (1,)})
    spec = FeatureSpec("brightness", "rgb", "mean", Sampling.parse(sampling), "imagenet")
    return Feature(spec, SimpleNamespace(INFO=info, build=build), None)  # type: ignore[arg-type]


def run(path: Path, features: list[Feature]) -> tuple[Seen, list[Part]]:
    parts = [Part() for _ in features]
    by_key = {feature.spec.key: part for feature, part in zip(features, parts, strict=True)}

    @contextmanager
    def begin(feature: Feature, units: Units) -> Iterator[Any]:
        yield by_key[feature.spec.key]

    planned = scan(path)
    with TVL1(2) as tvl1:
        seen = compute(
            planned,
            planned.window(None, None),
            features,
            begin,
            {"libraries": {}},
            tvl1,
            lambda done, total: None,
        )
    return seen, parts


def test_rgb_features_equal_indexing_the_whole_video(
    tmp_path: Path, moving_square: Pictures, write_video: Write
) -> None:
    path = write_video(tmp_path / "a.mp4", moving_square(90), fps=30)
    features = [
        brightness(text)
        for text in ("stacks-40x16-10fps", "clips-16", "segments-25-last", "steps-10x4")
    ]
    seen, parts = run(path, features)
    assert (seen.frames, seen.damaged_frames, seen.notes) == (90, 0, ())
    planned = scan(path)
    whole = np.stack([PRESETS["imagenet"].frame(f.rgb()) for f in decode(planned, 0, 89)])
    for feature, part in zip(features, parts, strict=True):
        units = feature.spec.sampling.plan(planned.timeline)
        expected = whole[units.frames].reshape(len(units), -1).mean(axis=1)
        np.testing.assert_allclose(np.ravel(part.rows), expected, rtol=1e-6)
        np.testing.assert_array_equal(part.times, units.times)
        assert part.provenance["frames_decoded"] == 90


def test_two_flow_features_share_their_flow(
    tmp_path: Path, moving_square: Pictures, write_video: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "a.mp4", moving_square(12), fps=10)
    pairs: list[int] = []
    submit = TVL1.submit

    def counted(self: TVL1, *pictures: Any) -> Any:
        pairs.append(1)
        return submit(self, *pictures)

    monkeypatch.setattr(TVL1, "submit", counted)
    features = plan_features(["flow-hist@stacks-20x3-10fps", "flow-hist@clips-4"])
    _, (stacks, clips) = run(path, features)
    assert len(pairs) == 11
    assert (len(stacks.rows), len(clips.rows)) == (20, 3)
    planned = scan(path)
    frames = [PRESETS["short-64"].frame(f.rgb()) for f in decode(planned, 0, 11)]
    from aqakit.extract.flow import grey

    with TVL1(1) as tvl1:
        flow = np.stack([submit(tvl1, grey(a), grey(b)).result() for a, b in pairwise(frames)])
    expected = flow_hist(flow[None, 4:7], planned.timeline.pts_seconds[None, 4:8])["hist"]
    np.testing.assert_array_equal(clips.rows[1], expected[0])


def test_a_short_video_is_padded_and_says_so(
    tmp_path: Path, moving_square: Pictures, write_video: Write
) -> None:
    path = write_video(tmp_path / "short.mp4", moving_square(3))
    seen, (part,) = run(path, [brightness("clips-16")])
    assert len(part.rows) == 1
    assert seen.notes == ("brightness: 13 of 16 frames padded",)
    with pytest.raises(VideoError, match=r"short\.mp4: 3 frames are fewer than the 16"):
        run(path, [brightness("clips-16-refuse")])


def test_a_single_frame_is_refused(
    tmp_path: Path, moving_square: Pictures, write_video: Write
) -> None:
    path = write_video(tmp_path / "one.mp4", moving_square(1))
    with pytest.raises(VideoError, match=r"one\.mp4 shows a single frame"):
        run(path, [brightness("clips-16")])


def test_numbers_that_are_not_finite_name_the_feature(
    tmp_path: Path, moving_square: Pictures, write_video: Write
) -> None:
    feature = brightness("clips-16")
    feature.__dict__["backbone"] = lambda images, seconds: {
        "mean": np.full((len(images), 1), np.nan)
    }
    path = write_video(tmp_path / "a.mp4", moving_square(20))
    with pytest.raises(VideoError, match=r"a\.mp4: brightness\.rgb\.mean.* is not finite"):
        run(path, [feature])


def test_a_picture_that_changes_its_shape_midway_is_one_line(
    tmp_path: Path, moving_square: Pictures, write_video: Write
) -> None:
    small = write_video(tmp_path / "a.ts", moving_square(20, (64, 48)), codec="mpeg2video")
    wide = write_video(tmp_path / "b.ts", moving_square(20, (128, 48)), codec="mpeg2video")
    path = tmp_path / "both.ts"
    path.write_bytes(small.read_bytes() + wide.read_bytes())
    planned = scan(path, exact=True)
    assert len(planned.pts) > 30
    features = plan_features(["flow-hist@clips-2"])

    @contextmanager
    def begin(feature: Feature, units: Units) -> Iterator[Any]:
        yield Part()

    with TVL1(1) as tvl1, pytest.raises(VideoError, match=r"both\.ts: .*shape to 128x48 at frame"):
        compute(planned, planned.timeline, features, begin, {}, tvl1, lambda done, total: None)

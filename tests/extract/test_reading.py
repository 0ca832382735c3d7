"""Reading a video piece by piece gives what reading all of it into memory gives."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from aqakit.extract import reading
from aqakit.extract.augment import Variant
from aqakit.extract.decode import DecodedFrame, Scan, TimelineDiffersError, decode, scan
from aqakit.extract.flow import TVL1
from aqakit.extract.layout import Wish, lay_out
from aqakit.extract.reading import Closed, Feed, Items, Job, Message, Opened, Refused, read
from aqakit.extract.request import View
from aqakit.extract.transforms import FlowPreset, Preset
from aqakit.features.errors import StoreError
from aqakit.features.segments import Sampling, Units

Write = Callable[..., Path]
Pictures = Callable[..., list[np.ndarray]]

SMALL = Preset(16)
FIELDS = (
    FlowPreset(SMALL),
    FlowPreset(SMALL, clamp=0.5, crop=14),
    FlowPreset(SMALL, resize=(12, 12)),
)
SAMPLINGS = (
    "stacks-7x4",
    "stacks-9x3-10fps",
    "clips-5",
    "clips-99-loop",
    "segments-4-last",
    "segments-5x11-last-plus2",
    "steps-3x4",
    "steps-3x4-8fps",
)


def wishes(
    presets: Sequence[Preset | FlowPreset], samplings: Sequence[str], variant: str = "none"
) -> tuple[Wish, ...]:
    """All combinations but flow in units of one frame."""
    return tuple(
        Wish(View(preset, Variant.parse(variant)), Sampling.parse(text))
        for preset in presets
        for text in samplings
        if isinstance(preset, Preset) or Sampling.parse(text).frames > 1
    )


def messages(job: Job) -> list[Message]:
    with TVL1(2) as tvl1:
        return list(read(job, tvl1))


def units_of(job: Job, told: Sequence[Message]) -> dict[int, np.ndarray]:
    """(N, S, ...) pictures or fields of each wish, put together from all that was told."""
    opened = told[0]
    assert isinstance(opened, Opened)
    layout = lay_out(job.wishes, [u if isinstance(u, Units) else None for u in opened.units])
    found: dict[Feed, dict[int, np.ndarray]] = {}
    for items in told:
        if isinstance(items, Items):
            assert list(items.numbers) == sorted(items.numbers)
            feed = found.setdefault(items.feed, {})
            assert not feed.keys() & set(items.numbers), "told twice"
            assert max(items.numbers) > max(feed, default=-1)
            feed.update(zip(items.numbers, items.pictures, strict=True))
    put = {}
    for position, slots in layout.slots.items():
        for number, frames in enumerate(layout.frames):
            if position in frames.wishes:
                feed = found[Feed("frames", number)]
        for number, flows in enumerate(layout.flows):
            for part, (_, members) in enumerate(flows.fields):
                if position in members:
                    feed = found[Feed("fields", number, part)]
        put[position] = np.stack([np.stack([feed[slot] for slot in row]) for row in slots.tolist()])
    return put


class WholeVideo:
    """The units of any wish by the definition, from all pictures of the used stretch in memory."""

    def __init__(self, job: Job) -> None:
        planned = scan(job.path)
        self.timeline = planned.window(job.start_seconds, job.end_seconds)
        used = self.timeline.pts_seconds
        first = int(np.flatnonzero(planned.timeline.pts_seconds == used[0])[0])
        self.pictures = [f.rgb() for f in decode(planned, first, first + len(used) - 1)]
        self._flow = cv2.optflow.DualTVL1OpticalFlow_create()  # type: ignore[attr-defined]
        self._fields: dict[tuple[bytes, bytes], np.ndarray] = {}

    def units(self, wish: Wish) -> np.ndarray:
        variant, preset = wish.view.variant, wish.view.preset
        shown, positions = variant.timeline(self.timeline)
        alter = variant.picture_filter()
        altered = [alter(picture) for picture in self.pictures]
        numbers = positions[wish.sampling.plan(shown).frames].tolist()
        if isinstance(preset, Preset):
            return np.stack([np.stack([preset.frame(altered[n]) for n in row]) for row in numbers])
        grey = [cv2.cvtColor(preset.frames.frame(p), cv2.COLOR_RGB2GRAY) for p in altered]
        return np.stack(
            [
                np.stack([preset.field(self._field(grey[a], grey[b], a == b)) for a, b in pairs])
                for pairs in map(pairwise, numbers)
            ]
        )

    def _field(self, first: np.ndarray, second: np.ndarray, still: bool) -> np.ndarray:
        if still:
            return np.zeros((*first.shape, 2), np.float32)
        key = (first.tobytes(), second.tobytes())
        if key not in self._fields:
            self._fields[key] = self._flow.calc(first, second, None)
        return self._fields[key]


@pytest.mark.parametrize("variant", ["none", "zoom-150", "drop-40-seed3", "mask", "equalise"])
def test_units_equal_those_of_the_whole_video_in_memory(
    tmp_path: Path, moving_square: Pictures, write_video: Write, variant: str
) -> None:
    path = write_video(tmp_path / "a.mp4", moving_square(40), fps=25)
    asked = wishes((SMALL, *FIELDS), SAMPLINGS, variant)
    job = Job(path, 0.3, 1.3, asked)
    told = messages(job)
    opened, *_, closed = told
    assert isinstance(opened, Opened)
    assert isinstance(closed, Closed)
    assert (opened.frames, closed.damaged_frames) == (25, 0)
    assert opened.facts["codec"] == "mpeg4"
    assert isinstance(told[-2], Items)
    assert told[-2].reached == 25
    assert closed.spent.keys() == {"decode", "alter", "resize", "flow"}
    found = units_of(job, told)
    whole = WholeVideo(job)
    for position, wish in enumerate(asked):
        np.testing.assert_array_equal(found[position], whole.units(wish), wish.sampling.text)


def test_variants_of_one_video_are_read_together_and_stay_apart(
    tmp_path: Path, moving_square: Pictures, write_video: Write
) -> None:
    path = write_video(tmp_path / "a.mp4", moving_square(30), fps=25)
    asked = tuple(
        wish
        for variant in ("none", "mask", "brightness-50", "drop-30")
        for wish in wishes((SMALL, FIELDS[0]), ["steps-3x4"], variant)
    )
    job = Job(path, None, None, asked)
    found = units_of(job, messages(job))
    whole = WholeVideo(job)
    for position, wish in enumerate(asked):
        np.testing.assert_array_equal(found[position], whole.units(wish))
    assert (found[0] != found[2]).any()
    assert (found[1] != found[3]).any()


def test_flow_between_two_frames_is_computed_once_for_all_who_look_at_it(
    tmp_path: Path, moving_square: Pictures, write_video: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "a.mp4", moving_square(20), fps=25)
    asked = wishes(FIELDS, ["stacks-7x4", "clips-5", "clips-50-loop", "segments-3x3-last-plus1"])
    job = Job(path, None, None, asked)
    submitted: list[tuple[bytes, bytes]] = []
    submit = TVL1.submit

    def counted(self: TVL1, first: np.ndarray, second: np.ndarray) -> Any:
        submitted.append((first.tobytes(), second.tobytes()))
        return submit(self, first, second)

    monkeypatch.setattr(TVL1, "submit", counted)
    messages(job)
    timeline = scan(path).timeline
    pairs = {
        pair
        for wish in asked
        for row in wish.sampling.plan(timeline).frames.tolist()
        for pair in pairwise(row)
        if pair[0] != pair[1]
    }
    assert len(submitted) == len(set(submitted)) == len(pairs)
    assert len(pairs) == 20  # one frame to the next, and the loop from the last to the first


def test_flow_elsewhere_hands_out_the_grey_frames_that_flow_needs(
    tmp_path: Path, moving_square: Pictures, write_video: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "a.mp4", moving_square(20), fps=25)
    asked = wishes((SMALL, *FIELDS), ["stacks-3x3"])
    job = Job(path, None, None, asked, flow_elsewhere=True)
    monkeypatch.setattr(TVL1, "submit", lambda *_: pytest.fail("flow is computed elsewhere"))
    told = [one for one in messages(job) if isinstance(one, Items)]
    assert {one.feed.kind for one in told} == {"frames", "grey"}
    (grey,) = (one for one in told if one.feed.kind == "grey")
    timeline = scan(path).timeline
    shown = sorted(set(Sampling.parse("stacks-3x3").plan(timeline).frames.ravel().tolist()))
    assert list(grey.numbers) == shown
    pictures = WholeVideo(job).pictures
    for number, picture in zip(grey.numbers, grey.pictures, strict=True):
        expected = cv2.cvtColor(SMALL.frame(pictures[number]), cv2.COLOR_RGB2GRAY)
        np.testing.assert_array_equal(picture, expected)


def test_frames_at_other_times_than_promised_start_all_over(
    tmp_path: Path, moving_square: Pictures, write_video: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "a.mp4", moving_square(30), fps=25)
    job = Job(path, None, None, wishes((SMALL, FIELDS[0]), ["clips-5"]))
    undisturbed = units_of(job, messages(job))
    monkeypatch.setattr(reading, "_PIECE_BYTES", 1)  # so that much is told before the surprise

    def surprising(planned: Scan, first: int, last: int) -> Iterator[DecodedFrame]:
        for frame in decode(planned, first, last):
            if not planned.exact and frame.index == 20:
                raise TimelineDiffersError(str(planned.path))
            yield frame

    monkeypatch.setattr(reading, "decode", surprising)
    told = messages(job)
    starts = [number for number, one in enumerate(told) if isinstance(one, Opened)]
    assert len(starts) == 2
    assert starts[1] > 5
    assert not any(isinstance(one, Closed | Refused) for one in told[:-1])
    again = units_of(job, told[starts[1] :])
    for position, units in undisturbed.items():
        np.testing.assert_array_equal(again[position], units)


def test_a_stream_whose_packets_promise_other_times_than_its_frames_have(
    tmp_path: Path, moving_square: Pictures, write_video: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real decoder and a scan that is wrong, as those of odd files are."""
    path = write_video(tmp_path / "a.mp4", moving_square(20), fps=20)

    def wrong(path: Path, exact: bool) -> Scan:
        planned = scan(path, exact)
        return planned if exact else replace(planned, pts=planned.pts * 2)

    job = Job(path, None, None, wishes((SMALL,), ["clips-5"]))
    expected = units_of(job, messages(job))
    monkeypatch.setattr(reading, "scan", wrong)
    told = messages(job)
    assert [type(one) for one in told] == [Opened, Opened, Items, Closed]
    np.testing.assert_array_equal(units_of(job, told[1:])[0], expected[0])


def test_pieces_are_small_whatever_the_length_of_the_video(
    tmp_path: Path, moving_square: Pictures, write_video: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "a.mp4", moving_square(60), fps=25)
    asked = wishes((SMALL, FIELDS[0]), ["clips-4"])
    frame_bytes, field_bytes = 16 * 21 * 3, 16 * 21 * 2 * 4
    limit = 10 * field_bytes
    monkeypatch.setattr(reading, "_PIECE_BYTES", limit)
    told = [one for one in messages(Job(path, None, None, asked)) if isinstance(one, Items)]
    by_kind = {
        kind: [one for one in told if one.feed.kind == kind] for kind in ("frames", "fields")
    }
    assert {len(one.numbers) for one in by_kind["fields"]} == {10, 45 % 10}
    assert max(one.pictures.nbytes for one in told) < limit + frame_bytes
    assert [one.reached for one in by_kind["frames"]] == sorted(
        one.reached for one in by_kind["frames"]
    )
    assert sum(len(one.numbers) for one in by_kind["frames"]) == 60


def test_a_video_too_short_for_one_wish_fails_that_wish_only(
    tmp_path: Path, moving_square: Pictures, write_video: Write
) -> None:
    path = write_video(tmp_path / "short.mp4", moving_square(6), fps=25)
    asked = wishes((SMALL, FIELDS[0]), ["clips-16-refuse", "clips-3"])
    job = Job(path, None, None, asked)
    told = messages(job)
    opened = told[0]
    assert isinstance(opened, Opened)
    refused = [one for one in opened.units if isinstance(one, str)]
    assert refused == [opened.units[0], opened.units[2]]
    for line in refused:
        assert line.startswith(f"{path}: 6 frames are fewer than the 16 of clips-16-refuse")
    found = units_of(job, told)
    assert {wish: len(units) for wish, units in found.items()} == {1: 2, 3: 2}

    alone = messages(Job(path, None, None, asked[:1]))
    assert [type(one) for one in alone] == [Opened, Closed], "nothing is decoded for nobody"


@pytest.mark.parametrize(("start", "end"), [(None, None), (0.1, 0.14)])
def test_a_single_frame_is_refused(
    tmp_path: Path,
    moving_square: Pictures,
    write_video: Write,
    start: float | None,
    end: float | None,
) -> None:
    path = write_video(tmp_path / "one.mp4", moving_square(1 if start is None else 9), fps=25)
    (refused,) = messages(Job(path, start, end, wishes((SMALL,), ["clips-2"])))
    assert isinstance(refused, Refused)
    assert refused.lasting
    assert "one.mp4 shows a single frame" in refused.reason


def test_a_picture_that_changes_its_shape_midway_is_refused(
    tmp_path: Path, moving_square: Pictures, write_video: Write
) -> None:
    small = write_video(tmp_path / "a.ts", moving_square(20, (64, 48)), codec="mpeg2video")
    wide = write_video(tmp_path / "b.ts", moving_square(20, (128, 48)), codec="mpeg2video")
    path = tmp_path / "both.ts"
    path.write_bytes(small.read_bytes() + wide.read_bytes())
    for asked in (wishes((SMALL,), ["clips-2"]), wishes((FIELDS[0],), ["clips-2"])):
        for elsewhere in (False, True):
            refused = messages(Job(path, None, None, asked, elsewhere))[-1]
            assert isinstance(refused, Refused)
            assert refused.lasting
            assert "both.ts: the picture changes its shape at frame" in refused.reason


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ZeroDivisionError("a\nmost odd file"), "unexpected ZeroDivisionError (a most odd file)"),
        (MemoryError(), "free memory, or use --device cpu"),
    ],
)
def test_what_nobody_foresaw_is_told_and_may_pass(
    tmp_path: Path,
    moving_square: Pictures,
    write_video: Write,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    words: str,
) -> None:
    path = write_video(tmp_path / "a.mp4", moving_square(9), fps=25)

    def stumbling(planned: Scan, first: int, last: int) -> Iterator[DecodedFrame]:
        yield from decode(planned, first, 3)
        raise error

    monkeypatch.setattr(reading, "decode", stumbling)
    refused = messages(Job(path, None, None, wishes((SMALL,), ["clips-2"])))[-1]
    assert isinstance(refused, Refused)
    assert not refused.lasting
    assert refused.reason.startswith(f"{path}: unexpected")
    assert words in refused.reason
    assert "\n" not in refused.reason


def test_what_is_not_the_fault_of_the_video_is_raised(
    tmp_path: Path, moving_square: Pictures, write_video: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, exact: bool) -> Scan:
        raise StoreError("the disk failed")

    monkeypatch.setattr(reading, "scan", full)
    path = write_video(tmp_path / "a.mp4", moving_square(9), fps=25)
    with pytest.raises(StoreError, match="the disk failed"):
        messages(Job(path, None, None, wishes((SMALL,), ["clips-2"])))

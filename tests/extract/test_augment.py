"""Variants: names, lost frames, and pictures against independent arithmetic."""

import hashlib
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from aqakit.extract.augment import VARIANTS_HELP, Picture, Variant
from aqakit.extract.flow import grey
from aqakit.features.errors import RecipeError
from aqakit.features.segments import Sampling, Timeline
from aqakit.features.spec import FeatureSpec

EXAMPLES = ("none", "brightness-130", "brightness-60", "zoom-125", "mask", "equalise", "drop-10")
PER_PICTURE = tuple(name for name in EXAMPLES if name != "mask")
GROUND = np.random.default_rng(1).integers(90, 160, (120, 160, 3)).astype(np.uint8)
SQUARE = np.random.default_rng(2).integers(0, 60, (30, 30, 3)).astype(np.uint8)


def noise(height: int, width: int, seed: int = 0) -> Picture:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def altered(name: str, *pictures: Picture) -> list[Picture]:
    """What one video of these pictures becomes."""
    alter = Variant.parse(name).picture_filter()
    return [alter(picture) for picture in pictures]


def even(frames: int) -> Timeline:
    return Timeline(np.arange(frames) / 25, frames / 25)


@st.composite
def timelines(draw: st.DrawFn) -> Timeline:
    gaps = draw(st.lists(st.floats(1e-3, 10), min_size=1, max_size=60))
    times = np.cumsum(gaps)
    return Timeline(times, float(times[-1]) + draw(st.floats(1e-3, 10)))


@pytest.fixture
def opencv_threads() -> Iterator[Callable[[int], None]]:
    before = cv2.getNumThreads()
    yield cv2.setNumThreads
    cv2.setNumThreads(before)


# Names


@pytest.mark.parametrize("name", [*EXAMPLES, "drop-10-seed3", "zoom-1000", "brightness-1"])
def test_a_canonical_name_is_read_back_and_fits_into_a_key(name: str) -> None:
    variant = Variant.parse(name)
    assert variant.text == name
    spec = FeatureSpec("i3d", "rgb", "pool", Sampling.parse("clips-16"), "inception", variant=name)
    assert spec.key.endswith("" if name == "none" else name)


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("drop-10-seed0", "drop-10"),
        ("drop-010-seed007", "drop-10-seed7"),
        ("zoom-0125", "zoom-125"),
        ("zoom-100", "none"),
        ("brightness-100", "none"),
    ],
)
def test_a_variant_has_one_name(written: str, canonical: str) -> None:
    assert Variant.parse(written) == Variant.parse(canonical)
    assert Variant.parse(written).text == canonical
    assert len({Variant.parse(written), Variant.parse(canonical)}) == 1


@given(
    st.one_of(
        st.builds(Variant, st.sampled_from(["none", "mask", "equalise"])),
        st.builds(Variant, st.just("brightness"), st.integers(1, 1000).filter(lambda p: p != 100)),
        st.builds(Variant, st.just("zoom"), st.integers(101, 1000)),
        st.builds(Variant, st.just("drop"), st.integers(1, 99), st.integers(0, 10**9 - 1)),
    )
)
def test_every_variant_survives_its_name_and_pickle(variant: Variant) -> None:
    assert Variant.parse(variant.text) == variant
    assert pickle.loads(pickle.dumps(variant)) == variant


@pytest.mark.parametrize(
    ("name", "because"),
    [
        ("brightness-0", "brightness takes 1 to 1000 per cent, not 0"),
        ("brightness-1001", "brightness takes 1 to 1000 per cent, not 1001"),
        ("zoom-99", "zoom takes 100 to 1000 per cent, not 99"),
        ("zoom-1001", "zoom takes 100 to 1000 per cent, not 1001"),
        ("drop-0", "drop takes 1 to 99 per cent, not 0"),
        ("drop-100", "drop takes 1 to 99 per cent, not 100"),
    ],
)
def test_an_amount_out_of_range_names_the_range(name: str, because: str) -> None:
    with pytest.raises(RecipeError) as caught:
        Variant.parse(name)
    assert str(caught.value) == f"'{name}' is no variant: {because}"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "zoom",
        "zoom-",
        "zoom-1.5",
        "zoom--5",
        "zoom-125-seed1",
        "mask-5",
        "Mask",
        " mask",
        "mask\n",
    ]
    + ["drop", "drop-10-seed", "drop-10-3", "equalize", "none-1", "zoom-١٢٥", "zoom-" + "1" * 5000],
)
def test_a_word_that_is_no_variant_gets_the_list(name: str) -> None:
    with pytest.raises(RecipeError) as caught:
        Variant.parse(name)
    assert str(caught.value) == f"'{name}' is no variant; choose one of: {VARIANTS_HELP}"


def test_the_list_names_every_form_and_range() -> None:
    assert VARIANTS_HELP == (
        "none, mask, equalise, brightness-P (1 to 1000 per cent), zoom-P (100 to 1000 per cent), "
        "drop-P (1 to 99 per cent) or drop-P-seedN"
    )


@pytest.mark.parametrize(
    ("form", "percent", "seed", "message"),
    [
        ("blur", 0, 0, "form is 'blur'; it must be one of"),
        ("mask", 5, 0, "mask takes 0 to 0 per cent, not 5"),
        ("zoom", 100, 0, "zoom of 100 per cent changes nothing; use none"),
        ("zoom", 125, 1, "seed is 1"),
        ("drop", 10, -1, "seed is -1"),
    ],
)
def test_programming_errors(form: str, percent: int, seed: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Variant(form, percent, seed)


# Lost frames


@given(timelines(), st.integers(1, 99), st.integers(0, 5))
def test_dropped_frames_on_any_timeline(timeline: Timeline, percent: int, seed: int) -> None:
    frames = len(timeline.pts_seconds)
    left, kept = Variant("drop", percent, seed).timeline(timeline)
    expected_drops = min(int(frames * percent / 100 + 0.5), max(0, frames - 2))
    assert kept.dtype == np.int64
    assert len(kept) == len(left.pts_seconds) == frames - expected_drops
    assert (np.diff(kept) > 0).all()
    assert (kept[0], kept[-1]) == (0, frames - 1)
    np.testing.assert_array_equal(left.pts_seconds, timeline.pts_seconds[kept])
    assert left.end_seconds == timeline.end_seconds


@given(timelines(), st.integers(0, 1000))
def test_what_is_shown_at_any_instant_is_the_last_frame_left(timeline: Timeline, seed: int) -> None:
    left, kept = Variant("drop", 40, seed).timeline(timeline)
    instants = np.linspace(timeline.start_seconds, timeline.end_seconds, 50)
    before = timeline.shown_at(instants)
    expected = [max(position for position in kept if position <= shown) for shown in before]
    np.testing.assert_array_equal(kept[left.shown_at(instants)], expected)


@given(st.integers(1, 80), st.integers(1, 98), st.integers(0, 20))
def test_a_larger_share_drops_the_same_frames_and_more(
    frames: int, percent: int, seed: int
) -> None:
    less, more = (Variant("drop", p, seed).timeline(even(frames))[1] for p in (percent, 99))
    assert set(more) <= set(less)


def test_the_same_key_means_the_same_frames_for_ever() -> None:
    # Positions recorded once, from PCG64's raw numbers. If they change, so must the name.
    def lost(name: str) -> list[int]:
        kept = Variant.parse(name).timeline(even(30))[1]
        return sorted(set(range(30)) - set(kept.tolist()))

    assert lost("drop-10") == [4, 12, 21]
    assert lost("drop-20-seed3") == [1, 2, 5, 8, 10, 21]


def test_seeds_differ_and_every_inner_frame_is_as_likely() -> None:
    counts = np.zeros(22)
    for seed in range(2000):
        kept = Variant("drop", 20, seed).timeline(even(22))[1]
        counts += 1 - np.bincount(kept, minlength=22)
    assert counts[0] == counts[-1] == 0
    # 4 of 20 inner frames each time: 400 of 2000 with a deviation of sqrt(2000 * 0.2 * 0.8) = 18.
    np.testing.assert_allclose(counts[1:-1], 400, atol=5 * 18)


@pytest.mark.parametrize("name", [name for name in EXAMPLES if not name.startswith("drop")])
def test_every_other_variant_leaves_the_timeline_alone(name: str) -> None:
    timeline = even(7)
    left, kept = Variant.parse(name).timeline(timeline)
    assert left is timeline
    np.testing.assert_array_equal(kept, np.arange(7))


# Pictures


@given(
    name=st.sampled_from([*EXAMPLES, "zoom-1000", "brightness-1000"]),
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    view=st.sampled_from([np.s_[:], np.s_[::-1], np.s_[:, ::-1], np.s_[::2, ::3]]),
)
def test_pictures_of_any_size_keep_shape_and_type_and_are_not_changed(
    name: str, height: int, width: int, view: tuple[slice, ...]
) -> None:
    pictures = [noise(height, width, seed)[view] for seed in range(3)]
    before = [picture.copy() for picture in pictures]
    results = altered(name, *pictures)
    for picture, copy, result in zip(pictures, before, results, strict=True):
        np.testing.assert_array_equal(picture, copy)
        assert result.shape == picture.shape
        assert result.dtype == np.uint8
    for result, contiguous in zip(results, altered(name, *before), strict=True):
        np.testing.assert_array_equal(result, contiguous)


@pytest.mark.parametrize("name", PER_PICTURE)
def test_pictures_are_altered_one_by_one_in_any_order(name: str) -> None:
    assert not Variant.parse(name).picture_filter().every_frame
    pictures = [noise(20, 30, seed) for seed in range(4)]
    forwards = altered(name, *pictures)
    backwards = altered(name, *reversed(pictures))[::-1]
    np.testing.assert_array_equal(forwards, backwards)


def test_the_mask_must_see_every_frame() -> None:
    assert Variant.parse("mask").picture_filter().every_frame
    all_seen = altered("mask", scene(None), scene(20), scene(60))
    some_seen = altered("mask", scene(20), scene(60))
    assert (all_seen[-1] != some_seen[-1]).any()


@pytest.mark.parametrize("name", ["none", "drop-50-seed4"])
def test_pictures_that_stay_as_they_are(name: str) -> None:
    picture = noise(9, 11)
    assert altered(name, picture)[0] is picture


@given(st.integers(1, 1000).filter(lambda percent: percent != 100))
def test_brightness_is_a_rounded_and_clipped_product(percent: int) -> None:
    values = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    result = altered(f"brightness-{percent}", values)[0]
    for value in range(256):
        exact = min(255.0, value * percent / 100)
        assert abs(int(result[value // 16, value % 16, 1]) - exact) <= 0.5
    np.testing.assert_array_equal(result, result[..., :1].repeat(3, axis=2))


@pytest.mark.parametrize(
    ("percent", "height", "width", "rows", "columns"),
    [
        (200, 40, 60, (10, 30), (15, 45)),
        (125, 40, 60, (4, 36), (6, 54)),
        (150, 41, 60, (7, 34), (10, 50)),  # 41 / 1.5 = 27.3; the margin of 14 is 7 and 7
        (125, 33, 50, (3, 29), (5, 45)),  # 33 / 1.25 = 26.4; the margin of 7 is 3 and 4
        (125, 41, 31, (4, 37), (3, 28)),  # 32.8 and 24.8, rounded to 33 and 25
        (1000, 4, 4, (1, 2), (1, 2)),  # never less than a pixel
    ],
)
def test_zoom_is_the_middle_enlarged(
    percent: int, height: int, width: int, rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    picture = noise(height, width)
    middle = torch.from_numpy(picture[slice(*rows), slice(*columns)]).permute(2, 0, 1)[None]
    expected = torch.nn.functional.interpolate(middle.float(), (height, width), mode="bilinear")
    result = altered(f"zoom-{percent}", picture)[0]
    # OpenCV works in fixed point.
    np.testing.assert_allclose(result, expected[0].permute(1, 2, 0).numpy(), atol=1)


def test_zoom_keeps_the_middle_in_place_and_makes_it_larger() -> None:
    picture = np.zeros((120, 160, 3), dtype=np.uint8)
    picture[50:70, 70:90] = 200
    inside = np.argwhere(altered("zoom-200", picture)[0][..., 0] > 100)
    np.testing.assert_array_equal(inside.min(axis=0), [40, 60])
    np.testing.assert_array_equal(inside.max(axis=0), [79, 99])


def equalised_luma(luma: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Each value becomes the share of other pixels below or at it, from 0 to 255."""
    ordered = np.sort(luma, axis=None)
    lowest = np.count_nonzero(ordered == ordered[0])
    if lowest == ordered.size:
        return luma.astype(float)
    at_or_below = np.searchsorted(ordered, luma, side="right")
    return 255 * (at_or_below - lowest) / (ordered.size - lowest)


def test_the_luma_is_that_of_bt_601() -> None:
    picture = noise(64, 64)
    np.testing.assert_allclose(grey(picture), picture @ [0.299, 0.587, 0.114], atol=0.51)


@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 255))
def test_equalisation_adds_the_change_of_luma_to_every_channel(
    seed: int, side: int, spread: int
) -> None:
    low = 255 - spread
    rng = np.random.default_rng(seed)
    picture = rng.integers(low // 2, low // 2 + spread + 1, (side, side + 3, 3)).astype(np.uint8)
    luma = grey(picture)
    change = equalised_luma(luma) - luma
    expected = (picture + change[..., None]).clip(0, 255)
    np.testing.assert_allclose(altered("equalise", picture)[0], expected, atol=0.51)


def test_equalisation_is_that_of_y_in_ycrcb_without_its_rounding() -> None:
    # Little colour, so that nothing is clipped, over a narrow range of brightness.
    rng = np.random.default_rng(5)
    base = rng.integers(100, 140, (60, 80, 1))
    picture = (base + rng.integers(-3, 4, (60, 80, 3))).astype(np.uint8)
    planes = cv2.cvtColor(picture, cv2.COLOR_RGB2YCrCb)
    planes[..., 0] = cv2.equalizeHist(planes[..., 0])
    reference = cv2.cvtColor(planes, cv2.COLOR_YCrCb2RGB).astype(int)
    result = altered("equalise", picture)[0].astype(int)
    assert np.abs(result - reference).max() <= 2
    whole = (result.min(axis=2) > 0) & (result.max(axis=2) < 255)
    assert whole.mean() > 0.9
    colour = np.diff(picture.astype(int), axis=2)
    np.testing.assert_array_equal(np.diff(result, axis=2)[whole], colour[whole])
    assert np.ptp(grey(picture)) < 50
    assert np.ptp(grey(altered("equalise", picture)[0])) > 245


def test_a_picture_of_one_value_stays() -> None:
    picture = np.full((5, 6, 3), (10, 200, 90), dtype=np.uint8)
    np.testing.assert_array_equal(altered("equalise", picture)[0], picture)


# Background


def scene(left: int | None, top: int = 40, seed: int | None = None) -> Picture:
    """The dark textured square at a place, or nowhere, on the still ground, with or without noise."""
    picture = GROUND.copy()
    if left is not None:
        picture[top : top + 30, left : left + 30] = SQUARE
    if seed is None:
        return picture
    grain = np.random.default_rng(seed).normal(0, 6, picture.shape).round()
    return (picture + grain).clip(0, 255).astype(np.uint8)


def kept(picture: Picture) -> NDArray[np.bool_]:
    return np.asarray(picture.any(axis=2))


@pytest.mark.parametrize("grain", [False, True])
def test_a_moving_square_is_kept_and_the_still_ground_is_black(grain: bool) -> None:
    empty = [scene(None, seed=n if grain else None) for n in range(5)]
    lefts = range(5, 125, 5)
    moving = [scene(left, seed=100 + left if grain else None) for left in lefts]
    results = altered("mask", *empty, *moving)
    assert all(kept(result).mean() < 0.01 for result in results[1:5])
    for left, picture, result in zip(lefts, moving, results[5:], strict=True):
        inside = np.zeros(GROUND.shape[:2], dtype=bool)
        inside[40:70, left : left + 30] = True
        np.testing.assert_array_equal(result[inside], picture[inside])
        # Blur and closing keep a rim; no more than that.
        rim = cv2.dilate(inside.astype(np.uint8), np.ones((11, 11), np.uint8)).astype(bool)
        assert kept(result)[~rim].mean() < 0.01


def test_before_the_first_frame_no_background_is_known() -> None:
    first, second = altered("mask", scene(20), scene(20))
    np.testing.assert_array_equal(first, scene(20))
    assert not kept(second).any()  # nothing has moved


def test_a_change_of_size_starts_again() -> None:
    wide = [GROUND, GROUND, GROUND[:100], GROUND[:100]]
    assert [bool(kept(result).any()) for result in altered("mask", *wide)] == [1, 0, 1, 0]


@pytest.mark.parametrize(("gap", "closed"), [(10, True), (40, False)])
def test_gaps_up_to_a_fortieth_of_the_short_side_are_closed(gap: int, closed: bool) -> None:
    # 480 / 40 = 12 pixels, and 2 at each edge of a gap through the blur.
    ground = np.tile(GROUND, (4, 4, 1))
    moved = ground.copy()
    moved[100:300, 200:400] = SQUARE[:20].repeat(10, axis=0)[:, :10].repeat(20, axis=1)
    inside = np.s_[180 : 180 + gap, 220:380]
    moved[inside] = ground[inside]
    result = altered("mask", ground, moved)[1]
    middle = np.s_[180 + gap // 2 - 2 : 180 + gap // 2 + 2, 240:360]
    np.testing.assert_array_equal(result[middle], moved[middle] if closed else 0)


def test_what_stops_is_masked_after_53_frames_or_so() -> None:
    for before in (1, 100):
        results = altered("mask", *[scene(None)] * before, *[scene(60)] * 60)
        shares = [kept(result)[40:70, 60:90].mean() for result in results[before:]]
        assert min(shares[:50]) == 1
        assert max(shares[57:]) < 0.01


def test_the_place_that_something_leaves_is_kept_as_long() -> None:
    results = altered("mask", *[scene(20)] * 30, *[scene(None)] * 60)
    shares = [kept(result)[40:70, 20:50].mean() for result in results[30:]]
    assert min(shares[:50]) == 1
    assert max(shares[57:]) < 0.01


def test_under_a_moving_camera_most_of_a_textured_picture_is_kept() -> None:
    smooth = np.asarray(cv2.GaussianBlur(noise(120, 160), (0, 0), 2), dtype=np.uint8)
    stretched = np.asarray(cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX), dtype=np.uint8)  # type: ignore[call-overload]
    results = altered("mask", *(np.roll(stretched, 5 * n, axis=1) for n in range(12)))
    assert min(kept(result).mean() for result in results) > 0.5


def test_every_video_has_a_background_of_its_own() -> None:
    variant = Variant.parse("mask")
    one, other = variant.picture_filter(), variant.picture_filter()
    for left in range(0, 100, 10):
        one(scene(left))
    np.testing.assert_array_equal(other(scene(0)), scene(0))


# Reproducible


def digest(name: str) -> str:
    """Hash of all that a variant makes of a video large enough for threads to share."""
    alter = Variant.parse(name).picture_filter()
    found = hashlib.sha256(Variant.parse(name).timeline(even(100))[1].tobytes())
    for step in range(6):
        picture = noise(480, 640, seed=step) // 4 + 96
        picture[100:300, 40 * step : 40 * step + 200] //= 3
        found.update(alter(picture).tobytes())
    return found.hexdigest()


@pytest.mark.parametrize("name", EXAMPLES)
def test_threads_change_no_bit(name: str, opencv_threads: Callable[[int], None]) -> None:
    digests = []
    for threads in (1, 2, 7, 1):
        opencv_threads(threads)
        digests.append(digest(name))
    assert len(set(digests)) == 1


def test_another_process_makes_the_same() -> None:
    script = (
        "import runpy, sys; tests = runpy.run_path(sys.argv[1]); "
        "print(*(tests['digest'](name) for name in tests['EXAMPLES']))"
    )
    command = [sys.executable, "-c", script, __file__]
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [digest(name) for name in EXAMPLES]


def test_every_variant_makes_something_else() -> None:
    names = (*EXAMPLES, "drop-10-seed1", "drop-11")
    assert len({digest(name) for name in names}) == len(names)

"""What is drawn is what was scripted."""

from itertools import islice

import numpy as np
from numpy.typing import NDArray

from aqakit.extract.synthetic_plan import plan
from aqakit.extract.synthetic_scene import render


def first_frames(skill: float, seed: int, count: int = 5) -> NDArray[np.uint8]:
    return np.stack(list(islice(render(plan(skill, seed)), count)))


def test_one_frame_for_each_row_of_the_path() -> None:
    performance = plan(0.2, 3, size=(96, 64))
    frames = list(render(performance))
    assert len(frames) == len(performance.tool_path)
    assert {(frame.shape, frame.dtype.name) for frame in frames} == {((64, 96, 3), "uint8")}


def test_same_seed_same_pixels_in_any_order() -> None:
    first = [first_frames(0.5, seed) for seed in (1, 2)]
    again = [first_frames(0.5, seed) for seed in (2, 1)]
    np.testing.assert_array_equal(first[0], again[1])
    np.testing.assert_array_equal(first[1], again[0])
    assert (first[0] != first[1]).mean() > 0.5


def test_skill_does_not_change_the_scene() -> None:
    """Far from the arm, the best and the worst hand leave the same picture."""
    worst, best = first_frames(0.0, 4, 1)[0], first_frames(1.0, 4, 1)[0]
    np.testing.assert_array_equal(worst[-20:], best[-20:])


def test_frames_are_drawn_on_demand() -> None:
    frames = render(plan(0.5, 0))
    assert next(frames).shape == (120, 160, 3)


def test_everything_has_texture() -> None:
    """Optical flow needs a gradient nearly everywhere; flat colour would have none."""
    frame = first_frames(1.0, 7, 1)[0].astype(float).mean(axis=2)
    blocks = frame[:120, :160].reshape(15, 8, 20, 8).std(axis=(1, 3))
    assert (blocks > 1).mean() > 0.95


def test_the_tool_moves_the_picture_where_it_is() -> None:
    performance = plan(1.0, 2)
    frames = np.stack(list(render(performance))).astype(float)
    change = np.abs(np.diff(frames, axis=0)).sum(axis=3)
    speed = np.hypot(*np.diff(performance.tool_path, axis=0).T)
    for number in np.argsort(speed)[-5:]:
        x, y = performance.tool_path[number].astype(int)
        near = change[number, max(0, y - 8) : y + 8, max(0, x - 8) : x + 8].mean()
        assert near > 5 * np.median(change[number])


def test_a_drop_shows_inside_its_box() -> None:
    """A fallen peg leaves its colour where there was none, within the box of the mistake."""
    performance, drop = next(
        (performance, mistake)
        for performance in (plan(0.0, seed) for seed in range(20))
        for mistake in performance.mistakes
        if mistake.kind == "drop"
    )
    frames = list(render(performance))
    first = int(np.ceil(drop.start_seconds * performance.fps))
    peg = performance.held[first - 1]
    path = performance.peg_paths[first:, peg]
    lying = first + int(np.argmax((np.diff(path, axis=0) == 0).all(axis=1)))
    x, y = performance.peg_paths[lying, peg].round().astype(int)
    x0, y0, x1, y1 = drop.box
    assert x0 <= x < x1 and y0 <= y < y1
    before, after = (frames[number][y, x].astype(int) for number in (0, lying))
    assert np.abs(after - before).sum() > 60


def test_a_second_tool_is_drawn_where_it_is_and_nowhere_else() -> None:
    alone, assisted = plan(0.5, 3), plan(0.5, 3, synchronisation=0.5)
    assert assisted.second is not None
    pictures = zip(render(alone), render(assisted), assisted.second.path, strict=True)
    for one, both, place in islice(pictures, 0, None, 9):
        changed = (one != both).any(axis=2)
        x, y = place.astype(int)
        assert changed[y : y + 12, max(0, x - 12) : x + 12].any()
        # Its arm comes from below: nothing changes above its jaws.
        assert not changed[: max(0, y - 10)].any()

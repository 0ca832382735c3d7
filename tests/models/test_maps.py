import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aqakit.models.maps import upsample

SEEDS = st.integers(0, 1000)


@given(
    seed=SEEDS,
    shape=st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6)),
    more=st.tuples(st.integers(0, 30), st.integers(0, 30)),
)
@settings(max_examples=50, deadline=None)
def test_enlarged_maps_are_interpolated_between_middles_and_keep_their_sums(
    seed: int, shape: tuple[int, int, int], more: tuple[int, int]
) -> None:
    maps = np.random.default_rng(seed).random(shape)
    maps[0] *= seed % 2  # nothing at all, every other time
    size = (shape[1] + more[0], shape[2] + more[1])
    frames = upsample(maps, size)
    assert frames.shape == (shape[0], *size)
    np.testing.assert_allclose(frames.sum(axis=(1, 2)), maps.sum(axis=(1, 2)))
    middles = [(np.arange(n) + 0.5) / n for n in shape[1:]]
    down, right = ((np.arange(n) + 0.5) / n for n in size)
    for picture, frame in zip(maps, frames, strict=True):
        by_column = np.array([np.interp(right, middles[1], row) for row in picture])
        expected = np.array([np.interp(down, middles[0], column) for column in by_column.T]).T
        total = expected.sum()
        np.testing.assert_allclose(frame, expected * (picture.sum() / total if total else 0))


def test_frames_smaller_than_the_maps_are_a_mistake_of_the_program() -> None:
    with pytest.raises(ValueError, match=r"size is \(4, 2\); .* \(3, 3\)"):
        upsample(np.ones((1, 3, 3)), (4, 2))

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from aqakit.features.errors import VideoError
from aqakit.features.track_text import read_text_track
from aqakit.features.tracks import Reading

PATH = Path("v.txt")
RATE = Reading(rate=30)


@given(
    values=arrays(
        "float64",
        array_shapes(min_dims=2, max_dims=2, max_side=6),
        elements=st.floats(allow_infinity=False),
    ),
    delimiter=st.sampled_from([" ", "\t", ",", "   ", ", "]),
    header=st.booleans(),
    newline=st.sampled_from(["\n", "\r\n"]),
)
def test_what_numpy_writes_is_read(
    values: NDArray[np.float64], delimiter: str, header: bool, newline: str
) -> None:
    written = io.BytesIO()
    names = tuple(f"joint{place}.x" for place in range(values.shape[1]))
    title = delimiter.join(names) if header else ""
    np.savetxt(written, values, "%.17g", delimiter, newline, title, encoding="utf-8")
    track = read_text_track(PATH, written.getvalue(), RATE)
    np.testing.assert_array_equal(track.values, values)
    assert track.columns == (names if header else ())
    np.testing.assert_allclose(track.timeline.pts_seconds, np.arange(len(values)) / 30)


def test_gaps() -> None:
    track = read_text_track(PATH, b"1,,3\n, nan ,inf\n4,5,6\n", RATE)
    np.testing.assert_array_equal(
        track.values, [[1, np.nan, 3], [np.nan, np.nan, np.nan], [4, 5, 6]]
    )


def test_a_comma_after_each_line_is_no_column() -> None:
    assert read_text_track(PATH, b"1,2,\n3,4,\n", RATE).values.tolist() == [[1, 2], [3, 4]]


def test_a_column_of_times() -> None:
    text = b"\xef\xbb\xbfx\tseconds\ty\n1\t0.5\t2\n3\t0.75\t4\n"
    track = read_text_track(PATH, text, Reading(time_column="seconds"))
    assert track.columns == ("x", "y")
    assert track.values.tolist() == [[1, 2], [3, 4]]
    assert track.timeline.pts_seconds.tolist() == [0.5, 0.75]
    assert track.timeline.end_seconds == 1.0


@pytest.mark.parametrize(
    ("text", "reading", "words"),
    [
        (b"1 2\n3\n", RATE, ", line 2: 1 cells, 2 in the first line; the file is cut off"),
        (b"x y\n1 2\n\n3 4 5\n", RATE, ", line 4: 3 cells, 2 in the first line"),
        (b"1 2\n3 four\n", RATE, ", line 2: 'four' is no number; correct it"),
        (b"x y\n", RATE, ": has a header only; get the file again"),
        (b"\xff\xfe1\x00", RATE, ": is not UTF-8 text (byte 0); name a file of numbers"),
        (b"1 2\n", Reading(), ": holds no times; say how many samples a second with --rate"),
        (b"1 2\n", Reading(time_column="t"), ": no column 't', or several (it has no header)"),
        (b"x y\n1 2\n", Reading(time_column="t"), "(its columns are 'x, y'); correct --time"),
        (b"t\n1\n2\n", Reading(time_column="t"), ": has no column beside its times"),
    ],
)
def test_broken_text(text: bytes, reading: Reading, words: str) -> None:
    with pytest.raises(VideoError) as caught:
        read_text_track(PATH, text, reading)
    assert str(caught.value).startswith("v.txt")
    assert words in str(caught.value)

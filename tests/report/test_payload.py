"""What the script reads: safe JSON, whose numbers come back."""

import base64
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from aqakit.report.page import Entry, Film, Story
from aqakit.report.payload import UNKNOWN, holds_media, index, media, packed, story, to_json


def unpacked(kept: dict[str, Any]) -> NDArray[np.float64]:
    """As the script does, with a loop."""
    raw = base64.b64decode(kept["codes"])
    codes = [raw[place] + 256 * raw[place + 1] for place in range(0, len(raw), 2)]
    span = kept["high"] - kept["low"]
    return np.array([np.nan if c == UNKNOWN else kept["low"] + span * c / 65534 for c in codes])


@given(
    arrays(
        np.float64,
        st.integers(0, 30),
        elements=st.one_of(
            st.floats(-1e6, 1e6).map(lambda own: round(own, 3)),
            st.sampled_from([np.nan, np.inf, -np.inf]),
            st.just(0.25),
        ),
    )
)
def test_numbers_come_back_within_a_part_of_their_range(values: NDArray[np.float64]) -> None:
    kept = packed(values)
    back = unpacked(json.loads(to_json(kept)))
    known = np.isfinite(values)
    assert np.array_equal(np.isnan(back), ~known)
    if known.any():
        own = values[known]
        tolerance = np.ptp(own) / 65534 + 1e-8 * np.abs(own).max()
        np.testing.assert_allclose(back[known], own, rtol=0, atol=tolerance)
        assert back[known].min() == pytest.approx(own.min(), rel=1e-8, abs=1e-300)
        assert back[known].max() == pytest.approx(own.max(), rel=1e-8, abs=1e-300)


@given(st.recursive(st.text() | st.integers() | st.none(), lambda own: st.lists(own, max_size=3)))
def test_json_comes_back_and_holds_nothing_that_html_understands(value: object) -> None:
    text = str(to_json(value))
    assert json.loads(text) == value
    assert not set("<>&") & set(text)


def test_a_number_that_json_lacks_is_refused() -> None:
    with pytest.raises(ValueError):
        to_json(float("nan"))


def test_a_story_keeps_times_curves_flags_maps_and_moments(
    made_story: Callable[..., Story],
) -> None:
    told = made_story(8, 3.0, [(2, "bad"), (5, "good")])
    kept = json.loads(to_json(story(told)))
    for column, name in enumerate(("start", "centre", "end")):
        np.testing.assert_allclose(unpacked(kept["times"][name]), told.times[:, column], atol=1e-4)
    assert [curve["label"] for curve in kept["curves"]][:2] == [
        "attention to high skill",
        "attention to low skill",
    ]
    for curve, values in zip(kept["curves"], told.curves.values(), strict=True):
        np.testing.assert_allclose(unpacked(curve["values"]), values, atol=1e-4)
    # The number at the end of a name is left out to find its reading.
    assert [curve["detail"] for curve in kept["curves"]] == [False] * 4 + [True] * 2
    assert kept["flags"] == [{"name": "faulty", "steps": [3]}]
    assert kept["moments"][0] == {
        "start": 4.0,
        "centre": 4.25,
        "end": 4.5,
        "tells": "bad",
        "why": "why 2",
        "step": 2,
    }
    (shown,) = kept["maps"]
    codes = np.frombuffer(base64.b64decode(shown["codes"]), np.uint8).reshape(8, 4, 6)
    expected = told.maps["attention"] / 4 * 255
    np.testing.assert_allclose(codes, expected, atol=0.5)
    assert codes.max() == 255


def test_unknown_times_and_weights_are_no_numbers(made_story: Callable[..., Story]) -> None:
    told = made_story(3, 0.0, [(1, "notable")])
    told.times[:] = np.nan
    told.maps["attention"][1] = np.nan
    told.maps["attention"][1, 0] = np.inf
    told.maps["attention"][2] = 0
    kept = json.loads(to_json(story(told)))
    assert np.isnan(unpacked(kept["times"]["centre"])).all()
    codes = np.frombuffer(base64.b64decode(kept["maps"][0]["codes"]), np.uint8).reshape(3, 24)
    assert codes[1:].max() == 0 and codes[0].max() == 255


def test_maps_of_no_weight_are_empty(made_story: Callable[..., Story]) -> None:
    told = made_story(2)
    told.maps["attention"][:] = 0
    assert set(base64.b64decode(story(told)["maps"][0]["codes"])) == {0}


def test_stills_stand_in_the_order_of_moments(
    made_entry: Callable[..., Entry], made_story: Callable[..., Story]
) -> None:
    told = made_story(8, 0.0, [(1, "bad"), (4, "good"), (6, "bad")])
    film = Film(b"film", "video/webm", stills={3.25: b"third", 0.75: b"first"})
    kept = media(made_entry(0, story=told, film=film))
    assert [still and base64.b64decode(still) for still in kept["stills"]] == [
        b"first",
        None,
        b"third",
    ]
    assert base64.b64decode(kept["copy"]) == b"film" and kept["type"] == "video/webm"


def test_media_is_written_only_where_there_is_some(
    made_entry: Callable[..., Entry], made_story: Callable[..., Story]
) -> None:
    told = made_story(8, 0.0, [(1, "bad")])
    assert not holds_media(made_entry(0))
    assert not holds_media(made_entry(0, story=told, film=Film(link="file:///a.mp4")))
    assert not holds_media(made_entry(0, story=told, film=Film(stills={9.0: b"of no moment"})))
    assert holds_media(made_entry(0, film=Film(b"copy")))
    assert holds_media(made_entry(0, story=told, film=Film(stills={0.75: b"still"})))


def test_the_index_says_what_other_sections_need(made_entry: Callable[..., Entry]) -> None:
    film = Film(link="../a.mp4", begins_seconds=1234.5678, missing="gone", fault="broken off")
    (own,) = index([made_entry(0, task="suturing", film=film, untold="no store")])
    assert own == {
        "id": "video 0",
        "task": "suturing",
        "rank": 1,
        "rival": None,
        "untold": "no store",
        "copy": False,
        "link": "../a.mp4",
        "begins": 1234.5678,
        "missing": "gone",
        "fault": "broken off",
        "media": False,
    }

"""Sizes and qualities that nothing can be made with are refused."""

from typing import Any

import pytest

from aqakit.features.pictures import Quality


@pytest.mark.parametrize(
    ("name", "value", "good"),
    [
        ("thumbnail_width", 1, 2),
        ("still_width", 0, 2),
        ("copy_height", 1, 2),
        ("jpeg_quality", 0, 1),
        ("jpeg_quality", 101, 100),
        ("copy_fps", 0.0, 0.5),
        ("copy_fps", 1001.0, 1000.0),
        ("copy_fps", float("nan"), 30.0),
        ("copy_bits_per_second", 9_999, 10_000),
    ],
)
def test_what_nothing_can_be_made_with_is_refused(name: str, value: Any, good: Any) -> None:
    with pytest.raises(ValueError, match=f"^{name} is {value}"):
        Quality(**{name: value})
    assert getattr(Quality(**{name: good}), name) == good

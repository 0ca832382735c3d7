from pathlib import Path

import pytest

from aqakit.features.datasets._split import Listed, train_test, unlisted_note
from aqakit.features.errors import ManifestError

TRAIN, TEST = Path("train.mat"), Path("test.mat")


def test_parts() -> None:
    parts = train_test(Listed(TRAIN, ["b", "a"]), Listed(TEST, ["c"]))
    assert parts == {"b": "train", "a": "train", "c": "test"}


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ("aba", "c", "train.mat: lists 'a' twice; a video belongs to one part, once"),
        ("ab", "cc", "test.mat: lists 'c' twice; a video belongs to one part, once"),
        ("ab", "cb", "test.mat: lists 'b' and in train.mat as well; a video belongs to one part"),
    ],
)
def test_a_video_in_two_places(train: str, test: str, message: str) -> None:
    with pytest.raises(ManifestError) as caught:
        train_test(Listed(TRAIN, train), Listed(TEST, test))
    assert message in str(caught.value)


def test_what_is_told_of_videos_in_no_part() -> None:
    assert unlisted_note(0) == []
    assert unlisted_note(3) == ["videos in neither list, and so in no part of the split: 3"]

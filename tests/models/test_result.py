"""Results: what a run folder keeps of its test scores is what it had."""

from pathlib import Path

import numpy as np
import pytest

from aqakit.features.errors import RecipeError
from aqakit.features.manifest import Manifest, Pair, Video
from aqakit.models.fold import make_fold
from aqakit.models.result import CONTROL, read_predictions, write_predictions


def test_predictions_come_back_with_their_test_pairs_and_what_was_seen(tmp_path: Path) -> None:
    videos = tuple(Video(f"v {n},é", score=None if n == 4 else float(n)) for n in range(6))
    pairs = tuple(Pair(videos[a].id, videos[b].id) for a, b in ((1, 0), (2, 1), (4, 3), (5, 4)))
    manifest = Manifest(videos, {}, pairs, {"1": ("train", "test", "test", "test")})
    fold = make_fold(manifest, "1", {video.id for video in videos})
    scores = np.random.default_rng(0).normal(size=(2, 6))
    controls = {"constant": np.zeros(6), "shorter is better": np.arange(6) / 7}
    write_predictions(tmp_path, fold, (3, 8), scores, controls)
    found = read_predictions(tmp_path)
    assert found.by_seed((8, 3)).tolist() == scores[::-1, 1:].tolist()
    assert found.truth.tolist()[:3] == [1, 2, 3]
    assert np.isnan(found.truth[3])
    assert found.pairs.tolist() == [[1, 0], [3, 2], [4, 3]]
    assert found.seen.tolist() == [1, 0, 0]
    assert list(found.controls) == [CONTROL + name for name in controls]
    assert found.controls[CONTROL + "shorter is better"].tolist() == (np.arange(1, 6) / 7).tolist()


def test_files_that_are_not_whole_are_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=f"{tmp_path} is no run that can be read"):
        read_predictions(tmp_path)
    (tmp_path / "predictions.csv").write_text("id,part,truth,seed_0\nv0,test,1,0.5\n")
    (tmp_path / "test_pairs.csv").write_text("better,worse,seen\nv0,v1,0\n")
    with pytest.raises(RecipeError, match="train it again"):
        read_predictions(tmp_path)

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from aqakit.features.dataset import DATASETS, Source
from aqakit.features.datasets.unlv_dive import SUMMARY, read
from aqakit.features.errors import ManifestError
from aqakit.features.plugins import load


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files of the published names, shapes and sizes."""
    rng = np.random.default_rng(0)
    order = rng.permutation(370) + 1
    (tmp_path / "split_300_70").mkdir()
    scores = rng.uniform(12, 17, (370, 1)).round(2)
    savemat(tmp_path / "diving_overall_scores.mat", {"overall_scores": scores})
    savemat(tmp_path / "split_300_70" / "training_idx.mat", {"training_idx": order[None, :300]})
    savemat(tmp_path / "split_300_70" / "testing_idx.mat", {"testing_idx": order[None, 300:]})
    difficulty = rng.uniform(2, 3.6, (370, 1)).round(1)
    savemat(tmp_path / "diving_difficulty_level.mat", {"difficulty_level": difficulty})
    return tmp_path


def test_counts_of_the_paper(folder: Path) -> None:
    (folder / "diving_samples_len_ori").mkdir()
    (folder / "diving_samples_len_ori" / "370.avi").touch()
    imported = read(Source(folder))
    manifest = imported.manifest
    assert len(manifest.videos) == 370
    assert len(manifest.part("default", "train")) == 300
    assert len(manifest.part("default", "test")) == 70
    assert len(imported.absent) == 370 - 1
    assert manifest.videos[-1].path == folder / "diving_samples_len_ori" / "370.avi"
    assert (manifest.videos[0].id, manifest.videos[-1].id) == ("dive-001", "dive-370")
    assert {video.task for video in manifest.videos} == {"diving"}
    assert all(video.score is not None for video in manifest.videos)
    assert all(video.difficulty is not None for video in manifest.videos)
    assert imported.notes == ()


def test_more_points_than_three_judges_have(folder: Path) -> None:
    scores = np.full((370, 1), 100.0)
    scores[7] = 108.5
    savemat(folder / "diving_overall_scores.mat", {"overall_scores": scores})
    savemat(folder / "diving_difficulty_level.mat", {"difficulty_level": np.full((370, 1), 3.6)})
    with pytest.raises(ManifestError, match="score 108.5 of row 8 is not within 0 and 108"):
        read(Source(folder))


def test_the_importer_is_found_by_its_name() -> None:
    module = load(DATASETS, "unlv-dive")
    assert (module.read, module.SUMMARY) == (read, SUMMARY)
    assert len(SUMMARY.splitlines()) == 1

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from aqakit.features.dataset import DATASETS, Source
from aqakit.features.datasets.unlv_vault import SUMMARY, read
from aqakit.features.errors import ManifestError
from aqakit.features.plugins import load


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files of the published names, shapes and sizes."""
    rng = np.random.default_rng(0)
    order = rng.permutation(176) + 1
    (tmp_path / "split_4").mkdir()
    scores = rng.uniform(12, 17, (176, 1)).round(2)
    savemat(tmp_path / "gym_vault_overall_scores.mat", {"overall_scores": scores})
    savemat(tmp_path / "split_4" / "training_idx.mat", {"training_idx": order[None, :120]})
    savemat(tmp_path / "split_4" / "testing_idx.mat", {"testing_idx": order[None, 120:]})
    return tmp_path


def test_counts_of_the_paper(folder: Path) -> None:
    (folder / "gym_vault_samples_len_ori").mkdir()
    (folder / "gym_vault_samples_len_ori" / "176.avi").touch()
    imported = read(Source(folder))
    manifest = imported.manifest
    assert len(manifest.videos) == 176
    assert len(manifest.part("default", "train")) == 120
    assert len(manifest.part("default", "test")) == 56
    assert len(imported.absent) == 176 - 1
    assert manifest.videos[-1].path == folder / "gym_vault_samples_len_ori" / "176.avi"
    assert (manifest.videos[0].id, manifest.videos[-1].id) == ("vault-001", "vault-176")
    assert {video.task for video in manifest.videos} == {"gym-vault"}
    assert all(video.score is not None for video in manifest.videos)
    assert imported.notes == ()


def test_a_score_above_twenty(folder: Path) -> None:
    scores = np.full((176, 1), 15.0)
    scores[7] = 20.1
    savemat(folder / "gym_vault_overall_scores.mat", {"overall_scores": scores})
    with pytest.raises(ManifestError, match="score 20.1 of row 8 is not within 0 and 20"):
        read(Source(folder))


def test_the_importer_is_found_by_its_name() -> None:
    module = load(DATASETS, "unlv-vault")
    assert (module.read, module.SUMMARY) == (read, SUMMARY)
    assert len(SUMMARY.splitlines()) == 1

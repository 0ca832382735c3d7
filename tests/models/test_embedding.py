import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from aqakit.models.embedding import Projection, project

METHODS: tuple[Projection, ...] = ("tsne", "pca")


def _clusters(each: int, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Three far-apart clouds of videos, and which of them each is in."""
    rng = np.random.default_rng(seed)
    which = np.repeat(np.arange(3), each)
    return 20 * rng.normal(size=(3, 8))[which] + rng.normal(size=(3 * each, 8)), which


def _distances(points: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.linalg.norm(points[:, None] - points[None], axis=-1))


@pytest.mark.parametrize("method", METHODS)
def test_alike_videos_come_near_each_other(method: Projection) -> None:
    embeddings, which = _clusters(12)
    points = project(embeddings, 0, method)
    assert points.shape == (36, 2)
    assert points.dtype == np.float64
    distances = _distances(points)
    np.fill_diagonal(distances, np.inf)
    assert (which[distances.argmin(axis=1)] == which).all()


@pytest.mark.parametrize("shape", [(20, 5), (6, 9), (2, 3), (5, 2)])
def test_principal_components_are_those_of_an_independent_library(shape: tuple[int, int]) -> None:
    rows = np.random.default_rng(1).normal(size=shape) * np.arange(1, shape[1] + 1)
    ours, theirs = project(rows, 0, "pca"), PCA(2).fit_transform(rows)
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=1e-9)


def test_principal_components_depend_on_no_seed_and_keep_their_sign() -> None:
    rows = np.random.default_rng(2).normal(size=(10, 4)) * [9, 3, 1, 1]
    points = project(rows, 0, "pca")
    np.testing.assert_array_equal(points, project(rows, 1, "pca"))
    # The direction's largest entry, in the first channel, is positive.
    assert np.corrcoef(points[:, 0], rows[:, 0])[0, 1] > 0.9
    np.testing.assert_allclose(project(-rows, 0, "pca"), -points, atol=1e-9)


@given(st.integers(0, 1000), st.permutations(range(8)))
@settings(max_examples=25)
def test_order_of_videos_only_moves_principal_components(seed: int, order: list[int]) -> None:
    rows = np.random.default_rng(seed).normal(size=(8, 5)) * [5, 3, 1, 1, 1]
    np.testing.assert_allclose(
        project(rows[order], 0, "pca"), project(rows, 0, "pca")[order], atol=1e-9
    )


def test_tsne_repeats_itself_and_leaves_global_generators_alone() -> None:
    embeddings, _ = _clusters(5)
    before = str(np.random.get_state(legacy=False))
    points = project(embeddings, 3)
    np.testing.assert_array_equal(points, project(embeddings, 3))
    assert str(np.random.get_state(legacy=False)) == before
    assert not np.allclose(points, project(embeddings, 3, "pca"))


@pytest.mark.parametrize("videos", [7, 8, 30, 100])
def test_perplexity_fits_the_number_of_videos(videos: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []

    class Machine:
        def __init__(self, perplexity: float, **rest: object) -> None:
            asked.append(perplexity)

        def fit_transform(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
            return rows[:, :2]

    monkeypatch.setattr("aqakit.models.embedding.TSNE", Machine)
    project(np.random.default_rng(0).normal(size=(videos, 4)), 0)
    assert asked == [min(30, (videos - 1) / 3)]


def test_so_few_videos_have_no_neighbours_and_get_principal_components() -> None:
    rows = np.random.default_rng(4).normal(size=(7, 3))
    np.testing.assert_array_equal(project(rows[:6], 0), project(rows[:6], 0, "pca"))
    assert not np.allclose(project(rows, 0), project(rows, 0, "pca"))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("videos", [1, 3, 12])
def test_videos_that_do_not_differ_are_one_point(method: Projection, videos: int) -> None:
    # A tenth has no exact binary form, so that the mean differs from the rows by rounding.
    rows = np.full((videos, 4), 1e6 + 0.1)
    np.testing.assert_array_equal(project(rows, 0, method), np.zeros((videos, 2)))


def test_one_channel_has_one_direction() -> None:
    points = project(np.array([[1.0], [5.0], [3.0]]), 0, "pca")
    np.testing.assert_allclose(points, [[-2, 0], [2, 0], [0, 0]], atol=1e-12)


def test_embeddings_of_half_precision_are_taken() -> None:
    rows = np.random.default_rng(5).normal(size=(9, 4))
    half = project(rows.astype(np.float16), 0, "pca")
    np.testing.assert_allclose(half, project(rows, 0, "pca"), atol=0.02)


@pytest.mark.parametrize(
    ("rows", "shape"),
    [
        (np.zeros(3), r"\(3,\)"),
        (np.zeros((0, 4)), r"\(0, 4\)"),
        (np.zeros((3, 0)), r"\(3, 0\)"),
        (np.array([[1.0, np.nan]]), r"\(1, 2\)"),
    ],
)
def test_no_embeddings_are_a_mistake_of_the_program(rows: NDArray[np.float64], shape: str) -> None:
    with pytest.raises(ValueError, match=f"shape {shape} must be"):
        project(rows, 0)


def test_unknown_projection_is_a_mistake_of_the_program() -> None:
    with pytest.raises(ValueError, match="method is 'umap'"):
        project(np.zeros((2, 2)), 0, "umap")  # type: ignore[arg-type]

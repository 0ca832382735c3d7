"""What a head makes of each video as a whole, brought down to a point of the plane to look at."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.manifold import TSNE

Projection = Literal["tsne", "pca"]

# Scikit-learn's own perplexity, for as many videos as it suits.
_PERPLEXITY = 30.0
# With fewer the perplexity is below 2: a video would have not even two neighbours that count.
FEWEST_FOR_TSNE = 7


def project(
    embeddings: NDArray[Any], seed: int, method: Projection = "tsne"
) -> NDArray[np.float64]:
    """A point of the plane for each video, such that near points are alike videos.

    ``tsne`` (van der Maaten and Hinton, JMLR 2008; section V-F of Jain et al. 2020 shows it) starts
    at the principal components. Its perplexity is 30, or a third of the other videos where these
    are fewer. Of fewer than 7 videos, or videos that do not differ, principal components are taken
    instead, which ``pca`` always takes: they depend on no seed and keep straight lines straight.

    Args:
        embeddings: (V, D), one row a video.
        seed: of t-SNE; the same seed gives the same points on the same machine.
        method: ``tsne`` or ``pca``.

    Returns:
        (V, 2).

    Raises:
        ValueError: another shape, values that are not finite, or an unknown method.
    """
    if embeddings.ndim != 2 or not embeddings.size or not np.isfinite(embeddings).all():
        raise ValueError(
            f"embeddings of shape {embeddings.shape} must be (V, D), not empty and finite"
        )
    if method not in ("tsne", "pca"):
        raise ValueError(f"method is '{method}'; it must be tsne or pca")
    rows = embeddings.astype(np.float64)
    components = _principal_components(rows)
    if method == "pca" or len(rows) < FEWEST_FOR_TSNE or not components.any():
        return components
    # From a small start, whatever the unit of the embeddings, points can still pass each other.
    start = components / components[:, 0].std() * 1e-4
    machine = TSNE(
        perplexity=min(_PERPLEXITY, (len(rows) - 1) / 3), init=start, random_state=seed, n_jobs=1
    )
    return np.asarray(machine.fit_transform(rows), dtype=np.float64)


def _principal_components(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """(V, 2) the two directions in which (V, D) rows differ most; zeros where there is none."""
    centred = rows - rows.mean(axis=0)
    left, lengths, directions = np.linalg.svd(centred, full_matrices=False)
    # A direction and its opposite are alike; the one whose largest entry is positive is taken.
    largest = np.abs(directions).argmax(axis=1)
    signs = np.sign(directions[np.arange(len(directions)), largest])
    # What only rounding makes of rows that do not differ is no direction.
    real = lengths > 1e-12 * max(1.0, np.abs(rows).max())
    found = (left * (lengths * signs * real))[:, :2]
    out = np.zeros((len(rows), 2))
    out[:, : found.shape[1]] = found
    return out

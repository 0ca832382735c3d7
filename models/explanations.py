"""Explanations of a run's scores as files that any program reads.

The names of a video's files are in ``explanations.json``, as its id may be any text.

    <video>.csv         a row a step: its times, then each curve and flag
    <video>.npz         maps, (T, H, W) each, where the head has some: of the feature's places, or
                        as large as the frame
    explanations.json   by video: parts of its score, notes, and the files above
    <figure>.csv        such as filter_correlation.csv, where the head has figures of many videos
    embedding.csv       where each video lies in the plane of t-SNE, where the head embeds videos

The folder is written aside and renamed when it is whole.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..features.durable import write_errors
from ..features.durable_folder import replacing_folder
from ..features.errors import RecipeError
from ..features.names import record_name
from .data import VideoFeatures
from .deep import DeepHead
from .embedding import project
from .head import Explanation, Head
from .maps import upsample

_CURE_IF_FULL = "free some and give the same command again"


@dataclass(frozen=True)
class Explained:
    """Videos with what made their scores.

    Args:
        scores: by id.
        explanations: by id.
        embedding: (V, 2) place of each, in the same order; None where the head embeds none.
        tables: by name, figures over all videos.
    """

    scores: Mapping[str, float]
    explanations: Mapping[str, Explanation]
    embedding: NDArray[np.float64] | None
    tables: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)


def explain_all(head: Head, videos: Sequence[VideoFeatures], seed: int = 0) -> Explained:
    """Explain each video by a trained head.

    Args:
        head: trained.
        videos: with the features that it was trained on.
        seed: of the projection of embeddings.
    """
    scores = dict(zip((v.id for v in videos), head.score(videos).tolist(), strict=True))
    explanations = {video.id: head.explain(video) for video in videos}
    if not isinstance(head, DeepHead):
        return Explained(scores, explanations, None)
    embedded = head.embed(videos)
    plane = None if embedded is None else project(embedded, seed)
    return Explained(scores, explanations, plane, head.method.tables(list(explanations.values())))


def write_explanations(
    explained: Explained, folder: Path, size: tuple[int, int] | None = None
) -> None:
    """Write the folder, whole or not at all; one that is there is replaced.

    Args:
        explained: videos.
        folder: to write.
        size: height and width that maps are brought to; None leaves them as they are.

    Raises:
        RecipeError: the size is smaller than the maps.
        DiskFullError: no space is left.
        StoreError: it cannot be written.
    """
    with write_errors(folder, _CURE_IF_FULL), replacing_folder(folder) as made:
        index: dict[str, Any] = {}
        for video, explanation in explained.explanations.items():
            name = record_name(video)
            _write_steps(explanation, made / f"{name}.csv")
            files = {"steps": f"{name}.csv"}
            if explanation.maps:
                maps = {name: _sized(each, size) for name, each in explanation.maps.items()}
                np.savez_compressed(made / f"{name}.npz", **maps)  # type: ignore[arg-type]
                files["maps"] = f"{name}.npz"
            index[video] = {
                "score": explained.scores[video],
                "parts": dict(explanation.scores),
                "notes": dict(explanation.notes),
                **files,
            }
        (made / "explanations.json").write_text(json.dumps(index, indent=1) + "\n")
        for name, table in explained.tables.items():
            header = [str(column) for column in range(1, table.shape[1] + 1)]
            _write_csv(made / f"{name}.csv", header, table.tolist())
        if explained.embedding is not None:
            rows = zip(explained.explanations, explained.embedding.tolist(), strict=True)
            cells = ((video, *map(repr, place)) for video, place in rows)
            _write_csv(made / "embedding.csv", ["id", "x", "y"], cells)


def _sized(maps: NDArray[np.float64], size: tuple[int, int] | None) -> NDArray[np.float32]:
    if size is None:
        return maps.astype(np.float32)
    try:
        return upsample(maps, size).astype(np.float32)
    except ValueError as error:
        raise RecipeError(f"--size: {error}") from None


def _write_steps(explanation: Explanation, path: Path) -> None:
    curves, flags = explanation.curves, explanation.flags
    columns = [*explanation.times.T.tolist(), *(curve.tolist() for curve in curves.values())]
    marks = [np.asarray(flag).astype(int).tolist() for flag in flags.values()]
    header = ["start_seconds", "centre_seconds", "end_seconds", *curves, *flags]
    _write_csv(path, header, zip(*columns, *marks, strict=True))


def _write_csv(path: Path, header: Sequence[str], rows: Any) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)

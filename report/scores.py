"""Scores of new videos as files that any program reads."""

from __future__ import annotations

import csv
import importlib.metadata
import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..features.durable import check_writable, write_bytes
from ..features.errors import RecipeError

if TYPE_CHECKING:
    from ..models.scoring import Neighbour, Scored, ScoredVideo


def check_files(files: Sequence[Path], overwrite: bool) -> None:
    """Ask before hours of computing whether files of scores can be written.

    Raises:
        RecipeError: a suffix that means no format, or a file that is there already.
        StoreError: it cannot be written.
    """
    for file in files:
        if file.suffix.lower() not in _FORMATS:
            raise RecipeError(f"--out {file}: name a file that ends in {' or '.join(_FORMATS)}")
        if file.is_dir():
            raise RecipeError(f"--out {file} is a folder; name a file")
        if file.exists() and not overwrite:
            raise RecipeError(
                f"--out {file} is there already; name another file, or give --overwrite"
            )
        check_writable(file)


def write_scores(scored: Scored, file: Path) -> None:
    """Write a file of scores, whole or not at all, as CSV or JSON by its suffix.

    Raises:
        RecipeError: another suffix.
        DiskFullError: no space is left.
        StoreError: it cannot be written.
    """
    check_files([file], overwrite=True)
    text = _FORMATS[file.suffix.lower()](scored)
    # Names of files may hold bytes that are no text.
    write_bytes(file, text.encode(errors="backslashreplace"))


def _as_csv(scored: Scored) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    rows = [_cells(video, scored.seeds) for video in scored.videos]
    writer.writerow(rows[0])
    writer.writerows([_cell(value) for value in row.values()] for row in rows)
    return text.getvalue()


def _cells(video: ScoredVideo, seeds: Sequence[int]) -> dict[str, Any]:
    """By name of the column, what stands in the row of a video."""
    placed = video.placed
    known = {} if placed is None else vars(placed)
    best, worst = known.get("seed_ranks", (None, None))
    own = known.get("seeds", (None,) * len(seeds))
    return {
        "id": video.id,
        "path": video.video.path,
        **{name: known.get(name) for name in ("score", "deviation", "rank", "of")},
        "best_seed_rank": best,
        "worst_seed_rank": worst,
        "percentile": known.get("percentile"),
        **_neighbour("better", known.get("better")),
        **_neighbour("worse", known.get("worse")),
        **{f"seed_{seed}": score for seed, score in zip(seeds, own, strict=True)},
        "notes": "; ".join(video.notes),
        "failure": video.failure,
    }


def _neighbour(side: str, one: Neighbour | None) -> dict[str, Any]:
    fields = ("id", "score", "label")
    return {
        f"{side}_neighbour_{name}": None if one is None else getattr(one, name) for name in fields
    }


def _cell(value: Any) -> str:
    if value is None or isinstance(value, float) and math.isnan(value):
        return ""
    return repr(value) if isinstance(value, float) else str(value)


def _as_json(scored: Scored) -> str:
    known = {
        "aqakit": importlib.metadata.version("aqakit"),
        **{k: v for k, v in vars(scored).items() if k != "videos"},
        "run": str(scored.run),
        "videos": [_record(video, scored.seeds) for video in scored.videos],
    }
    return json.dumps(known, indent=1, allow_nan=False) + "\n"


def _record(video: ScoredVideo, seeds: Sequence[int]) -> dict[str, Any]:
    path = None if video.video.path is None else str(video.video.path)
    known: dict[str, Any] = {"id": video.id, "path": path}
    if video.placed is not None:
        placed = asdict(video.placed)
        placed["seeds"] = dict(zip(map(str, seeds), placed["seeds"], strict=True))
        known |= _without_nan(placed)
    return {**known, "notes": list(video.notes), "failure": video.failure or None}


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


_FORMATS: dict[str, Callable[[Scored], str]] = {".csv": _as_csv, ".json": _as_json}

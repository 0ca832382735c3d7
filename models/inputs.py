"""What a run was trained from, so that its features, videos and labels are found again.

``inputs.json`` of a run folder holds the paths of the manifest, the pairs and the store, the spec of
every feature, and what the training videos were like.

Each path is kept from the root and from the run folder. Where the run lies beside the manifest that it
learned from, byte for byte and at the same place as then, its project was moved or copied as a whole,
and the paths from the run folder come first: a copy shall not read what has become of its original.
Else those from the root do: a run that was copied alone shall not take another project, which happens
to have the same names, for its own.
"""

import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..features.durable import write_json
from ..features.errors import RecipeError
from ..features.manifest import VIDEOS_FILE
from ..features.spec import FeatureKey, FeatureSpec
from ..features.store import Feature, FeatureStore
from .fold import Fold
from .recipe import Recipe

INPUTS = "inputs.json"


@dataclass(frozen=True)
class Inputs:
    """What a run was trained from.

    Args:
        manifest: table of videos; as the next two, absolute.
        pairs: list of pairs; None where the manifest has them, or scores.
        store: of the features.
        specs: by key, of every feature of the recipe.
        sizes: by size of the picture, such as ``320x240``, as the file holds it before any turning:
            how many training videos have it; empty for features that were imported.
        seconds: that the shortest and the longest training video last; nan where unknown.
    """

    manifest: Path
    pairs: Path | None
    store: Path
    specs: Mapping[FeatureKey, FeatureSpec]
    sizes: Mapping[str, int]
    seconds: tuple[float, float]


def inputs_of(
    recipe: Recipe, store: FeatureStore, fold: Fold, manifest: Path, pairs: Path | None
) -> Inputs:
    """Look up what a recipe is trained from.

    Args:
        recipe: that is trained.
        store: that holds its features.
        fold: on whom.
        manifest: as :class:`Inputs` has it, relative to the working folder where it is relative.
        pairs: likewise.

    Raises:
        StoreError: a feature is not there.
    """
    scoring, _ = recipe.used()
    first = next(iter(scoring.values()))
    trained = [store.read(first, fold.videos[place].id) for place in fold.train]
    return Inputs(
        manifest.absolute(),
        pairs and pairs.absolute(),
        store.path.absolute(),
        {key: store.spec(key) for key in recipe.features.values()},
        Counter(size for one in trained if (size := size_of(one.provenance))),
        _ends(trained),
    )


def size_of(provenance: Mapping[str, Any]) -> str:
    """Width and height of a feature's video, such as ``320x240``; empty where it was not decoded."""
    stream = provenance.get("stream")
    return f"{stream['width']}x{stream['height']}" if stream else ""


def _ends(features: Sequence[Feature]) -> tuple[float, float]:
    """Seconds from the first row's start to the last one's end, the fewest and the most."""
    lasting = [float(one.times[:, 2].max() - one.times[:, 0].min()) for one in features]
    known = [seconds for seconds in lasting if math.isfinite(seconds)]
    return (min(known), max(known)) if known else (math.nan, math.nan)


def write_inputs(inputs: Inputs, folder: Path, run: Path | None = None) -> None:
    """Write ``inputs.json``.

    Args:
        inputs: what a run was trained from.
        folder: to write into.
        run: where the run folder will be; None takes ``folder``.

    Raises:
        DiskFullError: no space is left.
        StoreError: the folder cannot be written.
    """
    base = (run or folder).absolute()
    shortest, longest = inputs.seconds
    known = {
        "manifest": {**_both(inputs.manifest, base), "sha256": _digest(inputs.manifest)},
        "pairs": inputs.pairs and _both(inputs.pairs, base),
        "store": _both(inputs.store, base),
        "features": {key: json.loads(spec.to_json()) for key, spec in inputs.specs.items()},
        "sizes": dict(inputs.sizes),
        "seconds": None if math.isnan(shortest) else [shortest, longest],
    }
    write_json(folder / INPUTS, known)


def _both(path: Path, base: Path) -> dict[str, str]:
    return {"absolute": str(path), "relative": os.path.relpath(path, base)}


def _digest(manifest: Path) -> str:
    """SHA-256 of a manifest's table; empty where it cannot be read."""
    table = manifest / VIDEOS_FILE if manifest.is_dir() else manifest
    try:
        return hashlib.sha256(table.read_bytes()).hexdigest()
    except OSError:
        return ""


def read_inputs(folder: Path, cure: str = "give --manifest and --store") -> Inputs:
    """Read ``inputs.json`` of a run folder.

    A path that is at neither place is given as it was when the run was trained.

    Args:
        folder: of the run.
        cure: what a user can do about it besides training again; empty for nothing.

    Raises:
        RecipeError: it is not there, as in runs of older versions, or is damaged.
    """
    try:
        known = json.loads((folder / INPUTS).read_text())
        manifest, pairs = known["manifest"], known["pairs"]
        beside = _digest(_from_run(folder, manifest))
        whole = beside != "" and beside == manifest["sha256"]
        shortest, longest = known["seconds"] or (math.nan, math.nan)
        return Inputs(
            _found(folder, manifest, whole),
            None if pairs is None else _found(folder, pairs, whole),
            _found(folder, known["store"], whole),
            {k: FeatureSpec.from_json(json.dumps(v)) for k, v in known["features"].items()},
            {str(size): int(count) for size, count in known["sizes"].items()},
            (float(shortest), float(longest)),
        )
    except FileNotFoundError:
        raise RecipeError(
            f"{folder} does not say what it was trained from, as runs of older versions; {cure}"
            f"{', or ' * bool(cure)}train it again"
        ) from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise RecipeError(
            f"{folder / INPUTS} cannot be read ({error}); {cure}{', or ' * bool(cure)}train the run "
            "again"
        ) from None


def _from_run(folder: Path, place: Mapping[str, str]) -> Path:
    return Path(os.path.normpath(folder.absolute() / place["relative"]))


def _found(folder: Path, place: Mapping[str, str], whole: bool) -> Path:
    absolute, beside = Path(place["absolute"]), _from_run(folder, place)
    first, second = (beside, absolute) if whole else (absolute, beside)
    return next((path for path in (first, second) if _is_there(path)), absolute)


def _is_there(path: Path) -> bool:
    """Whether a path leads somewhere; one in a folder that may not be entered leads nowhere."""
    try:
        path.stat()
    except OSError:
        return False
    return True

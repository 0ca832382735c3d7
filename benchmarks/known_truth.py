"""All heads on generated videos of known skill, and what they point at against the known mistakes.

Two sets are generated: one tool that carries pegs, for all heads but AIM; and the same with a second
tool that assists, for AIM. Subjects who test never train. Features need no weights. Each row is one
head, trained with several seeds (those of scikit-learn have nothing random, and one), with its mean and
standard deviation over them:

- pairwise accuracy and Spearman's correlation on test videos; a head must be more accurate than the
  pooled SVR (of several on one set, the best) on the same videos, else its row is marked;
- whether the steps that it points at are those of mistakes: precision, its chance level (as many
  steps of each video, drawn at random) and recall. A step is one of a mistake if mistakes fill half of
  it. A head points at a step where its low-skill attention, or any attention, is above the mean of the
  video; where what a step is worth to it is below that mean; or where it calls the step faulty;
- how much of a map of attention lies in the box around the tool's tip at that time, against the box's
  share of the picture; and the same for the boxes of mistakes, in steps that have one. The row named
  speed is no head: it weights each place by how fast it moves.

Hyper-parameters are below, the same for all seeds of a row. Those of heads for one tool were chosen on the
test part of the set of seed 101, those of AIM on the test part of the set of seed 12; the seed that is the
default here was looked at only for the table. Sets are kept in ``--folder`` and used again.
"""

import argparse
import json
import math
import statistics
import tempfile
import time
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from aqakit.extract.synthetic import generate
from aqakit.extract.synthetic_truth import (
    Truth,
    mass_inside,
    mistake_cover,
    read_truth,
    tool_cover,
)
from aqakit.features.manifest import Manifest
from aqakit.features.store import FeatureStore
from aqakit.models.data import Stream, VideoFeatures
from aqakit.models.faults import Detection, detection, faulty_steps
from aqakit.models.fold import Fold, make_fold
from aqakit.models.head import Explanation
from aqakit.models.metrics import spearman
from aqakit.models.recipe import Recipe, assign_roles
from aqakit.models.run import Manner, Run, train_run
from aqakit.models.together import Together
from aqakit.pipeline import extract, import_tracks

SIZE = (160, 120)
SEED = 2024
_COLUMNS = 160
_MAP_UNIT = 10  # maps are given in tenths of a short side a second, in which they have deviation 1
_LEAST_SHARE = 0.5  # of a step that mistakes must fill for it to be one
_TINY = 1e-12  # a place where nothing moves at all has some weight, so that weights have a sum
Signal = Literal["attention", "worth", "flag", "map"]

STACKS, WIDE = "flow-hist@stacks-100x3-10fps", "flow-hist@stacks-25x8-10fps"
CLIPS, GRID = "flow-hist@clips-4", "flow-hist:grid@segments-12x3-last-plus2"
SCENE = "camera-motion@steps-10x3-10fps/short-64"
AGENTS_MARGIN = 0.15
VARIANTS = ("flow-hist@clips-4+brightness-130", "flow-hist@clips-4+zoom-125")


class Points(NamedTuple):
    """What of an explanation points at steps or places, and how."""

    signal: Signal
    name: str


@dataclass(frozen=True)
class Entry:
    """A row of the table.

    Args:
        name: of the row.
        head: that is trained.
        features: as ``--feature`` of ``aqakit train``.
        settings: as ``--set``.
        points: at what, if its explanation does.
        shuffled: train on labels turned into noise.
        agents: whether it is of the set with two tools.
    """

    name: str
    head: str
    features: tuple[str, ...]
    settings: tuple[str, ...] = ()
    points: Points | None = None
    shuffled: bool = False
    agents: bool = False


FAULTY = Points("flag", "faulty")
STACKED = ("flow-hist.flow.hist.stacks-100x3",)
CLIPPED = ("flow-hist.flow.hist.clips",)
SEGMENTS = ("flow-hist.flow.hist.stacks-25x8",)
FLOW = (f"flow={SEGMENTS[0]}",)
MAPS = ("flow=flow-hist.flow.grid",)
AUGMENTED = (*CLIPPED, "variant=brightness-130", "variant=zoom-125")
SEEN = ("camera-motion",)
ASSISTED = (
    "primary=kinematics.track.primary",
    "secondary=kinematics.track.secondary",
    f"scene={SEEN[0]}",
)
_SCALED = "standardise=true"
_ATTENTION = (_SCALED, "hidden=32", "learning_rate=0.003", "epochs=40", "noise=4")
_RANKING = (_SCALED, "epochs=40", "learning_rate=0.01", "dropout=0.5", "segments=10")
_MLP = (_SCALED, "epochs=10", "weight_decay=0.03")
_FINAL = (_SCALED, "labels=final", "hidden=128", "epochs=30")
_INCREMENTAL = (_SCALED, "labels=incremental", "hidden=32", "epochs=60")
_SIAMESE = (
    *(_SCALED, "hidden=128", "first=64", "second=32"),
    *("pairs=2000", "epochs=12", "learning_rate=0.0003"),
)
_SPATIAL = (
    *("fusion=32", "channels=16", "hidden=16", "attend=16"),
    *("epochs=20", "batch_pairs=128", "learning_rate=0.1"),
)
_AIM = (
    *("hidden=64", "epochs=200", "learning_rate=0.002"),
    *("schedule=constant", "weight_decay=2"),
)


def _temporal(pooling: str, points: Points) -> Entry:
    settings = (*_ATTENTION, f"pooling={pooling}")
    return Entry(f"temporal-attention, {pooling}", "temporal-attention", SEGMENTS, settings, points)


def _spatial(variant: str, shuffled: bool = False) -> Entry:
    name = f"spatial-attention, {variant}" + " on shuffled labels" * shuffled
    settings = (*_SPATIAL, f"variant={variant}")
    return Entry(name, "spatial-attention", MAPS, settings, Points("map", "attention"), shuffled)


def _aim(variant: str) -> Entry:
    features = ASSISTED[-1:] if variant == "scene-only" else ASSISTED
    return Entry(f"aim, {variant}", "aim", features, (*_AIM, f"variant={variant}"), agents=True)


BAR = "svr"
POOLED = (BAR, "ranksvm")  # nothing in them is random, and they train in no time
ENTRIES = (
    Entry("svr", BAR, STACKED, (), Points("worth", "occlusion")),
    Entry("svr, longer segments", BAR, SEGMENTS, (), Points("worth", "occlusion")),
    Entry("ranksvm", "ranksvm", STACKED, (), Points("worth", "contribution")),
    Entry(
        "rank-aware-attention",
        "rank-aware-attention",
        SEGMENTS,
        _ATTENTION,
        Points("attention", "low_attention"),
    ),
    _temporal("uniform", Points("worth", "score")),
    _temporal("last-segment", Points("worth", "score")),
    _temporal("softmax", Points("attention", "attention")),
    _temporal("stpn", Points("attention", "attention")),
    Entry("deep-ranking", "deep-ranking", FLOW, _RANKING, Points("worth", "score")),
    Entry("pairwise-mlp", "pairwise-mlp", FLOW, _MLP, Points("worth", "score")),
    Entry("c3d-lstm, final", "c3d-lstm", CLIPPED, _FINAL),
    Entry("c3d-lstm, incremental", "c3d-lstm", CLIPPED, _INCREMENTAL, FAULTY),
    Entry("c3d-lstm, incremental + svr", "c3d-lstm", CLIPPED, (*_INCREMENTAL, "svr=true"), FAULTY),
    Entry("siamese-lstm", "siamese-lstm", CLIPPED, _SIAMESE, FAULTY),
    Entry("siamese-lstm, variants", "siamese-lstm", AUGMENTED, _SIAMESE, FAULTY),
    _spatial("full"),
    _spatial("without-attention-gru"),
    _spatial("low-level"),
    _spatial("skill-state"),
    _spatial("cbam"),
    _spatial("full", shuffled=True),
    Entry("svr, scene of two tools", "svr", SEEN, agents=True),
    Entry("svr, kinematics of two tools", "svr", ("kinematics.track.both",), agents=True),
    _aim("full"),
    _aim("exchanged"),
    _aim("without-difference"),
    _aim("without-transformation"),
    _aim("without-aim"),
    _aim("without-fusion"),
    _aim("scene-only"),
    _aim("scene-kinetic"),
)


@dataclass(frozen=True)
class Made:
    """A generated set whose features are in a store.

    Args:
        fold: who trains and who tests.
        store: with the features.
        truth: of each video.
    """

    fold: Fold
    store: FeatureStore
    truth: Mapping[str, Truth]

    def load(self, entry: Entry) -> list[VideoFeatures]:
        """The features of an entry, of all videos of the fold."""
        streams: dict[str, dict[str, Stream]] = {video.id: {} for video in self.fold.videos}
        for role, key in assign_roles(entry.head, entry.features, self.store.find_key).items():
            alternatives = 1 + self.store.spec(key).sampling.candidates
            for id, own in streams.items():
                found = self.store.read(key, id)
                values = found.values * _MAP_UNIT if found.values.ndim > 2 else found.values
                own[role] = Stream(values, found.times, alternatives)
        return [VideoFeatures(id, own) for id, own in streams.items()]


def main() -> None:
    """Print the table and, as the last line, the figures as JSON."""
    options = _options()
    with tempfile.TemporaryDirectory() as own:
        figures = run(options.folder or Path(own), options)
    print(json.dumps(figures))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="of the set, kept and used again")
    parser.add_argument("--seed", type=int, default=SEED, help="of the generated videos")
    parser.add_argument("--videos", type=int, default=80, help="of the set with one tool")
    parser.add_argument("--agents-videos", type=int, default=240, help="of that with two")
    parser.add_argument("--seeds", type=int, default=5, help="trainings of each head")
    ways = typing.get_args(Together)
    parser.add_argument("--together", choices=ways, default="auto", help="of deep heads")
    parser.add_argument("--only", nargs="+", default=[""], help="rows whose names begin so")
    return parser.parse_args()


def run(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Make the sets, train every head and compare it with the truth."""
    begin = time.perf_counter()
    chosen = [entry for entry in ENTRIES if entry.name.startswith(tuple(options.only))]
    made = {}
    if not all(entry.agents for entry in chosen):
        made[False] = _one_tool(folder, options.videos, options.seed)
    if any(entry.agents for entry in chosen):
        made[True] = _two_tools(folder, options.agents_videos, options.seed)
    seconds = {"making": round(time.perf_counter() - begin, 1)}
    results: list[Result] = []
    bars: dict[bool, float] = {}
    for entry in ENTRIES:
        if entry in chosen or entry.head == BAR and entry.agents in made:
            bar = None if entry.head == BAR or entry.shuffled else bars[entry.agents]
            result = _result(entry, made[entry.agents], options.seeds, options.together, bar)
            if entry.head == BAR:  # of several, the best one is to be beaten
                bars[entry.agents] = max(result.accuracy.mean, bars.get(entry.agents, 0))
            results.append(result)
    if False in made:
        results.append(_speed(made[False]))
    seconds["all"] = round(time.perf_counter() - begin, 1)
    _print(results)
    rows = {result.name: _plain(result) for result in results}
    videos = {"one_tool": options.videos, "two_tools": options.agents_videos}
    return {"seed": options.seed, "videos": videos, "seconds": seconds, "rows": rows}


def _one_tool(folder: Path, videos: int, seed: int) -> Made:
    """The set with one tool; what is there of it already is kept."""
    data, store = (folder / f"one-tool-{videos}-{seed}" / part for part in ("data", "store"))
    if not data.exists():
        generate(data, videos, seed, size=SIZE)
    _check(extract(data / "manifest.csv", store, (STACKS, WIDE, CLIPS, GRID), flow="torch"))
    _check(extract(data / "manifest.csv", store, VARIANTS, flow="torch"))
    return _opened(data, store)


def _two_tools(folder: Path, videos: int, seed: int) -> Made:
    """The set with two tools; what is there of it already is kept."""
    data, store = (folder / f"two-tools-{videos}-{seed}" / part for part in ("data", "store"))
    if not data.exists():
        generate(data, videos, seed, size=SIZE, margin=AGENTS_MARGIN, second_agent=True)
    _check(extract(data / "manifest.csv", store, (SCENE,), flow="torch"))
    outcomes = import_tracks(
        store,
        [data / "kinematics"],
        "kinematics",
        time_column="seconds",
        groups=("primary=primary", "secondary=secondary", "both=primary,secondary"),
        sampling="steps-10x16",
        manifest=data / "manifest.csv",
    )
    _check(outcomes)
    return _opened(data, store)


def _check(outcomes: Iterable[Any]) -> None:
    for outcome in outcomes:
        if outcome.failure is not None:
            raise SystemExit(f"{outcome.video_id}: {outcome.failure}")


def _opened(data: Path, store: Path) -> Made:
    manifest = Manifest.read(data / "manifest.csv", data / "pairs.csv")
    fold = make_fold(manifest, "default", {video.id for video in manifest.videos})
    return Made(fold, FeatureStore.open(store), read_truth(data / "truth.json"))


class Spread(NamedTuple):
    """Mean and standard deviation over seeds; nan of one seed."""

    mean: float
    deviation: float


_NONE = Spread(math.nan, math.nan)


def _spread(values: Sequence[float]) -> Spread:
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return _NONE
    return Spread(statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else math.nan)


@dataclass(frozen=True)
class Result:
    """What one row shows.

    Args:
        name: of the row.
        accuracy: pairwise, on test videos.
        spearman: on test videos.
        beats_svr: whether the mean accuracy is above that of the pooled SVR; None of an SVR, of labels
            turned into noise, and of what is no head.
        pointing: by name, how well its steps are those of mistakes.
        places: by name, shares of its maps in regions, and what chance would reach.
        seconds: that training and explaining took.
    """

    name: str
    accuracy: Spread
    spearman: Spread
    beats_svr: bool | None
    pointing: Mapping[str, Spread]
    places: Mapping[str, Spread]
    seconds: float


def _result(entry: Entry, made: Made, seeds: int, together: Together, bar: float | None) -> Result:
    """Train an entry and compare it with the truth, and with the accuracy that it should beat."""
    begin = time.perf_counter()
    videos = made.load(entry)
    roles = assign_roles(entry.head, entry.features, made.store.find_key)
    pooled = entry.head in POOLED
    several = range(1 if pooled else seeds)
    recipe = Recipe.make(
        entry.head, roles, "default", several, entry.settings, shuffled=entry.shuffled
    )
    trained = train_run(recipe, made.fold, videos, Manner(together="off" if pooled else together))
    explained = [
        {videos[place].id: head.explain(videos[place]) for place in made.fold.test}
        for head in trained.heads
    ]
    row = trained.rows[0]
    result = Result(
        entry.name,
        Spread(row.accuracy, row.accuracy_sd),
        _correlation(trained),
        None if bar is None else row.accuracy > bar,
        _pointing(entry.points, explained, made.truth),
        _places(entry.points, explained, made.truth),
        time.perf_counter() - begin,
    )
    print(" | ".join(_cells(result)), flush=True)
    return result


def _correlation(trained: Run) -> Spread:
    test, known = trained.fold.test, trained.fold.scores
    assert known is not None  # generated sets have scores
    return _spread([spearman(scores[test], known[test]) for scores in trained.scores])


Explanations = Mapping[str, Explanation]


def _pointing(
    points: Points | None, explained: Sequence[Explanations], truth: Mapping[str, Truth]
) -> dict[str, Spread]:
    """How well a head's steps are those of mistakes, over all test videos."""
    if points is None or points.signal == "map":
        return {}
    found = [
        sum(
            (
                detection(_pointed(points, one), _mistaken(one.times, truth[id]))
                for id, one in explanations.items()
            ),
            Detection(),
        )
        for explanations in explained
    ]
    names = ("precision", "chance", "recall", "share")
    return {name: _spread([getattr(one, name) for one in found]) for name in names}


def _mistaken(times: NDArray[np.float64], truth: Truth) -> NDArray[np.bool_]:
    """(T,) the steps of mistakes."""
    spans = [(one.start_seconds, one.end_seconds) for one in truth.mistakes]
    return faulty_steps(times, spans, _LEAST_SHARE)


def _pointed(points: Points, explanation: Explanation) -> NDArray[np.bool_]:
    """(T,) the steps that an explanation points at."""
    if points.signal == "flag":
        return np.asarray(explanation.flags[points.name], bool)
    curve = explanation.curves[points.name]
    if points.signal == "worth":
        return np.asarray(curve < curve.mean())
    return np.asarray(curve > curve.mean())


def _places(
    points: Points | None, explained: Sequence[Explanations], truth: Mapping[str, Truth]
) -> dict[str, Spread]:
    """How much of a head's maps lies around the tool's tip and in boxes of mistakes."""
    if points is None or points.signal != "map":
        return {}
    found = [
        [_inside(one.maps[points.name], one.times, truth[id]) for id, one in explanations.items()]
        for explanations in explained
    ]
    return {
        name: _spread([_mean(video[name] for video in seed) for seed in found])
        for name in found[0][0]
    }


def _inside(
    maps: NDArray[np.float64], times: NDArray[np.float64], truth: Truth
) -> dict[str, float]:
    grid = maps.shape[1], maps.shape[2]
    tool = tool_cover(times, truth, SIZE, grid)
    mistakes = mistake_cover(times, truth, SIZE, grid)
    even = np.ones_like(maps)
    return {
        "tool": mass_inside(maps, tool),
        "tool_chance": mass_inside(even, tool),
        "mistakes": mass_inside(maps, mistakes),
        "mistakes_chance": mass_inside(even, mistakes),
    }


def _mean(values: Iterable[float]) -> float:
    """Of those that are known."""
    return _spread(list(values)).mean


def _speed(made: Made) -> Result:
    """The maps' last channel, mean speed, as if it were attention."""
    begin = time.perf_counter()
    test = {made.fold.videos[place].id for place in made.fold.test}
    found = [
        _inside(video.values[:, -1].astype(np.float64) + _TINY, video.times, made.truth[video.id])
        for video in made.load(_spatial("full"))
        if video.id in test
    ]
    places = {name: _spread([_mean(one[name] for one in found)]) for name in found[0]}
    return Result("speed", _NONE, _NONE, None, {}, places, time.perf_counter() - begin)


def _print(results: Sequence[Result]) -> None:
    table = Table("row", "accuracy", "Spearman", "beats SVR", "steps", "tool", "mistakes", "s")
    for result in results:
        table.add_row(*_cells(result))
    console = Console(width=_COLUMNS)
    console.print(table)
    console.print("steps: precision (chance), recall; tool and mistakes: mass of the map (chance)")


def _cells(result: Result) -> list[str]:
    return [
        result.name,
        _text(result.accuracy),
        _text(result.spearman),
        {True: "yes", False: "NO", None: ""}[result.beats_svr],
        _against(result.pointing, "precision", "chance", "recall"),
        _against(result.places, "tool", "tool_chance"),
        _against(result.places, "mistakes", "mistakes_chance"),
        f"{result.seconds:.0f}",
    ]


def _text(spread: Spread) -> str:
    if math.isnan(spread.mean):
        return ""
    if math.isnan(spread.deviation):
        return f"{spread.mean:.3f}"
    return f"{spread.mean:.3f} ± {spread.deviation:.3f}"


def _against(found: Mapping[str, Spread], name: str, chance: str, *more: str) -> str:
    if not found:
        return ""
    rest = "".join(f", {_text(found[other])}" for other in more)
    return f"{_text(found[name])} ({found[chance].mean:.3f}){rest}"


def _plain(result: Result) -> dict[str, Any]:
    """For JSON, which has no nan."""
    return {key: value for key, value in _rounded(asdict(result)).items() if key != "name"}


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _rounded(item) for name, item in value.items()}
    if isinstance(value, tuple):
        return [_rounded(item) for item in value]
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 4)
    return value


if __name__ == "__main__":
    main()

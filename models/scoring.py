"""Scores for new videos: where each stands among the videos that trained, and how far to trust it."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..features.errors import ManifestError, RecipeError, StoreError, UserError, VideoError
from ..features.manifest import Video
from ..features.segments import Sampling
from ..features.source import Source
from ..features.spec import FeatureKey
from ..features.store import Feature, FeatureStore
from .head import Head
from .inputs import Inputs, size_of
from .loading import load
from .recipe import Recipe
from .result import read_predictions
from .standing import merge_seeds, ranks

# Where a run folder keeps the features of videos that it scored.
FEATURES = "scored-features"
OnVideo = Callable[[int, int, str], None]
_SHOWN_SIZES = 3
_TIME_TOLERANCE = 1e-6  # as sampling has it


@dataclass(frozen=True)
class Neighbour:
    """A training video beside a new one in the ranking.

    Args:
        id: of it.
        score: merged over seeds, as the new video's.
        label: its score in the manifest; nan where unknown.
    """

    id: str
    score: float
    label: float


@dataclass(frozen=True)
class Placed:
    """A score, and its place among the training videos.

    Args:
        score: merged over seeds (``standing.py``).
        deviation: of it over seeds; nan of one seed.
        seeds: (S,) scores as each seed gives them.
        rank: 1 where no training video is better.
        of: training videos that it is ranked among, and itself.
        seed_ranks: the best and the worst rank by a single seed.
        percentile: share of training videos that are worse, in per cent; those that are equal count
            half.
        better: the nearest training video above; None above all.
        worse: the nearest one below; None below all.
    """

    score: float
    deviation: float
    seeds: tuple[float, ...]
    rank: int
    of: int
    seed_ranks: tuple[int, int]
    percentile: float
    better: Neighbour | None
    worse: Neighbour | None


@dataclass(frozen=True)
class ScoredVideo:
    """What became of a new video.

    Args:
        video: by its id in the store; without a path where only its features are known.
        placed: its score and place; None where there is none.
        notes: what a careful person wants to know, a few words each.
        failure: why it has no score, one line; empty where it has one.
    """

    video: Video
    placed: Placed | None = None
    notes: tuple[str, ...] = ()
    failure: str = ""

    @property
    def id(self) -> str:
        """Of the video."""
        return self.video.id


@dataclass(frozen=True)
class Scored:
    """Videos scored by a run.

    Args:
        run: its folder.
        title: of its recipe.
        features: by role, keys of the features that were scored.
        weights: by key, identity of the network's weights.
        seeds: of its trainings.
        scaled: whether scores are on the scale of the labels.
        videos: the best first, then those that could not be scored.
    """

    run: Path
    title: str
    features: Mapping[str, FeatureKey]
    weights: Mapping[FeatureKey, str]
    seeds: tuple[int, ...]
    scaled: bool
    videos: tuple[ScoredVideo, ...]

    @classmethod
    def of(
        cls, run: Path, recipe: Recipe, inputs: Inputs, videos: Sequence[ScoredVideo]
    ) -> "Scored":
        """With all that the recipe says of it.

        Args:
            run: folder of the run.
            recipe: of it.
            inputs: of it.
            videos: in order.
        """
        keys, _ = recipe.used()
        weights = {key: inputs.specs[key].weights for key in keys.values()}
        return cls(run, recipe.title, keys, weights, recipe.seeds, recipe.scaled, tuple(videos))


@dataclass(frozen=True)
class Reference:
    """The videos that trained.

    Args:
        ids: of N videos.
        labels: (N,) scores in the manifest, nan where unknown.
        seeds: (S, N) scores by each seed.
        scaled: whether scores are on the scale of the labels.
    """

    ids: tuple[str, ...]
    labels: NDArray[np.float64]
    seeds: NDArray[np.float64]
    scaled: bool

    @classmethod
    def read(cls, run: Path, recipe: Recipe) -> "Reference":
        """Those of a run folder.

        Raises:
            RecipeError: its predictions are not there, not whole, or of no training video.
        """
        found = read_predictions(run, everyone=True)
        trained = np.array(["train" in part.split("+") for part in found.parts], dtype=np.bool_)
        try:
            seeds = found.by_seed(recipe.seeds)[:, trained]
        except LookupError:
            trained = np.zeros(0, np.bool_)
        if not trained.any():
            raise RecipeError(
                f"{run} holds no predictions of training videos by each seed; train it again"
            )
        ids = tuple(id for id, own in zip(found.ids, trained, strict=True) if own)
        return cls(ids, found.truth[trained], seeds, recipe.scaled)

    def place(self, scores: NDArray[np.float64], itself: str | None = None) -> Placed:
        """Where a new video stands.

        Args:
            scores: (S,) of it by each seed.
            itself: id of the training video that it is; it is not ranked beside itself.
        """
        merged = merge_seeds(scores[:, None], self.seeds, self.scaled)
        score = merged.scores[0]
        others = np.array([id != itself for id in self.ids])
        known = merge_seeds(self.seeds, self.seeds, self.scaled).scores
        among = known[others]
        by_seed = [
            int(ranks(own[None], of[others])[0]) for own, of in zip(scores, self.seeds, strict=True)
        ]
        return Placed(
            float(score),
            float(merged.deviations[0]),
            tuple(scores.tolist()),
            int(ranks(merged.scores, among)[0]),
            len(among) + 1,
            (min(by_seed), max(by_seed)),
            _percentile(score, among),
            self._nearest(known, others & (known > score), -1),
            self._nearest(known, others & (known < score), 1),
        )

    def _nearest(
        self, known: NDArray[np.float64], which: NDArray[np.bool_], sign: int
    ) -> Neighbour | None:
        """The highest of some training videos by ``sign`` times their score."""
        if not which.any():
            return None
        place = int(np.where(which, sign * known, -np.inf).argmax())
        return Neighbour(self.ids[place], float(known[place]), float(self.labels[place]))


def _percentile(score: float, among: NDArray[np.float64]) -> float:
    if not len(among):
        return math.nan
    return float(100 * ((among < score).sum() + 0.5 * (among == score).sum()) / len(among))


@dataclass(frozen=True)
class Scorer:
    """A trained run, ready to score.

    Args:
        recipe: of the run.
        heads: one a seed.
        reference: videos that trained.
        inputs: what it was trained from.
        store: that holds the features of new videos.
        training: that holds those of the videos that trained; None where it is not found.
    """

    recipe: Recipe
    heads: Sequence[Head]
    reference: Reference
    inputs: Inputs
    store: FeatureStore
    training: FeatureStore | None

    @classmethod
    def of(
        cls, run: Path, recipe: Recipe, heads: Sequence[Head], inputs: Inputs, store: FeatureStore
    ) -> "Scorer":
        """That of a run folder.

        Raises:
            RecipeError: its predictions cannot be read.
        """
        training = None
        with suppress(StoreError):  # it may lie elsewhere by now
            training = FeatureStore.open(inputs.store)
        return cls(recipe, heads, Reference.read(run, recipe), inputs, store, training)

    def score(
        self, videos: Sequence[Video], failures: Mapping[str, str], on_video: OnVideo
    ) -> list[ScoredVideo]:
        """Score videos, each for itself; one that cannot be scored does not stop the rest.

        Args:
            videos: by their ids in the store.
            failures: by id, why features of a video could not be computed.
            on_video: told how many videos of how many are done, and the last one.

        Returns:
            The best first, then those that failed.
        """
        keys, _ = self.recipe.used()
        there = {key: set(self.store.videos(key)) for key in keys.values()}
        found = []
        for number, video in enumerate(videos, 1):
            lacking = [key for key, ids in there.items() if video.id not in ids]
            failure = failures.get(video.id) or self._lack(video, lacking)
            found.append(
                ScoredVideo(video, failure=failure) if failure else self._scored(video, keys)
            )
            on_video(number, len(videos), video.id)
        return sorted(found, key=lambda one: -one.placed.score if one.placed else math.inf)

    def _lack(self, video: Video, lacking: Sequence[FeatureKey]) -> str:
        if not lacking:
            return ""
        return (
            f"no {' + '.join(lacking)} features of '{video.id}' in {self.store.path}; import them "
            "there first, under this id"
        )

    def _scored(self, video: Video, keys: Mapping[str, FeatureKey]) -> ScoredVideo:
        try:
            (features,) = load(self.store, keys, [video], video.path or self.store.path)
            scores = np.array([head.score([features])[0] for head in self.heads])
            if not np.isfinite(scores).all():
                raise VideoError("its score is not finite; look at its features, or train again")
            stored = {key: self.store.read(key, video.id) for key in keys.values()}
            itself = self._trained_as(*next(iter(stored.items())))
            placed = self.reference.place(scores, itself)
            notes = self._notes(placed, itself, stored)
            return ScoredVideo(video, placed, tuple(dict.fromkeys(notes)))
        except UserError as error:
            return ScoredVideo(video, failure=str(error))

    def _trained_as(self, key: FeatureKey, stored: Feature) -> str | None:
        """The training video that has the same file and stretch; None where no one has."""
        if self.training is None:
            return None
        source = Source(**stored.provenance["source"])
        return next((id for id in self.reference.ids if self.training.has(key, id, source)), None)

    def _notes(
        self, placed: Placed, itself: str | None, stored: Mapping[FeatureKey, Feature]
    ) -> Iterator[str]:
        first = next(iter(stored.values()))
        if itself is not None:
            yield f"this file trained the model, as {itself}"
        yield from _note_of_size(size_of(first.provenance), self.inputs.sizes)
        yield from _note_of_length(first.times, self.inputs.seconds)
        for key, one in stored.items():
            yield from _notes_of_frames(key, self.inputs.specs[key].sampling, one)
        if itself is None and placed.percentile in (0, 100):
            yield f"scores {'above' if placed.percentile else 'below'} all training videos"


def _note_of_size(size: str, known: Mapping[str, int]) -> Iterator[str]:
    if size and known and size not in known:
        often = sorted(known, key=lambda one: (-known[one], one))
        words = ", ".join(often[:_SHOWN_SIZES])
        more = len(often) - _SHOWN_SIZES
        yield f"{size}; the run learned from {words}" + f" and {more} other sizes" * (more > 0)


def _note_of_length(times: NDArray[np.float64], known: tuple[float, float]) -> Iterator[str]:
    """Judged as it is read, in tenths of a second."""
    lasts = float(times[:, 2].max() - times[:, 0].min())
    seconds, least, most = (round(value, 1) for value in (lasts, *known))
    # Nothing is shorter or longer than what is unknown.
    if seconds < least or seconds > most:
        word = "shorter" if seconds < least else "longer"
        yield f"{seconds} s, {word} than any training video ({least} to {most} s)"


def _notes_of_frames(key: FeatureKey, sampling: Sampling, stored: Feature) -> Iterator[str]:
    padded = padded_frames(sampling, stored.times, stored.frame_times)
    if padded and "stream" in stored.provenance:
        yield (
            f"too short for {key.partition('.')[0]}: {padded} of the {sampling.frames} frames that "
            "it looks at are made up from others"
        )
    if damaged := stored.provenance.get("frames_damaged", 0):
        yield f"{damaged} damaged frames"


def padded_frames(
    sampling: Sampling, times: NDArray[np.float64], frame_times: NDArray[np.float64]
) -> int:
    """Slots of a unit that had to be filled because the video is shorter, from what is stored.

    Args:
        sampling: of the units.
        times: (N, 3) start, centre and end of each unit in seconds.
        frame_times: (N, F) of the frames in each.
    """
    if sampling.rule == "steps" and sampling.fps is None:
        return 0  # takes frames by time, as many as there are
    if sampling.fps is None:
        there = len(np.unique(frame_times[0]))
    else:
        seconds = float(times[:, 2].max() - times[:, 0].min())
        if math.isnan(seconds):
            return 0
        there = max(1, int(seconds * sampling.fps + _TIME_TOLERANCE))
    return max(0, sampling.frames - there)


def distinct(videos: Sequence[Video]) -> tuple[Video, ...]:
    """Each video once, by an id of its own: files of one name are told apart by their folders.

    Raises:
        ManifestError: two have one name and their folders as well.
    """
    once = list({(v.id, v.path, v.start_seconds, v.end_seconds): v for v in videos}.values())
    count = Counter(video.id for video in once)
    found: dict[str, Video] = {}
    for video in once:
        if count[video.id] > 1 and video.path is not None:
            video = replace(video, id=f"{video.path.absolute().parent.name}/{video.id}")
        other = found.setdefault(video.id, video)
        if other is not video:
            raise ManifestError(
                f"{video.path or 'a video'} and {other.path or 'another'} are both called "
                f"'{video.id}'; list them in a manifest, with an id each"
            )
    return tuple(found.values())

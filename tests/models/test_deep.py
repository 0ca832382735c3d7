"""Deep heads by a small method of the tests: what all of them have in common."""

import errno
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn, optim

from aqakit.features.errors import RecipeError
from aqakit.models import checkpoint, deep, feed
from aqakit.models.data import Stream, Targets, VideoFeatures
from aqakit.models.deep import DeepHead, Job, fit_batched, read_saved
from aqakit.models.feed import Scale
from aqakit.models.head import EpochLog, Explanation, Fitting, Precision, Role, Session
from aqakit.models.losses import margin_ranking_loss
from aqakit.models.method import Memory, Method, Seen
from aqakit.models.metrics import pairwise_accuracy
from aqakit.models.network import (
    Batch,
    Drawn,
    Losses,
    Network,
    Phase,
    Schedule,
    Stage,
    draw_dropout,
    dropout,
)
from aqakit.models.training import VALIDATION, train

CHANNELS, HIDDEN = 4, 5
# Named against the alphabet, so that an order by name would be another one.
ROLES = (
    Role("motion", "one vector a time step"),
    Role("look", "maps (C, H, W) a time step", axes=3, optional=True),
    Role("again", "altered versions", optional=True, many=True),
)
SCHEDULE = Schedule(3, 4, noise=0.1)
PLAIN = Session()
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16", "float64")
QUICK = settings(max_examples=15)


class Toy(Network):
    """Scores of pooled vectors, and of pooled maps where there are some."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        super().__init__()
        self.order = list(shapes)
        self.first = nn.ModuleList(nn.Linear(int(np.prod(shapes[role])), HIDDEN) for role in shapes)
        self.second = nn.Linear(HIDDEN, 1)

    def draw(
        self, videos: int, steps: int, generator: torch.Generator, device: torch.device
    ) -> Drawn:
        return {"keep": draw_dropout((videos, steps, HIDDEN), 0.2, generator, device)}

    def encode(self, batch: Batch, drawn: Drawn) -> Tensor:
        found = []
        for layer, values in zip(self.first, batch.values.values(), strict=True):
            hidden = dropout(layer(values.flatten(2)).tanh(), drawn, "keep")
            if batch.mask is None:
                found.append(hidden.mean(dim=1))
            else:
                mask = batch.mask[..., None]
                found.append((hidden * mask).sum(dim=1) / mask.sum(dim=1))
        return torch.stack(found).mean(dim=0)


def _rank(network: Toy, batch: Batch, encoding: Tensor, pairs: Tensor, labels: Tensor) -> Losses:
    better, worse = network.second(encoding)[pairs].squeeze(2).unbind(dim=1)
    return {"rank": margin_ranking_loss(better, worse, 1.0)}


class ToyMethod(Method):
    """Remembers the mean score of its training videos, which it takes off every score."""

    roles: tuple[Role, ...] = ROLES

    def __init__(
        self, schedule: Schedule = SCHEDULE, standardise: bool = False, copies: int = 0
    ) -> None:
        self.schedule = schedule
        self.standardise = standardise
        self.copies = copies
        self.asked: list[list[str]] = []

    def expand(self, videos: Sequence[VideoFeatures]) -> list[VideoFeatures]:
        made = [
            VideoFeatures(
                f"{video.id}+{copy}",
                {
                    role: Stream(stream.values + copy, stream.times, stream.alternatives)
                    for role, stream in video.streams.items()
                },
            )
            for copy in range(1, self.copies + 1)
            for video in videos
        ]
        return [*videos, *made]

    def network(self, shapes: Mapping[str, tuple[int, ...]]) -> Toy:
        return Toy(shapes)

    def start(self, network: Toy, folder: Path) -> Scale:
        saved = read_saved(folder / deep.WEIGHTS).tensors
        network.load_state_dict(saved["network"])
        return Scale(saved["mean"], saved["factor"])

    def stages(
        self, videos: Sequence[VideoFeatures], targets: Targets, rng: np.random.Generator
    ) -> list[Stage]:
        if not len(targets.pairs):
            raise RecipeError("no pair of two training videos")
        count = len(videos) // (self.copies + 1)
        pairs = np.concatenate([targets.pairs + n * count for n in range(self.copies + 1)])
        phase = Phase(_rank, optim.Adam, lambda epoch: 0.02)
        return [Stage([phase], rng.permutation(pairs), np.empty((len(pairs), 0)), self.schedule)]

    def remember(
        self,
        network: Toy,
        see: Callable[[Sequence[VideoFeatures]], Seen],
        videos: Sequence[VideoFeatures],
        targets: Targets,
    ) -> Memory:
        assert not network.training
        self.asked.append([video.id for video in videos])
        mean = network.second(see(videos).encoding).mean()
        return Memory({"mean": mean[None]}, {"first": videos[0].id})

    def scores(self, network: Toy, memory: Memory, seen: Seen) -> Tensor:
        assert not network.training
        found: Tensor = network.second(seen.encoding)[:, 0]
        return found - memory.tensors["mean"]

    def explain(self, network: Toy, memory: Memory, seen: Seen) -> Explanation:
        (video,) = seen.videos
        curve = seen.batch.values["motion"][0].sum(dim=1).double().numpy()
        return Explanation(video.times, {"sum": curve}, {}, notes={"first": memory.words["first"]})

    def embed(self, network: Toy, memory: Memory, seen: Seen) -> Tensor | None:
        return seen.encoding if self.copies else None


def _video(
    number: int, steps: int, role: str = "motion", alternatives: int = 1, kind: str = "float32"
) -> VideoFeatures:
    rng = np.random.default_rng(number)
    rows = steps * alternatives
    values = rng.normal(size=(rows, CHANNELS))
    values[:, 0] += number % 20 / 4  # the skill
    times = np.arange(3.0 * rows).reshape(rows, 3)
    return VideoFeatures(f"v{number}", {role: Stream(values.astype(kind), times, alternatives)})


def _videos(count: int = 8, first: int = 0, **more: Any) -> list[VideoFeatures]:
    return [_video(number, 2 + number % 3, **more) for number in range(first, first + count)]


def _with_maps(videos: Sequence[VideoFeatures], alternatives: int = 1) -> list[VideoFeatures]:
    """In half precision, with several rows a step."""
    found = []
    for number, video in enumerate(videos):
        rows = video.main.steps * alternatives
        values = np.random.default_rng(100 + number).normal(size=(rows, 2, 3, 3))
        maps = Stream(values.astype(np.float16), np.zeros((rows, 3)), alternatives)
        found.append(replace(video, streams={"look": maps, **video.streams}))
    return found


def _pairs(count: int = 8) -> NDArray[np.int64]:
    return np.array([(a, b) for a in range(count) for b in range(a)])


def _targets(count: int = 8) -> Targets:
    return Targets(_pairs(count))


def _head(seed: int = 0, **options: Any) -> DeepHead:
    return DeepHead(ToyMethod(**options), seed, "cpu")


def _fitted(
    videos: Sequence[VideoFeatures] | None = None, session: Session = PLAIN, **options: Any
) -> DeepHead:
    head = _head(**options)
    head.fit(_videos() if videos is None else videos, _targets(), session)
    return head


# Scores and explanations.


def test_it_learns_what_is_there() -> None:
    head = _fitted(schedule=Schedule(40, 8))
    fresh = _videos(count=12, first=20)
    assert pairwise_accuracy(head.score(fresh), _pairs(12)).accuracy > 0.8


def test_a_score_is_what_the_method_makes_of_the_encoding_less_what_it_remembers() -> None:
    head, videos = _fitted(), _videos()
    network: Any = head._trained

    def plain(video: VideoFeatures) -> float:
        values = torch.from_numpy(video.values)[None]
        with torch.no_grad():
            return float(network.second(network.encode(Batch({"motion": values}), {}).mean(0)))

    mean = np.mean([plain(video) for video in videos])
    expected = [plain(video) - mean for video in videos]
    np.testing.assert_allclose(head.score(videos), expected, atol=1e-6)


@QUICK
@given(st.permutations(range(8)), st.integers(1, 8))
def test_a_score_is_the_same_in_any_company(order: list[int], count: int) -> None:
    head, videos = FITTED, _videos()
    alone = np.array([head.score([video])[0] for video in videos])
    chosen = order[:count]
    found = head.score([videos[number] for number in chosen])
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, alone[chosen])


def test_groups_of_videos_score_like_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Validation scores several at once, as many as memory is set apart for."""
    head, videos = _fitted(), _videos()
    expected = head.score(videos)
    memory, network = head._memory, head._trained
    for limit in (1, 4 * 4 * CHANNELS * 2, 1 << 30):
        monkeypatch.setattr(deep, "_GROUP_BYTES", limit)
        found = head._scores(network, memory, videos)
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_no_video_has_no_score() -> None:
    assert _fitted().score([]).shape == (0,)


def test_an_explanation_is_the_methods() -> None:
    head, video = _fitted(), _video(30, 5)
    explanation = head.explain(video)
    np.testing.assert_array_equal(explanation.times, video.times)
    np.testing.assert_allclose(explanation.curves["sum"], video.values.sum(axis=1), rtol=1e-5)
    assert explanation.notes == {"first": "v0"}


def test_an_embedding_is_the_methods_where_it_has_one() -> None:
    assert _fitted().embed(_videos()) is None
    embedded = _fitted(copies=1).embed(_videos())
    assert embedded is not None
    assert embedded.shape == (8, HIDDEN)
    assert embedded.dtype == np.float64


def test_a_head_that_is_not_trained_is_a_mistake_of_the_program(tmp_path: Path) -> None:
    uses: tuple[Callable[[DeepHead], object], ...] = (
        lambda head: head.score(_videos()),
        lambda head: head.explain(_video(0, 2)),
        lambda head: head.embed(_videos()),
        lambda head: head.save(tmp_path),
    )
    for use in uses:
        with pytest.raises(ValueError, match="not trained"):
            use(_head())


# Roles.


def test_a_missing_feature_is_one_line() -> None:
    other = [replace(v, streams={"colour": v.main}) for v in _videos()]
    with pytest.raises(RecipeError) as caught:
        _fitted(other)
    line = "video 'v0' has no motion (one vector a time step); give --feature motion=KEY"
    assert str(caught.value) == line


def test_a_feature_with_other_axes_is_one_line() -> None:
    flat = [replace(v, streams={**v.streams, "look": v.main}) for v in _videos()]
    with pytest.raises(RecipeError) as caught:
        _fitted(flat)
    message = (
        "the feature of video 'v0' has shape (2, 4); this head needs maps (C, H, W) a time step"
    )
    assert str(caught.value) == message


def test_a_head_of_which_any_role_will_do_needs_one() -> None:
    class Either(ToyMethod):
        roles = (Role("rgb", "a vector", optional=True), Role("flow", "a vector", optional=True))

    head = DeepHead(Either(), 0, "cpu")
    with pytest.raises(RecipeError, match="'v0' has none of rgb, flow; give one as --feature rgb="):
        head.fit(_videos(), _targets())


def test_what_no_role_names_is_not_looked_at() -> None:
    head, videos = _fitted(), _videos()
    more = [replace(v, streams={"colour": v.main, **v.streams}) for v in videos]
    np.testing.assert_array_equal(_fitted(more).score(videos), head.score(videos))
    np.testing.assert_array_equal(head.score(more), head.score(videos))


def test_roles_come_in_the_order_of_the_method() -> None:
    videos = _with_maps(_videos())
    assert list(videos[0].streams) == ["look", "motion"]
    head = _fitted(videos)
    assert head._trained.order == ["motion", "look"]
    turned = [replace(v, streams=dict(reversed(list(v.streams.items())))) for v in videos]
    np.testing.assert_array_equal(_fitted(turned).score(videos), head.score(videos))


def test_features_that_may_come_often_do_and_need_not_be_there_to_score() -> None:
    videos = _videos()
    twice = [
        replace(v, streams={"again-2": v.main, "motion": v.main, "again-1": v.main}) for v in videos
    ]
    head = _fitted(twice)
    assert head._trained.order == ["motion", "again-2", "again-1"]
    with pytest.raises(RecipeError, match="'v0' has no again-2 and the head was trained with it"):
        head.score(videos)


def test_an_optional_feature_that_training_lacked_is_left_out_of_scores() -> None:
    head, videos = _fitted(), _videos()
    np.testing.assert_array_equal(head.score(_with_maps(videos)), head.score(videos))


def test_videos_of_another_feature_are_refused() -> None:
    head, (first, *_) = _fitted(_with_maps(_videos())), _with_maps(_videos())
    with pytest.raises(
        RecipeError, match="'v0' has no look and the head was trained with it; give"
    ):
        head.score(_videos())
    narrow = Stream(np.zeros((2, 3)), np.zeros((2, 3)))
    narrow_video = replace(first, streams={**first.streams, "motion": narrow})
    with pytest.raises(RecipeError, match="'v0' has 3 channels and the head was trained on 4"):
        head.explain(narrow_video)
    maps = Stream(np.zeros((2, 2, 3, 4)), np.zeros((2, 3)))
    other = replace(first, streams={**first.streams, "look": maps})
    line = "'v0' has rows of shape (2, 3, 4) and the head was trained on rows of shape (2, 3, 3)"
    with pytest.raises(RecipeError, match=re.escape(line)):
        head.score([other])


# What is drawn while training and counts else.


def _altered(videos: Sequence[VideoFeatures], last: bool) -> list[VideoFeatures]:
    """Other values in the last row of each step, or in all but the last."""
    found = []
    for video in videos:
        streams = {}
        for role, stream in video.streams.items():
            values = stream.values.copy()
            ends = np.arange(len(values)) % stream.alternatives == stream.alternatives - 1
            values[ends == last] += 1
            streams[role] = replace(stream, values=values)
        found.append(replace(video, streams=streams))
    return found


@pytest.mark.parametrize("vary", [False, True])
def test_candidates_are_drawn_only_while_training_and_the_last_counts_else(vary: bool) -> None:
    videos = _with_maps(_videos(alternatives=3), alternatives=3)
    head = _fitted(videos, schedule=replace(SCHEDULE, vary=vary))
    scores = head.score(videos)
    np.testing.assert_array_equal(head.score(_altered(videos, last=False)), scores)
    assert not np.allclose(head.score(_altered(videos, last=True)), scores, atol=1e-3)
    explanation = head.explain(videos[0])
    assert explanation.curves["sum"].shape == (2,)
    np.testing.assert_array_equal(explanation.times, videos[0].streams["motion"].step_times)

    other = _fitted(_altered(videos, last=False), schedule=replace(SCHEDULE, vary=vary))
    assert np.array_equal(other.score(videos), scores) != vary
    other = _fitted(_altered(videos, last=True), schedule=replace(SCHEDULE, vary=vary))
    assert not np.array_equal(other.score(videos), scores)


@pytest.mark.parametrize("vary", [False, True])
def test_where_features_lie_changes_nothing(vary: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    videos = _with_maps(_videos(alternatives=3), alternatives=3)
    schedule = replace(SCHEDULE, vary=vary)
    resident = _fitted(videos, schedule=schedule).score(videos)
    init = feed.Feed.__init__

    def elsewhere(self: Any, *arguments: Any, **named: Any) -> None:
        init(self, *arguments, **{**named, "resident_bytes": 0})

    monkeypatch.setattr(feed.Feed, "__init__", elsewhere)
    np.testing.assert_array_equal(_fitted(videos, schedule=schedule).score(videos), resident)


def test_scoring_reads_of_each_step_only_the_row_that_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    videos = _with_maps(_videos(alternatives=3), alternatives=3)
    head, read = _fitted(videos), list[NDArray[np.intp]]()
    copy = feed._copy

    def note(values: NDArray[Any], rows: NDArray[np.intp], out: Tensor) -> None:
        read.append(rows)
        copy(values, rows, out)

    monkeypatch.setattr(feed, "_copy", note)
    head.score(videos)
    head.explain(videos[0])
    assert len(read) == 2 * 9
    assert all((rows % 3 == 2).all() for rows in read)


# Seeds, copies, scale, and where training starts.


def test_the_seed_makes_every_number_and_global_generators_are_left_alone() -> None:
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state(legacy=False)
    first = _fitted(seed=3)
    assert torch.get_rng_state().equal(torch_state)
    assert str(np.random.get_state(legacy=False)) == str(numpy_state)
    torch.rand(3)
    again, other = _fitted(seed=3), _fitted(seed=4)
    np.testing.assert_array_equal(first.score(_videos()), again.score(_videos()))
    assert not np.allclose(first.score(_videos()), other.score(_videos()))


def test_each_seed_begins_with_other_weights_and_chooses_other_examples() -> None:
    weights, examples = [], []
    for seed in (0, 1):
        trainee, _ = _head(seed).begin(_videos(), _targets(), Session())
        weights.append(trainee.network.get_parameter("second.weight").detach())
        examples.append(trainee.stages[0].examples)
    assert not weights[0].equal(weights[1])
    one, other = examples
    assert not np.array_equal(one, other)
    np.testing.assert_array_equal(np.sort(one, axis=0), np.sort(other, axis=0))


def test_a_head_trains_from_scratch_each_time() -> None:
    head = _fitted()
    scores = head.score(_videos())
    head.fit(_videos(), _targets())
    np.testing.assert_array_equal(head.score(_videos()), scores)


def test_videos_that_are_made_of_others_train_too() -> None:
    head, videos = _head(copies=2), _videos()
    trainee, expanded = head.begin(videos, _targets(), Session())
    assert len(trainee.places) == len(expanded) == 24
    assert expanded[8].id == "v0+1"
    head.fit(videos, _targets())
    assert head._trained is not None
    assert not np.allclose(head.score(videos), _fitted().score(videos), atol=1e-3)
    # What is remembered is of the videos given.
    assert head.method.asked == [[video.id for video in videos]]  # type: ignore[attr-defined]


def test_channels_are_scaled_by_the_training_videos_alone(tmp_path: Path) -> None:
    videos = [replace(v, streams={"motion": replace(v.main, values=v.values * [1, 50, 1, 0] + [5, 0, 1, 3])}) for v in _videos()]  # fmt: skip
    head = _fitted(videos, standardise=True)
    rows = np.concatenate([video.values for video in videos])
    np.testing.assert_allclose(head._scale.mean["motion"], rows.mean(axis=0), rtol=1e-5)
    shifted = [replace(v, streams={"motion": replace(v.main, values=v.values * 1000 - 7)}) for v in videos]  # fmt: skip
    other = _fitted(shifted, standardise=True)
    np.testing.assert_allclose(other.score(shifted), head.score(videos), rtol=1e-2, atol=1e-3)
    # A test video does not change how the others are scaled.
    far = replace(
        videos[0], streams={"motion": replace(videos[0].main, values=videos[0].values + 99)}
    )
    before = head.score(videos)
    np.testing.assert_array_equal(head.score([*videos, far])[:8], before)
    curve = head.explain(videos[0]).curves["sum"]
    scaled = (videos[0].values - rows.mean(axis=0)) / np.where(
        rows.std(axis=0), rows.std(axis=0), np.inf
    )
    np.testing.assert_allclose(curve, scaled.sum(axis=1), rtol=1e-3, atol=1e-4)


def test_training_starts_from_another_run_where_the_method_can(tmp_path: Path) -> None:
    head = _fitted()
    head.save(tmp_path)
    still = Schedule(1, 4)
    session = Session(start_from=tmp_path)
    trainee, _ = _head(seed=9, schedule=still).begin(_videos(), _targets(), session)
    for name, parameter in head._trained.named_parameters():
        assert trainee.network.get_parameter(name).equal(parameter)
        assert parameter.dtype == torch.float32
    assert trainee.scale.mean.keys() == head._scale.mean.keys()
    for role, mean in head._scale.mean.items():
        assert trainee.scale.mean[role].equal(mean)
    started = _fitted(session=session, seed=9, schedule=still).score(_videos())
    assert not np.allclose(started, _fitted(seed=9, schedule=still).score(_videos()), atol=1e-3)


def test_a_method_that_always_begins_anew_says_so(tmp_path: Path) -> None:
    class Anew(ToyMethod):
        start = Method.start

    with pytest.raises(RecipeError, match="cannot start from another run; leave --start-from out"):
        DeepHead(Anew(), 0, "cpu").fit(_videos(), _targets(), Session(start_from=tmp_path))


# Files.


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("standardise", [False, True])
def test_a_loaded_head_gives_the_same_numbers(
    tmp_path: Path, precision: Precision, standardise: bool
) -> None:
    session = Session(fitting=Fitting(precision=precision))
    videos = _with_maps(_videos())
    head = _fitted(videos, session, standardise=standardise)
    head.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["head.safetensors"]
    again = _head(standardise=standardise)
    again.load(tmp_path)
    np.testing.assert_array_equal(again.score(videos), head.score(videos))
    assert again.explain(videos[0]).notes == {"first": "v0"}
    assert again._trained.order == ["motion", "look"]
    kind = torch.float64 if precision == "float64" else torch.float32
    assert {p.dtype for p in again._trained.parameters()} == {kind}
    (tmp_path / "again").mkdir()
    again.save(tmp_path / "again")
    contents = {path.read_bytes() for path in tmp_path.rglob("*.safetensors")}
    assert len(contents) == 1


def test_precision_tells_in_the_numbers() -> None:
    """All near the exact one, and each as far from it as its digits say."""
    found = {
        # Noise would be drawn in other digits too.
        precision: _fitted(
            session=Session(fitting=Fitting(precision=precision)), schedule=Schedule(3, 4)
        ).score(_videos())
        for precision in PRECISIONS
    }
    spread = np.abs(found["float64"]).max()
    far = {name: np.abs(scores - found["float64"]).max() for name, scores in found.items()}
    assert 1e-12 * spread < far["float32"] < 1e-3 * spread
    assert far["float32"] < far["bfloat16"] < 0.2 * spread


def test_what_is_read_is_what_was_saved(tmp_path: Path) -> None:
    head = _fitted(_with_maps(_videos()), standardise=True)
    head.save(tmp_path)
    saved = read_saved(tmp_path / deep.WEIGHTS)
    assert saved.shapes == {"motion": (CHANNELS,), "look": (2, 3, 3)}
    assert list(saved.shapes) == ["motion", "look"]
    assert (saved.words, saved.precision) == ({"first": "v0"}, "float32")
    assert saved.tensors["network"].keys() == head._trained.state_dict().keys()
    assert list(saved.tensors["mean"]) == list(saved.tensors["factor"])
    assert sorted(saved.tensors["mean"]) == ["look", "motion"]
    assert saved.tensors["memory"]["mean"].equal(head._memory.tensors["mean"])


@pytest.mark.parametrize(
    "damage", ["missing", "empty", "cut", "noise", "foreign", "parts", "words"]
)
def test_weights_that_cannot_be_used_are_told_in_one_line(tmp_path: Path, damage: str) -> None:
    _fitted().save(tmp_path)
    path = tmp_path / deep.WEIGHTS
    content = path.read_bytes()
    about = '{"precision": "float32", "shapes": {"motion": [4]}, "words": {}}'
    tensors = {f"network.{n}": t for n, t in read_saved(path).tensors["network"].items()}
    if damage == "missing":
        path.unlink()
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "noise":
        path.write_bytes(np.random.default_rng(0).bytes(1000))
    elif damage == "foreign":
        safetensors.torch.save_file({"other": torch.zeros(2)}, path)
    elif damage == "parts":
        more = {**tensors, "colour.x": torch.zeros(1)}
        safetensors.torch.save_file(more, path, {"aqakit": about})
    else:
        safetensors.torch.save_file(tensors, path, {"aqakit": about.replace("float32", "int8")})
    with pytest.raises(RecipeError) as caught:
        _head().load(tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{path} does not hold this head (")
    assert message.endswith("); train it again")
    assert "\n" not in message


def test_a_full_disk_is_told_by_the_operating_system(tmp_path: Path) -> None:
    (tmp_path / deep.WEIGHTS).symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as caught:
        _fitted().save(tmp_path)
    assert caught.value.errno == errno.ENOSPC


def test_no_generator_of_a_gpu_is_seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("seeded a GPU"))
    _fitted(seed=3)


# Validation.


def _validating(
    patience: int, videos: Sequence[VideoFeatures], pairs: NDArray[np.int64]
) -> Session:
    return Session((videos, Targets(pairs)), Fitting(patience=patience))


LONG = replace(SCHEDULE, epochs=12)


def test_validation_accuracy_is_that_of_the_network_after_each_epoch() -> None:
    unseen, pairs = _videos(5, first=20), _pairs(5)
    head = _head(schedule=replace(SCHEDULE, epochs=4))
    log = head.fit(_videos(), _targets(), _validating(0, unseen, pairs))
    for epochs in range(1, 5):
        shorter = _fitted(schedule=replace(SCHEDULE, epochs=epochs))
        accuracy = pairwise_accuracy(shorter.score(unseen), pairs).accuracy
        assert log[epochs - 1][VALIDATION] == accuracy
    # What is remembered of training videos is asked for anew each time, and once more at the end.
    assert head.method.asked == [[f"v{n}" for n in range(8)]] * 5  # type: ignore[attr-defined]


def test_patience_keeps_the_epoch_that_does_best_on_validation_videos() -> None:
    rng = np.random.default_rng(5)
    pairs = rng.permutation(_pairs(6))
    pairs[::2] = pairs[::2, ::-1]  # contradictory to the skill, so that the best comes early
    unseen = _videos(6, first=20)
    head = _head(schedule=LONG)
    log = head.fit(_videos(), _targets(), _validating(3, unseen, pairs))
    accuracies = [epoch[VALIDATION] for epoch in log]
    best = int(np.argmax(accuracies))
    assert len(log) == best + 4 < LONG.epochs
    expected = _fitted(schedule=replace(LONG, epochs=best + 1))
    np.testing.assert_array_equal(head.score(unseen), expected.score(unseen))
    assert pairwise_accuracy(head.score(unseen), pairs).accuracy == max(accuracies)


@pytest.mark.parametrize("session", [Session(), Session((_videos(3, 20), Targets(_pairs(0)[:0])))])
def test_without_pairs_of_validation_videos_there_is_no_accuracy(session: Session) -> None:
    log = _head().fit(_videos(), _targets(), replace(session, fitting=Fitting(patience=1)))
    assert len(log) == SCHEDULE.epochs
    assert not any(VALIDATION in epoch for epoch in log)


def test_a_diverged_network_is_merely_no_good_on_validation_videos() -> None:
    head = _fitted()
    of = head.accuracy(_videos(), _targets(), _validating(1, _videos(), _pairs()))
    assert of is not None
    broken: Any = head._trained
    assert of(broken) > 0.5
    with torch.no_grad():
        broken.second.weight.fill_(np.nan)
    assert of(broken) == 0


# Several heads as one batched model.


def _jobs(*folds: Sequence[int], session: Session = PLAIN, **options: Any) -> list[Job]:
    """A job a fold, of the same videos, each with its own seed."""
    videos = _with_maps(_videos(10, alternatives=2), alternatives=2)
    unseen = _with_maps(_videos(4, 20, alternatives=2), alternatives=2)
    jobs = []
    for seed, fold in enumerate(folds):
        own = replace(session, validation=(unseen, Targets(_pairs(4)[:, :: 1 - 2 * (seed % 2)])))
        chosen = [videos[number] for number in fold]
        jobs.append(Job(_head(seed, **options), chosen, _targets(len(fold)), own))
    return jobs


# 28, 28, 28, 15 and 15 pairs: 7 and 4 steps an epoch.
FOLDS = (range(8), range(1, 9), range(2, 10), range(6), range(4, 10))
RICH = Schedule(5, 4, noise=0.1, vary=True)


@pytest.mark.parametrize("fitting", [Fitting(), Fitting(0.05, 2), Fitting(precision="float64")])
@pytest.mark.parametrize("standardise", [False, True])
def test_heads_learn_together_what_each_learns_alone(fitting: Fitting, standardise: bool) -> None:
    session = Session(fitting=fitting)
    together, alone = (
        _jobs(*FOLDS, session=session, schedule=RICH, standardise=standardise) for _ in range(2)
    )
    logs = fit_batched(together)
    for job, log, one in zip(together, logs, alone, strict=True):
        expected = one.head.fit(one.videos, one.targets, one.session)
        assert len(log) == len(expected)
        for ours, theirs in zip(log, expected, strict=True):
            assert ours == pytest.approx(theirs, abs=1e-5)
        found, scores = (head.score(job.videos) for head in (job.head, one.head))
        np.testing.assert_allclose(found, scores, atol=1e-5)


def test_heads_with_other_numbers_of_steps_are_trained_group_by_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups: list[tuple[int, int]] = []

    def watch(trainees: Any, pool: Any, *rest: Any) -> Any:
        groups.append((len(trainees), len(pool)))
        return train(trainees, pool, *rest)

    monkeypatch.setattr(deep, "train", watch)
    fit_batched(_jobs(*FOLDS), tmp_path / "batch")
    # Videos that folds have in common are there once.
    assert groups == [(3, 10), (2, 10)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["batch-0", "batch-1"]
    groups.clear()
    fit_batched(_jobs(*FOLDS[:3]), tmp_path / "one")
    assert groups == [(3, 10)]
    assert (tmp_path / "one").is_file()


def test_each_head_is_told_of_its_own_epochs() -> None:
    told: dict[int, list[tuple[int, int, EpochLog]]] = {number: [] for number in range(5)}
    jobs = [
        replace(job, session=replace(job.session, on_epoch=lambda *e, n=n: told[n].append(e)))
        for n, job in enumerate(_jobs(*FOLDS))
    ]
    logs = fit_batched(jobs)
    for number, log in enumerate(logs):
        assert told[number] == [(epoch, 3, losses) for epoch, losses in enumerate(log, 1)]


class _InterruptedError(Exception):
    pass


@pytest.mark.parametrize("folds", [FOLDS[:1], FOLDS[:3], FOLDS], ids=["alone", "group", "groups"])
def test_interrupted_training_ends_with_the_same_bits(
    tmp_path: Path, folds: Sequence[Sequence[int]]
) -> None:
    session = Session(fitting=Fitting(0.5, 2), checkpoint_seconds=0)
    expected = _jobs(*folds, session=session, schedule=RICH)
    expected_logs = fit_batched(expected)
    place = tmp_path / "checkpoint"
    longest = max(map(len, expected_logs))
    breaks = 0
    for at in 2 * [*range(1, 1 + longest)]:  # the first group in every epoch, then the second

        def stop(epoch: int, epochs: int, log: Mapping[str, float], at: int = at) -> None:
            if epoch == at:
                raise _InterruptedError

        jobs = _jobs(*folds, session=replace(session, on_epoch=stop), schedule=RICH)
        try:
            fit_batched(jobs, place)
        except _InterruptedError:
            breaks += 1
    assert breaks >= longest
    jobs = _jobs(*folds, session=session, schedule=RICH)
    assert fit_batched(jobs, place) == expected_logs
    for job, other in zip(jobs, expected, strict=True):
        for name, value in other.head._trained.state_dict().items():
            assert job.head._trained.state_dict()[name].equal(value)
        np.testing.assert_array_equal(job.head.score(job.videos), other.head.score(job.videos))


def test_a_session_names_its_checkpoint(tmp_path: Path) -> None:
    session = Session(checkpoint=tmp_path / "seed-0")
    head = _head()
    log = head.fit(_videos(), _targets(), session)
    kept = checkpoint.read(tmp_path / "seed-0")
    assert kept is not None
    assert kept["logs"] == [log]
    # Whoever comes with it afterwards has nothing left to do.
    told: list[object] = []
    again = _head()
    found = again.fit(_videos(), _targets(), replace(session, on_epoch=lambda *e: told.append(e)))
    assert (found, told) == (log, [])
    np.testing.assert_array_equal(again.score(_videos()), head.score(_videos()))


FITTED = _fitted()

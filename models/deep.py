"""Deep heads: a :class:`..method.Method` and everything that all of them need around it.

Several heads of one method, each on its own fold or with its own seed, can be trained as one batched
model: see :func:`fit_batched`.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils import _pytree

from ..features.errors import RecipeError
from .data import Stream, Targets, VideoFeatures, row_shapes, words_of
from .feed import Feed, Scale, Wanted, statistics
from .head import DEFAULT_SESSION, EpochLog, Explanation, Precision, Role, Session
from .method import Memory, Method, Seen
from .metrics import pairwise_accuracy
from .network import Network
from .steps import Trainee
from .training import Keeping, train

WEIGHTS = "head.safetensors"
_ABOUT = "aqakit"
_DTYPES: dict[Precision, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.float32,  # of parameters; operations cast what they can
    "float64": torch.float64,
}
# Videos are run through a trained network in groups of about so many bytes of features.
_GROUP_BYTES = 256 << 20


class DeepHead:
    """A head whose network the one trainer trains.

    Args:
        method: what it is.
        seed: of initial weights, order of examples and noise.
        device: a torch device.
    """

    def __init__(self, method: Method, seed: int, device: str) -> None:
        self.method = method
        self._seed = seed
        self._device = device
        self._network: Network | None = None
        self._scale = Scale({}, {})
        self._memory = Memory()
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._precision: Precision = "float32"

    def fit(
        self, videos: Sequence[VideoFeatures], targets: Targets, session: Session = DEFAULT_SESSION
    ) -> list[EpochLog]:
        """Train from scratch; see :class:`..head.Head`."""
        (log,) = fit_batched([Job(self, videos, targets, session)], session.checkpoint)
        return log

    def score(self, videos: Sequence[VideoFeatures]) -> NDArray[np.float64]:
        """(V,) scores; each video's is the same in any company."""
        scores = [self._scores(self._trained, self._memory, [video]) for video in videos]
        return np.concatenate(scores) if scores else np.zeros(0)

    def explain(self, video: VideoFeatures) -> Explanation:
        """Why a video has its score; what it holds is said by the head's file."""
        with torch.inference_mode():
            return self.method.explain(self._trained, self._memory, self._see([video]))

    def embed(self, videos: Sequence[VideoFeatures]) -> NDArray[np.float64] | None:
        """(V, D) what the network makes of each video as a whole; None for heads without such."""
        found = []
        for video in videos:
            with torch.inference_mode():
                embedding = self.method.embed(self._trained, self._memory, self._see([video]))
            if embedding is None:
                return None
            found.append(embedding.double().cpu().numpy())
        return np.concatenate(found)

    def save(self, folder: Path) -> None:
        """Write weights, scale of the channels and memory as safetensors.

        Raises:
            OSError: the file cannot be written; safetensors' own writer would hide the reason.
        """
        parts = {
            "network": self._trained.state_dict(),
            "mean": self._scale.mean,
            "factor": self._scale.factor,
            "memory": self._memory.tensors,
        }
        tensors = {
            f"{part}.{name}": tensor.detach().cpu().contiguous()
            for part, named in parts.items()
            for name, tensor in named.items()
        }
        about = {
            "precision": self._precision,
            "shapes": self._shapes,
            "words": dict(self._memory.words),
        }
        # One entry: safetensors writes several in another order each time, and forgets their order.
        content = safetensors.torch.save(tensors, {_ABOUT: json.dumps(about)})
        (folder / WEIGHTS).write_bytes(content)

    def load(self, folder: Path) -> None:
        """Read them back.

        Raises:
            RecipeError: the file is missing or is of another head or other options.
        """
        path = folder / WEIGHTS
        try:
            saved = read_saved(path)
            network = self._new_network(saved.shapes, saved.precision)
            network.load_state_dict(saved.tensors["network"])
        except (OSError, KeyError, ValueError, RuntimeError, safetensors.SafetensorError) as error:
            raise RecipeError(
                f"{path} does not hold this head ({str(error).splitlines()[0]}); train it again"
            ) from None
        self._shapes, self._precision = saved.shapes, saved.precision
        self._network = network.eval()
        kind = _DTYPES[saved.precision]
        self._scale = Scale(saved.tensors["mean"], saved.tensors["factor"]).to(self._device, kind)
        memory = {name: tensor.to(self._device) for name, tensor in saved.tensors["memory"].items()}
        self._memory = Memory(memory, saved.words)

    def begin(
        self, videos: Sequence[VideoFeatures], targets: Targets, session: Session
    ) -> tuple[Trainee, list[VideoFeatures]]:
        """A new network with what it is to learn, its videos still without places in a feed."""
        self._precision = session.fitting.precision
        expanded = self.method.expand(self._used(videos))
        self._shapes = row_shapes(expanded)
        network = self._new_network(self._shapes, self._precision)
        originals = expanded[: len(videos)]
        if session.start_from is not None:
            scale = self.method.start(network, session.start_from)
        else:
            scale = statistics(originals) if self.method.standardise else Scale({}, {})
        self._scale = scale.to(self._device, _DTYPES[self._precision])
        stages = self.method.stages(expanded, targets, np.random.default_rng([self._seed, 1]))
        places = torch.arange(len(expanded))
        return Trainee(network, stages, places, self._scale, self._seed), expanded

    def finish(self, network: Network, videos: Sequence[VideoFeatures], targets: Targets) -> None:
        """Take a trained network and what is to be remembered of its training videos."""
        self._network = network.eval()
        self._memory = self._remembered(network, self._used(videos), targets)

    def accuracy(
        self, videos: Sequence[VideoFeatures], targets: Targets, session: Session
    ) -> Callable[[Network], float] | None:
        """Pairwise accuracy of a network half way on the session's validation videos."""
        if session.validation is None or not len(session.validation[1].pairs):
            return None
        unseen, truth = session.validation
        training, validation = self._used(videos), self._used(unseen)

        def of(network: Network) -> float:
            memory = self._remembered(network, training, targets)
            scores = self._scores(network, memory, validation)
            # A network that diverged is found out by its loss; here it is merely no good.
            return pairwise_accuracy(np.nan_to_num(scores), truth.pairs).accuracy

        return of

    @property
    def roles(self) -> Sequence[Role]:
        """What it looks at with its options; see :class:`..head.Head`."""
        return self.method.roles

    @property
    def device(self) -> str:
        """Where its network computes."""
        return self._device

    @property
    def _trained(self) -> Network:
        if self._network is None:
            raise ValueError("the head is not trained; call fit or load first")
        return self._network

    def _new_network(self, shapes: dict[str, tuple[int, ...]], precision: Precision) -> Network:
        """A network with its initial values, drawn without touching global state."""
        with torch.random.fork_rng(devices=[]):
            # torch.manual_seed would seed every GPU as well, which the fork does not restore.
            torch.default_generator.manual_seed(self._seed)
            return self.method.network(shapes).to(self._device, _DTYPES[precision])

    def _used(self, videos: Sequence[VideoFeatures]) -> list[VideoFeatures]:
        """The videos with the streams that the head's roles name.

        Raises:
            RecipeError: a stream that it needs is missing, or its rows have other axes.
        """
        return [_with_roles(video, self.method.roles) for video in videos]

    def _remembered(
        self, network: Network, videos: Sequence[VideoFeatures], targets: Targets
    ) -> Memory:
        with torch.no_grad():
            return self.method.remember(
                network, lambda some: self._look(network, some), videos, targets
            )

    def _see(self, videos: Sequence[VideoFeatures]) -> Seen:
        used = self._used(videos)
        for video in used:
            self._check_shapes(video)
        return self._look(self._trained, used)

    def _look(self, network: Network, videos: Sequence[VideoFeatures]) -> Seen:
        # Altered versions of a video train, and need not be there to score it.
        videos = [
            _with_only(video, {role: video.streams[role] for role in self._shapes})
            for video in videos
        ]
        # Of what training could draw only the row that counts is read.
        feed = Feed(videos, self._device, _DTYPES[self._precision], resident_bytes=0)
        batch = self._scale.apply(feed.batch(Wanted(torch.arange(len(videos)))))
        with _autocast(self._device, self._precision):
            return Seen(batch, _wide(network.encode(batch, {})), videos)

    def _scores(
        self, network: Network, memory: Memory, videos: Sequence[VideoFeatures]
    ) -> NDArray[np.float64]:
        found = []
        for group in _groups(self._used(videos)):
            for video in group:
                self._check_shapes(video)
            with torch.inference_mode():
                scores = self.method.scores(network, memory, self._look(network, group))
            found.append(scores.double().cpu().numpy())
        return np.concatenate(found)

    def _check_shapes(self, video: VideoFeatures) -> None:
        for role, shape in self._shapes.items():
            stream = video.streams.get(role)
            if stream is None:
                raise RecipeError(
                    f"video '{video.id}' has no {role} and the head was trained with it; give it "
                    "the features that the run was trained on"
                )
            found = tuple(stream.values.shape[1:])
            if found != shape:
                raise RecipeError(
                    f"video '{video.id}' has {words_of(found)} and the head was trained on "
                    f"{words_of(shape)}; give it the feature that the run was trained on"
                )


@dataclass(frozen=True)
class Job:
    """One head and what it is to be trained on."""

    head: DeepHead
    videos: Sequence[VideoFeatures]
    targets: Targets
    session: Session


def fit_batched(jobs: Sequence[Job], checkpoint: Path | None = None) -> list[list[EpochLog]]:
    """Train heads of one method, on one device, as one batched model; alone if there is one.

    Each takes the steps that it would take alone. Heads whose folds differ in their number of
    mini-batches an epoch are trained group by group.

    Args:
        jobs: of heads with the same options and the same ``fitting``.
        checkpoint: file from which an interrupted training goes on; each group has one of its own,
            named after it.

    Returns:
        Losses epoch by epoch of each.

    Raises:
        RecipeError: as ``fit`` does.
    """
    begun = [job.head.begin(job.videos, job.targets, job.session) for job in jobs]
    logs: list[list[EpochLog]] = [[] for _ in jobs]
    for number, members in enumerate(_alike([trainee for trainee, _ in begun])):
        place = checkpoint
        if checkpoint is not None and len(members) < len(jobs):
            place = checkpoint.with_name(f"{checkpoint.name}-{number}")
        found = _fit_group([jobs[m] for m in members], [begun[m] for m in members], place)
        for member, log in zip(members, found, strict=True):
            logs[member] = log
    return logs


def _fit_group(
    jobs: Sequence[Job],
    begun: Sequence[tuple[Trainee, list[VideoFeatures]]],
    checkpoint: Path | None,
) -> list[list[EpochLog]]:
    session, device = jobs[0].session, jobs[0].head.device
    # Folds and seeds have videos in common, of which one copy is enough.
    pool: dict[Any, VideoFeatures] = {}
    for _, videos in begun:
        for video in videos:
            pool.setdefault(_identity(video), video)
    number = {identity: place for place, identity in enumerate(pool)}
    feed = Feed(list(pool.values()), device, _DTYPES[session.fitting.precision])
    trainees = [
        Trainee(
            trainee.network,
            trainee.stages,
            torch.tensor([number[_identity(video)] for video in videos]),
            trainee.scale,
            trainee.seed,
        )
        for trainee, videos in begun
    ]
    networks, logs = train(
        trainees,
        feed,
        session.fitting,
        [job.head.accuracy(job.videos, job.targets, job.session) for job in jobs],
        None if checkpoint is None else Keeping(checkpoint, session.checkpoint_seconds),
        lambda member, *progress: jobs[member].session.on_epoch(*progress),
    )
    for job, network in zip(jobs, networks, strict=True):
        job.head.finish(network, job.videos, job.targets)
    return logs


def _alike(trainees: Sequence[Trainee]) -> list[list[int]]:
    """Numbers of trainees that can take their steps together."""
    groups: dict[Any, list[int]] = {}
    for number, trainee in enumerate(trainees):
        stages = range(len(trainee.stages))
        shape = tuple((trainee.steps_of(stage), trainee.shares(stage)) for stage in stages)
        groups.setdefault(shape, []).append(number)
    return list(groups.values())


def _identity(video: VideoFeatures) -> Any:
    return (video.id, *(id(stream) for stream in video.streams.values()))


def _with_roles(video: VideoFeatures, roles: Sequence[Role]) -> VideoFeatures:
    streams: dict[str, Stream] = {}
    for role in roles:
        names = [role.name]
        if role.many:
            names = [name for name in video.streams if name.startswith(f"{role.name}-")]
        for name in names:
            if name not in video.streams:
                if role.optional:
                    continue
                raise RecipeError(
                    f"video '{video.id}' has no {name} ({role.meaning}); give --feature {name}=KEY"
                )
            stream = video.streams[name]
            if stream.values.ndim != 1 + role.axes:
                raise RecipeError(
                    f"the feature of video '{video.id}' has shape {stream.values.shape}; this head "
                    f"needs {role.meaning}"
                )
            streams[name] = stream
    if not streams:
        raise RecipeError(
            f"video '{video.id}' has none of {', '.join(role.name for role in roles)}; give one as "
            f"--feature {roles[0].name}=KEY"
        )
    return _with_only(video, streams)


def _with_only(video: VideoFeatures, streams: dict[str, Stream]) -> VideoFeatures:
    """The video with some of its streams, in this order."""
    if list(streams) == list(video.streams):
        return video  # to make it anew would be to look at all its values again
    return replace(video, streams=streams)


@dataclass(frozen=True)
class Saved:
    """What a head's file holds: tensors by part and name, shapes of rows by role, and words."""

    tensors: dict[str, dict[str, Tensor]]
    shapes: dict[str, tuple[int, ...]]
    words: dict[str, str]
    precision: Precision


def read_saved(path: Path) -> Saved:
    """Read what :meth:`DeepHead.save` wrote.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is of something else.
        safetensors.SafetensorError: it is damaged.
    """
    with safetensors.safe_open(path, "pt") as file:
        text = (file.metadata() or {}).get(_ABOUT, "null")
        flat = {name: file.get_tensor(name) for name in file.keys()}
    tensors: dict[str, dict[str, Tensor]] = {
        part: {} for part in ("network", "mean", "factor", "memory")
    }
    try:
        about = json.loads(text)
        precision: Precision = about["precision"]
        _DTYPES[precision]  # known, or no head of ours
        shapes = {role: tuple(map(int, shape)) for role, shape in about["shapes"].items()}
        for name, tensor in flat.items():
            part, _, rest = name.partition(".")
            tensors[part][rest] = tensor
        return Saved(tensors, shapes, dict(about["words"]), precision)
    except (AttributeError, KeyError, TypeError):
        raise ValueError("it is no deep head") from None


def _groups(videos: Sequence[VideoFeatures]) -> list[list[VideoFeatures]]:
    """Videos in groups of about the same number of bytes."""
    groups: list[list[VideoFeatures]] = []
    room = 0
    for video in videos:
        size = 4 * sum(stream.step_values.size for stream in video.streams.values())
        if not groups or size > room:
            groups.append([])
            room = _GROUP_BYTES
        groups[-1].append(video)
        room -= size
    return groups


def _autocast(device: str, precision: Precision) -> torch.autocast:
    kind = torch.device(device).type
    return torch.autocast(kind, torch.bfloat16, enabled=precision == "bfloat16")


def _wide(encoding: Any) -> Any:
    """Half-precision results as float32: no score or explanation is computed in fewer digits."""
    return _pytree.tree_map(
        lambda leaf: (
            leaf.float() if isinstance(leaf, Tensor) and leaf.dtype == torch.bfloat16 else leaf
        ),
        encoding,
    )

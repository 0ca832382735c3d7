"""Videos into a store: who is in hand, what is missing of it, and what became of it.

Nothing of a video is stored before its last frame has been seen, so a process killed at any time
loses at most the videos in hand.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from ..features.errors import UserError, VideoError
from ..features.manifest import Video
from ..features.outcome import Outcome
from ..features.segments import Units
from ..features.source import Source
from ..features.spec import FeatureKey, Precision
from ..features.store import FeatureStore, PartWriter
from .batches import Backbones, Batches
from .decode import check_file
from .flow import TVL1, Method
from .in_hand import Begin, Fault, InHand
from .reading import Clock, Closed, Items, Job, Message, Opened, Refused, unforeseen
from .request import Feature, plan_features
from .workers import Died, InlineReader, ReaderProcesses, Readers

_ATTEMPTS = 2

OnVideo = Callable[[str, float], None]
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Order:
    """What is to be computed, in words that can be sent to another process or machine.

    Args:
        store: folder of the store.
        features: requests, as ``request.plan_features`` takes them.
        weights: as ``request.plan_features`` takes them.
        versions: of libraries, for the provenance.
        precision: of stored values; None takes each output's own.
        device: where networks run, and flow of method ``torch``.
        flow: how flow is computed.
        workers: processes that read videos; 0 reads in the process of the networks, with all cores.
        overwrite: compute what the store has already, too.
        retry_failed: try a video again that failed before although its file has not changed.
    """

    store: Path
    features: tuple[str, ...]
    weights: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    precision: Precision | None = None
    device: str = "cpu"
    flow: Method = "opencv"
    workers: int = 0
    overwrite: bool = False
    retry_failed: bool = False

    @property
    def flow_on_device(self) -> bool:
        """Whether flow is computed beside the networks, on an accelerator."""
        return self.flow == "torch" and not self.device.startswith("cpu")


def extract_videos(
    order: Order,
    videos: Iterable[Video],
    on_video: OnVideo,
    *,
    backbones: Backbones | None = None,
    threads: int | None = None,
) -> Iterator[Outcome]:
    """Compute and store whatever the store lacks of each video.

    Args:
        order: what to compute.
        videos: of the manifest; the next is asked for when there is a reader for it.
        on_video: told how much of a video in hand has been read, 0 to 1.
        backbones: networks that an earlier call built, and where to leave those of this one.
        threads: pairs of frames that this process computes flow of at once; all cores by default.

    Yields:
        What became of each video, as they finish. A video that cannot be used is recorded in the
        store and given out with its reason, never raised.

    Raises:
        DiskFullError: nothing more can be stored.
        UserError: the order, the weights or the store are at fault, not a video.
    """
    features = plan_features(
        order.features, order.weights, order.precision, order.device, order.flow
    )
    with ExitStack() as stack:
        tvl1 = None
        readers: InlineReader | ReaderProcesses
        if order.flow_on_device:
            tvl1 = stack.enter_context(TVL1(method="torch", device=order.device))
        if order.workers:
            readers = ReaderProcesses(order.workers, "opencv" if tvl1 else order.flow)
        else:
            readers = InlineReader(tvl1 or stack.enter_context(TVL1(threads, order.flow)))
        stack.enter_context(readers)
        built = {} if backbones is None else backbones
        extraction = _Extraction(order, features, readers, tvl1, on_video, built)
        stack.callback(extraction.abandon)
        yield from extraction.run(videos)


@dataclass
class _Hand:
    """A video in hand, with what is known of it beside its frames.

    Args:
        progress: of its features.
        source: its file.
        kept: features that the store holds already.
        known: why others failed the last time; they are not tried again.
        began: monotonic seconds.
        claim: lets it go when closed.
        spoiled: what nobody foresaw; the reader is heard to its last word, but computing is over.
    """

    progress: InHand
    source: Source
    kept: tuple[FeatureKey, ...]
    known: tuple[str, ...]
    began: float
    claim: ExitStack
    spoiled: Fault | None = None


class _Extraction:
    def __init__(
        self,
        order: Order,
        features: Sequence[Feature],
        readers: Readers,
        tvl1: TVL1 | None,
        on_video: OnVideo,
        backbones: Backbones,
    ) -> None:
        self._order = order
        self._features = features
        self._readers = readers
        self._tvl1 = tvl1
        self._on_video = on_video
        self._store = FeatureStore.create(order.store)
        self._flow = (tvl1 or TVL1(method=order.flow)).name
        self._clock = Clock()
        self._batches = Batches(self._clock, backbones)
        self._hands: dict[str, _Hand] = {}
        self._deaths: dict[str, int] = {}

    def run(self, videos: Iterable[Video]) -> Iterator[Outcome]:
        fresh = iter(videos)
        again: deque[Video] = deque()
        while True:
            # Asked for only when there is a reader for it: others may be waiting for videos, too.
            while self._readers.free():
                video = next(fresh, None)
                if video is None and again:
                    video = again.popleft()
                if video is None:
                    break
                outcome = self._start(video)
                if outcome is not None:
                    yield outcome
            if not self._hands:
                return
            name, message = self._readers.receive()
            hand = self._hands[name]
            if isinstance(message, Died) and self._may_try_again(name):
                self._put_down(name)
                again.append(hand.progress.video)
                continue
            outcome = self._hear(hand, message)
            if outcome is not None:
                self._readers.finished(name)
                yield outcome
                # Not before: who claims it next shall find it reported.
                self._put_down(name)

    def abandon(self) -> None:
        """Put everything down without a trace."""
        for name in list(self._hands):
            self._hands[name].progress.abandon()
            self._put_down(name)

    def _start(self, video: Video) -> Outcome | None:
        """Take a video in hand; its outcome where there is nothing to do."""
        with ExitStack() as claim:
            if not claim.enter_context(self._store.claim(video.id)):
                return Outcome(video.id, notes=("another process has it in hand",))
            try:
                source = self._identify(video)
            except VideoError as error:
                return Outcome(video.id, failure=str(error))
            missing = [one for one in self._features if self._lacks(one, video, source)]
            known = {} if self._order.retry_failed else self._store.failures_of(video.id, source)
            wanted = [one for one in missing if one.spec.key not in known]
            lacking = {one.spec.key for one in missing}
            kept = tuple(f.spec.key for f in self._features if f.spec.key not in lacking)
            reasons = tuple(dict.fromkeys(known[key] for key in known if key in lacking))
            if not wanted:
                failure = "; ".join(reasons) or None
                return Outcome(video.id, kept=kept, failure=failure, known_before=bool(reasons))
            assert video.path is not None  # identified before
            begin = self._beginner(video, source)
            hand = InHand(video, wanted, begin, self._batches, self._tvl1, self._clock)
            self._hands[video.id] = _Hand(
                hand, source, kept, reasons, time.monotonic(), claim.pop_all()
            )
        job = Job(
            video.path,
            video.start_seconds,
            video.end_seconds,
            hand.wishes,
            self._order.flow_on_device,
        )
        self._readers.start(video.id, job)
        return None

    def _beginner(self, video: Video, source: Source) -> Begin:
        def begin(feature: Feature, units: Units) -> AbstractContextManager[PartWriter]:
            return self._store.begin(
                feature.spec,
                video.id,
                source,
                shape=(len(units), *feature.row_shape),
                frames_per_unit=units.frames.shape[1],
            )

        return begin

    def _identify(self, video: Video) -> Source:
        if video.path is None:
            raise VideoError(f"video '{video.id}' has no path; add one to the manifest")
        check_file(video.path)
        return self._store.source(video.path, video.start_seconds, video.end_seconds)

    def _lacks(self, feature: Feature, video: Video, source: Source) -> bool:
        return self._order.overwrite or not self._store.has(feature.spec.key, video.id, source)

    def _hear(self, hand: _Hand, message: Message | Died) -> Outcome | None:
        """Act on a message; the video's outcome if it was the last."""
        progress = hand.progress
        match message:
            case Opened():
                hand.spoiled = None
                self._attempt(hand, lambda: progress.open(message))
            case Items():
                self._attempt(hand, lambda: progress.take(message))
                self._on_video(progress.video.id, progress.share)
            case Closed():
                return self._close(hand, message)
            case Refused():
                return self._give_up(hand, Fault(message.reason, message.lasting))
            case Died():
                reason = (
                    f"{progress.video.path}: the process that read it died {_ATTEMPTS} times "
                    f"({message.reason}); free memory or convert the file, then run it again"
                )
                return self._give_up(hand, Fault(reason, lasting=False))
        return None

    def _attempt(self, hand: _Hand, step: Callable[[], _Result]) -> _Result | None:
        """Let what nobody foresaw cost its video, not the night; None where it did."""
        if hand.spoiled is not None:
            return None
        try:
            return step()
        except UserError:
            raise
        except Exception as error:  # noqa: BLE001 - reported with the video's last message
            hand.spoiled = Fault(unforeseen(hand.progress.video.path, error), lasting=False)
            hand.progress.abandon()
            return None

    def _give_up(self, hand: _Hand, fault: Fault) -> Outcome:
        hand.progress.abandon()
        return self._report(hand, (), dict.fromkeys(_keys(hand.progress.features), fault))

    def _may_try_again(self, name: str) -> bool:
        self._hands[name].progress.abandon()
        self._deaths[name] = self._deaths.get(name, 0) + 1
        return self._deaths[name] < _ATTEMPTS

    def _close(self, hand: _Hand, closed: Closed) -> Outcome:
        provenance = {"libraries": dict(self._order.versions), "flow": self._flow}
        found = self._attempt(hand, lambda: hand.progress.close(closed, provenance))
        if found is None:
            assert hand.spoiled is not None
            return self._give_up(hand, hand.spoiled)
        return self._report(
            hand, found.computed, found.faults, found.frames, found.notes, closed.spent
        )

    def _report(
        self,
        hand: _Hand,
        computed: tuple[FeatureKey, ...],
        faults: Mapping[FeatureKey, Fault],
        frames: int = 0,
        notes: tuple[str, ...] = (),
        spent: Mapping[str, float] | None = None,
    ) -> Outcome:
        """Remember what failed, and say what became of the video."""
        video = hand.progress.video
        lasting: dict[str, list[FeatureKey]] = {}
        for key, fault in faults.items():
            if fault.lasting:
                lasting.setdefault(fault.reason, []).append(key)
        self._store.clear_failure(video.id, computed)
        for reason, keys in lasting.items():
            self._store.record_failure(video.id, reason, hand.source, keys)
        reasons = dict.fromkeys([*hand.known, *(fault.reason for fault in faults.values())])
        seconds = time.monotonic() - hand.began
        together = {**(spent or {})}
        for stage, amount in self._clock.spent.items():
            together[stage] = together.get(stage, 0.0) + amount
        self._clock.spent.clear()
        return Outcome(
            video.id,
            frames,
            computed,
            hand.kept,
            seconds,
            notes,
            "; ".join(reasons) or None,
            spent=together,
        )

    def _put_down(self, name: str) -> None:
        self._hands.pop(name).claim.close()


def _keys(features: Sequence[Feature]) -> list[FeatureKey]:
    return [feature.spec.key for feature in features]

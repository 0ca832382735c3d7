"""Train the seeds of a recipe: one after the other, in processes, or as one batched model.

All ways give the same numbers: the batched model up to rounding, the others to the bit on one number
of threads.
"""

import json
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
from joblib import Parallel, delayed

from ..features.errors import RecipeError, UserError
from .data import Targets, VideoFeatures
from .deep import DeepHead, Job, fit_batched
from .head import EpochLog, Head, Session
from .recipe import Recipe
from .tensorboard import logging_to
from .watchdog import end_with

Together = Literal["auto", "batch", "processes", "off"]
OnSeed = Callable[[float, int, int, Mapping[str, float]], None]
# Between two looks at how far processes are.
_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Work:
    """One seed of a recipe and what it is trained on.

    Args:
        seed: of the head.
        videos: that train.
        targets: by position among them.
        session: without a listener.
        tensorboard: folder of its event files; None writes none.
    """

    seed: int
    videos: Sequence[VideoFeatures]
    targets: Targets
    session: Session
    tensorboard: Path | None = None


Trained = tuple[Head, list[EpochLog]]


def train_seeds(
    recipe: Recipe,
    works: Sequence[Work],
    device: str,
    together: Together,
    checkpoints: Path | None,
    on_seed: OnSeed,
) -> list[Trained]:
    """Train a head for each seed.

    Args:
        recipe: what to train.
        works: one a seed.
        device: a torch device.
        together: ``batch`` trains one batched model, ``processes`` several processes with a share
            of the cores each, ``off`` one seed after the other; ``auto`` takes, for small heads,
            processes on the processor and a batch elsewhere.
        checkpoints: folder in which an interrupted training finds itself again; None keeps none.
        on_seed: told how many seeds are done, fractions included; and the seed that moved on, its
            epochs done, and its losses.

    Raises:
        RecipeError: as ``fit`` does, or a way that this head has not.
    """
    way = _way(recipe, works, device, together)
    if checkpoints is not None:
        works = [
            replace(w, session=replace(w.session, checkpoint=checkpoints / f"seed-{w.seed}"))
            for w in works
        ]
    if way == "batch":
        place = None if checkpoints is None else checkpoints / "batch"
        return _batched(recipe, works, device, place, on_seed)
    if way == "processes":
        return _in_processes(recipe, works, device, on_seed)
    found = []
    for done, work in enumerate(works):

        def report(
            epoch: int,
            epochs: int,
            log: Mapping[str, float],
            done: int = done,
            seed: int = work.seed,
        ) -> None:
            on_seed(done + epoch / epochs, seed, epoch, log)

        found.append(_train_one(recipe, work, device, report))
    return found


def _way(recipe: Recipe, works: Sequence[Work], device: str, together: Together) -> Together:
    head = recipe.build(works[0].seed, device)
    if not isinstance(head, DeepHead):
        if together in ("batch", "processes"):
            raise RecipeError(f"{recipe.head} trains in no time; leave --together out")
        return "off"
    if len(works) == 1 or together == "auto" and not head.method.small:
        return "off"
    if together == "processes" and not head.method.small:
        raise RecipeError(
            f"each process would copy all maps of {recipe.head}; train it with --together off"
        )
    if together != "auto":
        return together
    if not device.startswith("cpu"):
        return "batch"
    return "processes" if _cores() > 1 else "off"


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _train_one(
    recipe: Recipe, work: Work, device: str, report: Callable[..., None] | None = None
) -> Trained:
    head = recipe.build(work.seed, device)
    with logging_to(work.tensorboard) as log_epoch:

        def on_epoch(epoch: int, epochs: int, losses: Mapping[str, float]) -> None:
            log_epoch(epoch, epochs, losses)
            if report is not None:
                report(epoch, epochs, losses)

        session = replace(work.session, on_epoch=on_epoch)
        return head, head.fit(work.videos, work.targets, session)


def _batched(
    recipe: Recipe, works: Sequence[Work], device: str, checkpoint: Path | None, on_seed: OnSeed
) -> list[Trained]:
    told = 0
    with ExitStack() as stack:
        jobs = []
        for work in works:
            log_epoch = stack.enter_context(logging_to(work.tensorboard))

            def on_epoch(
                epoch: int,
                epochs: int,
                losses: Mapping[str, float],
                log_epoch: Callable[..., None] = log_epoch,
                seed: int = work.seed,
            ) -> None:
                nonlocal told
                log_epoch(epoch, epochs, losses)
                if epoch > told:  # all that have not stopped are equally far
                    told = epoch
                    on_seed(len(works) * epoch / epochs, seed, epoch, losses)

            head = recipe.build(work.seed, device)
            if not isinstance(head, DeepHead):
                raise RecipeError(f"{recipe.head} is no deep head and trains alone")
            session = replace(work.session, on_epoch=on_epoch)
            jobs.append(Job(head, work.videos, work.targets, session))
        logs = fit_batched(jobs, checkpoint)
    return [(job.head, log) for job, log in zip(jobs, logs, strict=True)]


def _in_processes(
    recipe: Recipe, works: Sequence[Work], device: str, on_seed: OnSeed
) -> list[Trained]:
    processes = min(_cores(), len(works))
    threads = max(1, _cores() // processes)
    parallel = Parallel(n_jobs=processes, return_as="generator")
    with TemporaryDirectory(prefix="aqakit-progress-") as folder:
        places = {Path(folder) / str(number): work.seed for number, work in enumerate(works)}
        outputs = parallel(
            delayed(_train_in_process)(recipe, work, device, threads, place, os.getpid())
            for work, place in zip(works, places, strict=True)
        )
        with _watching(places, on_seed), _given_up_quietly(outputs):
            found: list[Trained] = []
            for trained in outputs:
                if isinstance(trained, UserError):
                    raise trained
                found.append(trained)
    return found


@contextmanager
def _given_up_quietly(outputs: Iterator[Any]) -> Iterator[None]:
    """Close joblib's results when the block ends; of those that nobody wants any more it would warn."""
    try:
        yield
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outputs.close()  # type: ignore[attr-defined]


def _train_in_process(
    recipe: Recipe, work: Work, device: str, threads: int, progress: Path, parent: int
) -> Trained | UserError:
    end_with(parent)
    torch.set_num_threads(threads)
    told = 0.0

    def report(epoch: int, epochs: int, losses: Mapping[str, float]) -> None:
        nonlocal told
        if time.monotonic() - told > _POLL_SECONDS or epoch == epochs:
            told = time.monotonic()
            aside = progress.with_suffix(".new")
            aside.write_text(json.dumps([epoch, epochs, dict(losses)]))
            aside.replace(progress)

    try:
        return _train_one(recipe, work, device, report)
    except UserError as error:
        # Joblib would wrap it, and the one line would be lost in a traceback.
        return error


@contextmanager
def _watching(places: Mapping[Path, int], on_seed: OnSeed) -> Iterator[None]:
    """Tell, while the block runs, what processes write into their files, each of a seed."""
    over = threading.Event()

    def watch() -> None:
        shares: dict[Path, float] = {}
        texts: dict[Path, str] = {}
        while not over.wait(_POLL_SECONDS):
            for place, seed in places.items():
                text = place.read_text() if place.exists() else ""
                if text and text != texts.get(place):
                    texts[place] = text
                    epoch, epochs, losses = json.loads(text)
                    shares[place] = epoch / epochs
                    on_seed(sum(shares.values()), seed, epoch, losses)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()

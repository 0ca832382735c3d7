"""A batch: every row of a matrix on every fold with every seed, each a run folder of its own.

    <out>/batch.json                                   what belongs to it
    <out>/<row>-<features>/<task>/<split>/seed-<n>/    one run

A run that is there and was trained from the same recipe, labels and split is kept, so a batch that
broke off goes on. Each run computes on one thread, whatever the number of workers: then it sums in
the same order, and its bits depend on nothing but itself.
"""

import functools
import os
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from joblib import Parallel, delayed, effective_n_jobs, parallel_config
from joblib.externals.loky.process_executor import TerminatedWorkerError
from threadpoolctl import threadpool_limits

from ..features.durable import write_errors, write_json
from ..features.errors import DiskFullError, RecipeError, UserError
from ..features.store import FeatureStore
from .fold import make_fold
from .inputs import inputs_of
from .loading import having, load_fold
from .plan import Job, Plan
from .protocol import settings_of
from .run import (
    Manner,
    check_free,
    state_of,
    train_run,
    training_of,
    write_run,
)
from .unfinished import unfinished_folder
from .watchdog import end_with

BATCH = "batch.json"
_DEATHS = 2
_UNEXPECTED = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, OSError),
    *(RuntimeError, TypeError, ValueError),
)


@functools.lru_cache(maxsize=1)
def _open(store: Path, planned_ns: int) -> FeatureStore:
    return FeatureStore.open(store)


@dataclass(frozen=True)
class Ended:
    """What became of a run.

    Args:
        place: its folder, below that of the batch.
        state: whether it was trained, was there already, or failed.
        reason: why it failed.
    """

    place: str
    state: Literal["trained", "kept", "failed"]
    reason: str = ""


@dataclass(frozen=True)
class Workers:
    """Who computes.

    Args:
        jobs: runs at a time; -1 takes one a core, or all of a Ray cluster.
        devices: torch devices, shared out in turn.
        ray: address of a Ray cluster; empty for this machine.
        overwrite: train again what is there.
    """

    jobs: int = -1
    devices: tuple[str, ...] = ("cpu",)
    ray: str = ""
    overwrite: bool = False


def run_batch(
    plan: Plan,
    out: Path,
    workers: Workers,
    on_run: Callable[[int, int, Ended], None] = lambda done, total, ended: None,
) -> list[Ended]:
    """Train what is not there yet; a run that fails does not stop the rest.

    Args:
        plan: of a matrix.
        out: folder of the batch.
        workers: who computes.
        on_run: told how many runs of how many have ended, and the last one.

    Returns:
        What became of each run, in the order of :attr:`Plan.all_jobs`.

    Raises:
        DiskFullError: no space is left; what is finished is kept.
        StoreError: the folder cannot be written.
    """
    _write_plan(plan, out)
    jobs = plan.all_jobs
    ended: dict[str, Ended] = {}
    deaths: dict[str, int] = {}
    idle = 0  # deaths in a row between which no run ended
    while len(ended) < len(jobs):
        before = len(ended)
        rest = [job for job in jobs if job.place not in ended]
        try:
            for one in _parallel(rest, plan.matrix.store.absolute(), out.absolute(), workers):
                ended[one.place] = one
                on_run(len(ended), len(jobs), one)
        except TerminatedWorkerError as error:
            for one in _killed(rest, ended, out, deaths):
                ended[one.place] = one
                on_run(len(ended), len(jobs), one)
            idle = 0 if len(ended) > before else idle + 1
            if idle > _DEATHS:
                raise RecipeError(
                    f"processes are killed before they can train ({error!s:.80}); free memory, or "
                    "give fewer --jobs"
                ) from None
    failed = [one.place for one in ended.values() if one.state == "failed"]
    _write_plan(plan, out, failed)
    return [ended[job.place] for job in jobs]


def _parallel(jobs: Sequence[Job], store: Path, out: Path, workers: Workers) -> Iterator[Ended]:
    """Outcomes as they come."""
    devices = workers.devices
    # Ray ends its own processes, which are no children of this one.
    parent = None if workers.ray else os.getpid()
    calls = (
        delayed(run_job)(job, store, out, devices[number % len(devices)], workers.overwrite, parent)
        for number, job in enumerate(jobs)
    )
    with _backend(workers):
        # A Ray cluster gives results only all together.
        way = "list" if workers.ray else "generator_unordered"
        at_once = min(effective_n_jobs(workers.jobs), len(jobs))
        yield from Parallel(n_jobs=at_once, return_as=way)(calls)


def _backend(workers: Workers) -> AbstractContextManager[Any]:
    if not workers.ray:
        return nullcontext()
    try:
        import ray
        from ray.util.joblib import register_ray
    except ImportError:
        raise RecipeError("--ray needs Ray; install it with: pip install 'aqakit[ray]'") from None
    try:
        ray.init(address=workers.ray, ignore_reinit_error=True, log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise RecipeError(f"--ray {workers.ray}: no cluster there ({reason})") from None
    register_ray()  # type: ignore[no-untyped-call]
    on_gpu = any(device != "cpu" for device in workers.devices)
    resources = {"num_gpus": 1} if on_gpu else {"num_cpus": 1}
    config: AbstractContextManager[Any] = parallel_config("ray", ray_remote_args=resources)
    return config


def run_job(
    job: Job, store: Path, out: Path, device: str, overwrite: bool, parent: int | None = None
) -> Ended:
    """Train one run on one thread, unless it is there.

    Args:
        job: the run.
        store: that holds the features.
        out: folder of the batch.
        device: a torch device.
        overwrite: train again what is there.
        parent: process with which this one is to end; None for none.

    Raises:
        DiskFullError: the rest would fail too.
    """
    if parent is not None:
        end_with(parent)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            return _run_job(job, store, out, device, overwrite)
    finally:
        torch.set_num_threads(threads)


def _run_job(job: Job, store: Path, out: Path, device: str, overwrite: bool) -> Ended:
    folder = out / job.place
    try:
        opened, (manifest, _) = _open(store, job.labels.planned_ns), job.labels.read()
        fold = make_fold(manifest, job.recipe.split, having(opened, job.recipe))
        found = state_of(folder, job.recipe, fold)
        if found == "finished" and not overwrite:
            return Ended(job.place, "kept")
        if found == "other" and not overwrite:
            raise RecipeError(
                "the folder holds a run of other labels, settings or splits; give --overwrite, or "
                "name another --out"
            )
        replacing = overwrite or found == "damaged"
        check_free(folder, replacing)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with training_of(folder, job.recipe, fold) as checkpoints:
            videos = load_fold(opened, job.recipe, fold, job.labels.manifest)
            files = job.labels.manifest, job.labels.pairs
            inputs = inputs_of(job.recipe, opened, fold, *files)
            run = train_run(job.recipe, fold, videos, Manner(device, "off"), checkpoints)
            write_run(run, folder, replacing, inputs)
    except DiskFullError:
        raise
    except UserError as error:
        return Ended(job.place, "failed", str(error))
    except _UNEXPECTED as error:  # the other runs are not to pay for what is wrong with this one
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(last.filename).name}:{last.lineno}"
        return Ended(job.place, "failed", f"{type(error).__name__} in {where}: {error}")
    return Ended(job.place, "trained")


def _killed(
    jobs: Iterable[Job], ended: Mapping[str, Ended], out: Path, deaths: dict[str, int]
) -> Iterator[Ended]:
    """Give up the runs that were in hand when a worker died, where it was not the first time."""
    for job in jobs:
        if job.place not in ended and unfinished_folder(out / job.place).exists():
            deaths[job.place] = deaths.get(job.place, 0) + 1
            if deaths[job.place] >= _DEATHS:
                reason = (
                    "its process was killed twice, perhaps for want of memory; give fewer --jobs"
                )
                yield Ended(job.place, "failed", reason)


def _write_plan(plan: Plan, out: Path, failed: Sequence[str] = ()) -> None:
    """Keep what belongs to the batch; a run that failed may have left another one in its place."""
    matrix = plan.matrix
    known = {
        "dataset": matrix.dataset,
        "tasks": matrix.tasks,
        "protocol": settings_of(matrix.protocol),
        "failed": sorted(failed),
        "rows": [
            {
                "title": recipe.title,
                "recipe": row.recipe,
                "runs": [job.place for job in jobs],
            }
            for recipe, row, jobs in zip(plan.rows, matrix.rows, plan.jobs, strict=True)
        ],
    }
    with write_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    write_json(out / BATCH, known)

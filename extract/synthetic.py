"""Generate a set of videos of known skill, with manifest, pairs and truth.

The set stands in for recordings where none are at hand: ``synthetic_plan`` scripts each
performance, ``synthetic_scene`` draws it, ``synthetic_kinematics`` measures it where two tools work
together, and this file chooses who performs how well and writes everything down.
"""

import csv
import itertools
import json
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from ..features.errors import UserError
from .synthetic_kinematics import HEADER, kinematics
from .synthetic_plan import Performance, plan
from .synthetic_scene import render

PERFORMANCES_PER_SUBJECT = 4
PAIR_MARGIN = 0.2
_TEST_SHARE = 0.3
# Skill of one subject's performances varies by this much either way.
_FORM = 0.12
# Streams of random numbers of the seed of a set; who performs how well takes the seed alone.
_SPLIT_STREAM, _SYNCHRONISATION_STREAM = 1, 2


class FolderTakenError(UserError):
    """The folder for the generated videos holds something already."""


class UnwritableError(UserError):
    """The generated videos cannot be written where they were asked for."""


def generate(
    folder: Path,
    count: int = 40,
    seed: int = 0,
    *,
    size: tuple[int, int] = (160, 120),
    fps: float = 10.0,
    margin: float = PAIR_MARGIN,
    second_agent: bool = False,
) -> list[Performance]:
    """Write a set of videos with its labels.

    The folder appears when it is complete. It holds ``videos/<id>.mp4``; ``manifest.csv`` with the
    columns id, path (from the folder), score, subject and split; ``pairs.csv`` with the columns
    better and worse; and ``truth.json`` with the skill, mistakes, tool path and peg paths of each
    video. Of a set with a second agent the manifest also has both parts of the skill, the truth
    has them and the path of the second tool, and ``kinematics/<id>.csv`` says what both tools do.

    Args:
        folder: must not exist, or be empty.
        count: number of videos, at least 2.
        seed: not negative; the same one gives the same set.
        size: width and height in pixels, both even.
        fps: frames a second.
        margin: pairs hold all videos whose skill differs by more than this.
        second_agent: whether a second tool assists the first.

    Returns:
        The performances in the order of the manifest.

    Raises:
        FolderTakenError: the folder holds something.
        UnwritableError: the disk is full, or the folder may not be written.
        ValueError: fewer than two videos, or a size or rate that cannot be drawn.
    """
    performances = draw_performances(count, seed, size=size, fps=fps, second_agent=second_agent)
    split = split_subjects(performances, seed)
    try:
        if folder.exists() and any(folder.iterdir()):
            raise FolderTakenError(f"{folder} is not empty; remove it or name another folder")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as aside:
            made = Path(aside) / "set"
            (made / "videos").mkdir(parents=True)
            for performance in performances:
                write_video(made / _video_path(performance), render(performance), fps)
            _write_manifest(made / "manifest.csv", performances, split)
            _write_rows(made / "pairs.csv", ("better", "worse"), _pairs(performances, margin))
            _write_truth(made / "truth.json", performances, seed, margin)
            if second_agent:
                (made / "kinematics").mkdir()
                for performance in performances:
                    rows = kinematics(performance).round(5).tolist()
                    _write_rows(made / "kinematics" / f"{performance.id}.csv", HEADER, rows)
            os.replace(made, folder)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UnwritableError(
            f"{folder} cannot be written ({reason}); free space or name another folder"
        ) from None
    return performances


def draw_performances(
    count: int,
    seed: int,
    *,
    size: tuple[int, int] = (160, 120),
    fps: float = 10.0,
    second_agent: bool = False,
) -> list[Performance]:
    """Script a set: subjects of every skill, each of whom performs a few times.

    Args:
        count: number of performances, at least 2.
        seed: not negative.
        size: width and height in pixels.
        fps: frames a second.
        second_agent: whether a second tool assists. How well it keeps to the first one is then a
            talent of its own: a subject's execution says nothing about it.

    Raises:
        ValueError: fewer than two, or a size or rate that cannot be drawn.
    """
    if count < 2:
        raise ValueError(f"count is {count}; a set needs at least 2 videos to compare")
    rng = np.random.default_rng(seed)
    subjects = max(2, round(count / PERFORMANCES_PER_SUBJECT))
    subject = np.arange(count) % subjects
    skill = _draw_talents(subject, subjects, rng)
    synchronisation: list[float | None] = [None] * count
    if second_agent:
        own = np.random.default_rng([seed, _SYNCHRONISATION_STREAM])
        synchronisation = list(_draw_talents(subject, subjects, own))
    seeds = rng.integers(2**31, size=count)
    digits = len(str(count - 1))
    return [
        plan(
            skill[number],
            int(seeds[number]),
            id=f"v{number:0{digits}}",
            subject=f"s{subject[number]:0{len(str(subjects - 1))}}",
            size=size,
            fps=fps,
            synchronisation=synchronisation[number],
        )
        for number in range(count)
    ]


def _draw_talents(
    subject: NDArray[np.int64], subjects: int, rng: np.random.Generator
) -> list[float]:
    """How well each performance goes: one subject from each of as many equal ranges, and their form."""
    talent = rng.permutation((np.arange(subjects) + rng.random(subjects)) / subjects)
    drawn = talent[subject] + rng.uniform(-_FORM, _FORM, len(subject))
    values: list[float] = drawn.clip(0, 1).round(4).tolist()
    return values


def write_video(
    path: Path, frames: Iterable[NDArray[np.uint8]], fps: float, *, draft: bool = False
) -> None:
    """Encode frames as they come, as H.264 where this FFmpeg can, else as MPEG-4.

    Args:
        path: file to write; its suffix names the container.
        frames: (H, W, 3) RGB, all of one even size, at least one.
        fps: frames a second.
        draft: encode fast and coarsely.

    Raises:
        OSError: the file cannot be written.
        ValueError: no frame, or an odd size.
    """
    stream_of_frames = iter(frames)
    first = next(stream_of_frames, None)
    if first is None or first.shape[0] % 2 or first.shape[1] % 2:
        found = "no frame" if first is None else f"frames of shape {first.shape}"
        raise ValueError(f"{found}; a video needs frames whose sides are even")
    rate = Fraction(fps).limit_denominator(1001)
    with av.open(str(path), "w") as container:
        stream = _add_stream(container, rate, draft)
        stream.height, stream.width = first.shape[:2]
        for number, image in enumerate(itertools.chain([first], stream_of_frames)):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def long_video(
    path: Path, seconds: float, fps: float = 25.0, size: tuple[int, int] = (320, 240)
) -> None:
    """Write a video of any length at little cost: one short performance, over and over.

    Only the frames of that performance are in memory.

    Args:
        path: file to write.
        seconds: its length.
        fps: frames a second.
        size: width and height in pixels, both even.

    Raises:
        OSError: the file cannot be written.
        ValueError: a size, rate or length that cannot be drawn.
    """
    loop = list(render(plan(skill=0.5, seed=0, size=size, fps=fps)))
    frames = itertools.islice(itertools.cycle(loop), round(seconds * fps))
    write_video(path, frames, fps, draft=True)


def _add_stream(container: OutputContainer, rate: Fraction, draft: bool) -> VideoStream:
    if "libx264" in av.codecs_available:
        options = {"preset": "ultrafast", "crf": "32"} if draft else {"crf": "18"}
        # Its rate control by macroblock trees gives other bytes once in a few thousand videos.
        options["x264-params"] = "mbtree=0"
        stream = container.add_stream("libx264", rate=rate, options=options)
    else:
        options = {"qmin": "12"} if draft else {"qmax": "4"}
        stream = container.add_stream("mpeg4", rate=rate, options=options)
    stream.pix_fmt = "yuv420p"
    # What H.264 writes depends on the number of threads: one gives the same file everywhere.
    stream.codec_context.thread_count = 1
    return stream


def split_subjects(performances: Sequence[Performance], seed: int) -> dict[str, str]:
    """Part of each subject: the test part takes one subject from each of equal ranges of skill."""
    rng = np.random.default_rng([seed, _SPLIT_STREAM])
    skills: dict[str, list[float]] = {}
    for performance in performances:
        skills.setdefault(performance.subject, []).append(performance.skill)
    ranked = sorted(skills, key=lambda subject: float(np.mean(skills[subject])))
    # Two subjects in each part at least: the performances of one are too alike to make pairs.
    least = 2 if len(ranked) >= 4 else 1
    ranges = np.array_split(ranked, max(least, round(_TEST_SHARE * len(ranked))))
    tested = {str(rng.choice(subjects)) for subjects in ranges}
    return {subject: "test" if subject in tested else "train" for subject in ranked}


def _video_path(performance: Performance) -> str:
    return f"videos/{performance.id}.mp4"


def _write_manifest(path: Path, performances: Sequence[Performance], split: dict[str, str]) -> None:
    parts = [f"score_{name}" for name in _parts(performances[0])]
    rows = [
        (p.id, _video_path(p), p.skill, *_parts(p).values(), p.subject, split[p.subject])
        for p in performances
    ]
    _write_rows(path, ("id", "path", "score", *parts, "subject", "split"), rows)


def _parts(performance: Performance) -> dict[str, float]:
    """The two parts of the skill; none where one tool is alone."""
    if performance.second is None:
        return {}
    second = performance.second.synchronisation
    return {"execution": performance.execution, "synchronisation": second}


def _pairs(performances: Sequence[Performance], margin: float) -> list[tuple[str, str]]:
    """Every (better, worse) that differ by more than the margin."""
    return [
        (better.id, worse.id)
        for better, worse in itertools.permutations(performances, 2)
        if better.skill - worse.skill > margin
    ]


def _write_rows(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _write_truth(path: Path, performances: Sequence[Performance], seed: int, margin: float) -> None:
    videos = {performance.id: _truth(performance) for performance in performances}
    path.write_text(json.dumps({"seed": seed, "margin": margin, "videos": videos}, indent=1))


def _truth(performance: Performance) -> dict[str, object]:
    """What is known of one video: times in seconds, places in pixels."""
    found: dict[str, object] = {
        "score": performance.skill,
        "subject": performance.subject,
        "seed": performance.seed,
        "fps": performance.fps,
        "duration_seconds": performance.duration_seconds,
        "mistakes": [asdict(mistake) for mistake in performance.mistakes],
        "tool_path": performance.tool_path.round(2).tolist(),
        "peg_paths": performance.peg_paths.round(2).tolist(),
    }
    if performance.second is not None:
        found["second_path"] = performance.second.path.round(2).tolist()
    return found | _parts(performance)

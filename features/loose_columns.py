"""What the columns of a lab's table are: recognised by the names that people give them.

The first name of a list that is there counts; a column that no rule takes is not used, and the
importer says so. Columns of several judges (``Judge 1``, ``Execution Judge 3``, ``sync score 2``) are
scores of parts each, and their mean is the score, or that of the execution or synchronisation, where no
column gives it.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .errors import ManifestError
from .loose_table import LooseTable
from .manifest import DEFAULT_SPLIT
from .table import shortened

# By meaning, plain names in order of preference.
_NAMES: dict[str, tuple[str, ...]] = {
    "path": (
        *("path", "file", "filename", "file_name", "file_path", "filepath"),
        *("video_path", "video_file", "video_filename", "video_file_name"),
    ),
    "id": (
        *("id", "video_id", "vid_id", "clip_id", "sample_id", "recording_id", "video", "vid"),
        *("clip", "recording", "sample", "performance", "video_name", "name"),
    ),
    "start": (
        *("start", "start_seconds", "start_second", "start_sec", "start_s", "start_time"),
        *("begin", "begin_time", "onset", "from"),
    ),
    "end": (
        *("end", "end_seconds", "end_second", "end_sec", "end_s", "end_time"),
        *("stop", "stop_time", "offset", "to"),
    ),
    "start_frame": ("start_frame", "startframe", "frame_start", "first_frame", "begin_frame"),
    "end_frame": ("end_frame", "endframe", "frame_end", "last_frame", "stop_frame"),
    "task": (
        *("task", "task_name", "activity", "exercise", "movement", "action", "sport"),
        *("event", "discipline"),
    ),
    "subject": (
        *("subject", "subject_id", "participant", "participant_id", "user", "user_id", "person"),
        *("surgeon", "operator", "performer", "player", "athlete", "diver", "infant", "child"),
        *("patient", "student", "trainee", "group", "group_id", "team"),
    ),
    "trial": ("trial", "trial_id", "repetition", "rep", "attempt", "take", "episode", "round"),
    "score": (
        *("score", "final_score", "total_score", "overall_score", "total", "grs", "rating"),
        *("overall", "grade", "mark", "points"),
    ),
    "difficulty": (
        *("difficulty", "degree_of_difficulty", "difficulty_degree", "difficulty_level", "dd"),
    ),
    "action_type": (
        *("action_type", "type", "variant", "technique", "dive", "dive_type", "dive_number"),
        *("dive_code", "procedure"),
    ),
}
_PART_NAMES = {
    **dict.fromkeys(("execution", "exec", "executions"), "execution"),
    **dict.fromkeys(
        ("synchronisation", "synchronization", "sync", "synchro", "synch"), "synchronisation"
    ),
}
_SCORE_WORDS = frozenset({
    "score", "scores", "rating", "ratings", "mark", "marks", "points",
    "judge", "judges", "rater", "raters", "annotator", "reviewer", "expert", "assessor", "evaluator",
})  # fmt: skip
_SPLIT = re.compile(r"(?:split|set|subset|partition|fold|folds|cv_fold)(?:_(.+))?")
# What people call the parts of a split.
PART_WORDS = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "development"), "val"),
    **dict.fromkeys(("test", "testing", "tst", "eval", "evaluation"), "test"),
}


@dataclass(frozen=True)
class Columns:
    """Which column is what, by plain name.

    Args:
        meanings: the column of ``id``, ``path``, ``score`` and so on.
        parts: the column of each part score, by its name; every judge's is one.
        means: columns of judges, by the part, or ``score``, whose value is their mean.
        splits: columns of splits and folds, and what they call the split; empty where nothing.
        unused: all others.
    """

    meanings: dict[str, str]
    parts: dict[str, str]
    means: dict[str, list[str]]
    splits: dict[str, str]
    unused: list[str]


def recognise(names: Iterable[str]) -> Columns:
    """Say what columns are.

    Args:
        names: plain names, see :func:`loose_table.plain_name`.
    """
    left = list(names)
    meanings: dict[str, str] = {}
    for meaning, known in _NAMES.items():
        there = [name for name in known if name in left]
        if there:
            meanings[meaning] = there[0]
            left.remove(there[0])
    if meanings.get("id") == "name" and "path" in meanings:
        left.append(meanings.pop("id"))  # whose name it is cannot be told
    found = Columns(meanings, {}, {}, split_columns(left), [])
    for name in left:
        if name not in found.splits:
            _enter_score(found, name)
    for part in [part for part in found.means if part in found.parts or part in meanings]:
        del found.means[part]
    return found


def split_columns(names: Iterable[str]) -> dict[str, str]:
    """Columns of splits and folds, and what they call the split; empty where nothing."""
    matches = {name: _SPLIT.fullmatch(name) for name in names}
    return {name: match[1] or "" for name, match in matches.items() if match}


def _enter_score(columns: Columns, name: str) -> None:
    """Enter a column as a part score, as that of a judge, or as unused."""
    words = name.split("_")
    numbers = [word for word in words if word.isdigit()]
    others = [word for word in words if word not in _SCORE_WORDS and word not in numbers]
    part = _PART_NAMES.get("_".join(others), "_".join(others))
    told = len(others) + len(numbers) < len(words) or part in _PART_NAMES.values()
    if told and len(numbers) == 1:
        columns.means.setdefault(part or "score", []).append(name)
        columns.parts[name] = name
    elif told and part and not numbers and part not in columns.parts:
        columns.parts[part] = name
    else:
        columns.unused.append(name)


def read_splits(table: LooseTable, splits: Mapping[str, str]) -> dict[str, list[str]]:
    """The part (or nothing) of each row in each split.

    A column of parts is one split. A column of numbers is of folds: each number is a split, whose rows
    test, and those with another number train.

    Args:
        table: that has them.
        splits: columns, and what they call the split.

    Raises:
        ManifestError: a column of something else, of one fold, or two of one name.
    """
    found: dict[str, list[str]] = {}
    for column, name in splits.items():
        # Data frames write whole numbers as 1.0 where a cell is empty.
        cells = [cells[column].lower().removesuffix(".0") for _, cells in table.rows]
        folds = sorted({cell for cell in cells if cell.isdecimal()}, key=int)
        new = (
            {f"{name}-{fold}" if name else fold: _fold(cells, fold) for fold in folds}
            if folds
            else {name or DEFAULT_SPLIT: [PART_WORDS.get(cell, "") for cell in cells]}
        )
        for (place, _), cell in zip(table.rows, cells, strict=True):
            if cell and cell not in (folds or PART_WORDS):
                raise ManifestError(
                    f"{place}: {shortened(table.written[column])} is {shortened(cell)}; write train, "
                    "val or test, or the number of a fold, in every cell, or rename the column"
                )
        if len(folds) == 1:
            raise ManifestError(
                f"{table.path}: {shortened(table.written[column])} has one fold, {folds[0]}; number "
                "two or more, or remove the column"
            )
        for split in new.keys() & found.keys():
            raise ManifestError(f"{table.path}: two columns give split '{split}'; rename one")
        found |= new
    return found


def _fold(cells: Iterable[str], fold: str) -> list[str]:
    return [("test" if cell == fold else "train") if cell else "" for cell in cells]

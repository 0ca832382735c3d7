"""Pairs as a lab writes them: the better and the worse one, or two and which of them is better.

Also lists of ``better worse`` in a file a part, ``train.txt``, or a fold and part,
``train_split1.txt``.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .errors import ManifestError
from .loose_columns import PART_WORDS, read_splits, split_columns
from .loose_table import LooseTable
from .manifest import DEFAULT_SPLIT, Pair
from .pair_lists import Listed, read_pair_list
from .table import shortened

_BETTER = ("better", "better_id", "better_video", "winner", "preferred", "higher")
_WORSE = ("worse", "worse_id", "worse_video", "loser", "lower")
_FIRST = ("first", "vid_1", "video_1", "id_1", "clip_1", "left", "a", "video_a", "vid_a", "clip_a")
_SECOND = (
    "second",
    "vid_2",
    "video_2",
    "id_2",
    "clip_2",
    "right",
    "b",
    "video_b",
    "vid_b",
    "clip_b",
)
_WHICH = ("best", "better", "winner", "preferred", "preference", "choice", "answer", "label")
_EQUAL = frozenset({"", "tie", "tied", "draw", "equal", "same", "similar", "neither", "both"})
_SIDES = {
    **dict.fromkeys(("1", "first", "left", "a"), 0),
    **dict.fromkeys(("2", "-1", "second", "right", "b"), 1),
}
_LIST = re.compile(r"([a-z]+?)(?:[_-]?(?:split|fold)?[_-]?([0-9]+))?\.txt")

# Of a place and a name there, the id of the video; raises ManifestError where there is none.
Resolve = Callable[[str, str], str]


@dataclass(frozen=True)
class PairColumns:
    """The columns of a table of pairs, by plain name.

    Args:
        first: one of the two videos; the better one where there is no ``which``.
        second: the other one.
        which: says which of them is better.
    """

    first: str
    second: str
    which: str | None = None


def pair_columns(names: Iterable[str]) -> PairColumns | None:
    """The columns that make a table one of pairs; None for any other table."""
    there = {*names}

    def named(known: Sequence[str]) -> str | None:
        return next((name for name in known if name in there), None)

    better, worse = named(_BETTER), named(_WORSE)
    if better and worse:
        return PairColumns(better, worse)
    first, second, which = named(_FIRST), named(_SECOND), named(_WHICH)
    return PairColumns(first, second, which) if first and second and which else None


def read_pairs(
    table: LooseTable, columns: PairColumns, resolve: Resolve
) -> tuple[list[Listed], int]:
    """Lines of a table of pairs: of all pairs, then of those in each split.

    Returns:
        The lines, and how many pairs were left out as neither video is better.

    Raises:
        ManifestError: a pair, or a split, that cannot be understood.
    """
    splits = read_splits(table, split_columns(table.written))
    sides = _sides(table, columns)
    lines: list[Listed] = []
    in_splits: list[Listed] = []
    for number, ((place, cells), side) in enumerate(zip(table.rows, sides, strict=True)):
        ids = [resolve(place, cells[column]) for column in (columns.first, columns.second)]
        if side is None:
            continue
        line = Listed(place, Pair(ids[side], ids[1 - side]))
        lines.append(line)
        for split, parts in splits.items():
            if parts[number]:
                in_splits.append(line._replace(split=split, part=parts[number]))
    return lines + in_splits, sides.count(None)


def _sides(table: LooseTable, columns: PairColumns) -> list[int | None]:
    """Which of both is better in each row, 0 or 1; None where neither is.

    Answers that could be names as well as sides, as where videos are called 1 and 2, are names.
    """
    if columns.which is None:
        return [0] * len(table.rows)
    answers = [cells[columns.which] for _, cells in table.rows]
    names = [{cells[columns.second]: 1, cells[columns.first]: 0} for _, cells in table.rows]
    # Among sides, 0 may be the second one as well; not so where that is told otherwise.
    zero = {"0"} if {"2", "-1"}.intersection(answers) else set[str]()
    with suppress(LookupError):
        return [_side(answer, own, {"0"}) for answer, own in zip(answers, names, strict=True)]
    with suppress(LookupError):
        return [_side(answer, _SIDES, zero) for answer in answers]
    place, wrong = next(
        (place, answer)
        for (place, _), answer, own in zip(table.rows, answers, names, strict=True)
        if answer not in own and answer.lower() not in _EQUAL
    )
    raise ManifestError(
        f"{place}: {shortened(table.written[columns.which])} is {shortened(wrong)}; write the better "
        "video in every row, or 1 and 2, and nothing where neither is better"
    )


def _side(answer: str, meanings: Mapping[str, int], equal: set[str]) -> int | None:
    side = meanings.get(answer, meanings.get(answer.lower()))
    if side is None and answer.lower() not in _EQUAL | equal:
        raise LookupError
    return side


def read_lists(folder: Path, resolve: Resolve) -> list[Listed]:
    """Lines of the lists in a folder or in ``splits`` below it, one file a part or a fold and part.

    Raises:
        ManifestError: two files of one part, or a line of fewer or more words.
    """
    found: dict[tuple[str, str], Path] = {}
    for path in sorted([*folder.glob("*.txt"), *folder.glob("splits/*.txt")]):
        named = _LIST.fullmatch(path.name.lower())
        if named is None or named[1] not in PART_WORDS:
            continue
        key = named[2] or DEFAULT_SPLIT, PART_WORDS[named[1]]
        if found.setdefault(key, path) != path:
            raise ManifestError(f"{found[key]} and {path} are of one part; remove one")
    return [
        line
        for (split, part), path in found.items()
        for line in read_list(path, resolve, split, part)
    ]


def read_list(path: Path, resolve: Resolve, split: str = "", part: str = "") -> list[Listed]:
    """Lines ``better worse`` of one list.

    Args:
        path: of it.
        resolve: see :data:`Resolve`.
        split: that it belongs to; empty for a list of all pairs.
        part: of the split.

    Raises:
        ManifestError: a line of fewer or more words.
    """
    return [_resolved(line, resolve) for line in read_pair_list(path, split, part)]


def _resolved(line: Listed, resolve: Resolve) -> Listed:
    return line._replace(pair=Pair(*(resolve(line.place, name) for name in line.pair)))

"""Pairs that a dataset publishes as several lists: one a fold and part, and one of them all."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from .errors import ManifestError
from .manifest import Pair
from .table import read_text, read_words, shortened


class Listed(NamedTuple):
    """One line of a list of pairs.

    Args:
        place: file and line, for messages.
        pair: that it lists.
        split: the list belongs to; empty for a list of all pairs.
        part: of the split.
    """

    place: str
    pair: Pair
    split: str = ""
    part: str = ""


class Merged(NamedTuple):
    """Pairs of several lists as a manifest holds them.

    Args:
        pairs: in the order in which they come first.
        splits: by name, the part of each pair; empty for a pair that no list of the split has.
    """

    pairs: tuple[Pair, ...]
    splits: dict[str, tuple[str, ...]]


def read_pair_list(path: Path, split: str, part: str) -> list[Listed]:
    """Read lines ``better worse``.

    Raises:
        ManifestError: no such file, or a line of fewer or more words.
    """
    rows = read_words(path, read_text(path)).rows
    return [
        Listed(place, Pair(cells["better"], cells["worse"]), split, part) for place, cells in rows
    ]


def merge(lists: Iterable[Listed]) -> Merged:
    """Put lists together, so that each pair is there as often as one split (or the list of all) has it.

    The second time that a split lists a pair is taken for the second time that the others do.

    Raises:
        ManifestError: a video paired with itself, a pair and its reverse, or a pair in two parts of
            one split.
    """
    held: dict[Pair, list[int]] = {}
    first: dict[Pair, Listed] = {}
    part_of: dict[tuple[str, Pair], Listed] = {}
    times = Counter[tuple[str, Pair]]()
    pairs: list[Pair] = []
    parts: dict[str, dict[int, str]] = {}
    for line in lists:
        _check(line, first)
        first.setdefault(line.pair, line)
        _check_part(line, part_of.setdefault((line.split, line.pair), line))
        numbers = held.setdefault(line.pair, [])
        time = times[line.split, line.pair]
        times[line.split, line.pair] += 1
        if time == len(numbers):
            numbers.append(len(pairs))
            pairs.append(line.pair)
        if line.split:
            parts.setdefault(line.split, {})[numbers[time]] = line.part
    return Merged(
        tuple(pairs),
        {
            split: tuple(cells.get(number, "") for number in range(len(pairs)))
            for split, cells in parts.items()
        },
    )


def _check(line: Listed, first: dict[Pair, Listed]) -> None:
    better, worse = line.pair
    if better == worse:
        raise ManifestError(f"{line.place}: pairs {shortened(better)} with itself; remove the line")
    reverse = first.get(Pair(worse, better))
    if reverse is not None:
        raise ManifestError(
            f"{line.place}: {shortened(better)} better than {shortened(worse)} is the reverse of "
            f"{reverse.place}; remove one"
        )


def _check_part(line: Listed, earlier: Listed) -> None:
    if line.part != earlier.part:
        raise ManifestError(
            f"{line.place}: {shortened(line.pair.better)} better than "
            f"{shortened(line.pair.worse)} is for {line.part}, but for {earlier.part} in "
            f"{earlier.place}; remove one"
        )


def repetitions(pairs: Sequence[Pair], most: int = 3) -> list[str]:
    """A sentence on the pairs that are there more than once, if any; it names ``most`` of them."""
    times = [(pair, number) for pair, number in Counter(pairs).items() if number > 1]
    named = [
        f"{shortened(better)} better than {shortened(worse)} ({number} times)"
        for (better, worse), number in times[:most]
    ]
    if len(times) > most:
        named.append(f"and {len(times) - most} more")
    return [f"listed more than once, and count as often: {', '.join(named)}"] if named else []

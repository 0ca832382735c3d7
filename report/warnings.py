"""What a reader must know before trusting the numbers of a run, a sentence each.

None without a cause: a large and clean run has none.
"""

from collections.abc import Iterator, Sequence

from ..models.recipe import Recipe
from ..models.result import CONTROL
from ..models.row import Row
from ..models.run import has_epochs
from .cells import counted, interval

_CHANCE = 0.5
# Below, one video in another place moves the accuracy by several hundredths.
_FEW_VIDEOS = 20
_FEW_PAIRS = 50
# Deviation of the accuracy over seeds from which one seed says little about another.
_SEEDS_DIFFER = 0.05
_SHUFFLED = (
    "This run is itself a control: it learned from shuffled labels, so its scores, ranks and moments "
    "mean nothing."
)


def warnings_of(own: Row, controls: Sequence[Row], recipe: Recipe) -> list[str]:
    """On the numbers of a run, what is worst first.

    Args:
        own: row of the run.
        controls: rows that look at no video, or that learned from shuffled labels, on the same test.
        recipe: of the run.
    """
    test = [*_shared(own), *_few(own), *_lost(own), *_ties(own)]
    if recipe.shuffled:  # to be no better than chance, and to differ by seed, is what it is for
        return [_SHUFFLED, *_seen(own), *test]
    doubts = [*_by_chance(own), *_as_well(own, controls), *_seen(own), *_close(own, controls)]
    return [*doubts, *test, *_seeds(own, recipe)]


def _by_chance(own: Row) -> Iterator[str]:
    low, high = own.interval
    if own.accuracy <= _CHANCE or low <= _CHANCE:
        how = "is" if own.accuracy <= _CHANCE else "may be"
        ends = interval((low, high))
        known = f"; its 95 % interval is {ends}" if ends else ""
        yield f"The accuracy, {own.accuracy:.3f}, {how} no better than a coin's 0.5{known}."
    elif own.subject_interval[0] <= _CHANCE:
        yield (
            f"For other subjects the accuracy, {own.accuracy:.3f}, may be no better than a coin's "
            f"0.5; its 95 % interval over subjects is {interval(own.subject_interval)}."
        )


def _as_well(own: Row, controls: Sequence[Row]) -> Iterator[str]:
    better = [row for row in controls if row.accuracy >= own.accuracy]
    if better:
        yield (
            f"{_named(better)} {_do(better)} at least as well as this run, {own.accuracy:.3f}, without "
            "learning skill from the videos; so the run need not have learned any."
        )


def _close(own: Row, controls: Sequence[Row]) -> Iterator[str]:
    least = max(own.interval[0], _CHANCE)
    close = [row for row in controls if least <= row.accuracy < own.accuracy]
    if close:
        verb = "learns" if len(close) == 1 else "learn"
        yield (
            f"{_named(close)} {verb} no skill from the videos and yet lie{'s' * (len(close) == 1)} "
            f"within the 95 % interval of this run's {own.accuracy:.3f}, {interval(own.interval)}: the "
            "test videos are too few to tell them apart."
        )


def _named(rows: Sequence[Row]) -> str:
    """Names and accuracies, the best first; the first letter is a capital one."""
    ordered = sorted(rows, key=lambda row: -row.accuracy)
    words = [f"'{row.name.removeprefix(CONTROL)}' ({row.accuracy:.3f})" for row in ordered]
    if len(words) == 1:
        return f"The control {words[0]}"
    return f"The controls {', '.join(words[:-1])} and {words[-1]}"


def _do(rows: Sequence[Row]) -> str:
    return "does" if len(rows) == 1 else "do"


def _seen(own: Row) -> Iterator[str]:
    if own.seen_test_pairs:
        others = own.test_pairs - own.seen_test_pairs
        alone = (
            f" on the other {others} it is {own.seen_none:.3f}" if others else " no other is left"
        )
        yield (
            f"{own.seen_test_pairs} of {counted(own.test_pairs, 'test pair')} hold a video that also "
            f"trained or chose the epoch, which flatters the accuracy;{alone}."
        )


def _shared(own: Row) -> Iterator[str]:
    if own.shared_subjects:
        both = (
            "both trains and is tested" if own.shared_subjects == 1 else "both train and are tested"
        )
        yield (
            f"{counted(own.shared_subjects, 'subject')} {both}; the accuracy on somebody new may be "
            "lower."
        )


def _few(own: Row) -> Iterator[str]:
    if own.test_videos < _FEW_VIDEOS or own.test_pairs < _FEW_PAIRS:
        ends = interval(own.interval)
        wide = f": the 95 % interval goes from {ends}" if ends else ""
        yield (
            f"Few were tested, {counted(own.test_videos, 'video')} and "
            f"{counted(own.test_pairs, 'pair')}, so the accuracy is rough{wide}."
        )


def _lost(own: Row) -> Iterator[str]:
    videos, pairs = own.dropped_videos, own.dropped_pairs
    if videos + pairs:
        lost = [f"{counted(videos, 'video')} without features"] * bool(videos)
        lost += [counted(pairs, "pair")] * bool(pairs)
        verb = "was" if videos + pairs == 1 else "were"
        yield (
            f"{' and '.join(lost)} {verb} left out; if these were the hard ones, the accuracy is "
            "flattering."
        )
    if own.missing:
        verb = "is" if own.missing == 1 else "are"
        yield f"{counted(own.missing, 'training')} {verb} not there, so the means are over fewer."


def _ties(own: Row) -> Iterator[str]:
    if own.ties > 0:
        yield (
            f"{own.ties:.1%} of the test pairs have equal scores, which count as wrong: the model "
            "cannot tell these videos apart."
        )


def _seeds(own: Row, recipe: Recipe) -> Iterator[str]:
    if own.seeds == 1 and has_epochs(recipe):
        yield (
            "It was trained once, with one seed; another seed gives other numbers, and nobody knows "
            "how different."
        )
    elif own.accuracy_sd >= _SEEDS_DIFFER:
        yield (
            f"Trainings that differ by the seed alone differ much: the accuracy's deviation over "
            f"{own.seeds} seeds is {own.accuracy_sd:.3f}."
        )

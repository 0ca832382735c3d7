from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aqakit.features.errors import ManifestError
from aqakit.features.manifest import Pair
from aqakit.features.pair_lists import Listed, Merged, merge, read_pair_list, repetitions

AB, AC, BC = Pair("a", "b"), Pair("a", "c"), Pair("b", "c")


def lines(*listed: tuple[Pair, str, str]) -> list[Listed]:
    return [Listed(f"line {n}", *line) for n, line in enumerate(listed, 1)]


def error_of(listed: list[Listed]) -> str:
    with pytest.raises(ManifestError) as caught:
        merge(listed)
    return str(caught.value)


def test_a_list_of_all_pairs_gives_the_order_and_splits_their_parts() -> None:
    listed = lines(
        *((AB, "", ""), (AC, "", ""), (BC, "", "")),
        *((BC, "1", "train"), (AB, "1", "test"), (AC, "2", "test")),
    )
    assert merge(listed) == Merged(
        (AB, AC, BC), {"1": ("test", "", "train"), "2": ("", "test", "")}
    )


def test_without_a_list_of_all_pairs_come_in_the_order_of_the_splits() -> None:
    merged = merge(lines((BC, "1", "train"), (AB, "1", "test"), (AC, "2", "test")))
    assert merged == Merged((BC, AB, AC), {"1": ("train", "test", ""), "2": ("", "", "test")})
    assert merge([]) == Merged((), {})


def test_a_pair_is_there_as_often_as_the_list_that_has_it_most_often() -> None:
    listed = lines(
        *((AB, "", ""), (AB, "", ""), (AC, "", "")),
        *((AB, "1", "train"), (AC, "1", "test")),
        *((AB, "2", "test"), (AB, "2", "test"), (AB, "2", "test")),
    )
    assert merge(listed) == Merged(
        (AB, AB, AC, AB), {"1": ("train", "", "test", ""), "2": ("test", "test", "", "test")}
    )


PAIRS = st.sampled_from([AB, AC, BC, Pair("d", "a"), Pair("d", "b")])


@given(
    st.lists(PAIRS, max_size=6),
    st.dictionaries(
        st.sampled_from("123"),
        st.tuples(
            st.dictionaries(PAIRS, st.sampled_from(["train", "test"])),
            st.lists(PAIRS, max_size=8),
        ),
    ),
)
def test_nothing_is_lost_and_nothing_added(
    everything: list[Pair], splits: dict[str, tuple[dict[Pair, str], list[Pair]]]
) -> None:
    listed = [Listed("place", pair) for pair in everything]
    listed += [
        Listed("place", pair, split, parts.get(pair, "train"))
        for split, (parts, pairs) in splits.items()
        for pair in pairs
    ]
    merged = merge(listed)
    wanted = Counter((line.split, line.pair, line.part) for line in listed if line.split)
    found = Counter(
        (split, pair, part)
        for split, parts in merged.splits.items()
        for pair, part in zip(merged.pairs, parts, strict=True)
        if part
    )
    assert found == wanted
    times = Counter(merged.pairs)
    for pair in {line.pair for line in listed}:
        by_list = Counter(line.split for line in listed if line.pair == pair)
        assert times[pair] == max(by_list.values())
    assert times.keys() == {line.pair for line in listed}


def test_a_pair_and_its_reverse_are_told_with_both_places() -> None:
    message = error_of(lines((AB, "1", "train"), (AB, "", ""), (Pair("b", "a"), "2", "test")))
    assert message == "line 3: 'b' better than 'a' is the reverse of line 1; remove one"


def test_a_video_paired_with_itself() -> None:
    assert error_of(lines((Pair("a", "a"), "", ""))) == (
        "line 1: pairs 'a' with itself; remove the line"
    )


def test_a_pair_in_two_parts_of_a_split_would_train_and_test() -> None:
    assert merge(lines((AB, "1", "train"), (AB, "2", "test"))).pairs == (AB,)
    assert error_of(lines((AB, "1", "train"), (AC, "1", "test"), (AB, "1", "test"))) == (
        "line 3: 'a' better than 'b' is for test, but for train in line 1; remove one"
    )


def test_lists_of_words(tmp_path: Path) -> None:
    path = tmp_path / "train.txt"
    path.write_text("-a_ b \n\nc -a_\n")
    assert read_pair_list(path, "1", "train") == [
        Listed(f"{path}, line 1", Pair("-a_", "b"), "1", "train"),
        Listed(f"{path}, line 3", Pair("c", "-a_"), "1", "train"),
    ]
    path.write_text("a b c\n")
    with pytest.raises(ManifestError, match="line 1: 3 words"):
        read_pair_list(path, "1", "train")


def test_repetitions_are_counted_and_a_few_are_named() -> None:
    assert repetitions([AB, AC]) == []
    assert repetitions([AB, AC, AB, AB, AC]) == [
        (
            "listed more than once, and count as often: 'a' better than 'b' (3 times), 'a' better "
            "than 'c' (2 times)"
        )
    ]
    assert repetitions([AB, AB, AC, AC], most=1)[0].endswith("(2 times), and 1 more")
    assert repetitions([AB, AC, AB, AC, BC, BC], most=1) == [
        "listed more than once, and count as often: 'a' better than 'b' (2 times), and 2 more"
    ]

import math
from types import SimpleNamespace

import pytest

from aqakit.models.ranges import (
    LARGEST,
    require_bounded,
    require_counts,
    require_not_negative,
    require_positive,
)

OPTIONS = SimpleNamespace(
    none=0, one=1, negative=-0.5, half=0.5, huge=2 * LARGEST, endless=math.inf, nan=math.nan
)


def test_what_is_inside_passes() -> None:
    require_counts(OPTIONS, "one")
    require_counts(OPTIONS, "none", "one", least=0)
    require_bounded(OPTIONS, "none", "half")
    require_bounded(OPTIONS, "half", positive=True)
    require_positive(OPTIONS, "half", "huge")
    require_not_negative(OPTIONS, "none", "huge")


@pytest.mark.parametrize(
    ("check", "name", "words"),
    [
        (require_counts, "none", "none is 0; it must be at least 1"),
        (require_bounded, "negative", "negative is -0.5; it must be from 0 to 1e+09"),
        (require_bounded, "huge", "huge is 2000000000.0; it must be from 0 to 1e+09"),
        (require_bounded, "nan", "nan is nan; it must be from 0 to 1e+09"),
        (require_positive, "none", "none is 0; it must be positive and finite"),
        (require_positive, "endless", "endless is inf; it must be positive and finite"),
        (require_positive, "nan", "nan is nan; it must be positive and finite"),
        (require_not_negative, "negative", "negative is -0.5; it must be finite and not negative"),
        (require_not_negative, "endless", "endless is inf; it must be finite and not negative"),
        (require_not_negative, "nan", "nan is nan; it must be finite and not negative"),
    ],
)
def test_what_is_outside_is_named_with_its_value(check: object, name: str, words: str) -> None:
    with pytest.raises(ValueError) as caught:
        check(OPTIONS, "one", name)  # type: ignore[operator]
    assert str(caught.value) == words


def test_the_lower_end_may_be_moved() -> None:
    with pytest.raises(ValueError, match="one is 1; it must be at least 2"):
        require_counts(OPTIONS, "one", least=2)
    with pytest.raises(ValueError, match="none is 0; it must be positive"):
        require_bounded(OPTIONS, "none", positive=True)

"""What a user names: a head with its defaults, or a row of a paper's recipe file with all its numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..features.errors import RecipeError
from .head import Fitting
from .recipe import NO_FITTING
from .recipe_file import find_row


@dataclass(frozen=True)
class Choice:
    """A head, and what comes with it.

    Args:
        head: its name.
        options: that are not its defaults.
        fitting: what deep heads share.
        features: ``ROLE=KEY`` of what the paper used, where KEY is the beginning of one.
        label_range: least and greatest label; None where nobody says.
    """

    head: str
    options: Mapping[str, Any] = field(default_factory=dict)
    fitting: Fitting = NO_FITTING
    features: tuple[str, ...] = ()
    label_range: tuple[float, float] | None = None


def choose(head: str, recipe: str) -> Choice:
    """The one of the two that is named.

    Args:
        head: name of a head; empty for none.
        recipe: ``PAPER/ROW``; empty for none.

    Raises:
        RecipeError: both or neither, or a row that does not exist or cannot be trained.
    """
    if bool(head) == bool(recipe):
        raise RecipeError("name a head or a recipe, and not both")
    if head:
        return Choice(head)
    row = find_row(recipe)
    if not row.head:
        raise RecipeError(f"{recipe} cannot be trained: {row.not_run}")
    features = tuple(f"{role}={key}" for role, key in row.features.items())
    return Choice(row.head, row.options, row.fitting, features, row.label_range)

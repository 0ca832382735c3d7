"""Everything that one row of a table needs, apart from the videos."""

import dataclasses
import json
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from ..features import plugins
from ..features.errors import RecipeError
from ..features.spec import FeatureKey
from .head import HEADS, Head

_WORDS_FOR_BOOL = {"true": True, "false": False}


@dataclass(frozen=True)
class Recipe:
    """What is trained on what, and how often.

    Args:
        head: name of a file in ``heads/``.
        feature: key of the cached feature.
        split: name of the manifest's split.
        seeds: one training each.
        options: of the head, all of them.
        shuffled: train on labels turned into noise; a control.
    """

    head: str
    feature: FeatureKey
    split: str
    seeds: tuple[int, ...]
    options: Mapping[str, Any]
    shuffled: bool = False

    @classmethod
    def make(
        cls,
        head: str,
        feature: FeatureKey,
        split: str,
        seeds: Sequence[int],
        settings: Sequence[str] = (),
        shuffled: bool = False,
    ) -> "Recipe":
        """A recipe from the words of a user.

        Args:
            head: name of a head.
            feature: key of a cached feature.
            split: name of a split.
            seeds: at least one.
            settings: ``OPTION=VALUE`` each; other options keep their defaults.
            shuffled: train on noise.

        Raises:
            RecipeError: an unknown head or option, or a value that does not fit.
        """
        if not seeds:
            raise RecipeError("no seeds; give --seeds 1 or more")
        options = _read_settings(_module(head), head, settings)
        return cls(head, feature, split, tuple(seeds), dataclasses.asdict(options), shuffled)

    def build(self, seed: int, device: str) -> Head:
        """The head, not trained yet.

        Raises:
            RecipeError: unknown head or options.
        """
        module = _module(self.head)
        head: Head = module.build(_options(module, self.head, self.options), seed, device)
        return head

    def to_json(self) -> str:
        """Readable JSON; :meth:`from_json` reads it back."""
        return json.dumps(dataclasses.asdict(self), indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Recipe":
        """Read :meth:`to_json` back.

        Raises:
            RecipeError: an unknown or a missing entry, head or option.
        """
        try:
            values = json.loads(text)
            recipe = cls(**{**values, "seeds": tuple(values["seeds"])})
        except (ValueError, TypeError, KeyError) as error:
            raise RecipeError(f"not a recipe: {error}; train the run again") from None
        _options(_module(recipe.head), recipe.head, recipe.options)
        return recipe


def _module(head: str) -> ModuleType:
    return plugins.load(HEADS, head)


def _read_settings(module: ModuleType, head: str, settings: Sequence[str]) -> Any:
    types = typing.get_type_hints(module.Options)
    options: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise RecipeError(f"--set {setting}: write OPTION=VALUE, for example --set epochs=50")
        _known(head, name, types)
        options[name] = _value(name, text, types[name])
    return _options(module, head, options)


def _options(module: ModuleType, head: str, options: Mapping[str, Any]) -> Any:
    types = typing.get_type_hints(module.Options)
    for name in options:
        _known(head, name, types)
    try:
        return module.Options(**options)
    except ValueError as error:
        raise RecipeError(f"{head}: {error}") from None


def _known(head: str, name: str, types: Mapping[str, Any]) -> None:
    if name not in types:
        raise RecipeError(f"{head} has no option '{name}'; it has: {', '.join(types)}")


def _value(name: str, text: str, kind: Any) -> Any:
    """The text as the type that an option has: int, float, bool or one of some words."""
    words = typing.get_args(kind)
    if words:
        if text in words:
            return text
        raise RecipeError(f"{name} is '{text}'; choose one of: {', '.join(words)}")
    try:
        return _WORDS_FOR_BOOL[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError):
        expected = {bool: "true or false", int: "a whole number", float: "a number"}[kind]
        raise RecipeError(f"{name} is '{text}'; it must be {expected}") from None

"""Everything that one row of a table needs, apart from the videos."""

import dataclasses
import json
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from ..features import plugins
from ..features.errors import RecipeError
from ..features.spec import FeatureKey
from .head import HEADS, Fitting, Head, Role

NO_FITTING = Fitting()
_WORDS_FOR_BOOL = {"true": True, "false": False}
_EXPECTED = {bool: "true or false", int: "a whole number", float: "a number"}


@dataclass(frozen=True)
class Recipe:
    """What is trained on what, and how often.

    Args:
        head: name of a file in ``heads/``.
        features: keys of the cached features by the role that each has in the head.
        split: name of the manifest's split.
        seeds: one training each.
        options: of the head, all of them.
        shuffled: train on labels turned into noise; a control.
        fitting: what all deep heads share of their training.
        start_from: run folder whose weights are the initial ones; empty for random ones.
        name: of the row that it makes in a table; empty for that of the head.
        task: whose videos alone it is about; empty for all.
        label_range: least and greatest score that the labels allow; None where nobody says.
    """

    head: str
    features: Mapping[str, FeatureKey]
    split: str
    seeds: tuple[int, ...]
    options: Mapping[str, Any]
    shuffled: bool = False
    fitting: Fitting = NO_FITTING
    start_from: str = ""
    name: str = ""
    task: str = ""
    label_range: tuple[float, float] | None = None

    @property
    def title(self) -> str:
        """The name of its row."""
        return (self.name or self.head) + " (labels shuffled)" * self.shuffled

    @property
    def scaled(self) -> bool:
        """Whether the head's scores are on the scale of the labels."""
        return bool(_module(self.head).LEARNS_FROM == "scores")

    @property
    def feature_text(self) -> str:
        """The keys of all features, but for altered versions of one."""
        keys = [key for role, key in self.features.items() if not role.startswith("variant-")]
        return " + ".join(keys)

    @classmethod
    def make(
        cls,
        head: str,
        features: Mapping[str, FeatureKey],
        split: str,
        seeds: Sequence[int],
        settings: Sequence[str] = (),
        options: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> "Recipe":
        """A recipe from the words of a user.

        Args:
            head: name of a head.
            features: keys of cached features by role, as from :func:`assign_roles`.
            split: name of a split.
            seeds: at least one.
            settings: ``OPTION=VALUE`` each.
            options: of the head, over which the settings go; others keep their defaults.
            more: further fields of a recipe.

        Raises:
            RecipeError: an unknown head or option, or a value that does not fit.
        """
        if not seeds:
            raise RecipeError("no seeds; give --seeds 1 or more")
        module = _module(head)
        given = {**typed_options(head, options or {}), **_read_settings(module, head, settings)}
        chosen = dataclasses.asdict(_options(module, head, given))
        return cls(head, dict(features), split, tuple(seeds), chosen, **more)

    def used(self) -> tuple[dict[str, FeatureKey], dict[str, FeatureKey]]:
        """The features that scoring a video takes, and those that only training videos need.

        Raises:
            RecipeError: the head with these options needs a feature that is not given.
        """
        roles = {role.name: role for role in self.build(self.seeds[0], "cpu").roles}
        missing = [r for r in roles.values() if not (r.optional or r.name in self.features)]
        if missing:
            raise RecipeError(
                f"{self.head} with these options needs {_listed(missing)}; give each as --feature "
                "ROLE=KEY"
            )
        scoring: dict[str, FeatureKey] = {}
        training: dict[str, FeatureKey] = {}
        for name, key in self.features.items():
            role = roles.get(name) or roles.get(name.rpartition("-")[0])
            if role is not None:
                (training if role.many else scoring)[name] = key
        return scoring, training

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
            fitting = Fitting(**values["fitting"])
            for name in ("seeds", "label_range"):
                values[name] = values[name] and tuple(values[name])
            recipe = cls(**{**values, "fitting": fitting})
            # An option that is newer than the run has its default.
            options = _options(_module(recipe.head), recipe.head, recipe.options)
            recipe = dataclasses.replace(recipe, options=dataclasses.asdict(options))
        except (ValueError, TypeError, KeyError) as error:
            raise RecipeError(f"not a recipe: {error}; train the run again") from None
        return recipe


def roles_of(head: str) -> tuple[Role, ...]:
    """The features that a head looks at.

    Raises:
        RecipeError: no such head.
    """
    roles: tuple[Role, ...] = _module(head).ROLES
    return roles


def assign_roles(
    head: str, words: Sequence[str], find_key: Callable[[str], FeatureKey]
) -> dict[str, FeatureKey]:
    """Which stored feature has which role in a head.

    Args:
        head: its name.
        words: ``ROLE=KEY`` each, or ``KEY`` alone: it has the role of its stream's name where the
            head has one of ``rgb`` and ``flow``, else the first. A role of many may come again.
        find_key: gives the one key that is meant.

    Raises:
        RecipeError: an unknown role, one twice, or one that is missing.
        StoreError: no such feature.
    """
    roles = {role.name: role for role in roles_of(head)}
    found: dict[str, FeatureKey] = {}
    for word in words:
        name, equals, text = word.rpartition("=")
        key = find_key(text)
        if not equals:
            stream = key.split(".")[1]
            name = stream if stream in roles else next(iter(roles))
        if name not in roles:
            raise RecipeError(f"{head} has no feature '{name}'; it has: {_listed(roles.values())}")
        if roles[name].many:
            name = f"{name}-{1 + sum(role.startswith(f'{name}-') for role in found)}"
        if name in found:
            raise RecipeError(
                f"{head}: {name} is given twice, as {found[name]} and {key}; leave one out, or say "
                f"which is what: {_listed(roles.values())}"
            )
        found[name] = key
    missing = [role for role in roles.values() if not role.optional and role.name not in found]
    if missing or not found:
        raise RecipeError(
            f"{head} needs {_listed(missing or roles.values())}; give each as --feature ROLE=KEY"
        )
    order = list(roles)
    return dict(sorted(found.items(), key=lambda item: order.index(item[0].split("-")[0])))


def _listed(roles: Iterable[Role]) -> str:
    return ", ".join(f"{role.name} ({role.meaning})" for role in roles)


def _module(head: str) -> ModuleType:
    return plugins.load(HEADS, head)


def typed_options(head: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options from a file, each of the type that it has in the head.

    Raises:
        RecipeError: an unknown head or option, or a value of another type.
    """
    types = typing.get_type_hints(_module(head).Options)
    for name in options:
        _known(head, name, types)
    return {name: _typed(name, value, types[name]) for name, value in options.items()}


def _typed(name: str, value: Any, kind: Any) -> Any:
    words = typing.get_args(kind)
    if words:
        return _value(name, str(value), kind)
    fits = isinstance(value, int | float if kind is float else kind)
    if not fits or isinstance(value, bool) != (kind is bool):
        raise RecipeError(f"{name} is {value!r}; it must be {_EXPECTED[kind]}")
    return kind(value)


def _read_settings(module: ModuleType, head: str, settings: Sequence[str]) -> dict[str, Any]:
    types = typing.get_type_hints(module.Options)
    options: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise RecipeError(f"--set {setting}: write OPTION=VALUE, for example --set epochs=50")
        _known(head, name, types)
        options[name] = _value(name, text, types[name])
    return options


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
        raise RecipeError(f"{name} is '{text}'; it must be {_EXPECTED[kind]}") from None

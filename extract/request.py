"""From what a user asks for, ``i3d:logits@steps-10x16``, to features that can be extracted."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from ..features import plugins
from ..features.errors import RecipeError, WeightsError
from ..features.segments import Sampling
from ..features.spec import FeatureSpec, Precision
from . import weights
from .backbone import Backbone, BackboneInfo, Setup
from .transforms import PRESETS, Preset

BACKBONES = f"{__package__}.backbones"
_REQUEST = re.compile(
    r"(?P<backbone>[\w-]+)(:(?P<layer>[\w-]+))?(@(?P<sampling>[^/]+))?(/(?P<preset>[\w-]+))?"
)


@dataclass(frozen=True)
class Feature:
    """A feature to extract.

    Args:
        spec: what it is.
        module: the backbone's file.
        setup: how to build the backbone; done when the first video needs it.
    """

    spec: FeatureSpec
    module: ModuleType
    setup: Setup

    @property
    def preset(self) -> Preset:
        """The preprocessing of its frames."""
        return PRESETS[self.spec.preset]

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one unit's values."""
        return tuple(self.module.INFO.layers[self.spec.layer])

    @cached_property
    def backbone(self) -> Backbone:
        """The network or algorithm itself."""
        built: Backbone = self.module.build(self.setup)
        return built


class _WeightsAsked(NamedTuple):
    """What ``--weights`` says: a word for each backbone named, and one for all others."""

    by_backbone: dict[str, str]
    for_all: str | None


def plan_features(
    requests: Sequence[str],
    weights_asked: Sequence[str] = (),
    precision: Precision = "float32",
    device: str = "cpu",
) -> list[Feature]:
    """Features in the order asked, each once.

    Args:
        requests: ``BACKBONE[:LAYER][@SAMPLING][/PRESET]`` each.
        weights_asked: ``PATH`` or ``random`` for the network, or ``BACKBONE=PATH`` and
            ``BACKBONE=random`` where there are several.
        precision: of stored values.
        device: a torch device.

    Raises:
        RecipeError: an unknown backbone, layer, sampling or preset.
        WeightsError: weights are missing, or named for a backbone that was not asked for.
    """
    parsed = [_parse(request) for request in requests]
    networks = {name for name, info, _ in parsed if info.checkpoints}
    asked = _weights_asked(weights_asked, networks)
    features: dict[str, Feature] = {}
    for name, info, words in parsed:
        preset = words["preset"] or info.presets[0]
        setup = _setup(name, info, preset, asked, device)
        spec = FeatureSpec(
            backbone=name,
            stream=info.stream,
            layer=words["layer"] or next(iter(info.layers)),
            sampling=Sampling.parse(words["sampling"]) if words["sampling"] else info.sampling,
            preset=preset,
            weights=weights.identity(setup),
            precision=precision,
            version=info.version,
        )
        module = plugins.load(BACKBONES, name)
        features.setdefault(spec.key, Feature(spec, module, setup))
    return list(features.values())


def _parse(request: str) -> tuple[str, BackboneInfo, dict[str, str | None]]:
    match = _REQUEST.fullmatch(request)
    if match is None:
        raise RecipeError(
            f"'{request}' is no feature; write BACKBONE[:LAYER][@SAMPLING][/PRESET], for example "
            "i3d:logits@steps-10x16"
        )
    words = match.groupdict()
    name = str(words["backbone"])
    info: BackboneInfo = plugins.load(BACKBONES, name).INFO
    _one_of(words["layer"], info.layers, f"{name} has no layer")
    _one_of(words["preset"], info.presets, f"{name} has no preset")
    sampling = Sampling.parse(words["sampling"]) if words["sampling"] else info.sampling
    if info.stream == "flow" and sampling.frames < 2:
        raise RecipeError(f"{name} needs flow, so '{request}' needs units of at least 2 frames")
    return name, info, words


def _one_of(word: str | None, known: Iterable[str], complaint: str) -> None:
    if word is not None and word not in known:
        raise RecipeError(f"{complaint} '{word}'; choose one of: {', '.join(known)}")


def _weights_asked(words: Sequence[str], networks: set[str]) -> _WeightsAsked:
    by_backbone: dict[str, str] = {}
    for_all: str | None = None
    for word in words:
        name, equals, value = word.partition("=")
        if equals and name in plugins.names(BACKBONES):
            if name not in networks:
                raise WeightsError(f"--weights {word}: {name} is not among the networks asked for")
            by_backbone[name] = value
        elif for_all is not None:
            raise WeightsError(f"--weights {word}: write BACKBONE={word} to tell it from {for_all}")
        else:
            for_all = word
    others = networks - by_backbone.keys()
    if for_all not in (None, "random") and len(others) != 1:
        raise WeightsError(
            f"--weights {for_all} could be for any of {', '.join(sorted(others)) or 'no network'}; "
            f"write BACKBONE={for_all}"
        )
    return _WeightsAsked(by_backbone, for_all)


def _setup(name: str, info: BackboneInfo, preset: str, asked: _WeightsAsked, device: str) -> Setup:
    if not info.checkpoints:
        return Setup(preset, device=device)
    word = asked.by_backbone.get(name, asked.for_all)
    if word == "random":
        return Setup(preset, random_seed=0, device=device)
    path = Path(word) if word is not None else weights.find(info.checkpoints, name)
    return Setup(preset, path, device=device)

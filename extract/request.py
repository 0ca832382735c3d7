"""From what a user asks for, ``i3d.flow:logits@steps-10x16``, to features that can be extracted."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from ..features import plugins
from ..features.errors import RecipeError, WeightsError
from ..features.segments import Sampling
from ..features.spec import FeatureSpec, FlowMethod, Precision
from . import weights
from .augment import Variant
from .backbone import BackboneInfo, Output, Setup
from .transforms import PRESETS, FlowPreset, Preset

BACKBONES = f"{__package__}.backbones"
GRAMMAR = "BACKBONE[.STREAM][:LAYER][@SAMPLING][/PRESET][+VARIANT]"
_REQUEST = re.compile(
    r"(?P<backbone>[\w-]+)(\.(?P<stream>\w+))?(:(?P<layer>[\w-]+))?(@(?P<sampling>[^/+]+))?"
    r"(/(?P<preset>[\w-]+))?(\+(?P<variant>[\w-]+))?"
)


@dataclass(frozen=True)
class View:
    """What a reader makes of a video's frames: pictures of one size, or flow between them.

    Args:
        preset: for frames, or for flow.
        variant: how the video is altered first.
    """

    preset: Preset | FlowPreset
    variant: Variant = field(default_factory=Variant)


@dataclass(frozen=True)
class Feature:
    """A feature to extract.

    Args:
        spec: what it is.
        module: the backbone's file.
        setup: how to build the backbone; done when the first video needs it.
        row_shape: shape of one unit's values.
    """

    spec: FeatureSpec
    module: ModuleType
    setup: Setup
    row_shape: tuple[int, ...]

    @property
    def view(self) -> View:
        """What its backbone looks at."""
        preset = PRESETS[self.spec.stream][self.spec.preset]
        return View(preset, Variant.parse(self.spec.variant))


def plan_features(
    requests: Sequence[str],
    weights_asked: Sequence[str] = (),
    precision: Precision | None = None,
    device: str = "cpu",
    flow: FlowMethod = "opencv",
) -> list[Feature]:
    """Features in the order asked, each once.

    Args:
        requests: :data:`GRAMMAR` each; what is left out has a default.
        weights_asked: ``PATH`` or ``random`` for the network, or ``BACKBONE=PATH``,
            ``BACKBONE.STREAM=PATH`` and ``...=random`` where there are several.
        precision: of stored values; None takes each output's own.
        device: a torch device.
        flow: what computes flow.

    Raises:
        RecipeError: a number of frames that the backbone cannot take, an unknown backbone, stream, layer, sampling, preset or variant.
        WeightsError: weights are missing, or named for a network that was not asked for.
    """
    parsed = [_parse(request) for request in requests]
    asked = _WeightsAsked.of(weights_asked, {one.network for one in parsed if one.info.checkpoints})
    setups: dict[tuple[str, str], Setup] = {}
    features: dict[str, Feature] = {}
    for one in parsed:
        if (one.network, one.preset) not in setups:
            setups[one.network, one.preset] = _setup(one, asked, device)
        setup = setups[one.network, one.preset]
        spec = FeatureSpec(
            backbone=one.backbone,
            stream=one.output.stream,
            layer=one.output.layer,
            sampling=one.sampling,
            preset=one.preset,
            weights=weights.identity(setup),
            precision=precision or one.output.precision,
            version=one.info.version,
            variant=one.variant.text,
            flow=flow if one.output.stream == "flow" else "opencv",
        )
        features.setdefault(spec.key, Feature(spec, one.module, setup, one.output.shape))
    return list(features.values())


class _Parsed(NamedTuple):
    """A request with its defaults filled in."""

    backbone: str
    module: ModuleType
    output: Output
    sampling: Sampling
    preset: str
    variant: Variant

    @property
    def info(self) -> BackboneInfo:
        info: BackboneInfo = self.module.INFO
        return info

    @property
    def network(self) -> str:
        """What has weights of its own."""
        return f"{self.backbone}.{self.output.stream}"


def _parse(request: str) -> _Parsed:
    match = _REQUEST.fullmatch(request)
    if match is None:
        raise RecipeError(
            f"'{request}' is no feature; write {GRAMMAR}, for example i3d:logits@steps-10x16"
        )
    name = match["backbone"]
    module = plugins.load(BACKBONES, name)
    info: BackboneInfo = module.INFO
    stream = _one_of(match["stream"], info.streams, f"{name} has no stream")
    outputs = {one.layer: one for one in info.outputs if one.stream == stream}
    layer = _one_of(match["layer"], outputs, f"{name} has no layer")
    output = outputs[layer]
    preset = _one_of(match["preset"], output.presets, f"{name} has no preset")
    sampling = Sampling.parse(match["sampling"]) if match["sampling"] else output.sampling
    _check_frames(request, output, sampling)
    variant = Variant.parse(match["variant"] or "none")
    return _Parsed(name, module, output, sampling, preset, variant)


def _check_frames(request: str, output: Output, sampling: Sampling) -> None:
    low, high = output.frames
    if sampling.frames < low or (high is not None and sampling.frames > high):
        wanted = f"{low}" if low == high else f"at least {low}"
        raise RecipeError(
            f"'{request}' needs units of {wanted} frames, not {sampling.frames}; use a sampling such "
            f"as {output.sampling.text}"
        )


def _one_of(word: str | None, known: Iterable[str], complaint: str) -> str:
    """The word, or the first of those known where there is none."""
    known = list(known)
    if word is not None and word not in known:
        raise RecipeError(f"{complaint} '{word}'; choose one of: {', '.join(known)}")
    return known[0] if word is None else word


class _WeightsAsked(NamedTuple):
    """What ``--weights`` says: a word for each network named, and one for all others."""

    by_network: Mapping[str, str]
    for_all: str | None

    @classmethod
    def of(cls, words: Sequence[str], networks: set[str]) -> "_WeightsAsked":
        by_network: dict[str, str] = {}
        for_all: str | None = None
        for word in words:
            name, equals, value = word.partition("=")
            if equals and name.partition(".")[0] in plugins.names(BACKBONES):
                by_network |= dict.fromkeys(_meant(name, value, networks), value)
            elif for_all is not None:
                raise WeightsError(
                    f"--weights {word}: write BACKBONE={word} to tell it from {for_all}"
                )
            else:
                for_all = word
        others = networks - by_network.keys()
        if for_all not in (None, "random") and len(others) != 1:
            raise WeightsError(
                f"--weights {for_all} could be for any of "
                f"{', '.join(sorted(others)) or 'no network'}; write BACKBONE={for_all}"
            )
        return cls(by_network, for_all)

    def word(self, network: str) -> str | None:
        return self.by_network.get(network, self.for_all)


def _meant(name: str, value: str, networks: set[str]) -> list[str]:
    """The networks that ``i3d`` or ``i3d.flow`` names."""
    found = sorted(one for one in networks if name in (one, one.partition(".")[0]))
    if not found:
        raise WeightsError(f"--weights {name}={value}: {name} is not among the networks asked for")
    if len(found) > 1 and value != "random":
        raise WeightsError(
            f"--weights {name}={value} could be for any of {', '.join(found)}; "
            f"write {found[0]}={value}"
        )
    return found


def _setup(parsed: _Parsed, asked: _WeightsAsked, device: str) -> Setup:
    stream, preset = parsed.output.stream, parsed.preset
    if not parsed.info.checkpoints:
        return Setup(stream, preset, device=device)
    word = asked.word(parsed.network)
    if word == "random":
        return Setup(stream, preset, random_seed=0, device=device)
    if word is not None:
        return Setup(stream, preset, Path(word), device=device)
    found = weights.find(parsed.info.checkpoints_of(stream), parsed.backbone)
    return Setup(stream, preset, found, device=device)

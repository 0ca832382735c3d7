"""From a stored feature's spec back to what computes the very same feature of other videos."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..features import plugins
from ..features.errors import RecipeError, WeightsError
from ..features.spec import FeatureSpec, FlowMethod, Precision
from . import weights
from .backbone import BackboneInfo
from .request import BACKBONES, Feature, plan_features

_NETWORK_FILE = "sha256-"
# What arrays of other software have in place of the hash of their weights.
_IMPORTED = "imported"


@dataclass(frozen=True)
class Again:
    """Features that one extraction computes, in its own words.

    Args:
        features: requests, as ``request.GRAMMAR`` says.
        weights: ``BACKBONE.STREAM=PATH`` or ``BACKBONE.STREAM=random`` each.
        precision: of stored values.
        flow: what computes flow.
    """

    features: tuple[str, ...]
    weights: tuple[str, ...]
    precision: Precision
    flow: FlowMethod


def is_computed(spec: FeatureSpec) -> bool:
    """Whether a feature is made from the picture by this software.

    Kinematics, poses and arrays of other software are imported.
    """
    return spec.stream != "track" and spec.weights != _IMPORTED


def request_of(spec: FeatureSpec) -> str:
    """The request with every part in it, for example ``i3d.rgb:pool@clips-16/imagenet+zoom-125``."""
    request = f"{spec.backbone}.{spec.stream}:{spec.layer}@{spec.sampling.text}/{spec.preset}"
    return request if spec.variant == "none" else f"{request}+{spec.variant}"


def extract_again(specs: Iterable[FeatureSpec], asked: Sequence[str] = ()) -> list[Again]:
    """The extractions that compute features with exactly these specs.

    Args:
        specs: of stored features.
        asked: files of weights, as ``request.plan_features`` takes them; without one for a network,
            the file with the right hash among those that were fetched.

    Returns:
        As few as there are precisions and ways to compute flow.

    Raises:
        RecipeError: a feature that was imported, or that this version does not compute in this way.
        WeightsError: the weights are not here, or are others.
    """
    specs = list(dict.fromkeys(specs))
    for spec in specs:
        _check_computed(spec)
    files = _files({_network(s): s for s in specs if s.weights.startswith(_NETWORK_FILE)}, asked)
    flows = {spec.flow for spec in specs if spec.stream == "flow"}
    groups: dict[tuple[Precision, FlowMethod, bool], list[FeatureSpec]] = {}
    for spec in specs:
        _check_same(spec, _planned(spec, files))
        # A feature that sees no flow goes along with those that do.
        flow = next(iter(flows)) if spec.stream != "flow" and len(flows) == 1 else spec.flow
        # One extraction has one word for a network.
        groups.setdefault((spec.precision, flow, _is_random(spec)), []).append(spec)
    return [
        Again(
            tuple(map(request_of, group)),
            tuple(dict.fromkeys(word for spec in group for word in _words(spec, files))),
            precision,
            flow,
        )
        for (precision, flow, _), group in groups.items()
    ]


def _is_random(spec: FeatureSpec) -> bool:
    return spec.weights.startswith("random-")


def _check_computed(spec: FeatureSpec) -> None:
    if is_computed(spec):
        return
    command = "import-tracks" if spec.stream == "track" else "import"
    raise RecipeError(
        f"{spec.key} is not computed from a video; bring it into a store with 'aqakit store "
        f"{command}', and give that store as --store"
    )


def _network(spec: FeatureSpec) -> str:
    return f"{spec.backbone}.{spec.stream}"


def _words(spec: FeatureSpec, files: Mapping[str, Path]) -> list[str]:
    """What ``--weights`` would say of it."""
    if spec.weights.startswith(_NETWORK_FILE):
        return [f"{_network(spec)}={files[_network(spec)]}"]
    return [f"{_network(spec)}=random"] if _is_random(spec) else []


def _files(specs: Mapping[str, FeatureSpec], asked: Sequence[str]) -> dict[str, Path]:
    """By network, the file of weights: as asked, else one that was fetched."""
    named = [word.partition("=")[0] for word in asked if _names_network(word)]
    words = list(asked)
    if len(named) == len(words):  # else the word without a name is for the others
        for network, spec in specs.items():
            if not {network, spec.backbone} & {*named}:
                words.append(f"{network}={_fetched(spec)}")
    planned = plan_features([request_of(spec) for spec in specs.values()], words)
    return {_network(one.spec): _file_of(one, specs[_network(one.spec)]) for one in planned}


def _names_network(word: str) -> bool:
    name, equals, _ = word.partition("=")
    return bool(equals) and name.partition(".")[0] in plugins.names(BACKBONES)


def _file_of(feature: Feature, wanted: FeatureSpec) -> Path:
    path = feature.setup.weights
    if path is None:
        raise WeightsError(
            f"the run learned from {_network(wanted)} with weights whose SHA-256 begins with "
            f"{_digits(wanted)}; give those as --weights {_network(wanted)}=PATH"
        )
    return path


def _fetched(spec: FeatureSpec) -> Path:
    """The public file with the spec's hash among those that are here, else the first of them.

    Raises:
        WeightsError: none is here.
    """
    info: BackboneInfo = plugins.load(BACKBONES, spec.backbone).INFO
    files = [weights.folder() / one.file for one in info.checkpoints_of(spec.stream)]
    here = [path for path in files if path.is_file()]
    if not here:
        raise WeightsError(
            f"no weights for {_network(spec)}; give those whose SHA-256 begins with {_digits(spec)} "
            f"as --weights {_network(spec)}=PATH, or run 'aqakit weights fetch {spec.backbone}'"
        )
    right = (path for path in here if weights.digest(path).startswith(_digits(spec)))
    return next(right, here[0])


def _planned(spec: FeatureSpec, files: Mapping[str, Path]) -> Feature:
    words = _words(spec, files)
    try:
        return plan_features([request_of(spec)], words, spec.precision, flow=spec.flow)[0]
    except RecipeError as error:
        raise RecipeError(f"{spec.key} cannot be computed here: {error}") from None


def _check_same(spec: FeatureSpec, planned: Feature) -> None:
    found = planned.spec
    if found == spec:
        return
    if planned.setup.weights is not None and found.weights != spec.weights:
        raise WeightsError(
            f"{planned.setup.weights} has a SHA-256 that begins with {_digits(found)}, and the run "
            f"learned from weights {_digits(spec)}; give those as --weights {_network(spec)}=PATH"
        )
    raise RecipeError(
        f"the run learned from {spec.key}, and this version computes {found.key}; use the version "
        "that extracted it, or extract and train again"
    )


def _digits(spec: FeatureSpec) -> str:
    return spec.weights.removeprefix(_NETWORK_FILE)

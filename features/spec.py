"""What a feature is: everything that changes its numbers, under one readable key."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal, get_args

from .segments import Sampling

Stream = Literal["rgb", "flow", "track"]
Precision = Literal["float32", "float16"]
FlowMethod = Literal["opencv", "torch"]
FeatureKey = str

_CHOICES = (
    ("stream", get_args(Stream)),
    ("precision", get_args(Precision)),
    ("flow", get_args(FlowMethod)),
)


@dataclass(frozen=True)
class FeatureSpec:
    """Identity of a feature.

    Args:
        backbone: name of the network or algorithm, for example ``i3d``.
        stream: what the backbone sees; ``track`` is a measured or estimated motion, such as a pose.
        layer: which of its outputs is kept, for example ``pool``.
        sampling: which frames make up each unit.
        preset: named preprocessing, for example ``caffe``.
        weights: ``none``, ``random-<seed>`` or ``sha256-<first 12 hex digits of the file's>``.
        precision: type of the stored values.
        version: of the backbone's own arithmetic; raised when its numbers change.
        variant: how the video was altered on purpose before all else, for example ``zoom-125``.
        flow: what computed the flow that the backbone sees; ``opencv`` where it sees none.

    Raises:
        ValueError: a part of the key is empty, holds a character other than letters, digits and
            hyphens, or is no known stream or precision.
    """

    backbone: str
    stream: Stream
    layer: str
    sampling: Sampling
    preset: str
    weights: str = "none"
    precision: Precision = "float32"
    version: int = 1
    variant: str = "none"
    flow: FlowMethod = "opencv"

    def __post_init__(self) -> None:
        for name, known in _CHOICES:
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is '{getattr(self, name)}'; it must be one of {known}")
        for name in ("backbone", "layer", "preset", "weights", "variant"):
            value = getattr(self, name)
            if not value.replace("-", "").isalnum():
                raise ValueError(f"{name} is '{value}'; it may hold letters, digits and hyphens")

    @property
    def key(self) -> FeatureKey:
        """Readable name, for example ``c3d.rgb.fc6.clips-16.caffe.random-0.float32``."""
        words = (self.backbone, self.stream, self.layer, self.sampling.text, self.preset)
        tail = [self.weights, self.precision]
        if self.version != 1:
            tail.append(f"v{self.version}")
        if self.variant != "none":
            tail.append(self.variant)
        if self.flow != "opencv":
            tail.append(f"flow-{self.flow}")
        return ".".join([*words, *tail])

    @property
    def digest(self) -> str:
        """SHA-256, in hex, of the canonical JSON of everything that differs from its default.

        A field added later with a default leaves the digest of older features alone.
        """
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no blanks, defaults left out."""
        return json.dumps(_without_defaults(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "FeatureSpec":
        """Read :meth:`to_json` back.

        Raises:
            ValueError: the text is not the JSON of a feature spec.
        """
        try:
            values = json.loads(text)
            return cls(**{**values, "sampling": Sampling(**values["sampling"])})
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not a feature spec: {text[:200]} ({error})") from None


def _without_defaults(value: FeatureSpec | Sampling) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in dataclasses.fields(value):
        item = getattr(value, field.name)
        if isinstance(item, Sampling):
            item = _without_defaults(item)
        if item != field.default:
            found[field.name] = item
    return found

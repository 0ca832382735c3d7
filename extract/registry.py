"""Every file of weights that some backbone knows, and how it stands with each of them here."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..features import plugins
from ..features.errors import WeightsError
from ..features.weights_file import WeightsFile, WeightsState
from . import weights
from .backbone import BackboneInfo, Checkpoint, Setup
from .partial import Part
from .receipt import Receipt, fault, published, size_fault
from .request import BACKBONES


@dataclass(frozen=True)
class Known:
    """A file of weights and who uses it.

    Args:
        checkpoint: the file.
        backbones: names; a file may serve several.
    """

    checkpoint: Checkpoint
    backbones: tuple[str, ...]

    @property
    def path(self) -> Path:
        """Where it lies, or would."""
        return weights.folder() / self.checkpoint.file


def known() -> dict[str, Known]:
    """Every known file by its name, in the order of backbones and of their preference.

    Raises:
        ValueError: two backbones describe a file of one name differently.
    """
    found: dict[str, Known] = {}
    for backbone in plugins.names(BACKBONES):
        for checkpoint in _info(backbone).checkpoints:
            earlier = found.get(checkpoint.file, Known(checkpoint, ()))
            if earlier.checkpoint != checkpoint:
                raise ValueError(
                    f"{checkpoint.file} of {backbone} is not the one of {earlier.backbones}"
                )
            found[checkpoint.file] = Known(checkpoint, (*earlier.backbones, backbone))
    return found


def _info(backbone: str) -> BackboneInfo:
    info: BackboneInfo = plugins.load(BACKBONES, backbone).INFO
    return info


def choose(names: Sequence[str]) -> list[Known]:
    """What a user means: the preferred file of each stream of a backbone, or a file; each once.

    Raises:
        WeightsError: nothing of that name, or a backbone without weights.
    """
    files = known()
    chosen = [file for name in names for file in _files_of(name, files)]
    return [files[file] for file in dict.fromkeys(chosen)]


def _files_of(name: str, files: dict[str, Known]) -> list[str]:
    if name in files:
        return [name]
    backbones = plugins.names(BACKBONES)
    if name not in backbones:
        with_weights = [backbone for backbone in backbones if _info(backbone).checkpoints]
        raise WeightsError(
            f"no backbone and no known file of weights is called '{name}'; choose among "
            f"{', '.join([*with_weights, *files])}"
        )
    info = _info(name)
    if not info.checkpoints:
        raise WeightsError(f"{name} needs no weights; leave it out")
    by_stream = [info.checkpoints_of(stream) for stream in info.streams]
    return [checkpoints[0].file for checkpoints in by_stream if checkpoints]


def listed(entry: Known) -> WeightsFile:
    """How it stands with a file, judged by names and sizes alone."""
    if not entry.path.is_file():
        return _absent(entry)
    wrong = size_fault(entry.path, entry.checkpoint)
    return _described(entry, "damaged" if wrong else "present", wrong or "")


def checked(entry: Known) -> WeightsFile:
    """How it stands with a file, which is read: its checksum, and whether its keys fit."""
    if not entry.path.is_file():
        return _absent(entry)
    try:
        wrong = fault(entry.path, entry.checkpoint)
        if wrong is None:
            _fit(entry)
    except WeightsError as error:
        wrong = str(error).removeprefix(f"{entry.path} ")
    return _described(entry, "damaged" if wrong else "present", wrong or "")


def _absent(entry: Known) -> WeightsFile:
    size = Part(entry.path).size
    if not size:
        return _described(entry, "missing", "")
    return _described(entry, "partial", f"{size} bytes so far")


def _fit(entry: Known) -> None:
    """Build every backbone that the file is for.

    Raises:
        WeightsError: the file cannot be read as a state dict, or does not fit.
    """
    for backbone in entry.backbones:
        info = _info(backbone)
        # The default preset of each stream; a network is the same under all of them.
        presets = {output.stream: output.presets[0] for output in reversed(info.outputs)}
        for stream, preset in presets.items():
            if entry.checkpoint in info.checkpoints_of(stream):
                setup = Setup(stream, preset, weights=entry.path)
                plugins.load(BACKBONES, backbone).build(setup)


def _described(entry: Known, state: WeightsState, detail: str) -> WeightsFile:
    checkpoint = entry.checkpoint
    here = entry.path.stat().st_size if entry.path.is_file() else None
    return WeightsFile(
        checkpoint.file,
        entry.backbones,
        here or checkpoint.size_bytes,
        checkpoint.licence,
        _checksum(entry),
        checkpoint.layout,
        state,
        detail,
        checkpoint.urls,
    )


def _checksum(entry: Known) -> str:
    if entry.checkpoint.sha256_prefix:
        return f"{published(entry.checkpoint)}, published"
    receipt = Receipt.read(entry.path) if entry.path.is_file() else None
    return f"{receipt.sha256[:12]}, as fetched" if receipt else "none published"

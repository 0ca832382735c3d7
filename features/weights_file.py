"""What the commands for weights say about a file, in plain values that every layer can read."""

from dataclasses import dataclass
from typing import Literal

WeightsState = Literal["present", "missing", "partial", "damaged"]


@dataclass(frozen=True)
class WeightsFile:
    """A known file of weights and how it stands with it here.

    Args:
        name: its file name.
        backbones: that can use it.
        size_bytes: of the file that is here, else as published; None where neither is known.
        licence: as far as its publisher says.
        checksum: what its SHA-256 is compared with, in words.
        layout: how its keys are named.
        state: ``partial`` for a download that broke off.
        detail: what is wrong with a damaged one, how much there is of a partial one.
        urls: where it can be had, the preferred place first.
    """

    name: str
    backbones: tuple[str, ...]
    size_bytes: int | None
    licence: str
    checksum: str
    layout: str
    state: WeightsState
    detail: str = ""
    urls: tuple[str, ...] = ()


@dataclass(frozen=True)
class FetchOutcome:
    """What became of one file that was to be fetched.

    Args:
        name: its file name.
        url: where it came from; empty where it was there already or failed.
        size_bytes: of the whole file; None where it failed.
        sha256: of the whole file, in hex; empty where it failed.
        notes: what the user should know of a file that is there now.
        failure: why it is not there; None where it is.
    """

    name: str
    url: str = ""
    size_bytes: int | None = None
    sha256: str = ""
    notes: tuple[str, ...] = ()
    failure: str | None = None

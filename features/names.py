"""File names inside a store: readable, safe on every file system, and found without a search.

A video id may be anything: long, with slashes, starting with a hyphen. Its file is named by what can
be read of it and by a hash of all of it.
"""

import hashlib
import re

_READABLE_CHARACTERS = 48
_HASH_DIGITS = 16


def record_name(video: str) -> str:
    """Stem of a file about a video, for example ``suturing-b001.9f86d081884c7d65``."""
    readable = re.sub(r"[^A-Za-z0-9]+", "-", video)[:_READABLE_CHARACTERS].strip("-")
    return f"{readable or 'video'}.{hash_of(video)}"


def part_name(video: str, source_identity: str) -> str:
    """Name of the file that holds one feature of a video, computed from a source."""
    return f"{record_name(video)}.{source_identity[:_HASH_DIGITS]}.h5"


def hash_in(name: str) -> str:
    """The hash of the video in the name of a file about it; empty in any other name."""
    return "".join(name.split(".")[1:2])


def hash_of(video: str) -> str:
    """The hash of a video's id that names its files."""
    return hashlib.sha256(video.encode(errors="surrogatepass")).hexdigest()[:_HASH_DIGITS]

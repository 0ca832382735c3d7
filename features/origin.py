"""Whether a stored feature is still of the video that a manifest names."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from .manifest import Video


def comes_from(provenance: Mapping[str, Any], video: Video) -> bool:
    """Whether a feature was computed from the stretch and the file that a manifest names.

    Imported arrays do not come from the video's own file, and nothing is known against them. A file
    that is not here is told by its name; of one that is, which may have been renamed since, the size
    decides.

    Args:
        provenance: as stored; ``stream`` is in it where a video was decoded.
        video: of the manifest.
    """
    if "stream" not in provenance:
        return True
    source = provenance["source"]
    start, end = source["start_seconds"], source["end_seconds"]
    if ((start or 0.0), end) != ((video.start_seconds or 0.0), video.end_seconds):
        return False
    if video.path is None:
        return True
    with suppress(OSError):
        return bool(video.path.stat().st_size == source["size_bytes"])
    return bool(video.path.name == source["name"])

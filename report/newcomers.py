"""Videos that a run neither learned from nor was tested on, for its page."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from ..features.manifest import Video
from ..features.store import FeatureStore
from ..models.data import VideoFeatures
from ..models.loading import load
from ..models.recipe import Recipe
from ..models.scoring import Placed, Scored


@dataclass(frozen=True)
class Newcomer:
    """A new video as a page shows it.

    Args:
        id: no other video of the page has it.
        video: by its id in the store of new videos.
        placed: its score.
        remarks: what a careful person wants to know of the score, a few words each.
    """

    id: str
    video: Video
    placed: Placed
    remarks: tuple[str, ...]


def newcomers(scored: Scored, taken: Collection[str]) -> list[Newcomer]:
    """The new videos that have a score.

    Args:
        scored: new videos.
        taken: ids of the run's own videos; a new one that has the same is called so.
    """
    known, found = set(taken), []
    for one in scored.videos:
        if one.placed is None:
            continue
        id = one.id
        while id in known:
            id += " (new)"
        known.add(id)
        found.append(Newcomer(id, one.video, one.placed, one.notes))
    return found


def load_new(
    recipe: Recipe, store: FeatureStore, new: Collection[Newcomer]
) -> Iterator[VideoFeatures]:
    """Their features, by their ids on the page.

    Raises:
        StoreError: some cannot be read.
    """
    scoring, _ = recipe.used()
    for one in new:
        (found,) = load(store, scoring, [one.video], store.path)
        yield replace(found, id=one.id)

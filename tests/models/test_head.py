import importlib

import numpy as np
import pytest

from aqakit.features import plugins
from aqakit.features.errors import RecipeError
from aqakit.models.data import Stream, Targets, VideoFeatures
from aqakit.models.head import HEADS
from aqakit.models.recipe import Recipe, roles_of

VIDEOS = 6


def _videos(head: str) -> list[VideoFeatures]:
    rng = np.random.default_rng(0)
    shapes = {r.name: (3,) if r.axes == 1 else (3, 4, 4) for r in roles_of(head) if not r.many}
    if len(shapes) > 1:
        shapes.pop("features", None)  # it would stand for the streams
    streams = [
        {
            name: Stream(rng.normal(size=(5, *shape)), np.zeros((5, 3)))
            for name, shape in shapes.items()
        }
        for _ in range(VIDEOS)
    ]
    return [VideoFeatures(f"v{n}", one) for n, one in enumerate(streams)]


@pytest.mark.parametrize("head", plugins.names(HEADS))
def test_a_head_says_what_it_cannot_learn_without(head: str) -> None:
    module = importlib.import_module(f"{HEADS}.{head.replace('-', '_')}")
    pairs = Targets(np.array([[0, 1], [2, 3]]))
    scores = Targets(np.zeros((0, 2), np.int64), np.arange(float(VIDEOS)))
    lacking, message = {
        "pairs": (scores, "no pair of two training videos"),
        "scores": (pairs, f"{head} learns from scores"),
    }[module.LEARNS_FROM]
    recipe = Recipe.make(head, {}, "default", [0])
    with pytest.raises(RecipeError, match=message):
        recipe.build(0, "cpu").fit(_videos(head), lacking)

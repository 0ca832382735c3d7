"""Readings: each head's file says how every curve that it makes is read, and no other."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from aqakit.features import plugins
from aqakit.features.errors import RecipeError
from aqakit.models.data import Stream, Targets, VideoFeatures
from aqakit.models.head import HEADS, Explanation
from aqakit.models.reading import Reading, reading_of, readings_of
from aqakit.models.recipe import Recipe

VIDEOS, STEPS = 6, 5
VECTOR, MAPS = (3,), (3, 4, 4)
POOLINGS = ("softmax", "uniform", "last-segment", "stpn")
# Of each head every way to make other curves: settings, and the features that it sees.
Ways = list[tuple[tuple[str, ...], Mapping[str, tuple[int, ...]]]]
ONE = {"features": VECTOR}
BOTH = {"rgb": VECTOR, "flow": VECTOR}
WAYS: dict[str, Ways] = {
    "aim": [
        (
            ("epochs=1", "multi_task=true"),
            {"primary": VECTOR, "secondary": VECTOR, "scene": VECTOR},
        ),
        (("epochs=1", "variant=scene-only"), {"scene": VECTOR}),
    ],
    "c3d-lstm": [(("epochs=1", f"labels={way}"), ONE) for way in ("incremental", "final")],
    "deep-ranking": [(("epochs=1",), BOTH), (("epochs=1",), {"flow": VECTOR})],
    "frequency-ranksvm": [((f"kernel={kernel}",), ONE) for kernel in ("linear", "rbf")],
    "frequency-svr": [((f"kernel={kernel}",), ONE) for kernel in ("linear", "rbf")],
    "pairwise-mlp": [(("epochs=1",), BOTH), (("epochs=1",), ONE)],
    "rank-aware-attention": [(("epochs=1", "filters=3"), ONE)],
    "ranksvm": [((f"kernel={kernel}",), ONE) for kernel in ("linear", "rbf")],
    "siamese-lstm": [
        (("epochs=1", "scoring_epochs=1", "pairs=4", "hidden=2"), ONE),
    ],
    "spatial-attention": [
        (("epochs=1", "fusion=4", "channels=4", f"variant={way}"), {"rgb": MAPS})
        for way in ("full", "cbam")
    ],
    "svr": [((f"kernel={kernel}",), ONE) for kernel in ("linear", "rbf")],
    "temporal-attention": [(("epochs=1", f"pooling={way}"), ONE) for way in POOLINGS],
}


def explained(
    head: str, settings: tuple[str, ...], shapes: Mapping[str, tuple[int, ...]]
) -> Explanation:
    rng = np.random.default_rng(0)
    edges = np.arange(STEPS, dtype=float)[:, None] + [0, 0.5, 1]
    videos = [
        VideoFeatures(
            f"v{number}",
            {
                role: Stream(rng.normal(number / 2, 1, (STEPS, *shape)).astype(np.float32), edges)
                for role, shape in shapes.items()
            },
        )
        for number in range(VIDEOS)
    ]
    truth = np.arange(VIDEOS, dtype=float)
    parts = {"execution": truth, "synchronisation": truth}
    targets = Targets(np.argwhere(truth[:, None] > truth), truth, parts)
    trained = Recipe.make(head, {}, "default", [0], settings).build(0, "cpu")
    trained.fit(videos, targets)
    return trained.explain(videos[1])


def bare(name: str) -> str:
    return name.rstrip("0123456789").rstrip("_")


@pytest.mark.parametrize("head", plugins.names(HEADS))
def test_a_head_reads_every_curve_that_it_makes_and_no_other(head: str) -> None:
    readings = readings_of(head)
    explanations = [explained(head, *way) for way in WAYS[head]]
    made = {name for one in explanations for name in one.curves}
    assert {bare(name) for name in made} == set(readings)
    for name in made:
        reading = reading_of(name, readings)
        assert reading.label
        assert reading.label[0].islower(), "it stands within a sentence"
        assert reading.meaning.endswith(".")
        if reading.kind == "attention":
            assert all(np.min(one.curves.get(name, 0)) >= 0 for one in explanations)
        if reading.weighed_by:
            weights = readings[reading.weighed_by]
            assert (reading.kind, weights.kind) == ("value", "attention")
    shown = [reading for reading in readings.values() if not reading.detail]
    assert shown, "something must be there without asking"


def test_what_the_readings_promise_of_a_head_holds() -> None:
    """A score so far is running: its changes are the gains, which the head gives as well."""
    ((settings, shapes), *_) = WAYS["c3d-lstm"]
    curves = explained("c3d-lstm", settings, shapes).curves
    assert readings_of("c3d-lstm")["score_so_far"].kind == "running"
    np.testing.assert_allclose(np.diff(curves["score_so_far"]), curves["gain"][1:], atol=1e-6)
    assert readings_of("spatial-attention")["score_so_far"].kind == "running"
    ((settings, shapes),) = WAYS["rank-aware-attention"]
    curves = explained("rank-aware-attention", settings, shapes).curves
    filters = sum(curves[f"high_filter_{number}"] for number in (1, 2, 3))
    np.testing.assert_allclose(filters, curves["high_attention"], rtol=1e-6)


def test_a_number_at_the_end_of_a_name_ends_the_label() -> None:
    plain = Reading("filter", "One of several.", "attention", "good", detail=True)
    readings = {"filter": plain, "score_2": replace(plain, label="second score")}
    assert reading_of("filter", readings) == plain
    assert reading_of("filter_12", readings) == replace(plain, label="filter 12")
    assert reading_of("score_2", readings).label == "second score"


def test_a_curve_of_which_nothing_is_said_has_its_name() -> None:
    for name, label in (("so_far_3", "so far 3"), ("plain", "plain"), ("_1", " 1")):
        assert reading_of(name, {}) == Reading(label, "", "value", "nothing")


def test_an_unknown_head_has_no_readings() -> None:
    with pytest.raises(RecipeError, match="no head 'mine'; choose one of: aim, "):
        readings_of("mine")

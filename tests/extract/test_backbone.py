"""What every file of ``backbones/`` promises, whatever it computes."""

import numpy as np
import pytest

from aqakit.extract.backbone import Setup
from aqakit.extract.request import BACKBONES
from aqakit.extract.transforms import PRESETS
from aqakit.features import plugins

NAMES = plugins.names(BACKBONES)


def test_the_folder_is_the_list() -> None:
    assert NAMES == ["c3d", "flow-hist", "i3d", "resnet101"]


@pytest.mark.parametrize("name", NAMES)
def test_rows_have_the_promised_shape_and_repeat_bit_for_bit(name: str) -> None:
    module = plugins.load(BACKBONES, name)
    info = module.INFO
    frames = info.sampling.frames
    pictures = np.random.default_rng(0).integers(0, 255, (frames, 60, 80, 3)).astype(np.uint8)
    unit: np.ndarray = np.stack([PRESETS[info.presets[0]].frame(picture) for picture in pictures])[
        None
    ]
    if info.stream == "flow":
        unit = np.random.default_rng(0).normal(0, 2, (1, frames - 1, *unit.shape[2:4], 2))
    seconds = np.arange(frames)[None] / 10
    seed = 0 if info.checkpoints else None
    rows, again = (
        module.build(Setup(info.presets[0], random_seed=seed))(unit, seconds) for _ in range(2)
    )
    assert {layer: row.shape[1:] for layer, row in rows.items()} == dict(info.layers)
    for layer, row in rows.items():
        assert row.dtype == np.float32
        assert len(row) == 1
        assert np.isfinite(row).all()
        assert row.std() > 0
        np.testing.assert_array_equal(row, again[layer])


@pytest.mark.parametrize("name", NAMES)
def test_presets_are_known_and_a_network_has_published_weights(name: str) -> None:
    info = plugins.load(BACKBONES, name).INFO
    assert set(info.presets) <= set(PRESETS)
    for checkpoint in info.checkpoints:
        assert checkpoint.url.startswith(("https://", "http://"))
        assert checkpoint.source

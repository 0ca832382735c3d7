import warnings

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from aqakit.extract.network import NetworkBackbone
from aqakit.extract.transforms import PRESETS

SECONDS = np.zeros((1, 1))


def units(count: int, seed: int = 0) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 4, 12, 12, 3), dtype=np.uint8)


class Toy(nn.Module):
    """A convolution whose result would tell if training mode, gradients or TF32 were on."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(3, 8, 3)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        assert torch.is_inference_mode_enabled()
        assert torch.backends.cudnn.deterministic
        assert not torch.backends.cudnn.benchmark
        assert not torch.backends.cudnn.allow_tf32
        maps = self.drop(self.conv(x))
        return {"maps": maps, "mean": maps.mean(dim=(2, 3, 4))}


@pytest.fixture
def toy() -> NetworkBackbone:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return NetworkBackbone(Toy(), PRESETS["inception"], "cpu")


def test_rows_are_the_networks_own(toy: NetworkBackbone) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        conv = Toy().conv
    images = units(2)
    plain = torch.from_numpy(images.astype(np.float32) / 127.5 - 1).permute(0, 4, 1, 2, 3)
    expected = conv(plain.contiguous()).detach().numpy()
    rows = toy(images, SECONDS)
    assert list(rows) == ["maps", "mean"]
    assert all(values.dtype == np.float32 for values in rows.values())
    np.testing.assert_allclose(rows["maps"], expected, atol=1e-5)
    np.testing.assert_allclose(rows["mean"], expected.mean(axis=(2, 3, 4)), atol=1e-5)


def test_the_same_batch_gives_the_same_bits(toy: NetworkBackbone) -> None:
    first, second = toy(units(3), SECONDS), toy(units(3), SECONDS)
    for layer, values in first.items():
        np.testing.assert_array_equal(values, second[layer])


def test_a_row_does_not_depend_on_its_companions(toy: NetworkBackbone) -> None:
    together = toy(units(5), SECONDS)["mean"]
    alone = np.concatenate([toy(unit[None], SECONDS)["mean"] for unit in units(5)])
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-6)


def test_read_only_and_reversed_images_are_taken_in_silence(toy: NetworkBackbone) -> None:
    images = units(2)
    images.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = toy(images[::-1], SECONDS)["mean"]
    np.testing.assert_allclose(rows[::-1], toy(units(2), SECONDS)["mean"], rtol=1e-5, atol=1e-6)


def test_the_processes_own_settings_come_back(
    toy: NetworkBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    toy(units(1), SECONDS)
    assert torch.backends.cudnn.benchmark
    assert not torch.is_inference_mode_enabled()


@pytest.mark.parametrize(
    "images",
    [units(1)[0], units(1).astype(np.float32), units(1)[..., :2]],
)
def test_only_colour_units(toy: NetworkBackbone, images: NDArray[np.generic]) -> None:
    with pytest.raises(ValueError, match=r"images are .*; expected uint8 \(N, F, H, W, 3\)"):
        toy(images, SECONDS)

"""The content of a file of weights, and whether it fits a network.

A file of weights comes from the net. It is read as plain tensors, never as code: safetensors, or
``torch.load`` with ``weights_only=True``.
"""

import math
import re
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from ..features.errors import WeightsError
from .backbone import Setup
from .weights import unreadable

StateDict = dict[str, Tensor]

# Wrappers around a state dict, and around the network whose state it was.
_ENVELOPES = ("state_dict", "model_state")
_WRAPPERS = ("module.", "backbone.")
# Counts training batches; old files lack it, and nothing computed from frames depends on it.
_COUNTER = "num_batches_tracked"
_SHOWN_KEYS = 3


def read_state_dict(path: Path) -> StateDict:
    """Read a file of weights on the processor, without running any code that it may hold.

    An envelope (``{"state_dict": ...}``) is opened, and the prefixes that wrappers of a network
    leave on its keys (``module.``, ``backbone.``) are taken off.

    Raises:
        WeightsError: the file is missing, empty or damaged, or holds anything but named tensors.
    """
    content = _read(path)
    for envelope in _ENVELOPES:
        if isinstance(content, Mapping) and isinstance(content.get(envelope), Mapping):
            content = content[envelope]
    if not isinstance(content, Mapping) or not content:
        raise WeightsError(f"{path} holds no state dict; save model.state_dict() to it")
    state: StateDict = {}
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise WeightsError(
                f"{path} holds '{key}', which is no named tensor; save model.state_dict() to it"
            )
        state[_unwrapped(key)] = value
    if len(state) != len(content):
        raise WeightsError(f"{path} holds two networks under one name; save only the one to use")
    return state


def _unwrapped(key: str) -> str:
    while key.startswith(_WRAPPERS):
        key = key.partition(".")[2]
    return key


def _read(path: Path) -> Any:
    if path.is_dir():
        raise WeightsError(f"{path} is a directory; name the file of weights in it")
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except OSError as error:
        raise unreadable(path, error) from None
    if not head:
        raise WeightsError(f"{path} is empty; fetch it again")
    # A safetensors file is the length of its header in 8 bytes, then the header, which is JSON.
    read = safetensors.torch.load_file if head[8:] == b"{" else _torch_load
    try:
        return read(path)
    except Exception as error:  # noqa: BLE001 - damage ends both readers in errors of every type
        raise WeightsError(_why_not_read(path, error)) from None


def _torch_load(path: Path) -> Any:
    with warnings.catch_warnings():
        # It warns of oddities of a file just before it refuses that file.
        warnings.simplefilter("ignore")
        return torch.load(path, map_location="cpu", weights_only=True)


def _why_not_read(path: Path, error: Exception) -> str:
    refused = re.search(r"GLOBAL ([\w.]+)", str(error))
    if refused:
        return (
            f"{path} was not read, because it would run '{refused[1]}'; "
            "ask its author for a state dict of plain tensors"
        )
    return (
        f"{path} is neither a safetensors file nor a PyTorch state dict, or is damaged; "
        "fetch it again"
    )


def filled(
    make: Callable[[], nn.Module],
    setup: Setup,
    rename: Callable[[str], str] = lambda key: key,
    ignored: Collection[str] = (),
    gain: Callable[[str], float] = lambda name: 1.0,
    adapt: Callable[[str, Tensor], Tensor] = lambda name, tensor: tensor,
) -> nn.Module:
    """Make a network, on the processor, with the weights that a setup asks for.

    Args:
        make: constructor of the network.
        setup: names a file of weights or a seed.
        rename: as in :func:`fit`.
        ignored: as in :func:`fit`.
        gain: as in :func:`random_`.
        adapt: as in :func:`fit`.

    Raises:
        WeightsError: the file cannot be read or does not fit.
        ValueError: the setup names neither file nor seed, or both.
    """
    # A constructor draws initial values from the global generator; on "meta" it draws none.
    with torch.device("meta"):
        module = make()
    module.to_empty(device="cpu")
    match setup.weights, setup.random_seed:
        case Path() as path, None:
            fit(module, read_state_dict(path), path, rename, ignored, adapt)
        case None, int() as seed:
            random_(module, seed, gain)
        case _:
            raise ValueError("a setup names either a file of weights or the seed of random ones")
    return module


def fit(
    module: nn.Module,
    state: Mapping[str, Tensor],
    source: Path,
    rename: Callable[[str], str] = lambda key: key,
    ignored: Collection[str] = (),
    adapt: Callable[[str, Tensor], Tensor] = lambda name, tensor: tensor,
) -> None:
    """Copy a state dict into a network, every tensor of it.

    Args:
        module: to fill.
        state: from :func:`read_state_dict`.
        source: the file it came from, for messages.
        rename: from a key of the file to the network's own.
        ignored: beginnings of keys that belong to layers which the network leaves out.
        adapt: from the network's own name and the file's tensor to a tensor of the network's shape,
            where a layer is made from that of another input.

    Raises:
        WeightsError: keys or shapes differ; names the first ones.
    """
    own = module.state_dict()
    kept = {
        key: adapt(rename(key), tensor)
        for key, tensor in state.items()
        if not key.startswith(tuple(ignored))
    }
    given = {rename(key): key for key in kept}
    missing = [name for name in own if name not in given and not name.endswith(_COUNTER)]
    # A key that another one of the same new name has displaced is as unknown as one without a place.
    unknown = [key for key in kept if rename(key) not in own or given[rename(key)] != key]
    misshapen = [
        f"{key} ({_shape(kept[key])}, not {_shape(own[name])})"
        for name, key in given.items()
        if name in own and kept[key].shape != own[name].shape
    ]
    faults = _faults({"lacks": missing, "has unknown": unknown, "has another shape of": misshapen})
    if faults:
        raise WeightsError(
            f"{source} does not fit {type(module).__name__}: it {faults}; "
            "give a checkpoint of this network, or --weights random"
        )
    none_counted = torch.zeros((), dtype=torch.int64)
    module.load_state_dict({n: kept[given[n]] if n in given else none_counted for n in own})


def _shape(tensor: Tensor) -> str:
    return "x".join(str(size) for size in tensor.shape) or "scalar"


def _faults(keys: Mapping[str, Sequence[str]]) -> str:
    """The first few keys of each kind of fault in one phrase; empty where there is none."""
    return ", ".join(
        f"{fault} {', '.join(found[:_SHOWN_KEYS])}"
        + f" and {len(found) - _SHOWN_KEYS} more" * (len(found) > _SHOWN_KEYS)
        for fault, found in keys.items()
        if found
    )


def random_(module: nn.Module, seed: int, gain: Callable[[str], float] = lambda name: 1.0) -> None:
    """Fill a network on the processor with random weights, the same for the same seed.

    Layers with weights get He et al.'s uniform values (ICCV 2015, eq. 10), which keep the size of
    activations from one ReLU to the next; biases are 0 and normalisation layers change nothing.
    Uniform, because those come from the generator's bits by one multiplication, whereas normal
    values go through functions whose last bit differs between processors.

    Args:
        module: to fill, on the processor.
        seed: of a generator of its own; the global one is left alone.
        gain: by which the values of a parameter are scaled, by its name.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in module.state_dict().items():
        if tensor.ndim > 1:
            bound = math.sqrt(6 / tensor[0].numel()) * gain(name)
            tensor.uniform_(-bound, bound, generator=generator)
        elif name.endswith((".weight", ".running_var")):
            tensor.fill_(gain(name))
        else:
            tensor.zero_()

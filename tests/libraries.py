"""Arrays of other libraries than numpy, and what is read of them on the host."""

import importlib
import math

import numpy as np
import pytest

# Library and device. "device1" is a pretend device, whose arrays numpy cannot read:
# what went to the host unasked would raise.
HOMES = {
    "torch": ("torch", "cpu"),
    "torch on a GPU": ("torch", "cuda:0"),
    "array_api_strict": ("array_api_strict", "device1"),
}


class Home:
    """Makes arrays of one library on one device."""

    def __init__(self, library, device):
        self.library = importlib.import_module(library)
        strict = library == "array_api_strict"
        make = self.library.Device if strict else self.library.device
        self.device = make(device)

    def asarray(self, array):
        # Of its own: torch warns of what is read-only.
        array = np.array(array, order="C")
        return self.library.asarray(array, device=self.device)

    def layers(self, network):
        """Return the layers of a network, at any depth, as arrays of the library."""
        if isinstance(network, list):
            return [self.layers(layer) for layer in network]
        return self.asarray(network)

    def has(self, array):
        return beside(array, self.asarray(np.zeros(1)))


def home_at(name, device=None):
    library, usual = HOMES[name]
    found = pytest.importorskip(library)
    if usual.startswith("cuda") and not found.cuda.is_available():
        # As `importorskip` above: the case runs where there is a GPU.
        pytest.skip("there is no GPU that torch can use")
    return Home(library, usual if device is None else device)


def beside(first, second):
    """Whether two arrays are of one library and on one device."""
    return type(first) is type(second) and first.device == second.device


def to_host(array):
    """Return an array of any library as numpy's."""
    if isinstance(array, np.ndarray):
        return array
    if hasattr(array, "cpu"):
        return array.cpu().numpy()
    strict = importlib.import_module(type(array).__module__.partition(".")[0])
    return np.asarray(array.to_device(strict.Device("CPU_DEVICE")))


def record_host_copies(home, monkeypatch):
    """Return a list that is filled with the sizes of arrays that leave a library."""
    sizes, kind = [], type(home.asarray(np.zeros(1)))

    def watch(name):
        read = getattr(kind, name)

        def record(array, *args, **kwargs):
            sizes.append(math.prod(array.shape))
            return read(array, *args, **kwargs)

        monkeypatch.setattr(kind, name, record)

    # The ways out that a library has.
    for name in ("numpy", "__array__", "__buffer__", "__dlpack__"):
        if hasattr(kind, name):
            watch(name)
    return sizes

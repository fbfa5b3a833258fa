"""What several files of tests of layers use."""

import numpy as np
import pandas as pd

# -- one network -----------------------------------------------------------------------

N = 12
LABELS = [f"image{row}" for row in range(N)]


def two_level_frame(v1, v2):
    """Layers side by side, their columns apart: V1 has the last of them."""
    return pd.DataFrame(
        np.column_stack([v1[:, :2], v2, v1[:, 2:]]),
        columns=pd.MultiIndex.from_tuples(
            [(layer, unit) for unit, layer in enumerate("aabbbaa")]
        ).set_levels(["V1", "V2"], level=0),
    )


# -- two networks ----------------------------------------------------------------------

N_STIMULI = 40
NAMES = ("V1", "V2", "IT")


def _network(seed=0):
    # Whole numbers: integers and float16 then hold the same values as float64.
    random = np.random.default_rng(seed)
    return {
        name: np.round(8 * random.normal(size=(N_STIMULI, width)))
        for name, width in zip(NAMES, (5, 4, 6), strict=True)
    }


SOURCE = _network()
TARGET = {
    name: np.round(layer[:, ::-1] + 4 * _network(1)[name])
    for name, layer in SOURCE.items()
}
V1, V2, IT = SOURCE.values()


def with_layer(layers, name, layer):
    return {**layers, name: layer}


def with_entry(value, dtype=None):
    """Return a function that puts a value into a copy of a layer."""

    def change(layer):
        layer = layer.astype(dtype or layer.dtype)
        layer[7, 1] = value
        return layer

    return change


def frame(layers):
    return pd.DataFrame(
        {
            (name, unit): column
            for name, layer in layers.items()
            for unit, column in enumerate(layer.T)
        }
    )

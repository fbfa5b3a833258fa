"""What the benchmarks run on: made-up layers of the kinds that recordings come in."""

import numpy as np

# Fewer latent dimensions than units, of falling variance, as in what networks do.
_LATENTS = 128
_NOISE = 0.1


def latents(n_stimuli, rng):
    """Return what all layers of a problem share: dimensions of falling variance."""
    scale = np.arange(1, _LATENTS + 1) ** -0.5
    return rng.normal(size=(n_stimuli, _LATENTS)) * scale


def correlated(shared, n_units, rng):
    """Return units that are linear in what is shared, with noise."""
    tuned = shared @ rng.normal(size=(shared.shape[1], n_units))
    return tuned + _NOISE * tuned.std() * rng.normal(size=tuned.shape)


def relu_like(shared, n_units, rng):
    """Return rectified units, with noise so that none is dead."""
    tuned = np.maximum(correlated(shared, n_units, rng), 0)
    return tuned + _NOISE * tuned.std() * rng.normal(size=tuned.shape)


def noise(shared, n_units, rng):
    """Return units that share nothing."""
    return rng.normal(size=(len(shared), n_units))


def heavy_tailed(shared, n_units, rng, n_layers=3, degrees=2.5):
    """Return layers of a residual network side by side, of unequal scale.

    Responses have outliers, of Student's t of so many `degrees` of freedom, and units
    differ in their gain.
    """
    width = n_units // n_layers
    stream, parts = correlated(shared, width, rng), []
    for depth in range(n_layers):
        stream = _next_layer(stream, rng)
        gain = 10.0**depth * np.exp(rng.normal(size=width))
        outlying = 0.3 * rng.standard_t(degrees, size=stream.shape)
        parts.append(gain * (stream + outlying))
    return np.concatenate(parts, axis=1)


def ruled_by_outliers(shared, n_units, rng):
    """Return the same with outliers so large that few stimuli make a correlation."""
    return heavy_tailed(shared, n_units, rng, degrees=1.5)


def near_duplicates(shared, n_units, rng, copies=4):
    """Return units each of which comes several times, plus 1 % noise."""
    units = np.repeat(relu_like(shared, -(-n_units // copies), rng), copies, axis=1)
    units = units[:, :n_units]
    return units + 0.01 * units.std() * rng.normal(size=units.shape)


def unit_columns(layer):
    """Return float32 columns that are centred and of norm one: products correlate."""
    layer = layer - layer.mean(axis=0)
    layer /= np.linalg.norm(layer, axis=0)
    return np.asarray(layer, dtype=np.float32, order="F")


def network(n_layers, n_units, n_stimuli, seed=0, run=0):
    """Return float32 layers of a residual network with random weights.

    Each layer adds rectified units to those before it, so that layers that are near in
    depth are alike. Networks of one `seed` see the same stimuli; `run` draws weights.
    """
    shared = latents(n_stimuli, np.random.default_rng(seed))
    rng = np.random.default_rng([seed, run, n_layers, n_units])
    stream = correlated(shared, n_units, rng)
    layers = []
    for _ in range(n_layers):
        stream = _next_layer(stream, rng)
        recorded = stream + _NOISE * rng.normal(size=stream.shape)
        layers.append(recorded.astype(np.float32))
    return layers


def _next_layer(stream, rng):
    """Add rectified units to a residual stream, which is of norm one a unit before."""
    n_units = stream.shape[1]
    stream = stream / np.linalg.norm(stream, axis=1, keepdims=True) * np.sqrt(n_units)
    weights = rng.normal(size=(n_units, n_units)) / np.sqrt(n_units)
    return stream + np.maximum(stream @ weights, 0)


def trajectory(n_checkpoints, n_layers, n_units, n_stimuli, seed=0, run=0):
    """Return checkpoints of one training run: networks whose weights change slowly."""
    first, last = (
        network(n_layers, n_units, n_stimuli, seed, 2 * run + end) for end in (0, 1)
    )
    return [
        [
            (np.float32(1 - share) * before + np.float32(share) * after)
            for before, after in zip(first, last, strict=True)
        ]
        for share in np.linspace(0, 1, n_checkpoints)
    ]


def save_network(folder, name, layers):
    """Write layers to files, one each, and return their paths."""
    paths = []
    for depth, layer in enumerate(layers):
        path = folder / f"{name}_{depth}.npy"
        np.save(path, layer)
        paths.append(path)
    return paths


def load_network(paths, mmap_mode=None):
    """Read layers from files, or map them."""
    return [np.load(path, mmap_mode=mmap_mode) for path in paths]

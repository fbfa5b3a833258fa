"""Simulated layers for the benchmarks, with the properties of real recordings."""

import numpy as np

# As in networks, there are fewer latent dimensions than units.
_LATENTS = 128
_NOISE = 0.1


def latents(n_stimuli, rng):
    """Return shared dimensions of all layers, with decreasing variance."""
    scale = np.arange(1, _LATENTS + 1) ** -0.5
    return rng.normal(size=(n_stimuli, _LATENTS)) * scale


def correlated(shared, n_units, rng):
    """Return noisy linear functions of the shared dimensions."""
    tuned = shared @ rng.normal(size=(shared.shape[1], n_units))
    return tuned + _NOISE * tuned.std() * rng.normal(size=tuned.shape)


def relu_like(shared, n_units, rng):
    """Return rectified units with noise, so that no unit is dead."""
    tuned = np.maximum(correlated(shared, n_units, rng), 0)
    return tuned + _NOISE * tuned.std() * rng.normal(size=tuned.shape)


def noise(shared, n_units, rng):
    """Return independent units."""
    return rng.normal(size=(len(shared), n_units))


def heavy_tailed(shared, n_units, rng, n_layers=3, degrees=2.5):
    """Return concatenated layers of a residual network with different scales.

    Responses have outliers, which follow Student's t-distribution with `degrees`
    degrees of freedom, and units differ in their gain.
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
    """Return such layers with outliers that dominate the correlations."""
    return heavy_tailed(shared, n_units, rng, degrees=1.5)


def near_duplicates(shared, n_units, rng, copies=4):
    """Return several copies of each unit with 1 % noise."""
    units = np.repeat(relu_like(shared, -(-n_units // copies), rng), copies, axis=1)
    units = units[:, :n_units]
    return units + 0.01 * units.std() * rng.normal(size=units.shape)


def unit_columns(layer):
    """Return centred float32 columns of norm 1, whose products are correlations."""
    layer = layer - layer.mean(axis=0)
    layer /= np.linalg.norm(layer, axis=0)
    return np.asarray(layer, dtype=np.float32, order="F")


def network(n_layers, n_units, n_stimuli, seed=0, run=0):
    """Return float32 layers of a residual network with random weights.

    Each layer adds rectified units to the previous layer, so that layers of similar
    depth are alike. Networks with the same `seed` see the same stimuli; `run` is the
    seed of the weights.
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
    """Add rectified units to a residual stream after scaling its units to norm 1."""
    n_units = stream.shape[1]
    stream = stream / np.linalg.norm(stream, axis=1, keepdims=True) * np.sqrt(n_units)
    weights = rng.normal(size=(n_units, n_units)) / np.sqrt(n_units)
    return stream + np.maximum(stream @ weights, 0)


def trajectory(n_checkpoints, n_layers, n_units, n_stimuli, seed=0, run=0):
    """Return checkpoints of a training run: networks with slowly changing weights."""
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
    """Write each layer to a file, and return the paths."""
    paths = []
    for depth, layer in enumerate(layers):
        path = folder / f"{name}_{depth}.npy"
        np.save(path, layer)
        paths.append(path)
    return paths


def load_network(paths, mmap_mode=None):
    """Read layers from files, or memory-map them."""
    return [np.load(path, mmap_mode=mmap_mode) for path in paths]

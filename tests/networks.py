"""Small networks for the tests, and the comparison of two fits to them."""

import numpy as np


def random_networks(
    source_widths=(7, 12, 5), target_widths=(6, 9, 11, 8), n_stimuli=60, seed=0
):
    """Return two networks that share structure, depth by depth."""
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=(n_stimuli, 10))
    networks = []
    for widths in (source_widths, target_widths):
        layers = []
        for depth, width in enumerate(widths):
            position = depth / max(1, len(widths) - 1)
            tuning = rng.normal(size=(10, width)) * np.exp(
                -3 * np.abs(np.linspace(0, 1, 10) - position)
            ).reshape(-1, 1)
            noise = 0.3 * rng.normal(size=(n_stimuli, width))
            layers.append((1 + rng.random(width)) * (latent @ tuning + noise) + depth)
        networks.append(layers)
    return networks


def rows(layers, selected):
    return [layer[selected] for layer in layers]


def trajectories(n_source=3, n_target=2):
    """Return two sets of networks, such as the checkpoints of two runs."""
    networks = [random_networks(seed=seed) for seed in range(max(n_source, n_target))]
    return [n[0] for n in networks[:n_source]], [n[1] for n in networks[:n_target]]


def wide_networks():
    """Return layers wide enough for several threads to round otherwise than one."""
    source, target = random_networks((150, 260), (200, 120, 90), n_stimuli=200)
    return [[layer.astype(np.float32) for layer in side] for side in (source, target)]


def hostile_columns(n_stimuli=60):
    """Return columns of very different scales, offsets and spreads."""
    rng = np.random.default_rng(0)
    normal, coin = rng.normal(size=n_stimuli), rng.integers(0, 2, n_stimuli)
    outlier = np.zeros(n_stimuli)
    outlier[7] = 1.0
    return {
        "normal": normal,
        "1e30": 1e30 * normal,
        "1e-30": 1e-30 * normal,
        "1e300": 1e300 * normal,
        "1e-300": 1e-300 * normal,
        "subnormal": 1e-310 * normal,
        "offset 1e6": 1e6 + normal,
        "offset 1e12": 1e12 + normal,
        "offset 1e15": 1e15 + coin,
        "one step of 0.1": np.where(coin > 0, np.nextafter(0.1, 1.0), 0.1),
        "outlier": outlier,
        "outlier on an offset": 1e8 + outlier,
        "ReLU": np.maximum(normal, 0),
    }


def assert_same_fit(first, second):
    """Compare two fits, at every level, bit for bit."""
    if hasattr(first, "inner_"):
        np.testing.assert_array_equal(first.layer_costs_, second.layer_costs_)
        np.testing.assert_array_equal(first.coupling_, second.coupling_)
        for row, other in zip(first.inner_, second.inner_, strict=True):
            for inner, same in zip(row, other, strict=True):
                assert_same_fit(inner, same)
    else:
        assert first.cost_ == second.cost_
        if hasattr(first, "coupling_"):
            difference = abs(first.coupling_ - second.coupling_)
            assert difference.nnz == 0 or difference.max() == 0

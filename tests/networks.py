"""Small networks for the tests."""

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

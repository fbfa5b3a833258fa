"""Fits of layers on a GPU against fits of the same layers on the CPU.

Prints wall-clock times, ratios and differences of costs. Needs PyTorch and a GPU.
"""

import os

# Read by SciPy when it is first imported.
os.environ.setdefault("SCIPY_ARRAY_API", "1")

from time import perf_counter

import numpy as np
import sklearn

from skmot import (
    CKA,
    RSA,
    LinearPredictivity,
    MultiLevelOT,
    Procrustes,
    RotationMatching,
    SoftMatching,
)

# Estimator, number of stimuli, and units of each source and target layer.
CASES = [
    (SoftMatching(), 2042, [3072], [2048]),
    (SoftMatching(), 1024, [8192], [8192]),
    (MultiLevelOT(), 2042, [2048] * 6, [1536] * 6),
    (RotationMatching(), 1024, [2048], [896]),
    (RotationMatching(), 1024, [1024], [1024]),
    (Procrustes(), 2042, [2048], [2048]),
    (LinearPredictivity(random_state=0), 1024, [1024], [512]),
    (CKA(), 2042, [2048], [2048]),
    (RSA(), 2042, [2048], [2048]),
]
N_SIGNALS = 64
N_REPEATS = 3


def relu_layers(n_stimuli, widths, seed):
    """Return rectified units that share latent signals, in float32."""
    rng = np.random.default_rng(seed)
    latent = rng.standard_normal((n_stimuli, N_SIGNALS))
    layers = []
    for n_units in widths:
        signal = latent @ rng.standard_normal((N_SIGNALS, n_units)) / N_SIGNALS**0.5
        noise = rng.standard_normal((n_stimuli, n_units))
        layers.append(np.maximum(signal + noise, 0).astype(np.float32))
    return layers


def least_seconds(estimator, X, y, wait):
    """Return the least time of some fits, and the cost."""
    times = []
    for _ in range(N_REPEATS):
        start = perf_counter()
        estimator.fit(X, y)
        wait()
        times.append(perf_counter() - start)
    return min(times), float(estimator.cost_)


def main():
    """Print one line for each case."""
    import torch

    print(torch.cuda.get_device_name(0), "PyTorch", torch.__version__)
    print(os.cpu_count(), "cores; seconds on the CPU, on the GPU, ratio, costs differ")
    for estimator, n_stimuli, *widths in CASES:
        X, y = (relu_layers(n_stimuli, side, seed) for seed, side in enumerate(widths))
        moved = [
            [torch.asarray(layer, device="cuda") for layer in side] for side in (X, y)
        ]
        if len(X) == 1:
            (X,), (y,) = X, y
            moved = [side[0] for side in moved]
        host, cost = least_seconds(estimator, X, y, lambda: None)
        with sklearn.config_context(array_api_dispatch=True):
            estimator.fit(*moved)
            device, other = least_seconds(estimator, *moved, torch.cuda.synchronize)
        print(
            f"{estimator!s:36} {n_stimuli} stimuli, {widths[0]} x {widths[1]} units: "
            f"{host:.3f} {device:.3f} {host / device:.1f} {abs(cost - other):.1e}"
        )


if __name__ == "__main__":
    main()

"""Dictionaries of rarely active features: a fit to sparse and to dense layers."""

import numpy as np
from measure import Watch, interleaved
from report import Row
from scipy import sparse

from skmot import LayerStack, SoftMatching

# Features, dense units of the other side, stimuli and repeats.
SIZES = {"full": (16_384, 1024, 2000, 3), "small": (4096, 512, 1000, 3)}
SHARES = (0.01, 0.05)
DTYPES = ("float32", "float64")
AGREEMENT = {"float32": 1e-5, "float64": 1e-12}


def rows(scale):
    """Yield the rows of sparse layers."""
    n_features, n_units, n_stimuli, repeats = SIZES[scale]
    for share in SHARES:
        for dtype in DTYPES:
            sizes = n_features, n_units, n_stimuli, share, dtype
            ours, dense = interleaved(
                [(_fit, True, *sizes), (_fit, False, *sizes)], repeats
            )
            case = (
                f"{n_features} features, {share:.0%} active, vs {n_units} units, "
                f"{n_stimuli} stimuli, {dtype}"
            )
            # The costs of the two fits.
            right = abs(ours.value / dense.value - 1) <= AGREEMENT[dtype]
            yield Row(
                "sparse",
                f"{case}: fit",
                ours.cpu_seconds,
                dense.cpu_seconds,
                "dense layer",
                unit="s of CPU",
                right=right,
            )
            yield Row(
                "sparse",
                f"{case}: memory beyond the layers",
                ours.peak_bytes / 1e9,
                dense.peak_bytes / 1e9,
                "dense layer",
                unit="GB",
                right=right,
                details={
                    "bytes of the dense layer": np.dtype(dtype).itemsize
                    * n_stimuli
                    * n_features
                },
            )


def _fit(is_sparse, n_features, n_units, n_stimuli, share, dtype):
    rng = np.random.default_rng(0)
    features = sparse.random_array((n_stimuli, n_features), density=share, rng=rng)
    mixing = sparse.random_array((n_features, n_units), density=0.002, rng=rng)
    units = (features.tocsr() @ mixing.tocsr()).toarray()
    units += 0.3 * rng.normal(size=units.shape)
    features, units = features.astype(dtype), units.astype(dtype)
    X = LayerStack([features if is_sparse else features.toarray()])
    y = LayerStack([units])
    with Watch() as measured:
        measured.value = SoftMatching().fit(X, y).cost_
    return measured

"""Pairs of very wide layers: memory of a fit, and time compared with the product."""

from functools import partial

import numpy as np
from measure import Watch, in_fresh_process, resident_bytes, shortest
from problems import latents, near_duplicates, relu_like, unit_columns
from report import Row

from skmot import SoftMatching

# Units of each side, stimuli, limit of resident memory in bytes, and repeats. At the
# small size most of the memory is for Python and its libraries: no limit.
SIZES = {"full": (16_384, 1024, 3e9, 2), "small": (4096, 512, None, 3)}
KINDS = (relu_like, near_duplicates)
# Largest duality gap, relative to the largest distance.
AGREEMENT = 1e-9


def rows(scale):
    """Yield the rows of pairs of very wide layers."""
    n_units, n_stimuli, most, repeats = SIZES[scale]
    cost_bytes = 4 * n_units**2
    for kind in KINDS:
        sizes = kind, n_units, n_stimuli
        fitted = in_fresh_process(_fit, *sizes)
        fit, product = in_fresh_process(_times, *sizes, repeats)
        name = kind.__name__.replace("_", " ")
        case = f"{n_units} x {n_units} {name}, {n_stimuli} stimuli"
        yield Row(
            "large pairs",
            f"{case}: peak resident",
            fitted.peak_bytes / 1e9,
            (most or cost_bytes) / 1e9,
            "allowed" if most else "in the float32 costs",
            unit="GB",
            wanted="at most 3 GB" if most else "",
            limit=1.0 if most else None,
            right=fitted.value <= 2 * AGREEMENT,
            details={"bytes of the costs": cost_bytes, "duality gap": fitted.value},
        )
        yield Row("large pairs", f"{case}: fit", fit, product, "float32 product")


def _layers(kind, n_units, n_stimuli):
    rng = np.random.default_rng(0)
    shared = latents(n_stimuli, rng)
    return [kind(shared, n_units, rng).astype(np.float32) for _ in range(2)]


def _fit(*sizes):
    source, target = _layers(*sizes)
    before = resident_bytes()
    with Watch() as measured:
        measured.value = SoftMatching().fit(source, target).duality_gap_
    # With the layers, and with Python and its libraries.
    measured.peak_bytes += before
    return measured


def _times(kind, n_units, n_stimuli, repeats):
    source, target = _layers(kind, n_units, n_stimuli)
    x, y = unit_columns(source), unit_columns(target)
    return shortest(
        [
            partial(SoftMatching().fit, source, target),
            lambda: x.T @ y,
        ],
        repeats,
    )

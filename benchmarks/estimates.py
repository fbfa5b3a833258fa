"""Comparison of `skmot.scaling.estimate` with the time and memory of fits."""

import warnings

from measure import Watch, in_fresh_process
from problems import network
from report import Row
from sklearn.exceptions import ConvergenceWarning

from skmot import MultiLevelOT, MultiLevelOTRotation
from skmot.scaling import calibration, estimate

# Estimator, layers and units of source and target, stimuli, workers.
CASES = {
    "full": [
        (MultiLevelOT, (20, 128), (20, 128), 2552, 1),
        (MultiLevelOT, (6, 768), (8, 448), 1021, 2),
        (MultiLevelOT, (16, 2048), (24, 896), 2042, 2),
        (MultiLevelOTRotation, (4, 256), (4, 128), 1021, 1),
        (MultiLevelOTRotation, (4, 768), (4, 448), 1021, 2),
        (MultiLevelOTRotation, (3, 2048), (4, 896), 2042, 2),
    ],
    "small": [
        (MultiLevelOT, (8, 128), (8, 128), 1000, 1),
        (MultiLevelOT, (4, 384), (4, 256), 1000, 1),
        (MultiLevelOT, (6, 768), (8, 448), 1021, 2),
        (MultiLevelOTRotation, (3, 128), (3, 128), 500, 1),
        (MultiLevelOTRotation, (3, 256), (3, 128), 500, 1),
        (MultiLevelOTRotation, (3, 512), (3, 384), 1021, 2),
    ],
}
REPEATS = 2


def rows(scale):
    """Yield two rows for each case: estimated and measured seconds and memory."""
    for case in CASES[scale]:
        expected, fits, n_rounds = in_fresh_process(_fit, *case)
        estimator, source, target, n_stimuli, n_workers = case
        name = (
            f"{estimator.__name__} {source[0]} x {source[1]} vs {target[0]} x "
            f"{target[1]}, {n_stimuli} stimuli, {n_workers} worker(s)"
        )
        seconds = min(fit.seconds for fit in fits)
        yield Row(
            "estimate",
            f"{name}: time",
            expected.seconds,
            seconds,
            "taken",
            details={
                "parts": expected.parts,
                "processor seconds": min(fit.cpu_seconds for fit in fits),
                "mean rounds": n_rounds,
            },
        )
        yield Row(
            "estimate",
            f"{name}: memory",
            expected.peak_bytes / 1e9,
            max(fit.peak_bytes for fit in fits) / 1e9,
            "taken",
            unit="GB",
        )


def constants():
    """Return the measured constants of the estimates, in seconds."""
    arcs, seconds = calibration.transport_seconds(1.0)
    return {
        "reading a number": calibration.reading_seconds("float32"),
        "standardising a number": calibration.standardisation_seconds("float32"),
        "multiplying and adding": calibration.product_seconds("float32"),
        "eigenvectors, over rows cubed": calibration.eigen_seconds(),
        "singular vectors, over rows cubed": calibration.singular_seconds("float32"),
        "bookkeeping a pair": calibration.pair_seconds(),
        **{
            f"transport of {n} arcs": time
            for n, time in zip(arcs, seconds, strict=True)
        },
    }


def _fit(estimator, source, target, n_stimuli, n_workers):
    X, y = (
        network(*shape, n_stimuli, run=run)
        for run, shape in enumerate((source, target))
    )
    model = estimator(n_jobs=n_workers)
    fits = []
    for _ in range(REPEATS):
        with warnings.catch_warnings(), Watch() as measured:
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(X, y)
        fits.append(measured)
    # The number of iterations of a rotation is known only after the fit.
    n_rounds = float(model.n_iter_.mean()) if hasattr(model, "n_iter_") else None
    return estimate(model, X, y, n_rounds=n_rounds), fits, n_rounds

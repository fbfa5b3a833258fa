"""Comparison of `skmot.scaling.estimate` with the time and memory of fits."""

import warnings

from measure import Watch, in_fresh_process
from problems import network
from report import Row
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skmot import (
    CKA,
    RSA,
    LinearPredictivity,
    MultiLevelOT,
    MultiLevelOTRotation,
    OneToOneMatching,
    Procrustes,
    SemiMatching,
)
from skmot.scaling import estimate

MOT, ROTATION = MultiLevelOT(), MultiLevelOTRotation()
ALTERNATIVES = [
    MultiLevelOT(inner)
    for inner in (
        SemiMatching(),
        OneToOneMatching(),
        Procrustes(),
        LinearPredictivity(random_state=0),
        RSA(),
        CKA(),
    )
]
# Estimator, layers and units of source and target, stimuli, workers.
CASES = {
    "full": [
        (MOT, (20, 128), (20, 128), 2552, 1),
        (MOT, (4, 200), (4, 300), 1021, 1),
        (MOT, (6, 768), (8, 448), 1021, 2),
        (MOT, (16, 2048), (24, 896), 2042, 2),
        (MOT, (2, 4000), (2, 3000), 2042, 1),
        (ROTATION, (4, 256), (4, 200), 1021, 1),
        (ROTATION, (4, 768), (4, 448), 1021, 2),
        (ROTATION, (3, 2048), (4, 896), 2042, 2),
        *((inner, (4, 256), (4, 200), 1021, 1) for inner in ALTERNATIVES),
        *((inner, (3, 2048), (4, 896), 2042, 2) for inner in ALTERNATIVES),
        *((inner, (1, 4000), (1, 3000), 1021, 1) for inner in ALTERNATIVES),
    ],
    "small": [
        (MOT, (8, 128), (8, 128), 1000, 1),
        (MOT, (4, 384), (4, 256), 1000, 1),
        (MOT, (6, 768), (8, 448), 1021, 2),
        (ROTATION, (3, 256), (3, 128), 500, 1),
        (ROTATION, (3, 512), (3, 384), 1021, 2),
        *((inner, (4, 256), (4, 200), 1021, 1) for inner in ALTERNATIVES),
        *((inner, (3, 768), (3, 448), 1021, 1) for inner in ALTERNATIVES),
    ],
}
REPEATS = 2


def rows(scale):
    """Yield two rows for each case: estimated and measured seconds and memory."""
    for case in CASES[scale]:
        expected, fits, n_rounds = in_fresh_process(_fit, *case)
        estimator, source, target, n_stimuli, n_workers = case
        name = (
            f"{_name(estimator)} {source[0]} x {source[1]} vs {target[0]} x "
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


def _fit(estimator, source, target, n_stimuli, n_workers):
    X, y = (
        network(*shape, n_stimuli, run=run)
        for run, shape in enumerate((source, target))
    )
    model = clone(estimator).set_params(n_jobs=n_workers)
    fits = []
    for _ in range(REPEATS):
        with warnings.catch_warnings(), Watch() as measured:
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(X, y)
        fits.append(measured)
    # The number of iterations of a rotation is known only after the fit.
    n_rounds = float(model.n_iter_.mean()) if hasattr(model, "n_iter_") else None
    return estimate(model, X, y, n_rounds=n_rounds), fits, n_rounds


def _name(estimator):
    inner = getattr(estimator, "inner", None)
    return type(estimator if inner is None else inner).__name__

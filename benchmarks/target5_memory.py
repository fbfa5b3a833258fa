"""Target 5: memory of a fit to layers that are larger than the limit."""

import tempfile
from pathlib import Path

import numpy as np
from measure import Watch, in_fresh_process
from problems import correlated, latents, load_network
from report import Row
from sklearn.model_selection import cross_validate

from skmot import LayerStack, MultiLevelOT

# Layers and units of source and target, stimuli, limit of resident memory in bytes.
SIZES = {
    "full": ((40, 1536), (12, 384), 20_000, 2.5e9),
    # At this size most of the memory is for Python and its libraries: no limit.
    "small": ((10, 384), (4, 128), 4_000, None),
}
N_JOBS = 2
N_FOLDS = 3


def rows(scale):
    """Yield the rows of target 5."""
    source, target, n_stimuli, most = SIZES[scale]
    with tempfile.TemporaryDirectory() as folder:
        paths = [
            in_fresh_process(_write, Path(folder), name, shape, n_stimuli, run)
            for run, (name, shape) in enumerate(
                (("source", source), ("target", target))
            )
        ]
        fitted, searched = (
            in_fresh_process(function, *paths) for function in (_fit, _cross_validate)
        )
    input_bytes = 4 * n_stimuli * (np.prod(source) + np.prod(target))
    case = f"{source[0]} x {source[1]} vs {target[0]} x {target[1]}, {n_stimuli}"
    for name, measured in (
        ("fit", fitted),
        (f"cross_validate, {N_FOLDS} folds", searched),
    ):
        yield Row(
            5,
            f"{name}: {case} stimuli from files, peak resident",
            measured.peak_bytes / 1e9,
            (most or input_bytes) / 1e9,
            "allowed" if most else "in the files",
            unit="GB",
            wanted="at most 2.5 GB" if most else "",
            limit=1.0 if most else None,
            details={
                "bytes in the files": input_bytes,
                "seconds": measured.seconds,
                "n_jobs": N_JOBS,
                "result": measured.value,
            },
        )


def _write(folder, name, shape, n_stimuli, run):
    """Write layers one at a time, because all of them would exceed the limit."""
    n_layers, n_units = shape
    shared = latents(n_stimuli, np.random.default_rng(0))
    rng = np.random.default_rng([0, run])
    paths = [folder / f"{name}_{depth}.npy" for depth in range(n_layers)]
    for path in paths:
        np.save(path, correlated(shared, n_units, rng).astype(np.float32))
    return paths


def _map(source, target):
    return (LayerStack(load_network(paths, "r")) for paths in (source, target))


def _fit(source, target):
    X, y = _map(source, target)
    with _Everything() as measured:
        measured.value = MultiLevelOT(n_jobs=N_JOBS).fit(X, y).cost_
    return measured


def _cross_validate(source, target):
    X, y = _map(source, target)
    with _Everything() as measured:
        found = cross_validate(MultiLevelOT(n_jobs=N_JOBS), X, y, cv=N_FOLDS)
        measured.value = found["test_score"].tolist()
    return measured


class _Everything(Watch):
    """Measure all resident memory, including the memory before the block."""

    def __enter__(self):
        measured = super().__enter__()
        self._before = 0
        return measured

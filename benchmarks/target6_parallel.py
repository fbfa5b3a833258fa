"""Target 6: two workers compared with one, with default settings for threads."""

import tempfile
from pathlib import Path

from measure import Watch, in_fresh_process, interleaved
from problems import load_network
from report import Row
from target2_fit import write_networks

from skmot import MultiLevelOT, MultiLevelOTRotation

# Layers and units of source and target, stimuli, repeats for MOT and for MOT+R.
SIZES = {
    "full": (((16, 2048), (24, 896), 2042, 3), ((2, 1024), (6, 896), 2042, 2)),
    "small": (((4, 768), (6, 448), 1021, 2), ((2, 256), (4, 256), 512, 2)),
}


def rows(scale):
    """Yield the rows of target 6."""
    for name, (source, target, n_stimuli, repeats), fit in zip(
        ("MOT", "MOT+R"), SIZES[scale], (_fit, _fit_with_rotation), strict=True
    ):
        with tempfile.TemporaryDirectory() as folder:
            paths = in_fresh_process(
                write_networks, Path(folder), source, target, n_stimuli
            )
            two, one = interleaved(
                [(fit, *paths, 2), (fit, *paths, 1)], repeats, blas_threads=None
            )
        yield Row(
            6,
            f"{name} {source[0]} x {source[1]} vs {target[0]} x {target[1]}, "
            f"{n_stimuli} stimuli, n_jobs=2",
            two.seconds,
            one.seconds,
            "n_jobs=1",
            wanted="at least 1.7x faster",
            limit=1.7,
            at_least=True,
            right=two.value == one.value,
            details={
                "same cost": two.value == one.value,
                "most threads running at once": [two.most_running, one.most_running],
                "busy cores": [run.cpu_seconds / run.seconds for run in (two, one)],
            },
        )


def _fit(source, target, n_jobs):
    return _watch(MultiLevelOT(n_jobs=n_jobs), source, target)


def _fit_with_rotation(source, target, n_jobs):
    return _watch(MultiLevelOTRotation(n_jobs=n_jobs), source, target)


def _watch(estimator, source, target):
    source, target = load_network(source), load_network(target)
    with Watch() as measured:
        estimator.fit(source, target)
    measured.value = estimator.cost_
    return measured

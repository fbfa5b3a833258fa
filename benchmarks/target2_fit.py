"""Target 2: time and memory of an MOT fit, compared with the paper's literal loop."""

import tempfile
from pathlib import Path

import literal
import numpy as np
from joblib import Parallel, delayed
from measure import (
    Watch,
    highest_resident_bytes,
    in_fresh_process,
    interleaved,
    resident_bytes_with_files,
)
from problems import load_network, network, save_network
from report import Row

from skmot import MultiLevelOT

# Layers and units of source and target, stimuli, repeats. The full sizes are those of
# Llama-3.2-1B and Qwen-2.5-0.5B.
SIZES = {
    "full": ((16, 2048), (24, 896), 2042, 3),
    "small": ((4, 768), (6, 448), 1021, 2),
}
N_JOBS = 2
# The literal loop fits all pairs of this number of layers per side, evenly spaced from
# the first to the last layer. Its time per pair is scaled to all pairs.
LITERAL_LAYERS = 4
MOST_BYTES = 1e9


def rows(scale):
    """Yield the rows of target 2."""
    source, target, n_stimuli, repeats = SIZES[scale]
    with tempfile.TemporaryDirectory() as folder:
        paths = in_fresh_process(
            write_networks, Path(folder), source, target, n_stimuli
        )
        ours, loop, sparing = interleaved(
            [
                (_fit, *paths),
                (_loop, *paths, literal.correlations),
                (_loop, *paths, literal.cross_correlations),
            ],
            repeats,
        )
    n_pairs = source[0] * target[0]
    n_timed = len(loop.value["pairs"])
    differences = [
        abs(ours.value["costs"][pair] - cost)
        for pair, cost in zip(loop.value["pairs"], loop.value["costs"], strict=True)
    ]
    case = f"MOT {_shape(source)} vs {_shape(target)}, {n_stimuli} stimuli"
    yield Row(
        2,
        case,
        ours.seconds,
        loop.seconds * n_pairs / n_timed,
        f"literal loop, np.corrcoef ({n_timed} of {n_pairs} pairs, scaled)",
        wanted="at least 5x faster",
        limit=5.0,
        at_least=True,
        details={
            "n_jobs": N_JOBS,
            "pairs of the literal loop": loop.value["pairs"],
            "largest difference of a layer cost": max(differences),
            "processor seconds": ours.cpu_seconds,
        },
    )
    yield Row(
        2,
        "  the same",
        ours.seconds,
        sparing.seconds * n_pairs / n_timed,
        "the same loop, without the correlations within a side",
        at_least=True,
    )
    plans = 8 * n_pairs * source[1] * target[1]
    yield Row(
        2,
        "  peak memory over the input",
        ours.peak_bytes / 1e9,
        MOST_BYTES / 1e9,
        f"allowed (the loop's plans: {plans / 1e9:.2g} GB, computed)",
        unit="GB",
        wanted="at most 1 GB",
        limit=1.0,
    )


def write_networks(folder, source, target, n_stimuli):
    """Write two networks over the same stimuli to files, and return their paths."""
    return [
        save_network(folder, name, network(*shape, n_stimuli, run=run))
        for run, (name, shape) in enumerate((("source", source), ("target", target)))
    ]


def _fit(source, target):
    source, target = load_network(source), load_network(target)
    before, earlier_peak = resident_bytes_with_files(), highest_resident_bytes()
    with Watch() as measured:
        mot = MultiLevelOT(n_jobs=N_JOBS).fit(source, target)
    # The record of the system includes short peaks, but not the memory of child
    # processes, which `Watch` measures.
    if highest_resident_bytes() > earlier_peak:
        over = highest_resident_bytes() - before
        measured.peak_bytes = max(measured.peak_bytes, over)
    measured.value = {"costs": mot.layer_costs_}
    return measured


def _loop(source, target, correlate):
    pairs = [
        (int(row), int(column))
        for row in evenly_spread(len(source))
        for column in evenly_spread(len(target))
    ]
    source, target = load_network(source), load_network(target)
    with Watch() as measured:
        # Plans are not kept, because all of them would not fit in memory. Threads avoid
        # copies; `ot.emd` and products release the global interpreter lock.
        costs = Parallel(n_jobs=N_JOBS, prefer="threads")(
            delayed(literal.match_layers)(source[row], target[column], correlate)
            for row, column in pairs
        )
    measured.value = {"pairs": pairs, "costs": costs}
    return measured


def evenly_spread(n_layers):
    """Return evenly spaced indices of layers, which represent all layers."""
    wanted = min(LITERAL_LAYERS, n_layers)
    return np.unique(np.linspace(0, n_layers - 1, wanted).round().astype(int))


def _shape(network_shape):
    return "{} x {}".format(*network_shape)

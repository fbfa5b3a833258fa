"""Target 3: time of MOT+R, compared with the literal loop with equal iterations."""

import tempfile
import warnings
from pathlib import Path

import literal
from joblib import Parallel, delayed
from measure import Watch, in_fresh_process, interleaved
from problems import load_network
from report import Row
from sklearn.exceptions import ConvergenceWarning
from target2_fit import evenly_spread, write_networks

from skmot import MultiLevelOTRotation, RotationMatching

# Layers and units of source and target, stimuli, maximum number of iterations. If the
# alternation converges earlier, both sides use its number of iterations.
SIZES = {
    "full": ((16, 2048), (24, 896), 2042, 8),
    "small": ((4, 384), (6, 256), 512, 8),
}
# Units of source and target of single pairs, and the wanted speed-up. Small pairs are
# for information only.
SHAPES = {
    "full": [
        (1024, 768, 4.0),
        (1024, 1024, 4.0),
        (896, 2048, 4.0),
        (2048, 896, 8.0),
    ],
    "small": [(256, 192, None), (256, 256, None), (224, 512, None), (512, 224, None)],
}
SHAPE_REPEATS = 3
# Largest difference of the errors of both sides after the first iteration. They differ
# by up to 1e-5, because singular values of float32 products that are not larger than
# their rounding errors count as zero.
AGREEMENT = 1e-4
N_JOBS = 2
MOST_SECONDS = 3600.0


def rows(scale):
    """Yield the rows of target 3."""
    source, target, n_stimuli, most_rounds = SIZES[scale]
    n_pairs = source[0] * target[0]
    with tempfile.TemporaryDirectory() as folder:
        paths = in_fresh_process(
            write_networks, Path(folder), source, target, n_stimuli
        )
        # There are as many pairs as workers: an early pair of layers and a late one.
        pairs = [(paths[0][end], paths[1][end]) for end in (0, -1)]
        errors = in_fresh_process(_match, pairs, most_rounds).value
        n_rounds = [len(found) for found in errors]
        ours, loop = interleaved(
            [(_match, pairs, most_rounds), (_loop, pairs, n_rounds)], repeats=2
        )
        subset = [[side[layer] for layer in evenly_spread(len(side))] for side in paths]
        whole = in_fresh_process(_fit, *subset)
    case = (
        f"{source[0]} x {source[1]} vs {target[0]} x {target[1]}, {n_stimuli} stimuli"
    )
    yield Row(
        3,
        f"MOT+R {len(pairs)} pairs of {case}, {sum(n_rounds)} rounds",
        ours.seconds,
        loop.seconds,
        "literal loop",
        wanted="at least 6x faster",
        limit=6.0,
        at_least=True,
        details={
            "n_jobs": N_JOBS,
            "rounds of each pair": n_rounds,
            "errors of ours": ours.value,
            "errors of the literal loop": loop.value,
        },
    )
    n_fitted = len(subset[0]) * len(subset[1])
    mean_rounds = float(whole.value.mean())
    # The pair with the most iterations ends last. With all pairs, no worker waits.
    seconds_a_round = loop.seconds / (N_JOBS * max(n_rounds))
    literal_seconds = seconds_a_round * mean_rounds * n_pairs
    yield Row(
        3,
        f"MOT+R {case} ({n_fitted} of {n_pairs} pairs, scaled)",
        whole.seconds * n_pairs / n_fitted,
        MOST_SECONDS,
        f"allowed (literal loop, scaled: {literal_seconds:.3g} s)",
        wanted="at most 1 h",
        limit=1.0,
        details={
            "n_jobs": N_JOBS,
            "mean rounds": mean_rounds,
            "rounds": whole.value.tolist(),
            "seconds of the literal loop, scaled": literal_seconds,
        },
    )
    for n, k, limit in SHAPES[scale]:
        yield _single_pair(n, k, n_stimuli, most_rounds, limit)


def _single_pair(n, k, n_stimuli, most_rounds, limit):
    """Compare the CPU time of one pair in one thread."""
    with tempfile.TemporaryDirectory() as folder:
        # The second of two layers.
        paths = in_fresh_process(
            write_networks, Path(folder), (2, n), (2, k), n_stimuli
        )
        pairs = [tuple(side[-1] for side in paths)]
        n_rounds = [len(in_fresh_process(_match, pairs, most_rounds).value[0])]
        ours, loop = interleaved(
            [(_match, pairs, most_rounds), (_loop, pairs, n_rounds)], SHAPE_REPEATS
        )
        in_squares = in_fresh_process(_match, pairs, most_rounds, "sqeuclidean")
    # Later iterations differ if N > K: the loop uses another of the optimal rotations.
    ((error, *_),), ((expected, *_),) = ours.value, loop.value
    return Row(
        3,
        f"MOT+R one pair {n} x {k}, {n_stimuli} stimuli, {n_rounds[0]} rounds",
        ours.cpu_seconds,
        loop.cpu_seconds,
        "literal loop",
        unit="s CPU",
        wanted="" if limit is None else f"at least {limit:g}x faster",
        limit=limit,
        at_least=True,
        right=abs(error - expected) <= AGREEMENT,
        details={
            "errors of ours": ours.value,
            "errors of the literal loop": loop.value,
            'CPU seconds with metric="sqeuclidean"': in_squares.cpu_seconds,
            'rounds with metric="sqeuclidean"': len(in_squares.value[0]),
        },
    )


def _match(pairs, most_rounds, metric="correlation"):
    pairs = [load_network(pair) for pair in pairs]
    with Watch() as measured:
        fitted = Parallel(n_jobs=N_JOBS, prefer="threads")(
            delayed(_alternate)(*pair, most_rounds, metric) for pair in pairs
        )
    measured.value = [matching.path_["error"].tolist() for matching in fitted]
    return measured


def _alternate(source, target, most_rounds, metric):
    # The alternation is stopped early on purpose, so the warning is ignored.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return RotationMatching(metric, max_iter=most_rounds).fit(source, target)


def _loop(pairs, n_rounds):
    pairs = [load_network(pair) for pair in pairs]
    with Watch() as measured:
        measured.value = Parallel(n_jobs=N_JOBS, prefer="threads")(
            delayed(literal.match_after_rotation)(*pair, rounds)
            for pair, rounds in zip(pairs, n_rounds, strict=True)
        )
    return measured


def _fit(source, target):
    source, target = load_network(source), load_network(target)
    with Watch() as measured:
        mot = MultiLevelOTRotation(n_jobs=N_JOBS).fit(source, target)
    measured.value = mot.n_iter_
    return measured

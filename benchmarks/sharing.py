"""Many fits that share work, compared with the same fits one by one and with peers."""

from functools import partial
from importlib.util import find_spec
from itertools import permutations

import numpy as np
from measure import Watch, in_fresh_process, interleaved, shortest
from problems import network
from report import Row
from sklearn.base import clone
from sklearn.model_selection import ShuffleSplit

from skmot import CKA, RSA, LayerStack, MultiLevelOT, Procrustes, SoftMatching
from skmot.metrics import pairwise_costs
from skmot.model_selection import compare, permutation_control

STRATEGIES = ("transport", "single_best", "pairwise_best", "uniform")
REPEATS = 3
# Layers and units of source and target, stimuli, resamples.
COMPARISONS = {
    "full": [
        ((6, 1024), (8, 768), 1200, 100),
        ((4, 256), (6, 256), 400, 1000),
        ((4, 32), (6, 32), 200, 1000),
    ],
    "small": [((3, 256), (4, 192), 400, 100), ((4, 32), (6, 32), 200, 1000)],
}
# Networks, units and stimuli.
MANY = {
    "full": [(20, 50, 100), (12, 200, 500), (8, 500, 1000)],
    "small": [(12, 50, 100), (6, 200, 500)],
}
# Units, stimuli and permutations.
ROTATIONS = {"full": (1024, 1000, 30), "small": (256, 400, 60)}
# Largest difference of costs that are sums in another order.
ROUNDING = 1e-12
# Largest difference from a peer's result.
AGREEMENT = 1e-7


def rows(scale):
    """Yield the rows about fits that share work."""
    for case in COMPARISONS[scale]:
        yield in_fresh_process(_strategies, *case)
    for sizes in MANY[scale]:
        for estimator in (SoftMatching(), RSA(), CKA()):
            yield in_fresh_process(_against_fits, estimator, *sizes)
        if find_spec("netrep"):
            yield in_fresh_process(_against_netrep, *sizes)
        if find_spec("rsatoolbox"):
            yield in_fresh_process(_against_rsatoolbox, *sizes)
    yield _rotations(*ROTATIONS[scale])


def _strategies(source_sizes, target_sizes, n_stimuli, n_bootstrap):
    """Compare four strategies at once, and one after the other."""
    source, target = (
        {name: LayerStack(network(*sizes, n_stimuli, run=run))}
        for run, (name, sizes) in enumerate(
            (("source", source_sizes), ("target", target_sizes))
        )
    )
    methods = {
        strategy: MultiLevelOT(SoftMatching(), strategy) for strategy in STRATEGIES
    }
    run = partial(
        compare,
        source,
        target,
        cv=5,
        n_bootstrap=n_bootstrap,
        random_state=0,
        verbose=False,
    )
    found = {}

    def together():
        found["together"] = run(methods=methods)

    def apart():
        found["apart"] = [run(methods={name: methods[name]}) for name in methods]

    shared, separate = shortest([together, apart], REPEATS)
    scores = {
        (row["method"], row["direction"], row["split"], row["layer"]): row["score"]
        for part in found["apart"]
        for row in part.rows
    }
    same = all(
        scores[row["method"], row["direction"], row["split"], row["layer"]]
        == row["score"]
        for row in found["together"].rows
    )
    return Row(
        "sharing",
        f"compare {len(STRATEGIES)} strategies, {_name(source_sizes)} vs "
        f"{_name(target_sizes)}, {n_stimuli} stimuli, {n_bootstrap} resamples",
        shared,
        separate,
        "one by one",
        at_least=True,
        right=same,
        details={"same scores": same},
    )


def _name(sizes):
    return "{} x {}".format(*sizes)


def _networks(n_networks, n_units, n_stimuli):
    return [
        network(1, n_units, n_stimuli, run=run)[0].astype(np.float64)
        for run in range(n_networks)
    ]


def _against_fits(estimator, *sizes):
    networks = _networks(*sizes)
    costs = np.zeros((len(networks), len(networks)))

    def fits():
        for i, j in permutations(range(len(networks)), 2):
            costs[i, j] = clone(estimator).fit(networks[i], networks[j]).cost_

    found = []
    many, separate = shortest(
        [lambda: found.append(pairwise_costs(networks, estimator)), fits], REPEATS
    )
    return _row_of_many(
        f"{estimator}, {_name_many(*sizes)}",
        many,
        separate,
        "a fit for each pair",
        _largest_difference(found[0], costs),
        ROUNDING,
    )


def _name_many(n_networks, n_units, n_stimuli):
    return f"{n_networks} networks, {n_units} units, {n_stimuli} stimuli"


def _largest_difference(first, second):
    """Compare two matrices without their diagonals."""
    pairs = ~np.eye(len(first), dtype=bool)
    return float(np.abs(np.asarray(first)[pairs] - np.asarray(second)[pairs]).max())


def _row_of_many(
    case, many, other, against, difference, bound, wanted="no slower", least=1.0
):
    return Row(
        "sharing",
        f"pairwise_costs, {case}",
        many,
        other,
        against,
        wanted=wanted,
        limit=least,
        at_least=True,
        right=difference <= bound,
        details={"largest difference": difference},
    )


def _against_netrep(*sizes):
    from netrep.metrics import LinearMetric
    from netrep.multiset import pairwise_distances

    networks = [_standardised(layer) for layer in _networks(*sizes)]
    metric = LinearMetric(alpha=1.0, score_method="angular")
    found = {}

    def many():
        found["skmot"] = pairwise_costs(networks, Procrustes(), symmetric=True)

    def netrep():
        found["netrep"] = pairwise_distances(
            metric, networks, verbose=False, enable_caching=True
        )

    seconds, other = shortest([many, netrep], REPEATS)
    # The cost is 2 minus twice the cosine of netrep's angle.
    difference = _largest_difference(found["skmot"], 2 - 2 * np.cos(found["netrep"]))
    # Times are those of a pair, because netrep leaves out the diagonal.
    n_pairs = sizes[0] * (sizes[0] - 1) // 2
    return _row_of_many(
        f"Procrustes, {_name_many(*sizes)}, a pair",
        seconds / (n_pairs + sizes[0]),
        other / n_pairs,
        "netrep",
        difference,
        AGREEMENT,
        # The cost is a sum of differences, which is accurate for populations that are
        # nearly alike. netrep takes the angle from its cosine.
        wanted="at least 0.85x (sums differences)",
        least=0.85,
    )


def _standardised(layer):
    return (layer - layer.mean(axis=0)) / layer.std(axis=0)


def _against_rsatoolbox(*sizes):
    from rsatoolbox.data import Dataset
    from rsatoolbox.rdm import calc_rdm, compare

    networks = _networks(*sizes)
    found = {}

    def many():
        found["skmot"] = pairwise_costs(networks, RSA(), symmetric=True)

    def rsatoolbox():
        datasets = [Dataset(layer) for layer in networks]
        rdms = calc_rdm(datasets, method="correlation")
        found["rsatoolbox"] = compare(rdms, rdms, method="spearman")

    seconds = shortest([many, rsatoolbox], REPEATS)
    difference = _largest_difference(found["skmot"], 1 - found["rsatoolbox"])
    case = f"RSA, {_name_many(*sizes)}"
    return _row_of_many(case, *seconds, "rsatoolbox", difference, AGREEMENT)


def _rotations(*sizes):
    """Refit rotations of the source with two jobs and with one."""
    two, one = interleaved(
        [(_rotate, *sizes, 2), (_rotate, *sizes, 1)], REPEATS, blas_threads=1
    )
    n_units, n_stimuli, n_permutations = sizes
    same = two.value == one.value
    return Row(
        "sharing",
        f"control 'basis', {n_permutations} rotations of {n_units} units, {n_stimuli} "
        "stimuli, n_jobs=2",
        two.seconds,
        one.seconds,
        "n_jobs=1",
        at_least=True,
        right=same,
        details={"same null scores": same},
    )


def _rotate(n_units, n_stimuli, n_permutations, n_jobs):
    X, y = (network(1, n_units, n_stimuli, run=run)[0] for run in range(2))
    rotate = partial(
        permutation_control,
        SoftMatching(),
        control="basis",
        cv=ShuffleSplit(1, test_size=0.2, random_state=0),
        n_permutations=n_permutations,
        random_state=0,
        n_jobs=n_jobs,
    )
    # Starts the workers, which import skmot once.
    rotate(X[:, :5], y[:, :5])
    with Watch() as measured:
        result = rotate(X, y)
    measured.value = result.null_scores.tolist()
    return measured

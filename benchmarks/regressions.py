"""Linear predictivity, compared with refitted regressions and other libraries."""

from functools import partial
from importlib.util import find_spec

import numpy as np
from literal import z_scored
from measure import in_fresh_process, shortest
from problems import network
from report import Row
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.metrics import make_scorer

from skmot import LinearPredictivity, MultiLevelOT
from skmot.metrics import reconstruction_correlation

ALPHAS = np.logspace(-4, 4, 8)
VALIDATION_FRACTION = 0.125
# Largest difference of costs from those of scikit-learn's Ridge.
AGREEMENT = 1e-9
REPEATS = 3

# Numbers of stimuli, and numbers and widths of layers of both networks.
NETWORKS = {
    "full": [
        (1021, (4, 1024), (6, 512)),
        (400, (4, 1024), (6, 512)),
        (600, (4, 200), (4, 150)),
        (50, (4, 100), (6, 100)),
    ],
    "small": [
        (400, (2, 512), (3, 256)),
        (600, (2, 200), (2, 150)),
        (50, (4, 100), (6, 100)),
    ],
}
LEAST_SPEED_UP = 4.0
# Numbers of stimuli and of units of both populations.
PAIRS = {
    "full": [(1000, 3000, 3000), (1000, 200, 3000), (1000, 200, 200)],
    "small": [(400, 1000, 1000), (1000, 200, 200)],
}


def rows(scale):
    """Yield the rows about linear predictivity."""
    for case in NETWORKS[scale]:
        yield in_fresh_process(_against_refits, *case)
    for case in PAIRS[scale]:
        yield in_fresh_process(_against_ridge_cv, *case)
        if find_spec("himalaya"):
            yield in_fresh_process(_against_himalaya, *case)


def _against_refits(n_stimuli, source_sizes, target_sizes):
    source, target = (
        network(*sizes, n_stimuli, run=run)
        for run, sizes in enumerate((source_sizes, target_sizes))
    )
    estimator = MultiLevelOT(LinearPredictivity(random_state=0), "pairwise_best")
    costs = []
    fit, refits = shortest(
        [
            lambda: estimator.fit(source, target),
            lambda: costs.append(_literal_costs(source, target)),
        ],
        REPEATS,
    )
    difference = np.abs(estimator.layer_costs_ - costs[0]).max()
    return Row(
        "ridge",
        f"{_name(source_sizes)} and {_name(target_sizes)}, {n_stimuli} stimuli",
        fit,
        refits,
        "Ridge refitted",
        wanted=f"at least {LEAST_SPEED_UP:g}x, costs to 1e-9",
        limit=LEAST_SPEED_UP,
        at_least=True,
        right=difference <= AGREEMENT,
        details={"cost difference": float(difference)},
    )


def _name(sizes):
    return "{} x {} units".format(*sizes)


def _literal_costs(source, target):
    """Fit scikit-learn's Ridge again for each pair, direction and penalty."""
    source, target = ([z_scored(layer) for layer in side] for side in (source, target))
    costs = np.empty((len(source), len(target)))
    for pair in np.ndindex(costs.shape):
        X, Y = source[pair[0]], target[pair[1]]
        costs[pair] = _literal_ridge(X, Y)
        _literal_ridge(Y, X)
    return costs


def _literal_ridge(X, Y):
    """Refit to all stimuli with the best penalty, and return its validation cost."""
    training, validation = _split(len(X))

    def cost(alpha):
        predicted = Ridge(alpha).fit(X[training], Y[training]).predict(X[validation])
        return 1 - reconstruction_correlation(Y[validation], predicted)

    costs = [cost(alpha) for alpha in ALPHAS]
    best = int(np.argmin(costs))
    Ridge(ALPHAS[best]).fit(X, Y)
    return costs[best]


def _split(n_stimuli):
    """Return the parts that `LinearPredictivity(random_state=0)` draws."""
    order = np.random.RandomState(0).permutation(n_stimuli)
    n_validation = int(np.ceil(VALIDATION_FRACTION * n_stimuli))
    return order[n_validation:], order[:n_validation]


def _against_ridge_cv(n_stimuli, n, k):
    """One penalty for all units, chosen by the same correlation on the same part."""
    regression = RidgeCV(
        ALPHAS,
        scoring=make_scorer(reconstruction_correlation),
        cv=[_split(n_stimuli)],
    )
    return _against_peer(n_stimuli, n, k, regression.fit, "RidgeCV")


def _against_himalaya(n_stimuli, n, k):
    """One penalty per unit, chosen by himalaya's R^2 on the same part."""
    from himalaya.kernel_ridge import KernelRidgeCV, primal_weights_kernel_ridge
    from himalaya.ridge import RidgeCV

    settings = {"alphas": ALPHAS, "cv": [_split(n_stimuli)], "fit_intercept": True}

    def fit(X, Y):
        if len(X) >= X.shape[1]:
            # himalaya warns if it is not the faster one of the two.
            RidgeCV(**settings).fit(X, Y)
            return
        regression = KernelRidgeCV(**settings).fit(X, Y)
        # The coefficients, which the other regressions have learned.
        primal_weights_kernel_ridge(regression.dual_coef_, X)

    return _against_peer(n_stimuli, n, k, fit, "himalaya", alpha_per_target=True)


def _against_peer(n_stimuli, n, k, fit, name, alpha_per_target=False):
    """Compare a fit, which is in both directions, with two fits of a regression."""
    X, Y = (
        z_scored(network(1, units, n_stimuli, run=run)[0])
        for run, units in enumerate((n, k))
    )
    estimator = LinearPredictivity(alpha_per_target=alpha_per_target, random_state=0)
    ours, *theirs = shortest(
        [
            lambda: estimator.fit(X, Y),
            partial(fit, X, Y),
            partial(fit, Y, X),
        ],
        REPEATS,
    )
    return Row(
        "ridge",
        f"{n} and {k} units, {n_stimuli} stimuli"
        + (", a penalty per unit" if alpha_per_target else ""),
        ours,
        sum(theirs),
        name,
        wanted="at least 1x",
        limit=1.0,
        at_least=True,
    )

"""Quantities that skmot shares with other packages, computed by both.

`python benchmarks/peers.py` prints each number of the other package in skmot's units,
that of skmot, the largest difference, and the convention behind it. Packages that are
not installed are left out. The page "Coming from other packages" of the documentation
uses the same data and reports these numbers.
"""

import argparse
import sys
import textwrap
import warnings
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

import numpy as np
from scipy.spatial.distance import pdist
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import KFold
from sklearn.preprocessing import StandardScaler

from skmot import (
    LinearPredictivity,
    MultiLevelOT,
    Procrustes,
    RegressorMapping,
    SemiMatching,
    SoftMatching,
    TemplateMOT,
)
from skmot.metrics import (
    linear_cka,
    mutual_information_gap,
    one_to_one_distance,
    pairwise_costs,
    procrustes_distance,
    reconstruction_correlation,
    rectangular_matching_score,
    rotation_curve,
    rsa_score,
    semi_matching_score,
    soft_matching_distance,
    soft_matching_score,
)
from skmot.preprocessing import average_repeats
from skmot.transport import solve_transport

# Both sides compute in float64, in another order.
ROUNDING = 1e-12
# Weights of units are rounded to whole numbers, whose sum is about 1e12.
WHOLE_WEIGHTS = 1e-11
# The authors' code computes with marginals in float32.
SINGLE_PRECISION = 1e-7
TRAINING, HELD_OUT = slice(0, 40), slice(40, 60)


@dataclass(frozen=True)
class Comparison:
    """A quantity that two packages compute.

    Attributes
    ----------
    quantity : str
        What is computed, with the call of the other package.
    theirs, ours : float or array
        Values of the other package, converted if `convention` says so, and of skmot.
    convention : str
        What is converted, or why the values differ.
    bound : float or None
        Largest difference that the documentation states. None if the values differ by
        convention.
    """

    quantity: str
    theirs: object
    ours: object
    convention: str
    bound: float | None = ROUNDING

    @property
    def difference(self):
        """Largest absolute difference of the values."""
        return float(np.max(np.abs(np.asarray(self.theirs) - np.asarray(self.ours))))


def populations():
    """Simulate three populations of 12, 12 and 8 units with shared responses.

    Returns
    -------
    X, Y, Z : ndarray of shape (60, n_units)
        Responses to 60 stimuli.
    """
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(60, 6))

    def population(n_units):
        mixed = latent @ rng.normal(size=(6, n_units))
        return mixed + rng.normal(size=(60, n_units)) + 1

    return population(12), population(12), population(8)


def compare_with_netrep(X, Y, Z):
    """Yield the quantities shared with netrep."""
    from netrep.metrics import LinearCKA, LinearMetric, PermutationMetric

    angle_to_distance = "theirs is the angle t of arccos; 2 sin(t / 2) is shown"
    metric = LinearMetric(alpha=1.0)
    for other, widths in ((Y, "12 x 12 units"), (Z, "12 x 8 units, padded with 0")):
        yield Comparison(
            f"LinearMetric(alpha=1).fit_score, {widths}",
            2 * np.sin(metric.fit_score(X, other) / 2),
            procrustes_distance(X, other),
            angle_to_distance,
        )
    yield Comparison(
        'LinearMetric(alpha=1, score_method="euclidean").fit_score',
        LinearMetric(alpha=1.0, score_method="euclidean").fit_score(X, Y),
        procrustes_distance(X, Y, scale=False),
        "populations are not scaled: scale=False",
    )
    angles, _ = metric.pairwise_distances([X, Y, Z], processes=1, verbose=False)
    yield Comparison(
        "LinearMetric(alpha=1).pairwise_distances",
        2 - 2 * np.cos(angles),
        pairwise_costs([X, Y, Z], Procrustes()),
        "theirs are angles t; 2 - 2 cos t is shown, the squared distance",
    )
    noisy = X + 1e-10 * np.random.default_rng(1).normal(size=X.shape)
    yield Comparison(
        "LinearMetric(alpha=1).fit_score of a copy with noise of 1e-10",
        2 * np.sin(metric.fit_score(X, noisy) / 2),
        procrustes_distance(X, noisy),
        "the arccos of a number near 1 has half of the digits; skmot sums squared "
        "differences",
        bound=None,
    )
    yield Comparison(
        "PermutationMetric().fit_score",
        2 * np.sqrt(12) * np.sin(PermutationMetric().fit_score(X, Y) / 2),
        one_to_one_distance(X, Y),
        "theirs is the angle t; 2 sqrt(N) sin(t / 2) is shown, because skmot scales "
        "the mean squared norm of a unit to 1, not that of the population",
    )
    yield Comparison(
        'PermutationMetric(score_method="euclidean").fit_score',
        PermutationMetric(score_method="euclidean").fit_score(X, Y),
        one_to_one_distance(X, Y, scale=False),
        "populations are not scaled: scale=False",
    )
    yield Comparison(
        "LinearCKA().score",
        np.cos(LinearCKA().score(X, Z)),
        linear_cka(X, Z, debiased=False),
        "theirs is the arccos of plain CKA; its cosine is shown",
    )
    large_means = [np.float32(layer + 1e3) for layer in (X, Z)]
    yield Comparison(
        "LinearCKA().score, float32 with means of 1000",
        np.cos(LinearCKA().score(*large_means)),
        linear_cka(*large_means, debiased=False),
        "netrep computes in float32, skmot in float64",
        SINGLE_PRECISION,
    )
    constant = [np.insert(layer, 12, 1.0, axis=1) for layer in (X, Y)]
    yield Comparison(
        "PermutationMetric().fit_score, one more unit that is constant on each side",
        2 * np.sqrt(12) * np.sin(PermutationMetric().fit_score(*constant) / 2),
        one_to_one_distance(*constant),
        "N counts the units that are not constant",
    )
    fitted = Procrustes().fit(X[TRAINING], Y[TRAINING])
    cost = fitted.held_out_cost(X[HELD_OUT], Y[HELD_OUT])
    metric.fit(X[TRAINING], Y[TRAINING])
    yield Comparison(
        "LinearMetric(alpha=1).fit, score on held-out stimuli",
        2 - 2 * np.cos(metric.score(X[HELD_OUT], Y[HELD_OUT])),
        cost,
        "netrep subtracts training means, skmot held-out means; 2 - 2 cos t is shown",
        bound=None,
    )
    metric = LinearMetric(alpha=1.0, center_columns=False)
    metric.fit(_centred(X[TRAINING]), _centred(Y[TRAINING]))
    yield Comparison(
        "the same, each part centred before netrep",
        2 - 2 * np.cos(metric.score(_centred(X[HELD_OUT]), _centred(Y[HELD_OUT]))),
        cost,
        "with equal centring the values are equal",
    )


def compare_with_rsatoolbox(X, Y, Z):
    """Yield the quantities shared with rsatoolbox."""
    from rsatoolbox.data import Dataset, average_dataset_by
    from rsatoolbox.rdm import calc_rdm, compare

    def rdms(layers, method="correlation"):
        return [calc_rdm(Dataset(layer), method=method) for layer in layers]

    def similarity(layers, method="correlation", comparison="spearman"):
        return compare(*rdms(layers, method), method=comparison).item()

    yield Comparison(
        'calc_rdm(method="correlation"), compare(method="spearman")',
        similarity([X, Z]),
        rsa_score(X, Z),
        "equal",
    )
    single = [np.float32(layer + 1e3) for layer in (X, Z)]
    yield Comparison(
        "the same for float32 with means of 1000",
        similarity(single),
        rsa_score(*single),
        "equal; both compute RDMs in float64",
    )
    two_units = X[:, :2], Y[:, :2]
    yield Comparison(
        "the same for populations of two units",
        similarity(two_units),
        rsa_score(*two_units),
        "correlations of two units are -1 or 1 up to rounding; skmot gives equal ranks "
        "to correlations that differ by rounding errors",
        bound=None,
    )
    rounded = rdms(two_units)
    for rdm in rounded:
        rdm.dissimilarities = rdm.dissimilarities.round(12)
    yield Comparison(
        "the same, dissimilarities rounded to 12 digits before compare",
        compare(*rounded, method="spearman").item(),
        rsa_score(*two_units),
        "with equal ties the values are equal",
    )
    constant = X.copy(), Z.copy()
    for layer in constant:
        layer[3] = 1.0
    without = [np.delete(layer, 3, axis=0) for layer in constant]
    yield Comparison(
        "the same, all units respond equally to one stimulus, on both sides",
        similarity(constant),
        rsa_score(*constant),
        "rsatoolbox leaves the stimulus out (and raises a ValueError if it is constant "
        "on one side only); skmot counts undefined correlations as 0",
        bound=None,
    )
    yield Comparison(
        "the same, against skmot without this stimulus",
        similarity(constant),
        rsa_score(*without),
        "with equal stimuli the values are equal",
    )
    yield Comparison(
        'calc_rdm(method="euclidean"), compare(method="corr")',
        similarity([X, Z], "euclidean", "corr"),
        np.corrcoef(*(pdist(layer, "sqeuclidean") for layer in (X, Z)))[0, 1],
        "theirs are squared distances divided by the number of units; skmot takes the "
        "function in FunctionComparison",
    )
    yield Comparison(
        'calc_rdm(method="euclidean"), compare(method="cosine_cov")',
        similarity([X, Z], "euclidean", "cosine_cov"),
        linear_cka(X, Z, debiased=False),
        "the cosine of whitened squared Euclidean RDMs is plain linear CKA",
    )
    # 15 stimuli, four trials each.
    stimuli = np.tile(np.arange(15), 4)
    trials = Dataset(X, obs_descriptors={"stimulus": stimuli})
    yield Comparison(
        "average_dataset_by",
        average_dataset_by(trials, "stimulus")[0],
        np.asarray(average_repeats([X], stimuli)),
        "equal",
    )


def compare_with_fmralign(X, Y, Z):
    """Yield the quantities shared with fmralign."""
    from fmralign import PairwiseAlignment
    from fmralign.methods import OptimalTransport
    from fmralign.methods import Procrustes as FmralignProcrustes
    from fmralign.metrics import score_voxelwise

    procrustes = Procrustes().fit(X, Y)
    theirs = FmralignProcrustes().fit(_centred(X), _centred(Y))
    yield Comparison(
        "Procrustes().fit(centred).R",
        theirs.R,
        procrustes.rotation_,
        "fmralign does not centre",
    )
    yield Comparison(
        "Procrustes().transform(centred)",
        theirs.transform(_centred(X)) / (1 - procrustes.cost_ / 2) + Y.mean(axis=0),
        procrustes.predict(X),
        "theirs has the least-squares scale, smaller by 1 - cost_ / 2, and no mean; "
        "both are converted. Correlations do not change",
    )
    yield Comparison(
        'PairwiseAlignment("procrustes").transform, not centred',
        PairwiseAlignment("procrustes").fit(X, Y).transform(X),
        procrustes.predict(X),
        "fmralign does not centre",
        bound=None,
    )
    yield Comparison(
        'score_voxelwise(loss="corr")',
        score_voxelwise(Y, procrustes.predict(X), "corr"),
        procrustes.unit_scores(X, Y),
        "equal",
    )
    scalers = StandardScaler().fit(X), StandardScaler().fit(Y)
    standardized = scalers[0].transform(X), scalers[1].transform(Y)
    ridge = PairwiseAlignment("ridge").fit(*standardized)
    regressor = RidgeCV(alphas=[0.1, 1, 10, 100, 1000], cv=4, scoring="r2")
    yield Comparison(
        'PairwiseAlignment("ridge").transform, units standardised',
        scalers[1].inverse_transform(ridge.transform(standardized[0])),
        RegressorMapping(regressor).fit(X, Y).predict(X),
        "fmralign does not standardise; skmot does so in every regression",
    )
    if not find_spec("torch"):
        return
    matching = SoftMatching().fit(X, Y)
    for reg, bound in ((1e-2, None), (1e-3, 2e-5)):
        theirs = OptimalTransport(reg=reg, max_iter=100_000, tol=1e-9)
        yield Comparison(
            f"OptimalTransport(reg={reg:g}).R, units standardised",
            theirs.fit(*standardized).R,
            matching.coupling_.toarray(),
            "squared distances of standardised units order plans as correlations do; "
            "theirs is entropic, in float32, with costs divided by their maximum",
            bound=bound,
        )


def compare_with_himalaya(X, Y, Z):
    """Yield the quantities shared with himalaya."""
    from himalaya.ridge import Ridge as HimalayaRidge
    from himalaya.ridge import RidgeCV as HimalayaRidgeCV
    from himalaya.scoring import correlation_score

    scalers = StandardScaler().fit(X), StandardScaler().fit(Y)
    standardized = scalers[0].transform(X), scalers[1].transform(Y)

    def predictions(ridge):
        predicted = ridge.fit(*standardized).predict(standardized[0])
        return scalers[1].inverse_transform(predicted)

    linear = LinearPredictivity(alphas=[10.0]).fit(X, Y)
    yield Comparison(
        "Ridge(alpha=10).predict, units standardised",
        predictions(HimalayaRidge(alpha=10.0)),
        linear.predict(X),
        "himalaya does not standardise; the penalty has the same unit",
    )
    yield Comparison(
        "correlation_score",
        correlation_score(Y, linear.predict(X)),
        linear.unit_scores(X, Y),
        "equal",
    )
    alphas = np.logspace(-4, 4, 8)
    theirs = predictions(HimalayaRidgeCV(alphas=alphas, cv=5))
    yield Comparison(
        "RidgeCV(cv=5).predict, units standardised",
        theirs,
        LinearPredictivity(alphas=alphas, alpha_per_target=True, random_state=0)
        .fit(X, Y)
        .predict(X),
        "himalaya chooses the penalty of each unit by R2 over folds, skmot by the "
        "correlation on one validation part",
        bound=None,
    )
    yield Comparison(
        "RidgeCV(cv=5).predict, in RegressorMapping",
        theirs,
        RegressorMapping(HimalayaRidgeCV(alphas=alphas, cv=5)).fit(X, Y).predict(X),
        "himalaya's own choice, within skmot",
    )


def compare_with_pot(X, Y, Z):
    """Yield the quantities shared with POT."""
    import ot

    marginals = np.full(12, 1 / 12), np.full(8, 1 / 8)
    costs = 1 - np.corrcoef(X.T, Z.T)[:12, 12:]
    matching = SoftMatching().fit(X, Z)
    yield Comparison("emd2", ot.emd2(*marginals, costs), matching.cost_, "equal")
    yield Comparison(
        "emd", ot.emd(*marginals, costs), matching.coupling_.toarray(), "equal"
    )
    plan = ot.partial.partial_wasserstein(*marginals, costs, m=0.5)
    partial = SoftMatching(mass=0.5).fit(X, Z)
    yield Comparison(
        "partial.partial_wasserstein(m=0.5)",
        plan,
        partial.coupling_.toarray(),
        "equal; both plans sum to the mass",
    )
    yield Comparison(
        "partial.partial_wasserstein(m=0.5), cost",
        np.sum(plan * costs) / 0.5,
        partial.cost_,
        "cost_ is divided by the mass",
    )
    yield from _compare_metrics_with_pot(X, Z)
    yield from _compare_levels_with_pot(X, Y, Z)
    costs = np.random.default_rng(0).random((60, 90))
    marginals = np.full(60, 1 / 60), np.full(90, 1 / 90)
    optimum = ot.emd2(*marginals, costs)
    plan = ot.emd(*marginals, 1e-12 * costs)
    yield Comparison(
        "emd of 60 x 90 costs below 1e-12, relative to the optimum",
        np.sum(plan * costs) / optimum,
        solve_transport(1e-12 * costs).cost / 1e-12 / optimum,
        "skmot scales costs to [0, 1] before solving",
        bound=None,
    )


def _compare_metrics_with_pot(X, Z):
    import ot

    def optimum(costs, weights=None):
        n_rows, n_columns = costs.shape
        weights = np.full(n_rows, 1 / n_rows) if weights is None else weights
        return ot.emd2(weights, np.full(n_columns, 1 / n_columns), costs)

    correlations = np.corrcoef(X.T, Z.T)[:12, 12:]
    scaled = [_one_scale(layer).T for layer in (X, Z)]
    for metric, costs, convention in (
        ("cosine", ot.dist(X.T, Z.T, metric="cosine"), "equal"),
        ("abs_correlation", 1 - np.abs(correlations), "equal"),
        (
            "sqeuclidean",
            ot.dist(*scaled) / len(X),
            "units are centred, a population has mean variance 1, and squared "
            "distances are divided by the number of stimuli",
        ),
    ):
        yield Comparison(
            f"emd2, {metric}",
            optimum(costs),
            SoftMatching(metric).fit(X, Z).cost_,
            convention,
        )
    yield Comparison(
        "sqrt of emd2, squared Euclidean",
        np.sqrt(optimum(ot.dist(_centred(X).T, _centred(Z).T))),
        soft_matching_distance(X, Z, scale=False),
        "populations are centred, and not scaled: scale=False",
    )
    variances = X.var(axis=0)
    yield Comparison(
        "emd2, units weighted by their variance",
        optimum(1 - correlations, variances / variances.sum()),
        SoftMatching(source_weights="variance").fit(X, Z).cost_,
        "skmot rounds weights to whole numbers",
        WHOLE_WEIGHTS,
    )


def _compare_levels_with_pot(X, Y, Z):
    import ot

    source, target = [X[:, :6], X[:, 6:], Y[:, :5]], [Y, Z]
    marginals = np.full(3, 1 / 3), np.full(2, 1 / 2)
    mot = MultiLevelOT().fit(source, target)
    pairs = [
        [
            ot.emd2([], [], 1 - np.corrcoef(a.T, b.T)[: a.shape[1], a.shape[1] :])
            for b in target
        ]
        for a in source
    ]
    yield Comparison("emd2 of each pair of layers", pairs, mot.layer_costs_, "equal")
    yield Comparison(
        "emd of emd2 of each pair of layers",
        ot.emd(*marginals, np.array(pairs)),
        mot.coupling_,
        "equal",
    )
    depths = np.abs(np.subtract.outer([0, 0.5, 1], [0, 1]))
    yield Comparison(
        "emd of costs with a prior on depth",
        ot.emd(*marginals, np.array(pairs) + 0.5 * np.ptp(pairs) * depths),
        np.asarray(MultiLevelOT(depth_prior=0.5).fit(source, target).coupling_),
        "the weight of skmot is a share of the range of the costs",
    )
    scaled = [_one_scale(layer) for layer in (X, Y, Z)]
    barycenter = ot.lp.free_support_barycenter(
        [layer.T for layer in scaled],
        [np.full(layer.shape[1], 1 / layer.shape[1]) for layer in scaled],
        scaled[0].T.copy(),
        numItermax=1,
    )
    template = TemplateMOT(inner=SoftMatching("sqeuclidean"), init=0, max_iter=2, tol=0)
    yield Comparison(
        "lp.free_support_barycenter(numItermax=1)",
        _one_scale(barycenter.T),
        template.fit([[X], [Y], [Z]]).template_.layers[0],
        "a template of single layers, which is scaled to mean variance 1 after each "
        "round, and whose first round only matches",
    )


def compare_with_dcor(X, Y, Z):
    """Yield the quantities shared with dcor."""
    from dcor import u_distance_correlation_sqr

    yield Comparison(
        "u_distance_correlation_sqr(exponent=2)",
        u_distance_correlation_sqr(X, Z, exponent=2),
        linear_cka(X, Z),
        "with squared distances, their bias-corrected correlation is debiased CKA",
    )


def compare_with_scikit_learn(X, Y, Z):
    """Yield the quantities shared with scikit-learn and SciPy."""
    from scipy.linalg import fractional_matrix_power, lstsq, orthogonal_procrustes
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial import procrustes
    from scipy.stats import pearsonr, spearmanr
    from sklearn.metrics import mutual_info_score
    from sklearn.neighbors import NearestNeighbors

    standardized = (StandardScaler().fit_transform(layer) for layer in (X, Y))
    yield Comparison(
        "sklearn Ridge(alpha=10).coef_, units standardised",
        Ridge(alpha=10.0).fit(*standardized).coef_.T,
        LinearPredictivity(alphas=[10.0]).fit(X, Y).coef_,
        "skmot standardises; its coefficients are between standardised units",
    )
    ours = Procrustes().fit(X, Y)
    yield Comparison(
        "scipy.linalg.orthogonal_procrustes(centred), R",
        orthogonal_procrustes(_centred(X), _centred(Y))[0],
        ours.rotation_,
        "SciPy's function does not centre",
    )
    yield Comparison(
        "scipy.spatial.procrustes, disparity",
        procrustes(X, Y)[2],
        1 - (1 - ours.cost_ / 2) ** 2,
        "SciPy also optimises the scale: 1 - (1 - cost_ / 2)^2 of skmot is shown",
    )
    correlations = np.corrcoef(Z.T, X.T)[:8, 8:]
    pairs = linear_sum_assignment(correlations, maximize=True)
    yield Comparison(
        "scipy.optimize.linear_sum_assignment of correlations",
        correlations[pairs].mean(),
        rectangular_matching_score(Z, X),
        "equal",
    )
    neighbours = NearestNeighbors(n_neighbors=1, metric="correlation").fit(Z.T)
    yield Comparison(
        'sklearn NearestNeighbors(metric="correlation"), mean distance',
        neighbours.kneighbors(X.T)[0].mean(),
        SemiMatching().fit(X, Z).cost_,
        "each unit of the source takes its nearest of the target",
    )
    yield Comparison(
        "scipy.stats.pearsonr(axis=0), mean",
        pearsonr(Y, X, axis=0).statistic.mean(),
        reconstruction_correlation(Y, X),
        "equal",
    )
    yield Comparison(
        "scipy.stats.spearmanr of pdist(correlation)",
        spearmanr(*(pdist(layer, "correlation") for layer in (X, Z))).statistic,
        rsa_score(X, Z),
        "equal",
    )
    binned = [
        [np.digitize(unit, np.linspace(*_range(unit), 6)[1:-1]) for unit in layer.T]
        for layer in (X[:, :3], Z)
    ]
    yield Comparison(
        "sklearn mutual_info_score of five bins of equal width",
        [
            [mutual_info_score(unit, factor) for factor in binned[0]]
            for unit in binned[1]
        ],
        mutual_information_gap(X[:, :3], Z, n_bins=5).information,
        "equal",
    )
    rotated = []

    def remember(first, second):
        rotated.append(np.array(first))
        return 0.0

    rotation_curve(X, Y, (0.5, 1.0), n_rotations=1, score=remember, random_state=0)
    half, whole = (lstsq(_centred(X), layer)[0] for layer in rotated)
    yield Comparison(
        "scipy.linalg.fractional_matrix_power(Q, 0.5)",
        fractional_matrix_power(whole, 0.5),
        half,
        "equal",
    )


def compare_with_resi(X, Y, Z):
    """Yield the quantities shared with the measures of the ReSi benchmark."""
    from repsim import measures

    def measure(name, first, second):
        return getattr(measures, name)()(first, second, "nd")

    yield Comparison(
        "OrthogonalProcrustesCenteredAndNormalized",
        measure("OrthogonalProcrustesCenteredAndNormalized", X, Z),
        procrustes_distance(X, Z),
        "equal",
    )
    yield Comparison(
        "ProcrustesSizeAndShapeDistance",
        measure("ProcrustesSizeAndShapeDistance", X, Z),
        procrustes_distance(X, Z, scale=False),
        "populations are not scaled: scale=False",
    )
    yield Comparison(
        "PermutationProcrustes",
        measure("PermutationProcrustes", X, Y),
        one_to_one_distance(X, Y, center=False, scale=False),
        "neither centred nor scaled: center=False, scale=False",
    )
    yield Comparison(
        "HardCorrelationMatch",
        measure("HardCorrelationMatch", X, Z),
        rectangular_matching_score(Z, X),
        "skmot wants the smaller population first",
    )
    yield Comparison(
        "SoftCorrelationMatch",
        measure("SoftCorrelationMatch", X, Z),
        (semi_matching_score(X, Z) + semi_matching_score(Z, X)) / 2,
        "the mean of both directions of semi-matching, not soft matching",
    )
    yield Comparison(
        "RSA", measure("RSA", X, Z), rsa_score(X, Z), "equal, as with rsatoolbox"
    )
    other_means = X + np.arange(12)
    yield Comparison(
        "RSA, units of other means",
        measure("RSA", other_means, Z),
        rsa_score(other_means, Z),
        "equal: both change with the means of units, which ReSi lists as a translation "
        "that RSA ignores",
    )
    yield Comparison(
        "CKA",
        measure("CKA", X, Z),
        linear_cka(X, Z, debiased=False),
        "plain CKA: debiased=False",
    )


def compare_with_authors(X, Y, Z):
    """Yield the quantities shared with the code of the partial matching paper."""
    import torch
    from src.metrics.alignment.partial_wasserstein import UnbalancedSoftMatch
    from src.metrics.alignment.soft_match import SoftMatch

    in_single_precision = "equal up to their marginals in float32"
    yield Comparison(
        "SoftMatch().fit, score(use_kfold=False)",
        SoftMatch().fit(X, Z).score(X, Z, use_kfold=False),
        soft_matching_score(X, Z),
        in_single_precision,
        SINGLE_PRECISION,
    )
    squared = SoftMatch(cost_type="euclidean").fit(X, Z).score(X, Z, use_kfold=False)
    yield Comparison(
        'SoftMatch(cost_type="euclidean"), square root',
        np.sqrt(squared),
        soft_matching_distance(X, Z, scale=False),
        "theirs is the squared distance, not scaled: scale=False",
        1e-5,
    )
    folds = list(KFold(5, shuffle=True, random_state=42).split(X))
    tensors = torch.tensor(X), torch.tensor(Z)
    yield Comparison(
        "SoftMatch().fit_kfold_score",
        SoftMatch().fit_kfold_score(*tensors),
        [
            SoftMatching().fit(X[train], Z[train]).matching_score(X[test], Z[test])
            for train, test in folds
        ],
        f"KFold(5, shuffle=True, random_state=42), {in_single_precision}",
        SINGLE_PRECISION,
    )
    for mass in (0.1, 0.5, 0.9):
        partial = UnbalancedSoftMatch(mass_reg=mass).fit(X, Z)
        yield Comparison(
            f"UnbalancedSoftMatch(mass_reg={mass}), score(use_kfold=False)",
            partial.score(X, Z, use_kfold=False),
            1 - mass * SoftMatching(mass=mass).fit(X, Z).cost_,
            "theirs is 1 - <P, D>, so unmatched mass counts as a correlation of 1; "
            "skmot's cost_ is <P, D> / mass",
            SINGLE_PRECISION,
        )
    constant = X.copy()
    for value, bound in ((0.0, SINGLE_PRECISION), (1.0, None)):
        constant[:, 0] = value
        matching = SoftMatch().fit(constant, Z)
        try:
            theirs = matching.score(constant, Z, use_kfold=False)
        except AssertionError:
            # The plan has other marginals, because a distance is NaN.
            theirs = np.nan
        yield Comparison(
            f"SoftMatch, a unit that is {value:g} throughout",
            theirs,
            soft_matching_score(constant, Z),
            "their code leaves out units of 0, skmot all constant units; nan stands "
            "for an AssertionError",
            bound,
        )


# Package as users call it: module to look for, name of its distribution, comparisons.
PEERS = {
    "netrep": ("netrep", "netrep", compare_with_netrep),
    "rsatoolbox": ("rsatoolbox", "rsatoolbox", compare_with_rsatoolbox),
    "fmralign": ("fmralign", "fmralign", compare_with_fmralign),
    "himalaya": ("himalaya", "himalaya", compare_with_himalaya),
    "POT": ("ot", "POT", compare_with_pot),
    "dcor": ("dcor", "dcor", compare_with_dcor),
    "scikit-learn and SciPy": ("sklearn", "scikit-learn", compare_with_scikit_learn),
    "ReSi": ("repsim", "repsim", compare_with_resi),
    "partial-metric": (
        "src.metrics.alignment.soft_match",
        "unbalanced-metric",
        compare_with_authors,
    ),
}


def main():
    """Print the comparisons. The exit status is 1 if one exceeds its bound."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    peers = parser.parse_args().peers
    data = populations()
    all_hold = True
    for peer in peers:
        module, distribution, compare = PEERS[peer]
        if not _is_installed(module):
            print(f"{peer}: not installed\n")
            continue
        print(f"{peer} {_version_of(distribution)}\n")
        with warnings.catch_warnings():
            # Those of the other packages, and skmot's about constant units.
            warnings.simplefilter("ignore")
            for comparison in compare(*data):
                all_hold &= _print(comparison)
    return 0 if all_hold else 1


def _print(comparison):
    bound, difference = comparison.bound, comparison.difference
    holds = bound is None or difference <= bound
    if bound is None:
        verdict = "no bound: see below"
    else:
        verdict = f"{'within' if holds else 'LARGER THAN'} {bound:.0e}"
    print(f"  {comparison.quantity}")
    print(
        f"    theirs {_value(comparison.theirs)}, skmot {_value(comparison.ours)}, "
        f"difference {difference:.1e} ({verdict})"
    )
    told = textwrap.indent(textwrap.fill(comparison.convention, 84), " " * 4)
    print(told + "\n")
    return holds


def _value(value):
    value = np.asarray(value)
    return f"{value:.9g}" if value.ndim == 0 else f"{value.shape} array"


def _centred(layer):
    return layer - layer.mean(axis=0)


def _one_scale(layer):
    centred = _centred(layer)
    return centred / np.sqrt(np.mean(centred**2))


def _range(unit):
    return unit.min(), unit.max()


def _is_installed(module):
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _version_of(distribution):
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "of unknown version"


if __name__ == "__main__":
    sys.exit(main())

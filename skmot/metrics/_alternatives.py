"""The alternatives that the papers compare soft matching with."""

import math

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import squareform
from scipy.stats import rankdata
from sklearn.linear_model import Ridge
from sklearn.utils import check_random_state

from skmot._array_api import check_numpy, namespace_of, to_numpy
from skmot._units import (
    check_some_live,
    column_correlations,
    standardize,
    tuning_curves,
    unit_statistics,
)
from skmot._validation import check_pair, warn_about_dead_units
from skmot.metrics._matching import _curves
from skmot.metrics._reconstruction import mean_over_units

# Penalties of paper 1, section 3.3.
ALPHAS = tuple(np.logspace(-4, 4, 8))
# Correlations of patterns nearer to each other than this many rounding units are ties:
# patterns of two units have no correlations but -1 and 1.
_TIE_ROUNDING_UNITS = 64
# A correlation takes two stimuli, and so does a regression.
_LEAST_PART = 2


# -- Procrustes ------------------------------------------------------------------------


def procrustes_distance(X, Y, *, center=True, scale=True):
    """Procrustes distance between two populations, whatever their bases.

    ``d_O(X, Y)^2 = |X|_F^2 + |Y|_F^2 - 2 |X'Y|_*`` ([1]_, eq. 5), the last term the sum
    of singular values. At equal sizes it is the least ``|X - Y Q|_F`` over orthogonal Q
    (eq. 4); the formula takes any sizes, as if the narrower one had units of 0 added.

    Parameters
    ----------
    X : array-like of shape (n_stimuli, n_units_x)
        Responses of the first population.
    Y : array-like of shape (n_stimuli, n_units_y)
        Responses of the second population to the same stimuli.
    center : bool, default=True
        Whether each unit's mean over the stimuli is subtracted.
    scale : bool, default=True
        Whether each population is divided by its Frobenius norm, as in [1]_. Units are
        not scaled one by one: those of large variance count for more.

    Returns
    -------
    distance : float
        At least 0, and symmetric; with `scale` at most sqrt(2).

    Raises
    ------
    ValueError, TypeError
        If the input is not finite numbers in two dimensions over the same stimuli, or
        a population has constant units only.

    Warns
    -----
    DeadUnitWarning
        If units are constant over the stimuli; they take no part.

    See Also
    --------
    soft_matching_distance : Its counterpart that depends on the basis.
    skmot.Procrustes : The estimator, which also maps.

    References
    ----------
    .. [1] M. Khosla, A. H. Williams. Soft matching distance: a metric on neural
       representations that captures single-neuron tuning. UniReps, PMLR, 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.stats import ortho_group
    >>> from skmot.metrics import procrustes_distance, soft_matching_distance
    >>> X = np.random.default_rng(0).normal(size=(50, 8))
    >>> rotated = X @ ortho_group.rvs(8, random_state=0)
    >>> round(procrustes_distance(X, rotated), 6)
    0.0
    >>> round(soft_matching_distance(X, rotated), 1)
    1.1
    """
    first, second = (
        curves.vectors / math.sqrt(curves.vectors.shape[1]) if scale else curves.vectors
        for curves in _curves(X, Y, "sqeuclidean", center, scale)
    )
    xp = namespace_of(first, second)
    squared_norms = sum(
        float(xp.sum(part**2, dtype=xp.float64)) for part in (first, second)
    )
    _, agreement = align_orthogonally(first, second)
    return float(np.sqrt(max(squared_norms - 2.0 * agreement, 0.0)))


def align_orthogonally(X, Y):
    """Find the map T of orthonormal rows or columns that makes <X T, Y> largest.

    Parameters
    ----------
    X, Y : array of shape (n_stimuli, n_units_x) and (n_stimuli, n_units_y)
        Two populations, in one namespace and on one device.

    Returns
    -------
    rotation : array of shape (n_units_x, n_units_y)
        The polar factor of X'Y: an isometry between the directions of X and of Y that
        covary, and 0 on the others. In the precision of the populations.
    agreement : float
        <X T, Y>, the sum of the singular values of X'Y.
    """
    xp = namespace_of(X, Y)
    dtype = xp.result_type(X, Y)
    if X.shape[0] < min(X.shape[1], Y.shape[1]):
        # X'Y has no more directions than there are stimuli: those of a core.
        (left, X), (right, Y) = (
            xp.linalg.qr(xp.astype(part.T, xp.float64)) for part in (X, Y)
        )
        u, s, vt = xp.linalg.svd(X @ Y.T, full_matrices=False)
        u, vt = left @ u, vt @ right.T
    else:
        products = xp.astype(xp.matmul(X.T, Y), xp.float64)
        u, s, vt = xp.linalg.svd(products, full_matrices=False)
    s = to_numpy(s)
    # As `numpy.linalg.matrix_rank`, in the precision of the products.
    smallest = s[0] * max(u.shape[0], vt.shape[1]) * xp.finfo(dtype).eps
    rank = np.count_nonzero(s > smallest)
    rotation = u[:, :rank] @ vt[:rank, :]
    return xp.astype(rotation, dtype, copy=False), float(s.sum())


# -- assignments -----------------------------------------------------------------------


def semi_matching_score(X, Y, *, center=True):
    """Semi-matching score: the mean correlation of units with their best partners.

    ``s_semi(X, Y) = mean_i max_j corr(x_i, y_j)`` ([1]_, eq. 13, after Li et al.). A
    unit of Y may be the partner of many or of none, so that it is not symmetric and
    units of Y that are like none of X go unnoticed.

    Parameters
    ----------
    X : array-like of shape (n_stimuli, n_units_x)
        Responses of the population whose units seek partners.
    Y : array-like of shape (n_stimuli, n_units_y)
        Responses of the population that has the partners, to the same stimuli.
    center : bool, default=True
        Whether correlations are of centred units; False takes the cosine.

    Returns
    -------
    score : float
        From -1 to 1.

    Raises
    ------
    ValueError, TypeError
        As :func:`procrustes_distance`.

    Warns
    -----
    DeadUnitWarning
        If units are constant over the stimuli; they take no part.

    See Also
    --------
    soft_matching_score : Where every unit takes part.
    skmot.SemiMatching : The estimator, which also maps.

    References
    ----------
    .. [1] M. Khosla, A. H. Williams. Soft matching distance: a metric on neural
       representations that captures single-neuron tuning. UniReps, PMLR, 2024.

    Examples
    --------
    Figure 3A of [1]_: Z holds both X and Y, which have nothing in common, and either is
    as like it as can be.

    >>> import numpy as np
    >>> from skmot.metrics import semi_matching_score
    >>> X, Y = np.eye(6)[:, :3], np.eye(6)[:, 3:]
    >>> Z = np.hstack([X, Y])
    >>> semi_matching_score(X, Z, center=False), semi_matching_score(X, Y, center=False)
    (1.0, 0.0)
    >>> semi_matching_score(Z, X, center=False)
    0.5
    """
    curves = _curves(X, Y, "correlation" if center else "cosine")
    return match_best(_products(curves))[1]


def match_best(correlations):
    """Match every unit of the rows to the unit of the columns that is most like it.

    Parameters
    ----------
    correlations : ndarray of shape (n_units_x, n_units_y)
        Of the units.

    Returns
    -------
    partners : ndarray of int of shape (n_units_x,)
        The lowest of those that are equally like it.
    score : float
        Their mean correlation.
    """
    partners = correlations.argmax(axis=1)
    return partners, _mean_of_pairs(correlations, np.arange(len(partners)), partners)


def rectangular_matching_score(X, Y, *, center=True):
    """Rectangular assignment score: the best matching of all of X to distinct of Y.

    ``s_R(X, Y) = max sum_ij P_ij corr(x_i, y_j) / Nx`` over the assignments P that give
    every unit of X one of Y, and no unit of Y twice ([1]_, eq. 14 and 15). Units of Y
    that are left over do not count.

    Parameters
    ----------
    X : array-like of shape (n_stimuli, n_units_x)
        Responses of the smaller population.
    Y : array-like of shape (n_stimuli, n_units_y)
        Responses of the population of as many or more units, to the same stimuli.
    center : bool, default=True
        Whether correlations are of centred units; False takes the cosine.

    Returns
    -------
    score : float
        From -1 to 1.

    Raises
    ------
    ValueError, TypeError
        If Y has fewer (not constant) units than X, and as :func:`procrustes_distance`.

    Warns
    -----
    DeadUnitWarning
        If units are constant over the stimuli; they take no part.

    See Also
    --------
    soft_matching_score : Where every unit takes part.
    skmot.OneToOneMatching : The estimator, which also maps, either side the larger.

    References
    ----------
    .. [1] M. Khosla, A. H. Williams. Soft matching distance: a metric on neural
       representations that captures single-neuron tuning. UniReps, PMLR, 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot.metrics import rectangular_matching_score
    >>> X, Y = np.eye(6)[:, :3], np.eye(6)[:, 3:]
    >>> Z = np.hstack([X, Y])
    >>> rectangular_matching_score(X, Z, center=False)
    1.0
    """
    correlations = _products(_curves(X, Y, "correlation" if center else "cosine"))
    n_first, n_second = correlations.shape
    if n_first > n_second:
        raise ValueError(
            "Every unit of X needs a unit of Y of its own; X has "
            f"{n_first} and Y has {n_second} (constant units not counted). Swap them: "
            "`rectangular_matching_score(Y, X)`."
        )
    return match_one_to_one(correlations)[1]


def match_one_to_one(correlations):
    """Match as many units as the smaller side has, each to one of its own.

    Parameters
    ----------
    correlations : ndarray of shape (n_units_x, n_units_y)
        Of the units.

    Returns
    -------
    pairs : tuple of ndarray of int of shape (min(n_units_x, n_units_y),)
        Units of the rows, and units of the columns.
    score : float
        Their mean correlation, the largest there is.
    """
    pairs = linear_sum_assignment(correlations, maximize=True)
    return pairs, _mean_of_pairs(correlations, *pairs)


def _products(curves):
    """Return the products of all pairs of units, on the host."""
    first, second = (part.vectors for part in curves)
    xp = namespace_of(first, second)
    return to_numpy(xp.matmul(first.T, second))


def _mean_of_pairs(correlations, rows, columns):
    mean = correlations[rows, columns].mean(dtype=np.float64)
    return float(np.clip(mean, -1.0, 1.0))


# -- geometries ------------------------------------------------------------------------


def rsa_score(X, Y):
    """Representational similarity analysis: do two populations tell the same apart.

    The Spearman correlation between the upper triangles of two representational
    dissimilarity matrices (RDMs), which hold 1 - the Pearson correlation, over units,
    of the responses to two stimuli ([1]_).

    Parameters
    ----------
    X : array-like of shape (n_stimuli, n_units_x)
        Responses of the first population; at least three stimuli.
    Y : array-like of shape (n_stimuli, n_units_y)
        Responses of the second population to the same stimuli.

    Returns
    -------
    score : float
        From -1 to 1; symmetric. Units are not standardised. What has no correlation
        counts as 0: a response that is the same in all units, and an RDM whose entries
        are all the same, as that of one unit is.

    Raises
    ------
    ValueError, TypeError
        If there are fewer than three stimuli, and as :func:`procrustes_distance`.

    Warns
    -----
    DeadUnitWarning
        If units are constant over the stimuli; they take no part.

    See Also
    --------
    linear_cka : Which compares scalar products.
    skmot.RSA : The estimator.

    References
    ----------
    .. [1] N. Kriegeskorte, M. Mur, P. Bandettini. Representational similarity analysis:
       connecting the branches of systems neuroscience. Frontiers in Systems
       Neuroscience, 2008.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot.metrics import rsa_score
    >>> X = np.random.default_rng(0).normal(size=(50, 8))
    >>> round(rsa_score(X, 3 * X[:, ::-1] + 1), 9)
    1.0
    """
    first, second = _curves(X, Y, "sqeuclidean", center=False)
    check_numpy(first.vectors, "rsa_score")
    return compare_geometries(
        rsa_geometry(first.vectors, "X"), rsa_geometry(second.vectors, "Y")
    )


def rsa_geometry(layer, where):
    """Return a layer's RDM such that a product of two is their Spearman correlation.

    Parameters
    ----------
    layer : ndarray of shape (n_stimuli, n_units)
        Its live units.
    where : str
        What the layer is called in a message.

    Returns
    -------
    geometry : ndarray of shape (n_stimuli * (n_stimuli - 1) / 2,)
        Ranks of the upper triangle, centred and of unit norm; 0 where all are equal.
    """
    _check_enough_stimuli(layer, 3, "RSA", where)
    patterns = layer.T
    statistics = unit_statistics(patterns)
    vectors = tuning_curves(patterns, statistics, "correlation").vectors
    correlations = np.zeros((len(layer), len(layer)), dtype=vectors.dtype)
    correlations[np.ix_(statistics.live, statistics.live)] = vectors.T @ vectors
    rounding = _TIE_ROUNDING_UNITS * np.finfo(vectors.dtype).eps
    # Two sides ranked from the top or both from the bottom correlate alike.
    ranks = rankdata(np.rint(squareform(correlations, checks=False) / rounding))
    # Their mean in closed form, so that equal ranks become 0.
    ranks -= (len(ranks) + 1) / 2
    return _unit_vector(ranks).astype(layer.dtype, copy=False)


def linear_cka(X, Y, *, debiased=True):
    """Linear centred kernel alignment (CKA) between two populations.

    ``HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L))`` of the matrices of scalar products
    between stimuli, K = XX' and L = YY'.

    Parameters
    ----------
    X : array-like of shape (n_stimuli, n_units_x)
        Responses of the first population.
    Y : array-like of shape (n_stimuli, n_units_y)
        Responses of the second population to the same stimuli.
    debiased : bool, default=True
        Which estimator of the Hilbert-Schmidt independence criterion (HSIC). True: the
        unbiased one ([2]_, [3]_), which is about 0 for independent populations of any
        widths. False: the plain one ([1]_), ``|X'Y|_F^2 / (|X'X|_F |Y'Y|_F)`` of
        centred X and Y, which rises with the widths, to 1 where there are many more
        units than stimuli.

    Returns
    -------
    cka : float
        From 0 to 1 plain, from -1 to 1 debiased; symmetric. Units are centred and not
        scaled one by one. Where the debiased HSIC(K, K) is 0, as of a single unit
        active for a single stimulus, 0.

    Raises
    ------
    ValueError, TypeError
        If `debiased` and there are fewer than four stimuli, and as
        :func:`procrustes_distance`.

    Warns
    -----
    DeadUnitWarning
        If units are constant over the stimuli; they take no part.

    See Also
    --------
    rsa_score : Which compares ranks of dissimilarities.
    skmot.CKA : The estimator.

    References
    ----------
    .. [1] S. Kornblith, M. Norouzi, H. Lee, G. Hinton. Similarity of neural network
       representations revisited. ICML, 2019.
    .. [2] L. Song, A. Smola, A. Gretton, J. Bedo, K. Borgwardt. Feature selection via
       dependence maximization. JMLR, 2012.
    .. [3] T. Nguyen, M. Raghu, S. Kornblith. Do wide and deep networks learn the same
       things? Uncovering how neural network representations vary with width and depth.
       ICLR, 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot.metrics import linear_cka
    >>> rng = np.random.default_rng(0)
    >>> X, Y = rng.normal(size=(100, 400)), rng.normal(size=(100, 400))
    >>> round(linear_cka(X, Y), 1), round(linear_cka(X, Y, debiased=False), 1)
    (0.0, 0.8)
    """
    first, second = _curves(X, Y, "sqeuclidean")
    check_numpy(first.vectors, "linear_cka")
    return compare_geometries(
        cka_geometry(first.vectors, debiased, "X"),
        cka_geometry(second.vectors, debiased, "Y"),
    )


def cka_geometry(layer, debiased, where):
    """Return a layer's scalar products such that a product of two is their CKA.

    Unbiased HSIC is, up to a factor, the product of the off-diagonal entries of
    matrices whose off-diagonal rows are made to sum to 0 (U-centred).

    Parameters
    ----------
    layer : ndarray of shape (n_stimuli, n_units)
        Centred units.
    debiased : bool
        Whether CKA is to be that of the unbiased estimator.
    where : str
        What the layer is called in a message.

    Returns
    -------
    geometry : ndarray of shape (n_entries,)
        Centred scalar products, of unit norm: the upper triangle, where not `debiased`
        with the diagonal before it.
    """
    gram = layer @ layer.T
    if not debiased:
        # Off the diagonal every entry of a product of matrices occurs twice.
        entries = np.sqrt(2.0) * squareform(gram, checks=False)
        return _unit_vector(np.concatenate([np.diag(gram), entries])).astype(
            layer.dtype, copy=False
        )
    n_stimuli = len(layer)
    _check_enough_stimuli(layer, 4, "Debiased CKA", where)
    # What centring leaves of a matrix that it makes 0.
    rounding = n_stimuli * np.finfo(gram.dtype).eps * np.linalg.norm(gram)
    np.fill_diagonal(gram, 0.0)
    means = gram.sum(axis=1, dtype=np.float64) / (n_stimuli - 2)
    centred = gram - means[:, np.newaxis] - means + means.sum() / (n_stimuli - 1)
    entries = squareform(centred, checks=False)
    return _unit_vector(entries, rounding).astype(layer.dtype, copy=False)


def compare_geometries(first, second):
    """Return the product of two geometries: from -1 to 1, 0 where one has none."""
    return float(np.clip(first @ second, -1.0, 1.0))


def _check_enough_stimuli(layer, least, method, where):
    if len(layer) < least:
        raise ValueError(
            f"n_samples={len(layer)} in {where}: {method} takes at least {least} "
            "stimuli. Give more."
        )


def _unit_vector(entries, rounding=0.0):
    norm = np.linalg.norm(entries)
    return entries / norm if norm > rounding else np.zeros_like(entries)


# -- linear predictivity ---------------------------------------------------------------


def linear_predictivity_score(
    X, Y, *, alphas=None, validation_size=0.1, test_size=0.2, random_state=None
):
    """Linear predictivity: how well a ridge regression from X predicts Y.

    The protocol of [1]_, section 3.3: the stimuli are split at random into training,
    validation and test parts (70/10/20); one penalty for all units of Y is that of the
    highest mean correlation on the validation part, of a regression on the training
    part; refitted to both parts, the regression is scored on the test part.

    Parameters
    ----------
    X : array-like of shape (n_stimuli, n_units_x)
        Responses of the population that predicts.
    Y : array-like of shape (n_stimuli, n_units_y)
        Responses of the population that is predicted, to the same stimuli.
    alphas : array-like of shape (n_alphas,), default=None
        Penalties to choose from, on the squared coefficients between standardised
        units. None: 8 from 1e-4 to 1e4, equally spaced in their logarithm.
    validation_size, test_size : float, default=0.1, 0.2
        Shares of the stimuli, each two stimuli at least.
    random_state : int, RandomState instance or None, default=None
        Of the split.

    Returns
    -------
    score : float
        Mean over units of Y of the Pearson correlation between recorded and predicted
        responses to the test part, from -1 to 1; not symmetric. A unit constant over
        the test part is left out, one whose prediction is constant counts as 0.

    Raises
    ------
    ValueError, TypeError
        If the parts cannot each have two stimuli, penalties are not positive, or every
        unit of Y is constant over a part, and as :func:`procrustes_distance`.

    Warns
    -----
    DeadUnitWarning
        If units are constant over the stimuli.

    See Also
    --------
    skmot.LinearPredictivity : The estimator.

    References
    ----------
    .. [1] M. Khosla, A. H. Williams. Soft matching distance: a metric on neural
       representations that captures single-neuron tuning. UniReps, PMLR, 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot.metrics import linear_predictivity_score
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(200, 5))
    >>> Y = X @ rng.normal(size=(5, 9))
    >>> round(linear_predictivity_score(X, Y, random_state=0), 3)
    1.0
    """
    X, Y = check_pair(X, Y)
    check_numpy(X, "linear_predictivity_score")
    statistics = [unit_statistics(X), unit_statistics(Y)]
    for part, where in zip(statistics, ["X", "Y"], strict=True):
        check_some_live(part.live, where)
    warn_about_dead_units(
        [part.dead_units for part in statistics], ["X", "Y"], stacklevel=3
    )
    alphas = check_alphas(alphas)
    test, validation, training = split_stimuli(
        len(X), (test_size, validation_size), random_state
    )
    kept = np.concatenate([training, validation])
    source, target = unit_statistics(X[kept]), unit_statistics(Y[kept])
    # The validation part comes last in what is kept.
    coefficients, _, _ = fit_ridge(
        standardize(X[kept], source),
        standardize(Y[kept], target),
        alphas,
        np.arange(len(training), len(kept)),
        "Y",
    )
    predicted = standardize(X[test], source) @ coefficients
    return mean_over_units(column_correlations(Y[test], predicted), "Y")


def check_alphas(alphas):
    """Return penalties as an array, the default for None.

    Parameters
    ----------
    alphas : array-like of shape (n_alphas,) or None
        As the user gave them.

    Returns
    -------
    alphas : ndarray of shape (n_alphas,)
        In float64, positive and finite.

    Raises
    ------
    ValueError
        If they are not, or there is none.
    """
    alphas = np.asarray(ALPHAS if alphas is None else alphas, dtype=np.float64)
    if (
        alphas.ndim != 1
        or alphas.size == 0
        or not (np.isfinite(alphas) & (alphas > 0)).all()
    ):
        raise ValueError(
            "`alphas` must be a list of penalties, each positive and finite; got "
            f"{alphas.tolist()}."
        )
    return alphas


def split_stimuli(n_stimuli, shares, random_state):
    """Split stimuli at random into parts of given shares, and the rest.

    Parameters
    ----------
    n_stimuli : int
        Number of stimuli.
    shares : sequence of float
        Of each part but the last, rounded up to whole stimuli, as scikit-learn does,
        and two at least.
    random_state : int, RandomState instance or None
        Of the split.

    Returns
    -------
    parts : list of ndarray of int
        Indices of the stimuli of each part, and of the rest.

    Raises
    ------
    ValueError
        If a share is not one, or fewer than two stimuli are left.
    """
    for share in shares:
        if not 0 < share < 1:
            raise ValueError(
                f"Shares of the stimuli must be between 0 and 1; got {share}."
            )
    sizes = [max(_LEAST_PART, math.ceil(share * n_stimuli)) for share in shares]
    if n_stimuli - sum(sizes) < _LEAST_PART:
        raise ValueError(
            f"n_samples={n_stimuli} stimuli cannot be split into parts of {sizes} for "
            f"validation and test and {_LEAST_PART} or more for training: give more "
            "stimuli, or make the shares smaller."
        )
    order = check_random_state(random_state).permutation(n_stimuli)
    return np.split(order, np.cumsum(sizes))


def fit_ridge(X, Y, alphas, validation, where):
    """Fit a ridge regression whose one penalty is chosen on a validation part.

    Parameters
    ----------
    X, Y : ndarray of shape (n_stimuli, n_units_x) and (n_stimuli, n_units_y)
        Standardised units; constant ones are 0.
    alphas : ndarray of shape (n_alphas,)
        Penalties.
    validation : ndarray of int
        The stimuli of the validation part. Where every unit of Y is constant over it,
        which leaves nothing to correlate, one stimulus more is taken.
    where : str
        What Y is called in a message.

    Returns
    -------
    coefficients : ndarray of shape (n_units_x, n_units_y)
        Of the regression on all stimuli, in the precision of Y.
    alpha : float
        The penalty: of those equally good, the largest.
    score : float
        Mean over units of their correlation on the validation part, predicted from the
        other stimuli.
    """
    dtype = Y.dtype
    # In float32 the products of thousands of stimuli drown a penalty of 1e-4.
    X, Y = X.astype(np.float64, copy=False), Y.astype(np.float64, copy=False)
    varied = (Y[validation[0]] != Y).any(axis=1)
    if not varied[validation].any():
        validation = np.append(validation, varied.argmax())
    training = np.delete(np.arange(len(X)), validation)
    best_score, best_alpha = -np.inf, None
    for alpha in np.sort(alphas)[::-1]:
        regression = Ridge(alpha).fit(X[training], Y[training])
        predicted = regression.predict(X[validation]).reshape(len(validation), -1)
        score = mean_over_units(
            column_correlations(Y[validation], predicted),
            f"{where} (its validation part)",
        )
        if score > best_score:
            best_score, best_alpha = score, float(alpha)
    coefficients = Ridge(best_alpha).fit(X, Y).coef_.reshape(Y.shape[1], -1).T
    return coefficients.astype(dtype, copy=False), best_alpha, best_score

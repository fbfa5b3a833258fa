"""RSA and CKA: scores that compare the similarity structure over stimuli."""

import numpy as np
from scipy.spatial.distance import squareform
from scipy.stats import rankdata

from skmot._units import (
    check_some_live,
    constant_units,
    tuning_curves,
    unit_statistics,
)
from skmot._utils.array_api import check_numpy
from skmot.layers.checks import check_pair
from skmot.metrics._matching import read_curves

# Correlations that differ by less than this number of rounding units get equal ranks.
# For example, correlations of patterns of two units are exactly -1 or 1.
_TIE_ROUNDING_UNITS = 64
# Costs below it are summed from differences: as 1 - similarity they would have lost
# more than half of their digits in float64.
_NEARLY_ALIKE = 1e-8


def rsa_score(X, Y):
    """Representational similarity analysis (RSA) of two populations.

    The score is the Spearman correlation between the upper triangles of two
    representational dissimilarity matrices (RDMs). The entry of an RDM for two stimuli
    is 1 minus the Pearson correlation over units between the responses to them ([1]_).
    Units are not standardised. Constant units are part of the patterns. The RDMs are
    computed in float64.

    Parameters
    ----------
    X : array-like of shape (n_stimuli, n_units_x)
        Responses of the first population to at least three stimuli.
    Y : array-like of shape (n_stimuli, n_units_y)
        Responses of the second population to the same stimuli.

    Returns
    -------
    score : float
        Symmetric score from -1 to 1. Undefined correlations count as 0: those of a
        stimulus to which all units respond equally, and those of an RDM with equal
        entries, such as the RDM of a single unit.

    Raises
    ------
    ValueError, TypeError
        If there are fewer than three stimuli, or the input is invalid, as in
        :func:`procrustes_distance`.

    See Also
    --------
    linear_cka : Comparison of scalar products.
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
    X, Y = check_pair(X, Y)
    check_numpy(X, "rsa_score")
    for layer, where in ((X, "X"), (Y, "Y")):
        check_some_live(~constant_units(layer), where)
    return compare_geometries(rsa_geometry(X, "X"), rsa_geometry(Y, "Y"))


def rsa_geometry(layer, where):
    """Compute the ranks of the RDM of a layer.

    The scalar product of the ranks of two layers is the Spearman correlation of their
    RDMs.

    Parameters
    ----------
    layer : ndarray of shape (n_stimuli, n_units)
        All units of the layer.
    where : str
        Name of the layer in error messages.

    Returns
    -------
    geometry : ndarray of shape (n_stimuli * (n_stimuli - 1) / 2,)
        Ranks of the upper triangle, centred and scaled to norm 1; 0 if all entries are
        equal.
    """
    _check_enough_stimuli(layer, 3, "RSA", where)
    # Patterns may have a large part in common, next to which their differences are lost
    # in float32.
    patterns = layer.T.astype(np.float64, copy=False)
    statistics = unit_statistics(patterns)
    vectors = tuning_curves(patterns, statistics, "correlation").vectors
    correlations = np.zeros((len(layer), len(layer)))
    correlations[np.ix_(statistics.live, statistics.live)] = vectors.T @ vectors
    rounding = _TIE_ROUNDING_UNITS * np.finfo(np.float64).eps
    # Ranks of correlations have the same Spearman correlation as ranks of 1 - corr.
    ranks = rankdata(np.rint(squareform(correlations, checks=False) / rounding))
    # Subtracting the mean in closed form makes equal ranks exactly 0.
    ranks -= (len(ranks) + 1) / 2
    return _unit_vector(ranks)


def linear_cka(X, Y, *, debiased=True):
    """Linear centred kernel alignment (CKA) between two populations.

    CKA is ``HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L))``, where K = XX' and L = YY' are
    the matrices of scalar products between stimuli, and HSIC is the Hilbert-Schmidt
    independence criterion. Units are centred, but individual units are not scaled.

    Parameters
    ----------
    X : array-like of shape (n_stimuli, n_units_x)
        Responses of the first population.
    Y : array-like of shape (n_stimuli, n_units_y)
        Responses of the second population to the same stimuli.
    debiased : bool, default=True
        Whether to use the unbiased estimator of HSIC ([2]_, [3]_), which is about 0 for
        independent populations, whatever their number of units. If False, the plain
        CKA ([1]_) is returned: ``|X'Y|_F^2 / (|X'X|_F |Y'Y|_F)`` of centred X and Y. It
        increases with the number of units, and approaches 1 if there are many more
        units than stimuli.

    Returns
    -------
    cka : float
        Symmetric score: from -1 to 1 if `debiased`, else from 0 to 1. It is 0 if the
        debiased HSIC(K, K) is 0, for example for a single unit that is active for a
        single stimulus.

    Raises
    ------
    ValueError, TypeError
        If `debiased` is True and there are fewer than four stimuli, or the input is
        invalid, as in :func:`procrustes_distance`.

    Warns
    -----
    DeadUnitWarning
        If units are constant over the stimuli. These units are left out.

    See Also
    --------
    rsa_score : Comparison of ranks of dissimilarities.
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
    first, second = read_curves(X, Y, "sqeuclidean")
    check_numpy(first.vectors, "linear_cka")
    return compare_geometries(
        cka_geometry(first.vectors, debiased, "X"),
        cka_geometry(second.vectors, debiased, "Y"),
    )


def cka_geometry(layer, debiased, where):
    """Compute the scalar products between stimuli that the CKA of a layer needs.

    The scalar product of the geometries of two layers is their CKA. Up to a factor,
    unbiased HSIC is the scalar product of the off-diagonal entries of two U-centred
    matrices. In a U-centred matrix the off-diagonal entries of each row sum to 0.

    Parameters
    ----------
    layer : ndarray of shape (n_stimuli, n_units)
        Centred units.
    debiased : bool
        Whether to use the unbiased estimator of HSIC.
    where : str
        Name of the layer in error messages.

    Returns
    -------
    geometry : ndarray of shape (n_entries,)
        Centred scalar products, scaled to norm 1: the upper triangle, preceded by the
        diagonal if `debiased` is False.
    """
    # Centring subtracts entries, which would lose their digits in float32.
    layer = layer.astype(np.float64, copy=False)
    gram = layer @ layer.T
    if not debiased:
        # Off-diagonal entries occur twice in a scalar product of symmetric matrices.
        entries = np.sqrt(2.0) * squareform(gram, checks=False)
        return _unit_vector(np.concatenate([np.diag(gram), entries]))
    n_stimuli = len(layer)
    _check_enough_stimuli(layer, 4, "Debiased CKA", where)
    # Rounding error that is left if U-centring makes the matrix 0.
    rounding = n_stimuli * np.finfo(gram.dtype).eps * np.linalg.norm(gram)
    np.fill_diagonal(gram, 0.0)
    means = gram.sum(axis=1, dtype=np.float64) / (n_stimuli - 2)
    centred = gram - means[:, np.newaxis] - means + means.sum() / (n_stimuli - 1)
    entries = squareform(centred, checks=False)
    return _unit_vector(entries, rounding)


def geometry_cost(first, second):
    """Return 1 minus the similarity of two geometries, exact where they are alike."""
    similarity = compare_geometries(first, second)
    if 1.0 - similarity < _NEARLY_ALIKE:
        # Of vectors of unit norm, so that no digits cancel.
        return float(np.sum((first - second) ** 2) / 2.0)
    return 1.0 - similarity


def compare_geometries(first, second):
    """Compute the scalar product of two geometries, from -1 to 1; 0 if one is zero."""
    return float(np.clip(first @ second, -1.0, 1.0))


def _check_enough_stimuli(layer, least, method, where):
    if len(layer) < least:
        raise ValueError(
            f"n_samples={len(layer)} in {where}: {method} needs at least {least} "
            "stimuli."
        )


def _unit_vector(entries, rounding=0.0):
    norm = np.linalg.norm(entries)
    return entries / norm if norm > rounding else np.zeros_like(entries)

"""RSA and CKA: scores that compare the similarity structure over stimuli."""

from functools import cached_property

import numpy as np

from skmot._units import (
    check_some_live,
    constant_units,
    over_all_units,
    tuning_curves,
    unit_statistics,
)
from skmot._utils.array_api import device_of, namespace_of
from skmot._utils.sklearn import validate_params
from skmot.layers.checks import check_pair
from skmot.metrics._matching import read_curves

# Correlations that differ by less than this number of rounding units get equal ranks.
# For example, correlations of patterns of two units are exactly -1 or 1.
_TIE_ROUNDING_UNITS = 64
_EPSILON = float(np.finfo(np.float64).eps)
# Costs below it are summed from differences: as 1 - similarity they would have lost
# more than half of their digits in float64.
_NEARLY_ALIKE = 1e-8
# Number of partners that a layer is assumed to have as a layer of a network.
TYPICAL_PARTNERS = 16
# Writing the products of two stimuli takes as long as this many multiplications.
_MULTIPLICATIONS_PER_ENTRY = 50
# Products of stimuli are computed in blocks of this many rows. This was the fastest of
# 64 to 512 rows, and takes 6 MB for 6,000 stimuli.
_BLOCK_STIMULI = 128
# Smallest share of the unbiased HSIC of a layer in |X'X|_F^2, from which it is computed
# by subtraction. At most one digit is then lost.
_LEAST_UNBIASED_SHARE = 0.1


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
    for layer, where in ((X, "X"), (Y, "Y")):
        check_some_live(~constant_units(layer), where)
    return compare_geometries(rsa_geometry(X, "X"), rsa_geometry(Y, "Y"))


def rsa_geometry(layer, where):
    """Compute the ranks of the RDM of a layer.

    The scalar product of the ranks of two layers is the Spearman correlation of their
    RDMs.

    Parameters
    ----------
    layer : array of shape (n_stimuli, n_units)
        All units of the layer.
    where : str
        Name of the layer in error messages.

    Returns
    -------
    geometry : Geometry
        Ranks of the upper triangle, centred and scaled to norm 1; 0 if all entries are
        equal.
    """
    _check_enough_stimuli(layer, 3, "RSA", where)
    xp = namespace_of(layer)
    # Patterns may have a large part in common, next to which their differences are lost
    # in float32.
    patterns = xp.astype(layer.T, xp.float64, copy=False)
    statistics = unit_statistics(patterns)
    vectors = tuning_curves(patterns, statistics, "correlation").vectors
    # Stimuli to which all units respond equally have correlations of 0.
    vectors = over_all_units(vectors, statistics.live)
    correlations = _upper_triangle(xp.matmul(vectors.T, vectors))
    correlations = xp.round(correlations / (_TIE_ROUNDING_UNITS * _EPSILON))
    # Ranks of correlations have the same Spearman correlation as ranks of 1 - corr.
    return Geometry(_unit_vector(_centred_ranks(correlations)))


def _upper_triangle(matrix):
    """Return the entries above the diagonal of a square matrix, as a vector."""
    xp = namespace_of(matrix)
    indices = xp.arange(matrix.shape[0], device=device_of(matrix))
    return matrix[indices[:, None] < indices[None, :]]


def _centred_ranks(values):
    """Return the ranks of values minus their mean. Equal values get their mean rank."""
    xp = namespace_of(values)
    order = xp.argsort(values, stable=False)
    ordered = xp.take(values, order, axis=0)
    end = xp.ones(1, dtype=xp.bool, device=device_of(values))
    # Where runs of equal values begin, and the end of the last one.
    (edges,) = xp.nonzero(xp.concat([end, ordered[1:] != ordered[:-1], end]))
    # Centring by integers makes equal ranks exactly 0.
    ranks = xp.astype(edges[1:] + edges[:-1] - values.shape[0], xp.float64) / 2
    ranks = xp.repeat(ranks, edges[1:] - edges[:-1])
    if isinstance(values, np.ndarray):
        # Faster than another sort, but not part of the array API standard.
        in_place = np.empty_like(ranks)
        in_place[order] = ranks
        return in_place
    return xp.take(ranks, xp.argsort(order, stable=False), axis=0)


@validate_params({"debiased": ["boolean"]}, prefer_skip_nested_validation=True)
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
    return compare_geometries(
        cka_geometry(first.vectors, debiased, "X", n_partners=1),
        cka_geometry(second.vectors, debiased, "Y", n_partners=1),
    )


def cka_geometry(layer, debiased, where, n_partners):
    """Compute what the CKA of a layer with other layers needs.

    The scalar product of the geometries of two layers is their CKA.

    Parameters
    ----------
    layer : array of shape (n_stimuli, n_units)
        Centred units.
    debiased : bool
        Whether to use the unbiased estimator of HSIC.
    where : str
        Name of the layer in error messages.
    n_partners : int
        About how many layers this one is compared with.

    Returns
    -------
    geometry : Geometry or UnitGeometry
        Scaled to norm 1; 0 if HSIC(K, K) is 0.
    """
    if debiased:
        _check_enough_stimuli(layer, 4, "Debiased CKA", where)
    xp = namespace_of(layer)
    units = xp.astype(layer, xp.float64, copy=False)
    if layer.dtype != xp.float64:
        # Rounding to float32 after centring has left means.
        units -= xp.mean(units, axis=0)
    if has_few_units(*units.shape, n_partners):
        geometry = UnitGeometry(units, debiased)
        if geometry.is_accurate:
            return geometry
    entries = xp.concat(list(_blocks_of_products(units, debiased)))
    # Rounding error that is left if U-centring makes the matrix 0.
    rounding = units.shape[0] * _EPSILON * _squared_norm(units) if debiased else 0.0
    return Geometry(_unit_vector(entries, rounding))


def has_few_units(n_stimuli, n_units, n_partners):
    """Whether products of units give the CKA of a layer faster than those of stimuli.

    Products of stimuli are computed once, products of units again for each partner.
    """
    by_units = n_units**2 * (1 + n_partners)
    return by_units <= n_stimuli * (n_units + _MULTIPLICATIONS_PER_ENTRY)


class Geometry:
    """Similarity structure of a layer over stimuli, as a vector of norm 1 or 0.

    Attributes
    ----------
    entries : array of shape (n_entries,)
        One number for each pair of stimuli, in the same order for all layers.
    """

    def __init__(self, entries):
        self.entries = entries


class UnitGeometry:
    """The same for CKA and a layer of few units, from products of units.

    With K = XX' and L = YY' of centred units, HSIC(K, L) is ``|X'Y|_F^2``, up to a
    factor. If `debiased`, it is
    ``|X'Y|_F^2 - S / (S - 2) a'b - tr(K) tr(L) / (S - 1)`` for S stimuli, where a and b
    are the diagonals of K and L minus their means. This is the unbiased estimator of
    Song et al. for matrices whose rows sum to 0.

    Parameters
    ----------
    units : array of shape (n_stimuli, n_units)
        Centred units in float64.
    debiased : bool
        Whether to use the unbiased estimator of HSIC.

    Attributes
    ----------
    trace : float
        Sum of the diagonal of K.
    deviations : array of shape (n_stimuli,)
        Diagonal of K minus its mean.
    is_accurate : bool
        Whether HSIC(K, K) loses at most one digit by the subtractions. The loss is
        large if a few stimuli have much larger responses than all others.
    scale : float
        Factor of K that makes HSIC(K, K) equal to 1, if it is accurate.
    """

    def __init__(self, units, debiased):
        self.units, self.debiased = units, debiased
        xp = namespace_of(units)
        diagonal = xp.vecdot(units, units)
        self.trace = float(xp.sum(diagonal))
        self.deviations = diagonal - xp.mean(diagonal)
        product = _squared_product(units, units)
        squared_norm = product - self._bias(self)
        self.is_accurate = squared_norm >= _LEAST_UNBIASED_SHARE * product
        self.scale = squared_norm**-0.5 if self.is_accurate else None

    def similarity(self, other):
        """Compute the scalar product with the geometry of another layer."""
        hsic = _squared_product(self.units, other.units) - self._bias(other)
        return hsic * self.scale * other.scale

    def _bias(self, other):
        if not self.debiased:
            return 0.0
        n_stimuli = self.units.shape[0]
        in_common = float(self.deviations @ other.deviations)
        return in_common * n_stimuli / (n_stimuli - 2) + self.trace * other.trace / (
            n_stimuli - 1
        )

    def blocks(self):
        """Yield the entries of `Geometry` in blocks, which are not stored."""
        for block in _blocks_of_products(self.units, self.debiased):
            block *= self.scale
            yield block

    @cached_property
    def entries(self):
        """The entries of `Geometry`, for comparisons with layers of many units."""
        return namespace_of(self.units).concat(list(self.blocks()))


def _blocks_of_products(units, debiased):
    """Yield the entries of XX' for all pairs of stimuli, in blocks.

    If `debiased`, the matrix is U-centred: its diagonal is 0, and each row sums to 0.
    Up to a factor, the scalar product of two such matrices is their unbiased HSIC.

    Parameters
    ----------
    units : array of shape (n_stimuli, n_units)
        Centred units in float64.
    debiased : bool
        Whether to U-centre the matrix.

    Yields
    ------
    entries : array of shape (n_entries_of_block,)
        Entries of a block on the diagonal, or of the blocks to the right of it. The
        latter occur twice in the matrix, so they are multiplied by sqrt(2).
    """
    xp = namespace_of(units)
    n_stimuli = units.shape[0]
    if debiased:
        # Without its diagonal, each row of XX' sums to minus its diagonal entry.
        means = xp.vecdot(units, units) / (2 - n_stimuli)
        overall = xp.sum(means) / (n_stimuli - 1)

    def block(rows, columns):
        products = xp.matmul(units[rows, :], units[columns, :].T)
        if debiased:
            products -= means[rows, None]
            products -= means[None, columns] - overall
        return products

    for start in range(0, n_stimuli, _BLOCK_STIMULI):
        stop = min(start + _BLOCK_STIMULI, n_stimuli)
        rows, following = slice(start, stop), slice(stop, n_stimuli)
        square = block(rows, rows)
        if debiased:
            square *= 1.0 - xp.eye(
                stop - start, dtype=xp.float64, device=device_of(units)
            )
        yield xp.reshape(square, (-1,))
        if stop < n_stimuli:
            yield xp.reshape(block(rows, following), (-1,)) * 2.0**0.5


def geometry_cost(first, second):
    """Return 1 minus the similarity of two geometries, exact where they are alike."""
    similarity = compare_geometries(first, second)
    if 1.0 - similarity >= _NEARLY_ALIKE:
        return 1.0 - similarity
    # Of vectors of norm 1, so that no digits cancel.
    if not _have_few_units(first, second):
        pairs = [(first.entries, second.entries)]
    elif _are_equal(first.units, second.units):
        # As when the layers of a network are compared with each other.
        return 0.0
    else:
        pairs = zip(first.blocks(), second.blocks(), strict=True)
    return sum(_squared_norm(a - b) for a, b in pairs) / 2.0


def compare_geometries(first, second):
    """Compute the scalar product of two geometries, from -1 to 1; 0 if one is zero."""
    if _have_few_units(first, second):
        similarity = first.similarity(second)
    else:
        similarity = float(first.entries @ second.entries)
    return min(max(similarity, -1.0), 1.0)


def _are_equal(first, second):
    if first.shape != second.shape:
        return False
    return bool(namespace_of(first).all(first == second))


def _have_few_units(*geometries):
    return all(isinstance(geometry, UnitGeometry) for geometry in geometries)


def _check_enough_stimuli(layer, least, method, where):
    if layer.shape[0] < least:
        raise ValueError(
            f"n_samples={layer.shape[0]} in {where}: {method} needs at least {least} "
            "stimuli."
        )


def _squared_product(first, second):
    """Return |X'Y|_F^2."""
    return _squared_norm(namespace_of(first).matmul(first.T, second))


def _squared_norm(array):
    """Return the sum of the squared entries of an array."""
    entries = namespace_of(array).reshape(array, (-1,))
    return float(entries @ entries)


def _unit_vector(entries, rounding=0.0):
    """Scale a new vector to norm 1, or to 0 if its norm is a rounding error."""
    norm = _squared_norm(entries) ** 0.5
    entries *= 1.0 / norm if norm > rounding else 0.0
    return entries

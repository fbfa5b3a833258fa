"""RSA and CKA: comparisons of the similarity structure over stimuli."""

from abc import abstractmethod

from skmot._units import tuning_curves, unit_statistics
from skmot._utils.docstrings import shared_docs
from skmot.base import (
    PairComparison,
    Solution,
    check_some_scored,
    read_side_by_side,
)
from skmot.metrics._geometries import (
    TYPICAL_PARTNERS,
    cka_geometry,
    geometry_cost,
    has_few_units,
    rsa_geometry,
)


class GeometryComparison(PairComparison):
    """Base class of RSA and CKA, which compare the geometry of two populations.

    The scalar product of the geometries of two populations is their similarity. `fit`
    computes the geometry of each population once.
    """

    _runs_in_threads = True
    _supports_array_api = True
    # The cost on held-out stimuli compares the geometries over these stimuli.
    _held_out_cost_needs_fit = False

    @abstractmethod
    def _describe_geometry(self, units, where):
        """Compute the geometry of an array of units.

        They are all units as given for "raw", else the live units, centred and divided
        by one scale per layer.
        """

    def _prepare(self, leaves, statistics):
        return self._describe_geometry(*self._read_units(leaves, statistics))

    def _read_units(self, leaves, statistics):
        """Return the argument `units` of `_describe_geometry`, and the layer's name."""
        layer, where = read_side_by_side(leaves)
        if self._input == "raw":
            return layer, where
        return tuning_curves(layer, statistics, "sqeuclidean").vectors, where

    def _prepare_held_out(self, leaves, statistics):
        if self._input != "raw":
            return super()._prepare_held_out(leaves, statistics)
        layer, where = read_side_by_side(leaves)
        check_some_scored(unit_statistics(layer), where)
        return self._describe_geometry(layer, where)

    def _prepared_bytes(self, n_stimuli, statistics):
        return 8 * n_stimuli * (n_stimuli + 1) // 2

    def _solve(self, source, target):
        return Solution(cost=geometry_cost(source, target))


@shared_docs
class RSA(GeometryComparison):
    """Representational similarity analysis: a cost without predictions.

    Compares the representational dissimilarity matrices (RDMs) of two populations by
    the Spearman correlation of their upper triangles ([1]_). The entry of an RDM for
    two stimuli is 1 minus the correlation over units between the responses to them.
    Units are not standardised, and constant units are part of the patterns.

    Attributes
    ----------
    cost_ : float
        1 - the Spearman correlation, from 0 to 2; lower is more alike. It is symmetric.
        It is 1 if a population has a single unit, because all entries of its RDM are
        equal.
    <<raw attributes>>

    See Also
    --------
    CKA : Comparison of scalar products, also without predictions.
    skmot.metrics.rsa_score : The score of two arrays, without an estimator.

    Notes
    -----
    RSA needs at least three stimuli. During a fit it stores S (S - 1) / 2 numbers for
    each layer, where S is the number of stimuli. It is not a regressor and has neither
    `predict` nor `score`.

    References
    ----------
    .. [1] N. Kriegeskorte, M. Mur, P. Bandettini. Representational similarity analysis:
       connecting the branches of systems neuroscience. Frontiers in Systems
       Neuroscience, 2008.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot import RSA
    >>> X = np.random.default_rng(0).normal(size=(30, 8))
    >>> round(RSA().fit(X, 2 * X[:, ::-1]).cost_, 6)
    0.0
    """

    _cost_name = "1 - RSA correlation"
    # An RDM correlates patterns over all units: constant ones are part of a pattern.
    _input = "raw"

    def _describe_geometry(self, units, where):
        return rsa_geometry(units, where)


@shared_docs
class CKA(GeometryComparison):
    """Linear centred kernel alignment: a cost without predictions.

    Compares the scalar products between the responses to each pair of stimuli. Units
    are centred, but individual units are not scaled.

    Parameters
    ----------
    debiased : bool, default=True
        Whether to use the unbiased estimator of HSIC ([2]_, [3]_), which needs at least
        four stimuli. The CKA of independent populations is then about 0, whatever their
        number of units. The plain CKA ([1]_) increases with the number of units.

    Attributes
    ----------
    cost_ : float
        1 - CKA; lower is more alike. It ranges from 0 to 1, or from 0 to 2 if
        `debiased`. It is symmetric.
    <<cost attributes>>

    See Also
    --------
    RSA : Comparison of ranks of dissimilarities, also without predictions.
    skmot.metrics.linear_cka : The score of two arrays, without an estimator.

    Notes
    -----
    CKA is computed from products of units if there are few units per stimulus, and
    otherwise from products of stimuli; both give the same number. During a fit it
    stores S N or about S^2 / 2 numbers for each layer, where S is the number of stimuli
    and N that of units. It is not a regressor and has neither `predict` nor `score`.

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
    >>> from skmot import CKA
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.normal(size=(50, 100)), rng.normal(size=(50, 200))
    >>> round(CKA().fit(X, y).cost_, 1), round(CKA(debiased=False).fit(X, y).cost_, 1)
    (1.0, 0.3)
    """

    _cost_name = "1 - CKA"
    _parameter_constraints = {"debiased": ["boolean"]}

    def __init__(self, debiased=True):
        self.debiased = debiased

    def _describe_geometry(self, units, where):
        return cka_geometry(units, self.debiased, where, TYPICAL_PARTNERS)

    def _prepare_for_one(self, leaves, statistics):
        units, where = self._read_units(leaves, statistics)
        return cka_geometry(units, self.debiased, where, n_partners=1)

    def _prepared_bytes(self, n_stimuli, statistics):
        if has_few_units(n_stimuli, statistics.n_live, TYPICAL_PARTNERS):
            return 8 * n_stimuli * statistics.n_live
        return super()._prepared_bytes(n_stimuli, statistics)

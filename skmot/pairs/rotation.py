"""RotationMatching: soft matching after the best rotation of the source (MOT+R)."""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from numbers import Integral, Real

import numpy as np
from sklearn.utils import check_random_state

from skmot._units import standardize
from skmot._utils.array_api import (
    apply_plan,
    move_to_device_of,
    namespace_of,
    numpy_dtype,
    select,
    to_numpy,
)
from skmot._utils.docstrings import shared_docs
from skmot._utils.orthogonal import (
    DenseRotation,
    ProcrustesProblem,
    SplitUnits,
    differ,
    random_rotation,
    rounding_error,
)
from skmot._utils.sklearn import Interval, StrOptions
from skmot._utils.state import stored_as_dict
from skmot.base import PairMapping, Solution, read_side_by_side
from skmot.pairs.maps import over_all_units
from skmot.transport import solve_transport
from skmot.transport._tuning import are_nearly_alike

ROTATION_METRICS = ("correlation", "sqeuclidean")


class _RotationMetrics(StrOptions):
    """Metrics of a matching with a rotation, which say why one of them is missing."""

    def __str__(self):
        return (
            f"{super().__str__()} ('abs_correlation' is for matchings without a "
            "rotation: a rotation can change the signs of units itself)"
        )


@shared_docs
class RotationMatching(PairMapping):
    """Soft matching after a rotation of the source population.

    The fit alternates between two steps ([1]_, section 2.3). The first step computes
    the optimal coupling Q of the rotated source units with the target units. The second
    step computes the rotation R of the source that best reconstructs it from the
    target: the orthogonal Procrustes problem ``argmin |Z(X) R - Z(Y) (N Q)'|_F``. The
    alternation starts from the identity and returns the iteration with the smallest
    objective ``J = <Q, |Z(X) R_i - Z(Y)_j|^2> / S``. With the metric "sqeuclidean", J
    never increases.

    Parameters
    ----------
    metric : {"correlation", "sqeuclidean"}, default="correlation"
        Distance between rotated source units and target units that the coupling
        minimises: correlation distance, as in the paper, or squared Euclidean distance.
        "sqeuclidean" is the fast choice if N > K: it needs no norms of rotated units,
        so that an iteration takes 0.5 to 0.75 of the time. Held-out scores of the two
        metrics differed by less than .001 in all cases that were measured.
    max_iter : int, default=50
        Maximum number of iterations. Each iteration computes one coupling and one
        rotation.
    tol : float, default=1e-4
        Tolerance of the stopping criterion. The alternation stops when an iteration
        decreases J, which is between 0 and 4, by at most `tol`. The first iteration is
        compared with J before its rotation.
    n_init : int, default=1
        Number of initialisations. The first one is the identity, the others are random
        rotations. The result with the smallest J is returned.
    random_state : int, RandomState instance or None, default=None
        Controls the random rotations. Pass an int for reproducible output across
        multiple function calls.

    Attributes
    ----------
    coupling_ : csr_array of shape (n_source_units, n_target_units)
        Transport plan between rotated source units and target units. The row of each
        live source unit sums to 1 / N, and the column of each live target unit to
        1 / K, for N live source units and K live target units.
    rotation_ : array of shape (n_live_source_units, n_live_source_units)
        Orthogonal matrix R between the live source units, in their original order. It
        has the array library and the device of `X`.
    cost_ : float
        ``|Z(X) R - Z(Y) (N Q)'|_F^2 / (S N)``, the mean squared reconstruction error
        of the source over S stimuli and N live source units; lower is more alike. The
        error in [1]_ is not divided by S N, which gives wide source layers more weight.
    n_iter_ : int
        Number of iterations of the best initialisation.
    path_ : dict of ndarray of shape (`n_iter_`,)
        "objective" contains J after each iteration of the best initialisation, and
        "error" the cost after each iteration. If N and K differ, the error can increase
        from one iteration to the next.
    duality_gap_ : float
        Upper bound of the difference between the cost of the coupling and its optimum.
    <<pair attributes>>

    See Also
    --------
    SoftMatching : Soft matching without a rotation, in the basis of the units.
    MultiLevelOTRotation : Rotation and matching for every pair of layers of two
        networks.

    Notes
    -----
    The fit is not symmetric: R acts on the source and is fitted to reconstruct the
    source. `inverse_score` scores this direction. With swapped arguments the fit is
    different. If N = K, predictions depend on R Q only, and one iteration gives the
    final result: the Procrustes solution. More generally, if K divides N, J is the same
    after every iteration and for every initialisation. Then only the first iteration of
    the first initialisation is computed.

    If there are fewer stimuli than units, or fewer target units than source units,
    several R are optimal. The one nearest to the identity is returned.

    A rotation mixes all units. Therefore a single unit can spoil the reconstruction of
    all units, if it hardly varies over the training stimuli but does vary over other
    stimuli. An example is a ReLU unit that responds to a single training stimulus: on
    other stimuli it can be thousands of standard deviations from its mean. Remove such
    units, for example with :class:`skmot.preprocessing.ReliabilitySelector` or
    `LayerwiseTransformer(VarianceThreshold(...))`.

    References
    ----------
    .. [1] Representational alignment across model layers and brain regions with
       multi-level optimal transport.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.stats import ortho_group
    >>> from skmot import RotationMatching, SoftMatching
    >>> rng = np.random.default_rng(0)
    >>> y = rng.normal(size=(300, 10))
    >>> X = y @ ortho_group.rvs(10, random_state=0)
    >>> plain = SoftMatching().fit(X[:200], y[:200])
    >>> round(plain.inverse_score(X[200:], y[200:]), 2)
    0.46
    >>> rotated = RotationMatching().fit(X[:200], y[:200])
    >>> round(rotated.inverse_score(X[200:], y[200:]), 2)
    1.0
    """

    _parameter_constraints = {
        "metric": [_RotationMetrics(set(ROTATION_METRICS))],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        metric="correlation",
        max_iter=50,
        tol=1e-4,
        n_init=1,
        random_state=None,
    ):
        self.metric = metric
        self.max_iter = max_iter
        self.tol = tol
        self.n_init = n_init
        self.random_state = random_state

    _cost_name = "squared error an entry"
    _runs_in_threads = True
    _supports_array_api = True

    @property
    def _is_stochastic(self):
        return self.n_init > 1

    def _prepared_bytes(self, n_stimuli, statistics):
        curves = super()._prepared_bytes(n_stimuli, statistics)
        # A source also has its triangular factor.
        factor = super()._prepared_bytes(statistics.n_live, statistics)
        return curves + min(curves, factor)

    def _solve(self, source, target):
        curves = source.curves, target.curves
        best = self._best_run(*curves)
        given_dtype = best.rotation.matrix.dtype
        dtype = numpy_dtype(best.rotation.matrix)
        if dtype == np.float32 and are_nearly_alike(best.error, dtype):
            # Products in float32 would be rounding errors.
            curves = [side.in_float64() for side in curves]
            best = self._best_run(*curves)
        plan, rotation = best.plan.coupling.tocsr(), best.rotation.matrix
        issues = {}
        if not best.plan.converged:
            issues["duality gap"] = best.plan.duality_gap
        if not best.has_converged:
            issues["fall of J in the last round"] = best.last_fall
        cost = best.error
        if are_nearly_alike(cost, numpy_dtype(rotation)):
            n_stimuli = curves[0].vectors.shape[0]
            cost = n_stimuli * _error(
                *(side.vectors for side in curves), rotation, plan
            )
        rotation = namespace_of(rotation).astype(rotation, given_dtype, copy=False)
        return Solution(
            cost=cost,
            maps=(
                RotatedPlanMap(rotation, plan),
                RotatedPlanMap(rotation, plan, to_source=True),
            ),
            attributes={
                "coupling_": over_all_units(plan, source.statistics, target.statistics),
                "rotation_": rotation,
                "n_iter_": len(best.objectives),
                "path_": {
                    "objective": np.array(best.objectives),
                    "error": np.array(best.errors),
                },
                "duality_gap_": best.plan.duality_gap,
            },
            converged=issues,
        )

    def _best_run(self, source, target):
        """Alternate from each start, and return the run with the lowest objective."""
        problem = _RotationProblem(source, target, self.metric)
        random = check_random_state(self.random_state)
        best = None
        n_starts = 1 if problem.is_solved_by_one_rotation else self.n_init
        for start in range(n_starts):
            rotation = None if start == 0 else problem.random_rotation(random)
            run = problem.alternate(rotation, self.max_iter, self.tol)
            if best is None or run.objective < best.objective:
                best = run
        return best

    def _prepare_held_out(self, leaves, statistics):
        layer, _ = read_side_by_side(leaves)
        return standardize(layer, statistics, statistics.live)

    def _held_out_cost(self, source, target):
        plan = self._maps[1].plan
        return _error(source, target, self.rotation_, plan)


def _error(source, target, rotation, plan):
    """Return the mean squared error of the rotated source, reconstructed by a plan."""
    xp = namespace_of(source)
    reconstructed = apply_plan(target, plan.T * plan.shape[0])
    rotated = source @ move_to_device_of(source, rotation)
    error = xp.astype(rotated - reconstructed, xp.float64)
    return float(xp.mean(error**2))


@stored_as_dict
@dataclass(frozen=True)
class RotatedPlanMap:
    """Map that applies a rotation of the source and a plan, in either direction.

    Attributes
    ----------
    rotation : array of shape (n_source_units, n_source_units)
        Orthogonal matrix between live source units.
    plan : sparse array of shape (n_source_units, n_target_units)
        Coupling between rotated source units and target units.
    to_source : bool, default=False
        Whether the source is reconstructed from the target.
    """

    rotation: object
    plan: object
    to_source: bool = False

    def __call__(self, units):
        xp = namespace_of(units)
        rotation = move_to_device_of(units, self.rotation)
        rotation = xp.astype(rotation, units.dtype, copy=False)
        n_source_units, n_target_units = self.plan.shape
        if self.to_source:
            return apply_plan(units, self.plan.T * n_source_units) @ rotation.T
        return apply_plan(units @ rotation, self.plan * n_target_units)


class _Run:
    """Best iteration of one alternation, with the objective of every iteration."""

    def __init__(self):
        self.objective = math.inf
        self.objectives, self.errors = [], []

    def add(self, rotation, plan, objective, error):
        self.objectives.append(objective)
        self.errors.append(error)
        if objective < self.objective:
            self.rotation, self.plan = rotation, plan
            self.objective, self.error = objective, error


class _RotationProblem:
    """Alternation for one pair of standardised populations.

    The columns of `vectors` have norm 1, so that their scalar products are
    Z(X)' Z(Y) / S for S stimuli. These products are computed once: iterations do not
    access the responses to the stimuli.
    """

    def __init__(self, source, target, metric):
        self.metric = metric
        xp = namespace_of(source.vectors)
        # Both sides get the same dtype: a matrix that is orthogonal in float32 is not
        # orthogonal in float64.
        dtype = xp.result_type(source.vectors, target.vectors)
        source, target = (_convert_dtype(side, dtype) for side in (source, target))
        self.n_source_units = source.vectors.shape[1]
        n_target_units = target.vectors.shape[1]
        # If K divides N, each target unit has N / K source units. Then M M' is the same
        # for all couplings, and so are J, the error and the predictions.
        self.is_solved_by_one_rotation = self.n_source_units % n_target_units == 0
        self.source_curves, self.target = source, target.vectors
        cross = source.vectors.T @ target.vectors
        self.procrustes = ProcrustesProblem(cross, source.vectors.T)
        self.cross = SplitUnits(cross, self.procrustes.core)

    def alternate(self, rotation, max_iter, tol):
        """Alternate from an initial rotation (None is the identity) until convergence.

        The alternation stops when J decreases by at most `tol`, or after `max_iter`
        iterations.
        """
        run = _Run()
        plan = before = None
        for _ in range(max_iter):
            if plan is None or not self.is_solved_by_one_rotation:
                products = self.cross.units
                if rotation is not None:
                    products = rotation.rotate(self.cross)
                last, plan = plan, self.couple(rotation, products, plan)
                if before is None:
                    before = _objective(plan, products)
                # The rotation depends on the plan only: the same plan gives the same
                # one.
                if last is None or differ(last.flow, plan.flow):
                    weights = plan.coupling * self.n_source_units
                    rotation, value = self.procrustes.solve(weights)
                    # J from <Q, Z(X) R . Z(Y)> = <R, M> / N, without a product.
                    objective = 2.0 - 2.0 * value / self.n_source_units
                    error = self._error(objective, weights)
            run.add(rotation, plan, objective, error)
            run.last_fall = before - objective
            run.has_converged = run.last_fall <= tol
            if run.has_converged:
                break
            before = objective
        return run

    def random_rotation(self, random):
        """Sample an initial rotation."""
        rotation = random_rotation(self.n_source_units, random, reflections=True)
        rotation = move_to_device_of(self.target, rotation)
        xp = namespace_of(self.target)
        return DenseRotation(xp.astype(rotation, self.target.dtype))

    def couple(self, rotation, products, last=None):
        """Compute the optimal coupling of the rotated source units.

        Parameters
        ----------
        rotation : Rotation, DenseRotation or None
            Current rotation. None is the identity.
        products : array of shape (n_source_units, n_target_units)
            Scalar products of rotated source units and target units.
        last : TransportResult, default=None
            Result of the previous iteration, which is used as a warm start.

        Returns
        -------
        result : TransportResult
            Optimal coupling.
        """
        if self.metric == "correlation" and rotation is not None:
            costs = products * -self._inverse_norms(rotation)[:, np.newaxis]
        else:
            # The units have norm 1 before a rotation. For squared distances, norms add
            # a constant: sum_i |Z(X) R_i|^2 is fixed.
            costs = -products
        potentials = None if last is None else last.potentials
        return solve_transport(costs, potentials=potentials)

    @cached_property
    def source(self):
        """Matrix of source units with few columns, whose rows have the same norms."""
        return self.procrustes.split(self.source_curves.triangular.T)

    def _inverse_norms(self, rotation):
        source = rotation.rotate(self.source)
        xp = namespace_of(source)
        norms = xp.linalg.vector_norm(source, axis=1)
        # A rotated unit can consist of rounding error only: it gets a correlation of 0.
        is_nonzero = norms > rounding_error(self.n_source_units, norms.dtype, xp)
        return xp.where(is_nonzero, 1 / xp.where(is_nonzero, norms, 1.0), 0.0)

    def _error(self, objective, weights):
        """Compute |Z(X) R - Z(Y) (N Q)'|_F^2 / (S N) from the objective J.

        They differ in one term: J has 1 instead of |Z(Y) (N Q)'|_F^2 / (S N).
        """
        xp = namespace_of(self.target)
        reconstructed = apply_plan(self.target, weights.T)
        size = float(xp.sum(reconstructed**2, dtype=xp.float64))
        return max(objective - 1.0 + size / self.n_source_units, 0.0)


def _convert_dtype(curves, dtype):
    xp = namespace_of(curves.vectors)
    if curves.vectors.dtype == dtype:
        return curves
    return replace(curves, vectors=xp.astype(curves.vectors, dtype))


def _objective(plan, products):
    """Compute J from a coupling and products of rotated source and target units."""
    coupling = plan.coupling.tocoo()
    indices = np.ravel_multi_index((coupling.row, coupling.col), coupling.shape)
    entries = select(namespace_of(products).reshape(products, (-1,)), indices, axis=0)
    # The mean variance of the units of each side is 1, also after a rotation.
    return 2.0 - 2.0 * float(coupling.data @ to_numpy(entries).astype(np.float64))

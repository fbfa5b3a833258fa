"""Stability of the cost and of the coupling of a fit over subsamples of the stimuli."""

from numbers import Integral, Real

import numpy as np
from scipy.sparse import csr_array, issparse
from scipy.stats import norm
from sklearn.base import clone
from sklearn.utils import check_random_state

from skmot._scores import unwrap
from skmot._utils.array_api import to_numpy
from skmot._utils.parallel import run_in_order
from skmot._utils.progress import function_task
from skmot._utils.results import Result, numbered_rows
from skmot._utils.sklearn import HasMethods, Interval, validate_params
from skmot._utils.warnings import repeat_warnings
from skmot.layers.names import label_units, name_arrays_of
from skmot.layers.sides import read_pair, read_side
from skmot.layers.splits import read_groups, repeated_groups

# Entries of a coupling below this share of the largest one are rounding errors.
_NO_MASS = 1e-9
# The expected share of the stimuli that a bootstrap sample contains, 1 - 1/e.
_BOOTSTRAP_SHARE = 0.632


@validate_params(
    {
        "estimator": [HasMethods(["fit"])],
        "n_resamples": [Interval(Integral, 2, None, closed="left")],
        "fraction": [Interval(Real, 0, 1, closed="neither")],
        "confidence_level": [Interval(Real, 0, 1, closed="neither")],
        "random_state": ["random_state"],
        "n_jobs": [Integral, None],
    },
    prefer_skip_nested_validation=False,
)
def coupling_stability(
    estimator,
    X,
    y,
    n_resamples=100,
    *,
    fraction=_BOOTSTRAP_SHARE,
    groups=None,
    confidence_level=0.95,
    random_state=None,
    n_jobs=None,
    callbacks=None,
):
    r"""Refit an estimator to random subsamples of the stimuli.

    The fits show how precise `cost_` is, and how often each entry of the coupling
    recurs. Both describe the choice of stimuli, for these layers and these units.

    Parameters
    ----------
    estimator : estimator, Pipeline or search
        Estimator with a fitted attribute `cost_`. It is cloned. If it also has a
        `coupling_`, the frequencies of its entries are counted.
    X, y : LayerStack, list, dict, DataFrame or array-like
        Source and target layers over the same stimuli.
    n_resamples : int, default=100
        Number of subsamples, each of which takes one fit.
    fraction : float, default=0.632
        Fraction of the stimuli in each subsample, above 0 and below 1. By default as
        many as a bootstrap sample has distinct stimuli.
    groups : array-like of shape (n_rows,), default=None
        Stimulus of each row, if several rows repeat a stimulus, or block of each row of
        a time series. Subsamples consist of whole groups. None uses the stimulus labels
        of X or y if some of them repeat.
    confidence_level : float, default=0.95
        Confidence level of the interval of the cost.
    random_state : int, RandomState instance or None, default=None
        Controls the randomness of the subsamples. Pass an int for reproducible output
        across multiple function calls.
    n_jobs : int, default=None
        Number of fits in parallel, see the `scikit-learn glossary
        <https://scikit-learn.org/stable/glossary.html#term-n_jobs>`__.
    callbacks : callback or list of callbacks, default=None
        Callbacks of scikit-learn that follow the progress, one task for each fit:
        for instance :class:`sklearn.callback.ProgressBar`, which needs
        ``pip install 'skmot[progress]'``.

    Returns
    -------
    result : Result
        Dictionary-like object that prints as a sentence. ``result.to_frame()`` is a
        table with one row, ``to_frame("coupling")`` has one row for each pair of layers
        (of a coupling of units, for each pair that ever has a weight), and
        ``to_frame("subsamples")`` one for each subsample. The attributes are

        cost : float
            `cost_` of the fit to all stimuli.
        standard_error : float
            Standard error of `cost`, see Notes.
        interval : tuple of two floats
            Confidence interval of the expected in-sample cost of so many stimuli.
        costs : ndarray of shape (n_resamples,)
            `cost_` of the fits to subsamples. Unless the plans are certain, they are
            lower than `cost` on average: never report their quantiles.
        coupling : ndarray or csr_array, or None
            `coupling_` of the fit to all stimuli, None if there is none.
        frequencies : same type and shape as `coupling`, or None
            Share of the subsamples in which each entry of the coupling is above 0.
        mean_coupling : same type and shape as `coupling`, or None
            Mean of the couplings of the subsamples.
        names : tuple of two dict of list, or None
            Columns that name the rows and the columns of `coupling`: "layer", and for
            a coupling of units "unit", each a name or a number. None without a
            coupling.
        recurrence : float
            Mean frequency of the entries that are above 0 in `coupling`, NaN without a
            coupling.
        n_stimuli, n_subsample : int
            Number of stimuli (or groups), and number of those in a subsample.
        confidence_level : float
            The given value.

    Raises
    ------
    ValueError
        If a subsample would have fewer than two stimuli or all of them, the couplings
        of subsamples differ in shape, or the networks cannot be fitted.
    TypeError
        If the estimator learns no `cost_`.

    Warns
    -----
    Warning
        Each warning of the fits is raised once, with the number of times it occurred.

    See Also
    --------
    permutation_control : Tests whether the networks are related at all.
    skmot.metrics.noise_ceiling : Accounts for the noise of trials.

    Notes
    -----
    With subsamples of m of n stimuli, drawn without replacement, and s the standard
    deviation of their costs, the standard error of the cost is

    .. math:: s \sqrt{m / (n - m)}.

    For a mean over stimuli this is exactly its usual standard error. The interval is
    `cost` plus and minus 1.96 standard errors. It is an interval of the *expected
    in-sample cost of n stimuli*, not of the cost in the population of stimuli: plans
    minimise the cost on their own stimuli, so an in-sample cost is below it, and more
    so for few stimuli and wide layers. (Use `held_out_cost` for a cost without that.)
    For the same reason any resampling lowers the mean cost, and the quantiles of
    `costs` are no interval: in simulations of four layers a side and 40 or 100 stimuli
    (30 data sets each), they included the expected cost in 0 to .63 of the data sets,
    and the interval in .90 to 1.00.

    **A frequency is not the probability that an entry is right.** Subsamples have fewer
    stimuli than the fit, so a coupling that most new data sets would give recurs too
    rarely; and subsamples share most of their stimuli, so one that is chance recurs too
    often. In the same simulations, entries of the fit recurred in .76 of the subsamples
    where new data sets had them in .83, but in .52 where new data sets had them in .39.
    In pure noise, the largest frequency was .64 to .70 on average for layers of equal
    widths, and .87 to .90 (up to 1) for widths of 8 to 64 units, because transport then
    sorts layers by their width. Whether there is a relation is a question for
    :func:`permutation_control`.

    The fits see other stimuli, but the same layers and units: the interval is too
    narrow for a statement about other networks. If units are selected anew in each fit
    (a Pipeline with a selector), frequencies of the couplings of units are meaningless,
    because entries then belong to different units: select units first.

    References
    ----------
    .. [1] D. N. Politis, J. P. Romano, M. Wolf. Subsampling. Springer, 1999.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot import MultiLevelOT
    >>> from skmot.model_selection import coupling_stability
    >>> rng = np.random.default_rng(0)
    >>> source = [rng.normal(size=(100, 8)) for _ in range(3)]
    >>> target = [layer[:, ::-1] + rng.normal(size=(100, 8)) for layer in source]
    >>> result = coupling_stability(
    ...     MultiLevelOT(), source, target, n_resamples=20, random_state=0
    ... )
    >>> result.frequencies
    array([[1., 0., 0.],
           [0., 1., 0.],
           [0., 0., 1.]])
    >>> low, high = result.interval
    >>> bool(low < result.cost < high)
    True
    """
    X, y, *_ = read_pair(X, y)
    groups = repeated_groups(groups, X, y)
    codes = np.arange(len(X)) if groups is None else read_groups(groups, len(X))
    n_stimuli = int(codes.max()) + 1
    n_subsample = round(fraction * n_stimuli)
    if not 2 <= n_subsample < n_stimuli:
        what = "stimuli" if groups is None else "groups"
        raise ValueError(
            f"fraction={fraction} of {n_stimuli} {what} is {n_subsample}, but a "
            f"subsample must have at least two of them and not all: give more {what} "
            "or another `fraction`."
        )
    random = check_random_state(random_state)
    subsamples = [
        np.flatnonzero(np.isin(codes, random.permutation(n_stimuli)[:n_subsample]))
        for _ in range(n_resamples)
    ]
    with function_task("coupling_stability", callbacks, 1 + n_resamples) as task:
        # Errors about the estimator and the layers are raised before the many fits.
        ((_, (cost, coupling, names), log),) = run_in_order(
            _fit,
            [(estimator, X, y, None)],
            n_jobs=None,
            in_threads=False,
            tasks=task.parts(["all stimuli"]),
        )
        fits = run_in_order(
            _fit,
            ((estimator, X, y, rows) for rows in subsamples),
            n_jobs,
            in_threads=False,
            tasks=task.parts(f"subsample {number}" for number in range(n_resamples)),
        )
    costs, counts = [], _Counts(coupling)
    for _, (cost_of_fit, coupling_of_fit, _), log_of_fit in fits:
        costs.append(cost_of_fit)
        counts.add(coupling_of_fit)
        log = log + log_of_fit
    # repeat_warnings, coupling_stability, scikit-learn's wrapper, the caller.
    repeat_warnings(log)
    costs = np.array(costs)
    factor = np.sqrt(n_subsample / (n_stimuli - n_subsample))
    standard_error = float(costs.std(ddof=1) * factor)
    width = float(norm.ppf((1 + confidence_level) / 2)) * standard_error
    result = StabilityResult(
        "",
        cost=cost,
        standard_error=standard_error,
        interval=(cost - width, cost + width),
        costs=costs,
        coupling=coupling,
        frequencies=counts.mean("frequencies"),
        mean_coupling=counts.mean("mass"),
        names=names,
        recurrence=counts.recurrence(),
        n_stimuli=n_stimuli,
        n_subsample=n_subsample,
        confidence_level=confidence_level,
    )
    result.conclusion = _conclude(result)
    return result


class StabilityResult(Result):
    """Result of `coupling_stability`."""

    def _tables(self):
        tables = {
            **super()._tables(),
            "subsamples": lambda: numbered_rows("subsample", cost=self.costs),
        }
        if self.coupling is not None:
            tables["coupling"] = self._entries
        return tables

    def _row(self):
        (row,) = super()._row()
        low, high = self.interval
        return [{"cost": row.pop("cost"), "low": low, "high": high, **row}]

    def _entries(self):
        """Return the entries of the couplings, of sparse ones those that are stored."""
        matrices = {
            "coupling": self.coupling,
            "mean_coupling": self.mean_coupling,
            "frequency": self.frequencies,
        }
        if issparse(self.coupling):
            rows, columns = (self.coupling + self.mean_coupling).nonzero()
        else:
            rows, columns = (index.ravel() for index in np.indices(self.coupling.shape))
        return {
            **_select_names("source", self.names[0], rows),
            **_select_names("target", self.names[1], columns),
            **{name: matrix[rows, columns] for name, matrix in matrices.items()},
        }


def _select_names(side, names, indices):
    return {
        f"{side}_{kind}": [values[index] for index in indices]
        for kind, values in names.items()
    }


def _fit(estimator, X, y, rows):
    """Fit a clone to some rows, or to all.

    Returns
    -------
    cost : float
        Fitted `cost_`.
    coupling : ndarray, csr_array or None
        Fitted `coupling_`.
    names : tuple of two dict of list, or None
        Names of the rows and columns of the coupling, of the fit to all rows.
    """
    if rows is not None:
        X, y = X[rows], y[rows]
    whole = clone(estimator).fit(X, y)
    fitted, *_ = unwrap(whole)
    if not hasattr(fitted, "cost_"):
        raise TypeError(
            f"{type(fitted).__name__} learned no `cost_`, of which the stability could "
            "be told: give an estimator of skmot, or a Pipeline that ends in one."
        )
    coupling = getattr(fitted, "coupling_", None)
    if coupling is not None:
        coupling = (
            csr_array(coupling, dtype=np.float64)
            if issparse(coupling)
            else to_numpy(coupling)
        )
    names = None
    if rows is None and coupling is not None:
        names = _name_entries(*unwrap(whole, X, y), coupling.shape)
    return float(fitted.cost_), coupling, names


def _name_entries(fitted, X, y, shape):
    """Return the columns that name the rows and the columns of a coupling.

    Parameters
    ----------
    fitted : estimator
        Fitted estimator, as `unwrap` returns it.
    X, y : LayerStack or array
        Source and target, as `unwrap` returns them.
    shape : tuple of two int
        Shape of the coupling.

    Returns
    -------
    names : tuple of two dict of list
        Column "layer", and for a coupling of units also "unit".
    """
    if hasattr(fitted, "layer_costs_"):
        return tuple(
            {"layer": list(names or range(n_layers))}
            for names, n_layers in zip(
                (fitted.source_names_, fitted.target_names_), shape, strict=True
            )
        )
    return tuple(
        label_units(name_arrays_of(read_side(side, argument)[0]))
        for side, argument in ((X, "X"), (y, "y"))
    )


class _Counts:
    """Sums over fits of the couplings, and of the entries that are above 0.

    Parameters
    ----------
    coupling : ndarray, csr_array or None
        Coupling of the fit to all stimuli.
    """

    def __init__(self, coupling):
        self.coupling, self.n_fits = coupling, 0
        self.sums = {"frequencies": None, "mass": None}

    def add(self, coupling):
        """Add the coupling of a fit to a subsample."""
        if self.coupling is None or coupling is None:
            return
        if coupling.shape != self.coupling.shape:
            raise ValueError(
                f"The couplings of fits have the shapes {self.coupling.shape} and "
                f"{coupling.shape}, because each fit selects units or layers anew: "
                "their entries cannot be compared. Select them before, outside of the "
                "estimator."
            )
        self.n_fits += 1
        for name, part in (("frequencies", _present(coupling)), ("mass", coupling)):
            total = self.sums[name]
            self.sums[name] = part if total is None else total + part

    def mean(self, name):
        """Return the mean over fits, None without couplings."""
        total = self.sums[name]
        return None if total is None else total / self.n_fits

    def recurrence(self):
        """Return the mean frequency of the entries of the fit to all stimuli."""
        if self.n_fits == 0:
            return float("nan")
        present = _present(self.coupling)
        found = self.mean("frequencies") * present
        return float(found.sum() / present.sum())


def _present(coupling):
    """Return 1.0 for each entry above 0, else 0.0."""
    return (coupling > _NO_MASS * coupling.max()).astype(np.float64)


def _conclude(result):
    """Say what the subsamples show, and what they do not show."""
    low, high = result.interval
    said = (
        f"The cost is {result.cost:.3g}, with a {result.confidence_level:.0%} interval "
        f"from {low:.3g} to {high:.3g} for the expected in-sample cost of "
        f"{result.n_stimuli} stimuli; this is not the cost over all possible stimuli "
        "(fitted plans make an in-sample cost too low), and not an interval over "
        "networks."
    )
    if result.frequencies is None:
        return said
    return (
        f"{said} The entries of the coupling recur in {result.recurrence:.0%} of the "
        f"subsamples of {result.n_subsample} stimuli on average; this is not the "
        "probability that they are right, and entries that are chance can recur often, "
        "above all if layers differ in width."
    )

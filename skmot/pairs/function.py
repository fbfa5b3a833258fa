"""FunctionComparison: compare two populations with any function of two arrays."""

import math
from numbers import Real

import numpy as np

from skmot._utils.docstrings import shared_docs
from skmot.base import PairComparison, Solution


@shared_docs
class FunctionComparison(PairComparison):
    """Compare two populations with any function of two arrays.

    It makes an estimator of a measure from another package or from a script.
    `MultiLevelOT` can then find the layer coupling for this measure, and `cost_cv`,
    `n_jobs`, `memory`, nesting and controls work as for the built-in estimators.

    Parameters
    ----------
    func : callable
        Function that is called as `func(X, Y, **kw_args)` with two arrays over the same
        stimuli, of shape (n_stimuli, n_units_x) and (n_stimuli, n_units_y). It must
        return a number. The arrays are finite and read-only, and their dtype is float32
        or float64. They contain all units unchanged, including constant units.
    greater_is_more_alike : bool, default=False
        Whether the number is a similarity. If True, `cost_` is minus the number.
    kw_args : dict, default=None
        Additional keyword arguments of `func`.

    Attributes
    ----------
    cost_ : float
        The number, or minus the number for a similarity; lower is more alike.
    <<raw attributes>>

    See Also
    --------
    skmot.base.PairComparison : Base class for a comparison with its own parameters.
    RegressorMapping : Map between populations with any scikit-learn regressor.

    Notes
    -----
    `held_out_cost` calls the function with the given stimuli, because `fit` learns
    nothing but `cost_`.

    If a level above has `memory=`, the key of a cached result contains the module and
    name of the function and a digest of its code, constants, defaults and `kw_args`. A
    changed function is therefore called again. Functions that it calls are not part of
    the key: empty the folder if they change. Lambdas, nested functions and functions
    from `__main__` raise an error with `memory=`, because their keys would not be
    unique.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot import FunctionComparison, MultiLevelOT
    >>> def mean_difference(X, Y):
    ...     return abs(X.mean() - Y.mean())
    >>> rng = np.random.default_rng(0)
    >>> source = [rng.normal(size=(50, 8)) + shift for shift in (0, 1, 2)]
    >>> target = [rng.normal(size=(50, 5)) + shift for shift in (2, 1, 0)]
    >>> mot = MultiLevelOT(FunctionComparison(mean_difference)).fit(source, target)
    >>> mot.coupling_.round(2)
    array([[0.  , 0.  , 0.33],
           [0.  , 0.33, 0.  ],
           [0.33, 0.  , 0.  ]])
    """

    _parameter_constraints = {
        "func": [callable],
        "greater_is_more_alike": ["boolean"],
        "kw_args": [dict, None],
    }
    _input = "raw"

    @property
    def _cost_name(self):
        name = self._function_name
        return f"-{name}" if self.greater_is_more_alike else name

    @property
    def _function_name(self):
        return getattr(self.func, "__name__", type(self.func).__name__)

    def __init__(self, func, greater_is_more_alike=False, kw_args=None):
        self.func = func
        self.greater_is_more_alike = greater_is_more_alike
        self.kw_args = kw_args

    def _solve(self, source, target):
        value = self.func(
            _read_only(source.units), _read_only(target.units), **(self.kw_args or {})
        )
        name = self._function_name
        # Scalars of numpy and arrays without dimensions hold one number.
        is_scalar = hasattr(value, "item") and np.ndim(value) == 0
        number = value.item() if is_scalar else value
        if not isinstance(number, Real):
            raise TypeError(
                f"`func` ({name}) returned {type(value).__name__}; it must return one "
                "real number."
            )
        value = float(number)
        if not math.isfinite(value):
            raise ValueError(
                f"`func` ({name}) returned {value} for arrays of shapes "
                f"{source.units.shape} and {target.units.shape}; a cost must be finite."
            )
        return Solution(cost=-value if self.greater_is_more_alike else value)


def _read_only(units):
    view = units.view()
    view.flags.writeable = False
    return view

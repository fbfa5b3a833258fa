"""Private functions of scikit-learn that skmot uses, imported in one place."""

from sklearn.base import _fit_context as fit_context
from sklearn.callback._callback_support import callback_management_context
from sklearn.externals import array_api_compat
from sklearn.utils import _safe_indexing as safe_indexing
from sklearn.utils._array_api import _convert_to_numpy as convert_to_numpy
from sklearn.utils._array_api import (
    _max_precision_float_dtype as max_precision_float_dtype,
)
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    RealNotInt,
    StrOptions,
    validate_params,
)
from sklearn.utils.parallel import _get_threadpool_controller as threadpool_controller
from sklearn.utils.validation import _num_samples as num_samples

__all__ = [
    "HasMethods",
    "Interval",
    "RealNotInt",
    "StrOptions",
    "array_api_compat",
    "callback_management_context",
    "convert_to_numpy",
    "fit_context",
    "max_precision_float_dtype",
    "num_samples",
    "one_thread",
    "safe_indexing",
    "threadpool_controller",
    "validate_params",
]


def one_thread():
    """Return a context manager that limits linear algebra to one thread.

    It uses scikit-learn's controller of BLAS libraries, so that skmot does not need to
    depend on threadpoolctl directly.
    """
    return threadpool_controller().limit(limits=1, user_api="blas")

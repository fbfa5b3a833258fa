"""The private corners of scikit-learn that skmot needs, in one place."""

import numpy as np
from sklearn.utils._array_api import get_namespace
from sklearn.utils.parallel import _get_threadpool_controller


def numpy_namespace():
    """Return the namespace scikit-learn uses for numpy arrays.

    It is not `numpy` itself but scikit-learn's wrapper of it, and a stack must name
    the same one as the arrays it is used with, or they do not mix.
    """
    return get_namespace(np.empty(0))[0]


def one_thread():
    """Return a context in which linear algebra runs in one thread.

    scikit-learn's controller of the libraries that it found, so that skmot depends on
    no package of its own for it.
    """
    return _get_threadpool_controller().limit(limits=1, user_api="blas")

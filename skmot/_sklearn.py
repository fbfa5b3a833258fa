"""The private corners of scikit-learn that skmot needs, in one place."""

import numpy as np
from sklearn.utils._array_api import get_namespace


def numpy_namespace():
    """Return the namespace scikit-learn uses for numpy arrays.

    It is not `numpy` itself but scikit-learn's wrapper of it, and a stack must name
    the same one as the arrays it is used with, or they do not mix.
    """
    return get_namespace(np.empty(0))[0]

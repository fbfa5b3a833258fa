"""The private corners of scikit-learn that skmot needs, in one place.

Those of the array API are in `_array_api`.
"""

from sklearn.utils.parallel import _get_threadpool_controller


def one_thread():
    """Return a context in which linear algebra runs in one thread.

    scikit-learn's controller of the libraries that it found, so that skmot depends on
    no package of its own for it.
    """
    return _get_threadpool_controller().limit(limits=1, user_api="blas")

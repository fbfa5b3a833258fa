"""Functions that run many calls with joblib, in threads, processes or a cluster."""

import os
import threading
import warnings
from contextlib import ExitStack, contextmanager
from operator import itemgetter
from uuid import uuid4

from joblib import Parallel, delayed, parallel_config
from sklearn import config_context, get_config

from skmot._utils.sklearn import one_thread, threadpool_controller
from skmot._utils.warnings import recorded_warnings

_IMPORTED = uuid4().hex
_recording = threading.Lock()


class _OneBlasThread:
    """Context manager that limits linear algebra to one thread.

    It can be entered by several threads at the same time, and several times by each.
    Most libraries have one limit per process, which the first thread to enter sets and
    the last thread to exit removes, so that no thread restores the limit of another.
    Some libraries have one limit per thread, which every thread sets for itself.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._n_entered = 0
        self._process_limit = ExitStack()
        self._thread_limits = threading.local()

    def __enter__(self):
        with self._lock:
            if self._n_entered == 0:
                self._process_limit.enter_context(one_thread())
                self._first_thread = threading.current_thread()
            self._n_entered += 1
        limits = self._thread_limits.__dict__.setdefault("limits", [])
        limits.append(ExitStack())
        if self._first_thread is not threading.current_thread():
            limits[-1].enter_context(one_thread())

    def __exit__(self, *exception):
        self._thread_limits.limits.pop().close()
        with self._lock:
            self._n_entered -= 1
            if self._n_entered == 0:
                if self._first_thread is not threading.current_thread():
                    _allow_removal_by_any_thread()
                self._process_limit.close()


def _allow_removal_by_any_thread():
    """Allow this thread to remove a limit that another thread has set.

    By default, only the thread that set a limit can remove it (since threadpoolctl
    3.8).
    """
    for library in threadpool_controller().lib_controllers:
        if hasattr(library, "clear_controlling_thread"):
            library.clear_controlling_thread(force=True)


one_blas_thread = _OneBlasThread()


def run_in_parallel(function, calls, n_jobs, in_threads, at_once=False, tasks=None):
    """Call a function many times in parallel and yield the results.

    Parameters
    ----------
    function : callable
        Function at the top level of a module, so that it can be sent to a worker.
    calls : iterable of tuple
        Arguments of each call.
    n_jobs : int or None
        Number of jobs, see :class:`joblib.Parallel`.
    in_threads : bool
        Whether the function runs built-in code only, which releases the global
        interpreter lock and raises no warnings. It then runs in threads, unless the
        user has chosen another backend, and linear algebra uses one thread per call, so
        that results do not depend on the number of jobs. Otherwise, it runs in the
        backend that joblib chooses.
    at_once : bool, default=False
        Whether to yield each result as soon as it is available, in any order.
    tasks : list of Task, default=None
        Task of each call, which begins when the call is given to a worker, and ends
        when its result is there. Results are then yielded in any order.

    Yields
    ------
    index : int
        Index of the call.
    result : object
        Return value of the call.
    log : list
        Warnings of the call, in the format of `recorded_warnings`. Empty for built-in
        code.
    """
    caller = _Caller(in_threads)
    at_once = at_once or tasks is not None

    errors = []

    def given():
        for index, call in enumerate(calls):
            if tasks is not None:
                try:
                    tasks[index].begin()
                except BaseException as error:
                    # joblib can take calls in a thread of its own, where an interrupt
                    # by a callback would be lost. No further call is given.
                    errors.append(error)
                    return
            yield delayed(caller)(index, function, call)

    with ExitStack() as stack:
        if in_threads:
            stack.enter_context(one_blas_thread)
        results = Parallel(
            n_jobs=n_jobs,
            prefer="threads" if in_threads else None,
            # Some backends cannot return results before the last call has ended.
            return_as="generator_unordered" if at_once else "list",
        )(given())
        if at_once:
            stack.enter_context(_ended_after_errors(results))
        for result in results:
            if tasks is not None:
                tasks[result[0]].end()
            yield result
        if errors:
            raise errors[0]


@contextmanager
def _ended_after_errors(results):
    """End the calls that are still running when an error ends the loop over results."""
    try:
        yield
    except BaseException:
        with warnings.catch_warnings():
            # joblib warns that calls were cancelled, but the error is to be raised.
            warnings.simplefilter("ignore")
            results.close()
        raise


def run_in_order(function, calls, n_jobs, in_threads, tasks=None):
    """Call a function many times, and return the results in the order of the calls.

    Takes the parameters of `run_in_parallel`, and returns its results in a list.
    """
    results = run_in_parallel(function, calls, n_jobs, in_threads, tasks=tasks)
    return sorted(results, key=itemgetter(0))


class _Caller:
    """Callable that runs a function in any worker with the caller's configuration.

    `sklearn.utils.parallel` passes the configuration to workers, too. However, it also
    sets the warning filters in each call, which is not safe in threads.
    """

    def __init__(self, in_threads):
        self.in_threads = in_threads
        self.settings = get_config()
        self.process, self.thread = _process(), threading.get_ident()

    def __call__(self, index, function, arguments):
        in_other_process = self.process != _process()
        in_worker = in_other_process or self.thread != threading.get_ident()
        log = []
        with ExitStack() as stack:
            stack.enter_context(config_context(**self.settings))
            if in_worker:
                # Only one level runs in parallel: calls in a worker are sequential.
                stack.enter_context(parallel_config("sequential"))
            if self.in_threads and in_worker:
                stack.enter_context(one_blas_thread)
            if not self.in_threads and (in_other_process or _in_main_thread()):
                stack.enter_context(_record_in_one_thread(log))
            return index, function(*arguments), log


def _process():
    """Return an identifier of this process that differs from those of all workers."""
    # Forked workers share imported modules, and processes of different machines can
    # have the same process number.
    return _IMPORTED, os.getpid()


def _in_main_thread():
    return threading.current_thread() is threading.main_thread()


@contextmanager
def _record_in_one_thread(log):
    """Record warnings unless another thread does, since filters are global."""
    if not _recording.acquire(blocking=False):
        yield
        return
    try:
        with recorded_warnings(log):
            yield
    finally:
        _recording.release()

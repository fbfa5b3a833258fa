"""Many calls side by side: one after the other, in threads, processes or a cluster."""

import os
import threading
from contextlib import ExitStack, contextmanager
from uuid import uuid4

from joblib import Parallel, delayed, parallel_config
from sklearn import config_context, get_config

from skmot._sklearn import _get_threadpool_controller, one_thread
from skmot._warnings import recorded_warnings

_IMPORTED = uuid4().hex
_recording = threading.Lock()


class _OneBlasThread:
    """A context in which linear algebra runs in one thread, entered by any number.

    Most libraries have one limit a process: the first that comes in sets it and the
    last that leaves takes it back, so that none sees another's. Others have one a
    thread, which each sets for itself.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._inside = 0
        self._limit = ExitStack()
        self._own = threading.local()

    def __enter__(self):
        with self._lock:
            if self._inside == 0:
                self._limit.enter_context(one_thread())
                self._first = threading.current_thread()
            self._inside += 1
        limits = self._own.__dict__.setdefault("limits", [])
        limits.append(ExitStack())
        if self._first is not threading.current_thread():
            limits[-1].enter_context(one_thread())

    def __exit__(self, *exception):
        self._own.limits.pop().close()
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                if self._first is not threading.current_thread():
                    _let_any_thread_limit()
                self._limit.close()


def _let_any_thread_limit():
    """Take over from the thread that set a limit: by itself only it takes it back.

    That is so since threadpoolctl 3.8.
    """
    for library in _get_threadpool_controller().lib_controllers:
        if hasattr(library, "clear_controlling_thread"):
            library.clear_controlling_thread(force=True)


one_blas_thread = _OneBlasThread()


def run_side_by_side(function, calls, n_jobs, own, at_once=False):
    """Call a function many times and yield what it returns as it comes.

    Parameters
    ----------
    function : callable
        Of a module, so that it can be sent to a worker.
    calls : iterable of tuple
        Its arguments.
    n_jobs : int or None
        As joblib has it.
    own : bool
        Whether it runs skmot's own code, which releases the interpreter lock and warns
        of nothing: then it runs in threads unless the user has chosen a backend, and
        linear algebra in one thread a call, so that results have the same bits however
        many run at once. What is foreign runs where joblib has it run.
    at_once : bool, default=False
        Whether each result is wanted as soon as it is there, in whatever order.

    Yields
    ------
    index : int
        The number of the call.
    result : object
        What it returned.
    log : list
        What it warned of, as `recorded_warnings` has it; always empty for own code.
    """
    caller = _Caller(own)
    with ExitStack() as stack:
        if own:
            stack.enter_context(one_blas_thread)
        yield from Parallel(
            n_jobs=n_jobs,
            prefer="threads" if own else None,
            # Not every backend hands out results before the last is there.
            return_as="generator_unordered" if at_once else "list",
        )(delayed(caller)(index, function, call) for index, call in enumerate(calls))


class _Caller:
    """Calls functions under the caller's settings, wherever it is sent.

    `sklearn.utils.parallel` does that for settings too, but it also sets the filters of
    warnings in each call: threads share them, and undo one another's.
    """

    def __init__(self, own):
        self.own = own
        self.settings = get_config()
        self.process, self.thread = _process(), threading.get_ident()

    def __call__(self, index, function, arguments):
        elsewhere = self.process != _process()
        beside = elsewhere or self.thread != threading.get_ident()
        log = []
        with ExitStack() as stack:
            stack.enter_context(config_context(**self.settings))
            if self.own and beside:
                stack.enter_context(one_blas_thread)
                # One level at a time: what runs beside others does not fan out again.
                stack.enter_context(parallel_config("sequential"))
            if not self.own and (elsewhere or _in_main_thread()):
                stack.enter_context(_recorded_by_one(log))
            return index, function(*arguments), log


def _process():
    """Return what tells this process from its workers, on whatever machine."""
    # A forked worker has its parent's modules, another machine may have its number.
    return _IMPORTED, os.getpid()


def _in_main_thread():
    return threading.current_thread() is threading.main_thread()


@contextmanager
def _recorded_by_one(log):
    """Record warnings, unless another thread does: filters are the whole process's."""
    if not _recording.acquire(blocking=False):
        yield
        return
    try:
        with recorded_warnings(log):
            yield
    finally:
        _recording.release()

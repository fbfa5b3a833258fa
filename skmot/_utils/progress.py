"""Tasks of fits and functions, which scikit-learn's callbacks are told about.

A fit is a task, and the pairs of layers are its parts. The process that was asked to
fit begins and ends each part, when it gives the part to a worker and when it gets the
result. A part begins and ends in the worker only if it is the fit of an estimator that
callbacks are passed on to, because that estimator tells of parts of its own.
"""

from contextlib import contextmanager, nullcontext

from sklearn.callback import AutoPropagatedCallback, CallbackSupportMixin

from skmot._utils.sklearn import callback_management_context


class Task:
    """A task that callbacks are told about: a fit, a function, or a part of either.

    Parameters
    ----------
    estimator : estimator
        Estimator that callbacks receive.
    context : sklearn.callback.CallbackContext
        The task in the tree of all tasks.
    """

    # There can be thousands, and a dict each would slow the garbage collector.
    __slots__ = ("_n_parts", "context", "estimator")

    def __init__(self, estimator, context):
        self.estimator, self.context = estimator, context
        self._n_parts = 0

    def begin(self, **data):
        """Tell the callbacks that the task begins."""
        self.context.call_on_fit_task_begin(estimator=self.estimator, **data)

    def end(self, **data):
        """Tell the callbacks that the task has ended.

        Callbacks can ask to stop, which is ignored: no part can be left out.
        """
        self.context.call_on_fit_task_end(estimator=self.estimator, **data)

    def parts(self, names):
        """Return one part for each name, or None if there are no callbacks.

        All parts are created at once, because a context must not change while it is
        sent to a worker.
        """
        if not _callbacks_of(self.estimator):
            return None
        return [self.new_part(name) for name in names]

    def new_part(self, name, n_parts=0):
        """Return a new part, which itself has up to `n_parts` parts."""
        self._n_parts += 1
        context = self.context.subcontext(
            name, self._n_parts - 1, n_parts, sequential_subtasks=False
        )
        return Task(self.estimator, context)

    @contextmanager
    def running(self):
        """Begin the task, and end it unless there is an error."""
        self.begin()
        yield self
        self.end()

    @contextmanager
    def passed_on_to(self, estimator):
        """Begin and end the task, which is the fit of another estimator.

        Callbacks that show nested estimators are then told of the parts of that fit.
        """
        supports_callbacks = hasattr(estimator, "set_callbacks")
        with (
            self.context.propagate_callback_context(estimator)
            if supports_callbacks
            else nullcontext(),
            self.running(),
        ):
            yield


def _callbacks_of(estimator):
    return getattr(estimator, "_skl_callbacks", [])


def passes_callbacks_on(estimator):
    """Whether callbacks of an estimator are to be told of the estimators inside it."""
    return any(
        isinstance(callback, AutoPropagatedCallback)
        for callback in _callbacks_of(estimator)
    )


def begin_fit(estimator, n_parts=0, name="fit", **data):
    """Begin the task of a fit, and return it.

    The caller must be a `fit` with the decorator `fit_context`, or another method with
    the decorator `with_callbacks`, which remove the task even after an error.

    Parameters
    ----------
    estimator : estimator
        Estimator with callback support, which stores the task until the method ends.
    n_parts : int, default=0
        Number of parts.
    name : str, default="fit"
        Name of the task.
    **data : dict
        The data `X` and `y`, for callbacks that ask for them.

    Returns
    -------
    task : Task
        The task.
    """
    context = estimator._init_callback_context(
        name, max_subtasks=n_parts, sequential_subtasks=False
    )
    task = Task(estimator, context)
    task.begin(**data)
    return task


def end_fit(estimator, **data):
    """End the task of a fit, whose fitted attributes are complete."""
    Task(estimator, estimator._callback_fit_ctx).end(
        # Callbacks that ask for a fitted estimator get a copy as it is.
        reconstruction_attributes={},
        **data,
    )


@contextmanager
def fit_task(estimator, n_parts=0, **data):
    """Begin the task of a fit, see `begin_fit`, and end it."""
    yield begin_fit(estimator, n_parts, **data)
    end_fit(estimator, **data)


def task_in_worker(estimator, context):
    """Begin and end a part, which is the fit of an estimator, in a worker.

    Parameters
    ----------
    estimator : estimator
        Estimator to be fitted.
    context : sklearn.callback.CallbackContext or None
        Context of the part. None does nothing.
    """
    if context is None:
        return nullcontext()
    return Task(estimator, context).passed_on_to(estimator)


class _Function(CallbackSupportMixin):
    """What holds the callbacks of a function, in place of an estimator."""


@contextmanager
def function_task(name, callbacks, n_parts):
    """Begin the task of a function, and end it.

    Parameters
    ----------
    name : str
        Name of the function.
    callbacks : callback, list or tuple of callbacks, or None
        Callbacks to tell.
    n_parts : int
        Number of parts.
    """
    if callbacks is None:
        callbacks = ()
    elif not isinstance(callbacks, list | tuple):
        callbacks = (callbacks,)
    # Callbacks show the name of the class.
    function = type(name, (_Function,), {})().set_callbacks(*callbacks)
    with callback_management_context(function):
        task = begin_fit(function, n_parts, name="fits")
        yield task
        task.end()

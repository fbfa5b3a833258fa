"""What the permutation controls share: fits on the splits, and what they return."""

from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace

import numpy as np
from sklearn.base import clone

from skmot._scores import layer_scores, reconstruct_held_out, unwrap
from skmot._utils.parallel import run_in_order
from skmot._utils.progress import Task
from skmot._utils.warnings import recorded_warnings
from skmot.layers import LayerStack

# Sums in another order differ by rounding errors. Null scores that are lower than the
# score by less than this are treated as equal to it, which makes the p-value larger.
_TIE = 1e-10


def rank_p_value(score, null_scores):
    """Compute (b + 1) / (n + 1), where b of n null scores are at least the score."""
    n_as_good = int(np.count_nonzero(np.asarray(null_scores) >= score - _TIE))
    return (n_as_good + 1) / (len(null_scores) + 1)


@dataclass(frozen=True)
class ControlTask:
    """Estimator, data, splits and permutations of one control.

    Attributes
    ----------
    estimator : estimator
        Estimator to clone and fit.
    X, y : LayerStack
        Source and target.
    direction : {"target", "source"}
        Side to reconstruct.
    splits : list of pairs of ndarray of int
        Training rows and held-out rows of each split.
    n_permutations : int
        Number of null scores.
    random : RandomState
        Random number generator.
    n_jobs : int or None
        Number of null scores to compute in parallel.
    log : list
        Warnings of the fits, which are raised at the end.
    progress : Task or None
        Task of the fits for callbacks, each of which is a part: the whole control, or
        the fits to the given rows. None in a worker.
    """

    estimator: object
    X: LayerStack
    y: LayerStack
    direction: str
    splits: list
    n_permutations: int
    random: np.random.RandomState
    n_jobs: int | None = None
    log: list = field(default_factory=list)
    progress: Task | None = None

    @contextmanager
    def of_given_rows(self, n_fits):
        """Provide this task, with the fits to the given rows as one part of it.

        Parameters
        ----------
        n_fits : int
            Number of fits to the given rows.
        """
        with self.progress.new_part("given rows", n_fits).running() as part:
            yield replace(self, progress=part)

    def part(self, name):
        """Begin and end the part of a fit, except in a worker."""
        if self.progress is None:
            return nullcontext()
        return self.progress.new_part(name).running()

    def fits(self, source=None, y=None):
        """Yield the fitted estimator and the held-out rows of X and y of each split.

        Parameters
        ----------
        source : callable, default=None
            Function of the training rows of a split, which returns the source to use in
            place of X.
        y : LayerStack, default=None
            Target to use in place of y.
        """
        y = self.y if y is None else y
        for number, (train, test) in enumerate(self.splits):
            with self.part(f"split {number}"):
                X = self.X if source is None else source(train)
                with recorded_warnings(self.log):
                    fitted = clone(self.estimator).fit(X[train], y[train])
            self._check_fitted(fitted)
            yield fitted, X[test], y[test]

    def refitted_scores(self, source=None, y=None):
        """Return the score of each split, with other data in place of X or y."""
        return np.array(
            [
                layer_scores(
                    reconstruct_held_out(fitted, self.direction, *held_out)
                ).mean()
                for fitted, *held_out in self.fits(source, y)
            ]
        )

    def fitted_cost(self, y=None):
        """Fit all rows, with another target in place of y, and return the cost."""
        with recorded_warnings(self.log):
            fitted = clone(self.estimator).fit(self.X, self.y if y is None else y)
        fitted, *_ = unwrap(fitted)
        if not hasattr(fitted, "cost_"):
            raise TypeError(
                f"statistic='cost' permutes the `cost_` of fits, but "
                f"{type(fitted).__name__} learned none: use statistic='score'."
            )
        return float(fitted.cost_)

    def for_each(self, function, arguments, n_calls):
        """Call a function of this task for each permutation, in parallel.

        Parameters
        ----------
        function : callable
            Function at the top level of a module. It takes a task and one more
            argument, and must not use the random numbers of the task.
        arguments : iterable
            Second argument of each call.
        n_calls : int
            Number of calls.

        Returns
        -------
        results : list
            Return values, which do not depend on the number of jobs.
        """
        # The warnings so far, and the callbacks, are not sent to the workers.
        task = replace(self, log=[], progress=None)
        found = run_in_order(
            _call,
            ((function, task, argument) for argument in arguments),
            self.n_jobs,
            in_threads=False,
            tasks=self.progress.parts(
                f"permutation {number}" for number in range(n_calls)
            ),
        )
        results = []
        for _, (result, log), further_log in found:
            results.append(result)
            self.log.extend(log + further_log)
        return results

    def _check_fitted(self, fitted):
        """Raise an error if the fitted estimator cannot reconstruct the side."""
        fitted, *_ = unwrap(fitted)
        method = "predict" if self.direction == "target" else "inverse_predict"
        if not hasattr(fitted, method):
            remedy = (
                "control='stimuli' with statistic='cost' tests its `cost_`"
                if hasattr(fitted, "cost_")
                else "there is nothing to test"
            )
            raise TypeError(
                f"{type(fitted).__name__} has no `{method}`, so that no held-out score "
                f"of the {self.direction} can be computed: {remedy}."
            )


def _call(function, task, argument):
    """Call a function of a task, and return its result and the warnings of the fits."""
    task = replace(task, log=[])
    return function(task, argument), task.log


@dataclass(frozen=True)
class ControlOutcome:
    """Scores, null scores, and what they say.

    Attributes
    ----------
    scores : ndarray of shape (n_splits,)
        Score of each split.
    null_scores : ndarray of shape (n_permutations,)
        Null scores, averaged over splits.
    p_value : float
        P-value.
    smallest_p : float
        Smallest p-value that these permutations can give.
    null_hypothesis : str
        Null hypothesis that a small p-value rejects.
    shows : str
        What a small p-value shows, a clause.
    limits : str
        What a small p-value does not show, a sentence.
    remark : str
        A sentence on how the p-value was computed, or an empty string.
    movable_share : float
        Share of the rows that can change places.
    values : dict
        Further values of the result.
    """

    scores: np.ndarray
    null_scores: np.ndarray
    p_value: float
    smallest_p: float
    null_hypothesis: str
    shows: str
    limits: str
    remark: str = ""
    movable_share: float = 1.0
    values: dict = field(default_factory=dict)


def smallest_rank_p(n_distinct, n_permutations):
    """Return the smallest p-value of permutations, some of which may be equal."""
    # The minimum is taken first: the number of permutations can exceed the largest
    # float.
    return 1 / min(n_distinct, n_permutations + 1)

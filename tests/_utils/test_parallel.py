"""Pairs side by side, in threads and processes.

That their numbers have the same bits is in `tests/test_determinism.py`.
"""

import os
import pickle
import threading
import time
import warnings
from collections import Counter

import joblib
import numpy as np
import pytest
from sklearn import config_context, get_config
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_info, threadpool_limits

from skmot import (
    LayerStack,
    MultiLevelOT,
    SoftMatching,
)
from skmot.base import PairComparison, Solution
from skmot.exceptions import DeadUnitWarning
from skmot.preprocessing import LayerwiseTransformer, TransformedTargetLayers
from tests.estimators import Witness
from tests.networks import (
    random_networks,
    trajectories,
)


def blas_threads():
    return [
        library["num_threads"]
        for library in threadpool_info()
        if library["user_api"] == "blas"
    ]


# -- what pairs share ----------------------------------------------------------------


@pytest.fixture
def whole_numbers():
    """Two sets of networks; the means of their units are exact."""
    networks = [random_networks(n_stimuli=64, seed=seed) for seed in range(2)]
    return [
        [[np.round(8 * layer) for layer in pair[side]] for pair in networks]
        for side in (0, 1)
    ]


def means_of(networks):
    """Return the means of each layer's units as they lie in memory."""
    return [leaf.layer.mean(axis=0).tobytes() for leaf in LayerStack(networks).leaves()]


@pytest.mark.parametrize("backend", ["loky", "threading", "sequential"])
def test_pairs_of_a_layer_share_its_statistics_wherever_they_were_solved(
    backend, whole_numbers
):
    X, y = whole_numbers
    with joblib.parallel_config(backend):
        chosen = MultiLevelOT(n_jobs=2).fit(X[0], y[0])
        deep = MultiLevelOT(MultiLevelOT(), cost_cv=2, n_jobs=2).fit(X, y)
    # Pickle writes one object once, however many have it.
    content = pickle.dumps(chosen)
    assert [content.count(mean) for mean in means_of([X[0], y[0]])] == [1] * 7
    content = pickle.dumps(deep)
    assert [content.count(mean) for mean in means_of([X, y])] == [1] * 14


def test_results_travel_without_the_statistics_of_units(tmp_path, whole_numbers):
    X, y = whole_numbers
    for inner, sides in ((SoftMatching(), (X[0], y[0])), (MultiLevelOT(), (X, y))):
        folder = tmp_path / type(inner).__name__
        mot = MultiLevelOT(inner, memory=folder).fit(*sides)
        # What is kept of a pair is what comes back from where it was solved.
        kept = [path.read_bytes() for path in folder.rglob("*.pkl")]
        assert len(kept) == mot.coupling_.size
        for mean in means_of(list(sides)):
            assert not any(mean in content for content in kept)
            assert mean in pickle.dumps(mot)


# -- threads ---------------------------------------------------------------------------


class Watched(SoftMatching):
    """Tells where it is solved, and with how many threads."""

    seen = []

    def _solve(self, source, target):
        self.seen.append((threading.get_ident(), max(blas_threads())))
        # Long enough for the other thread to come in.
        time.sleep(0.02)
        return super()._solve(source, target)


@pytest.fixture
def seen():
    """Collect where pairs are solved, and with how many threads."""
    Watched.seen.clear()
    return Watched.seen


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_own_estimators_run_in_threads_of_one_blas_thread(seen, n_jobs):
    X, y = random_networks()
    with threadpool_limits(2, user_api="blas"):
        MultiLevelOT(Watched(), n_jobs=n_jobs).fit(X, y)
        assert blas_threads() == [2] * len(blas_threads())
    assert len({thread for thread, _ in seen}) == n_jobs
    assert {limit for _, limit in seen} == {1}


def test_one_level_runs_side_by_side_at_a_time(seen):
    X, y = trajectories()
    MultiLevelOT(MultiLevelOT(Watched(), n_jobs=2), n_jobs=2).fit(X, y)
    assert len({thread for thread, _ in seen}) == 2
    seen.clear()
    MultiLevelOT(MultiLevelOT(Watched(), n_jobs=2)).fit(X[:1], y[:1])
    assert len({thread for thread, _ in seen}) == 2


class Waiting(SoftMatching):
    """Waits until all are inside, and then for its thread's turn."""

    inside, leave = threading.Barrier(3), {}

    def _solve(self, source, target):
        self.inside.wait(timeout=60)
        self.leave[threading.current_thread()].wait(timeout=60)
        return super()._solve(source, target)


@pytest.mark.parametrize("order", [1, -1])
def test_the_limit_of_blas_threads_is_taken_back_by_the_last_that_leaves(order):
    (X, *_), (y, *_) = random_networks()
    Waiting.inside.reset()
    threads = [
        threading.Thread(target=MultiLevelOT(Waiting()).fit, args=([X], [y]))
        for _ in range(2)
    ]
    Waiting.leave = {thread: threading.Event() for thread in threads}
    before = blas_threads()
    for thread in threads:
        thread.start()
    Waiting.inside.wait(timeout=60)
    # Whichever of them came in first.
    for thread in threads[::order]:
        assert max(blas_threads()) == 1
        Waiting.leave[thread].set()
        thread.join()
    assert blas_threads() == before


class Failing(SoftMatching):
    def _solve(self, source, target):
        raise ZeroDivisionError("no such pair")


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_an_error_in_a_pair_takes_back_the_limit(n_jobs):
    X, y = random_networks()
    with threadpool_limits(2, user_api="blas"):
        with pytest.raises(ZeroDivisionError, match="no such pair"):
            MultiLevelOT(Failing(), n_jobs=n_jobs).fit(X, y)
        assert min(blas_threads()) == 2


def configuration():
    return {
        "working_memory_": get_config()["working_memory"],
        "worker_": (os.getpid(), threading.get_ident()),
    }


class InThreads(SoftMatching):
    def _solve(self, source, target):
        solution = super()._solve(source, target)
        solution.attributes.update(configuration())
        return solution


class InProcesses(PairComparison):
    def _solve(self, source, target):
        return Solution(cost=0.0, attributes=configuration())


@pytest.mark.parametrize("inner", [InThreads(), InProcesses()], ids=str)
def test_workers_have_the_callers_configuration(inner):
    X, y = random_networks()
    with config_context(working_memory=17):
        mot = MultiLevelOT(inner, n_jobs=2).fit(X, y)
    found = [pair for row in mot.inner_ for pair in row]
    assert {pair.working_memory_ for pair in found} == {17}
    assert (os.getpid(), threading.get_ident()) not in {pair.worker_ for pair in found}
    processes = {process for process, _ in (pair.worker_ for pair in found)}
    assert (os.getpid() in processes) == isinstance(inner, InThreads)


# -- foreign estimators ----------------------------------------------------------------


def test_foreign_estimators_run_where_joblib_has_them_run():
    X, y = random_networks()
    with config_context(working_memory=17):
        alone = MultiLevelOT(Witness()).fit(X, y)
        beside = MultiLevelOT(Witness(), n_jobs=2).fit(X, y)
    found = [inner for row in alone.inner_ for inner in row]
    assert {inner.process_ for inner in found} == {os.getpid()}
    found = [inner for row in beside.inner_ for inner in row]
    assert os.getpid() not in {inner.process_ for inner in found}
    assert {inner.config_ for inner in found} == {17}
    np.testing.assert_array_equal(alone.layer_costs_, beside.layer_costs_)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_what_foreign_estimators_warn_of_is_told_once(n_jobs):
    X, y = random_networks()
    with pytest.warns(UserWarning, match="strange") as caught:
        MultiLevelOT(Witness("{} units are strange"), n_jobs=n_jobs).fit(X, y)
    assert [str(warning.message) for warning in caught] == [
        "7 units are strange (12 time(s) in all)"
    ]
    assert caught[0].filename == __file__


def test_what_foreign_estimators_warn_of_is_told_once_at_any_depth():
    X, y = trajectories()
    inner = MultiLevelOT(Witness("strange"))
    for mot in (MultiLevelOT(inner), MultiLevelOT(inner, n_jobs=2)):
        with pytest.warns(UserWarning, match="strange") as caught:
            mot.fit(X, y)
        assert [str(warning.message) for warning in caught] == [
            f"strange ({3 * 2 * 3 * 4} time(s) in all)"
        ]


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_what_is_warned_of_below_a_transformed_target_is_told_once(n_jobs):
    X, y = random_networks()
    y = [np.insert(layer, 0, 1.0, axis=1) for layer in y]
    inner = TransformedTargetLayers(
        SoftMatching(), LayerwiseTransformer(StandardScaler())
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        MultiLevelOT(inner, n_jobs=n_jobs).fit(X, y)
    told = [str(found.message) for found in caught if found.category is DeadUnitWarning]
    assert len(told) == 2
    assert "(12 time(s) in all)" in told[0]


def test_in_threads_that_users_choose_foreign_warnings_come_as_they_are():
    X, y = random_networks()
    with (
        joblib.parallel_config("threading"),
        pytest.warns(UserWarning, match="strange") as caught,
    ):
        MultiLevelOT(Witness("strange"), n_jobs=2).fit(X, y)
    assert Counter(str(warning.message) for warning in caught) == {"strange": 12}
    with warnings.catch_warnings(record=True) as later:
        warnings.simplefilter("always")
        warnings.warn("still told", UserWarning, stacklevel=1)
    assert [str(warning.message) for warning in later] == ["still told"]


def test_kept_pairs_warn_again(tmp_path):
    X, y = random_networks()
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"strange \(12 time\(s\) in all\)"):
            MultiLevelOT(Witness("strange"), memory=str(tmp_path)).fit(X, y)

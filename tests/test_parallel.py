"""Pairs side by side, in threads and processes: the same results."""

import os
import signal
import threading
import time
import warnings
from collections import Counter
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn import config_context, get_config
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_info, threadpool_limits

from skmot import (
    CKA,
    LinearPredictivity,
    MultiLevelOT,
    Procrustes,
    RotationMatching,
    SoftMatching,
)
from skmot._parallel import one_blas_thread, run_side_by_side
from skmot.exceptions import DeadUnitWarning
from skmot.multilevel import _fit_pair
from skmot.preprocessing import LayerwiseTransformer, TransformedTargetLayers
from tests.networks import random_networks
from tests.test_prepared import assert_same_fit, handles, trajectories


def wide_networks():
    """Return layers wide enough for several threads to round otherwise than one."""
    source, target = random_networks((150, 260), (200, 120, 90), n_stimuli=200)
    return [[layer.astype(np.float32) for layer in side] for side in (source, target)]


def blas_threads():
    return [
        library["num_threads"]
        for library in threadpool_info()
        if library["user_api"] == "blas"
    ]


class Witness(RegressorMixin, BaseEstimator):
    """A foreign inner estimator that tells where it was fitted, and may warn."""

    def __init__(self, message=None, path=None, seconds=0.0, dies_once=None):
        self.message = message
        self.path = path
        self.seconds = seconds
        self.dies_once = dies_once

    def fit(self, X, y):
        self.process_, self.thread_ = os.getpid(), threading.get_ident()
        self.config_ = get_config()["working_memory"]
        self.cost_ = abs(float(X.mean()) - float(y.mean()))
        if self.path is not None:
            with open(self.path, "a") as lines:
                lines.write(f"{self.cost_}\n")
        time.sleep(self.seconds)
        if self.dies_once is not None and Path(self.path).stat().st_size > 80:
            try:
                os.mkdir(self.dies_once)
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        if self.message is not None:
            warnings.warn(self.message.format(X.shape[1]), UserWarning, stacklevel=2)
        return self

    def predict(self, X):
        return np.zeros((len(X), 2))


# -- the same bits ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "inner",
    [
        SoftMatching(),
        SoftMatching("sqeuclidean"),
        CKA(),
        Procrustes(),
        LinearPredictivity(random_state=0),
        RotationMatching(max_iter=2, tol=1.0),
    ],
    ids=str,
)
@pytest.mark.parametrize("cost_cv", [None, 2])
def test_results_have_the_same_bits_however_many_run_at_once(inner, cost_cv):
    X, y = wide_networks()
    with threadpool_limits(2, user_api="blas"):
        one, two = (
            MultiLevelOT(inner, cost_cv=cost_cv, n_jobs=n_jobs).fit(X, y)
            for n_jobs in (1, 2)
        )
    assert_same_fit(one, two)
    with threadpool_limits(1, user_api="blas"):
        assert_same_fit(one, MultiLevelOT(inner, cost_cv=cost_cv).fit(X, y))


@pytest.mark.parametrize("backend", ["loky", "threading", "sequential"])
def test_backends_that_users_choose_give_the_same_bits(backend):
    X, y = wide_networks()
    networks = trajectories()
    with joblib.parallel_config(backend):
        chosen = MultiLevelOT(n_jobs=2).fit(X, y)
        deep = MultiLevelOT(MultiLevelOT(), cost_cv=2, n_jobs=2).fit(*networks)
    assert_same_fit(chosen, MultiLevelOT().fit(X, y))
    assert_same_fit(deep, MultiLevelOT(MultiLevelOT(), cost_cv=2).fit(*networks))
    for row in chosen.inner_:
        assert row[1]._source_statistics is row[0]._source_statistics
    for k, n in np.ndindex(3, 2):
        for s, m in np.ndindex(3, 4):
            one, other = deep.inner_[k][n].inner_[s][m], deep.inner_[k][0].inner_[s][0]
            assert one._source_statistics is other._source_statistics


def test_results_travel_without_the_statistics_of_units():
    X, y = trajectories()
    for inner, sides in (
        (SoftMatching(), (X[0], y[0])),
        (MultiLevelOT(), (X, y)),
    ):
        source, target = (handles(side, inner)[0] for side in sides)
        fitted = _fit_pair(source, target)
        matching = fitted.inner_[0][0] if isinstance(fitted, MultiLevelOT) else fitted
        assert not {
            name for name in vars(matching) if "statistics" in name or "dead" in name
        }


# -- threads ---------------------------------------------------------------------------


@pytest.fixture
def seen(monkeypatch):
    """Collect where skmot's own matchings are solved, and with how many threads."""
    places, fit = [], SoftMatching._fit_populations

    def watching(self, source, target):
        places.append((threading.get_ident(), max(blas_threads())))
        # Long enough for the other thread to come in.
        time.sleep(0.02)
        return fit(self, source, target)

    monkeypatch.setattr(SoftMatching, "_fit_populations", watching)
    return places


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_own_estimators_run_in_threads_of_one_blas_thread(seen, n_jobs):
    X, y = random_networks()
    with threadpool_limits(2, user_api="blas"):
        MultiLevelOT(n_jobs=n_jobs).fit(X, y)
        assert blas_threads() == [2] * len(blas_threads())
    assert len({thread for thread, _ in seen}) == n_jobs
    assert {limit for _, limit in seen} == {1}


def test_one_level_runs_side_by_side_at_a_time(seen):
    X, y = trajectories()
    MultiLevelOT(MultiLevelOT(n_jobs=2), n_jobs=2).fit(X, y)
    assert len({thread for thread, _ in seen}) == 2
    seen.clear()
    MultiLevelOT(MultiLevelOT(n_jobs=2)).fit(X[:1], y[:1])
    assert len({thread for thread, _ in seen}) == 2


@pytest.mark.parametrize("order", [1, -1])
def test_the_limit_of_blas_threads_is_taken_back_by_the_last_that_leaves(order):
    inside, leave = threading.Barrier(3), [threading.Event() for _ in range(2)]

    def stay(event):
        with one_blas_thread:
            inside.wait(timeout=60)
            event.wait(timeout=60)

    before = blas_threads()
    threads = [threading.Thread(target=stay, args=(event,)) for event in leave]
    for thread in threads:
        thread.start()
    inside.wait(timeout=60)
    # Whichever of them came in first.
    for thread, event in list(zip(threads, leave, strict=True))[::order]:
        assert max(blas_threads()) == 1
        event.set()
        thread.join()
    assert blas_threads() == before


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_an_error_in_a_pair_takes_back_the_limit(monkeypatch, n_jobs):
    def fail(*arguments):
        raise ZeroDivisionError("no such pair")

    monkeypatch.setattr(SoftMatching, "_fit_populations", fail)
    X, y = random_networks()
    with threadpool_limits(2, user_api="blas"):
        with pytest.raises(ZeroDivisionError, match="no such pair"):
            MultiLevelOT(n_jobs=n_jobs).fit(X, y)
        assert min(blas_threads()) == 2


def configuration():
    return get_config()["working_memory"], threading.get_ident()


@pytest.mark.parametrize("own", [True, False])
def test_workers_have_the_callers_configuration(own):
    with config_context(working_memory=17):
        results = list(run_side_by_side(configuration, [()] * 4, n_jobs=2, own=own))
    assert [index for index, *_ in results] == [0, 1, 2, 3]
    assert {result[0] for _, result, _ in results} == {17}


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

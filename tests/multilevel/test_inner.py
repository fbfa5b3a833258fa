"""What a level does with its inner estimator: each layer is read and prepared once."""

import gc
import os
import pickle
import tracemalloc
import weakref
from collections import Counter

import joblib
import numpy as np
import pytest
from joblib.parallel import ParallelBackendBase
from sklearn import config_context
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import KFold

from skmot import (
    CKA,
    RSA,
    FunctionComparison,
    LayerStack,
    LinearPredictivity,
    MultiLevelOT,
    MultiLevelOTRotation,
    OneToOneMatching,
    Procrustes,
    RegressorMapping,
    RotationMatching,
    SemiMatching,
    SoftMatching,
)
from skmot.base import PairComparison, PairMapping, Solution
from tests.multilevel.fits import (
    CountedPreparations,
    assert_same_fit,
    counted,
    trajectories,
)
from tests.networks import random_networks

MEBIBYTE = 2**20


@pytest.fixture
def prepared():
    """Collect what counting estimators prepare."""
    CountedPreparations.prepared.clear()
    return CountedPreparations.prepared


def n_prepared(prepared, method="_prepare"):
    """Count what a method prepared since the last call, and forget it."""
    counts = Counter(name for name, _ in prepared)
    prepared.clear()
    return counts[method]


def each_once(prepared):
    """Count what each method prepared, of which nothing was prepared twice."""
    assert set(Counter(prepared).values()) <= {1}
    counts = Counter(name for name, _ in prepared)
    prepared.clear()
    return counts


# -- layers are read once --------------------------------------------------------------


class Watched:
    """A number that counts how often it is read, by the name of its layer."""

    readings = Counter()

    def __init__(self, value, name):
        self.value, self.name = value, name

    def __float__(self):
        self.readings[self.name] += 1
        return float(self.value)


def watch(given, name=()):
    """Return networks of objects, of which the first number of a layer is watched."""
    if isinstance(given, list):
        return [watch(part, (*name, index)) for index, part in enumerate(given)]
    given = given.astype(object)
    given[0, 0] = Watched(given[0, 0], name)
    return given


@pytest.fixture
def readings():
    Watched.readings.clear()
    return Watched.readings


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_each_layer_is_read_once_and_prepared_once(readings, tmp_path, n_jobs):
    X, y = watch(random_networks())
    for memory in (None, tmp_path):
        mot = MultiLevelOT(n_jobs=n_jobs, memory=memory)
        mot.fit(X, y)
        # Checked and read, with its digest if that is wanted; and prepared.
        assert list(readings.values()) == [2] * (3 + 4)
        readings.clear()
    # What was found again is not prepared.
    mot.fit(X, y)
    assert list(readings.values()) == [1] * (3 + 4)


def test_folds_are_read_once_and_prepared_once(readings):
    X, y = watch(random_networks())
    MultiLevelOT(cost_cv=3).fit(X, y)
    # The first stimulus is in the training part of two folds, and held out in one.
    assert list(readings.values()) == [2 + 2 * 2 + 1] * (3 + 4)


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize(("cost_cv", "n_readings"), [(None, 2), (2, 2 + 2 + 1)])
def test_layers_of_a_trajectory_are_read_once_not_once_a_pair(
    readings, cost_cv, n_readings, n_jobs
):
    X, y = watch(list(trajectories()))
    MultiLevelOT(MultiLevelOT(cost_cv=cost_cv), n_jobs=n_jobs).fit(X, y)
    assert list(readings.values()) == [n_readings] * (3 * 3 + 2 * 4)


@pytest.mark.parametrize(
    "method", ["score", "inverse_score", "layer_scores", "unit_scores", "held_out_cost"]
)
def test_each_layer_is_read_once_where_it_is_scored(readings, method):
    X, y = random_networks()
    mot = MultiLevelOT().fit(X, y)
    getattr(mot, method)(*watch([X, y]))
    assert list(readings.values()) == [1] * (3 + 4)


# -- layers are prepared once ----------------------------------------------------------


def mean_difference(X, Y):
    return abs(float(X.mean() - Y.mean()))


class MeanMapping(PairMapping):
    """A mapping as a user may write it: each unit is predicted as its mean."""

    def _solve(self, source, target):
        n_source_units, n_target_units = source.units.shape[1], target.units.shape[1]
        to_target = np.zeros((n_source_units, n_target_units))
        return Solution(cost=to_target.size, maps=(to_target, to_target.T))


class WidthDifference(PairComparison):
    """A comparison as a user may write it."""

    def _solve(self, source, target):
        return Solution(cost=abs(source.units.shape[1] - target.units.shape[1]))


MAPPINGS = [
    counted(SoftMatching)(),
    counted(SoftMatching)("sqeuclidean"),
    counted(SoftMatching)(mass=0.5, reconstruct="raw"),
    counted(SemiMatching)(),
    counted(OneToOneMatching)(),
    counted(Procrustes)(),
    counted(RotationMatching)(max_iter=2, tol=10.0),
    counted(LinearPredictivity)([1.0], random_state=0),
    counted(RegressorMapping)(random_state=0),
    counted(MeanMapping)(),
]
COMPARISONS = [
    counted(RSA)(),
    counted(CKA)(),
    counted(FunctionComparison)(mean_difference),
    counted(WidthDifference)(),
]


def even_networks():
    """Return networks whose layers are all as wide, as one-to-one matchings want it."""
    return random_networks((6,) * 3, (6,) * 4)


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("inner", MAPPINGS + COMPARISONS, ids=str)
def test_a_fit_prepares_each_layer_once(prepared, inner, n_jobs):
    X, y = even_networks()
    # Counted in this process, also where pairs would run in others.
    with joblib.parallel_config("threading"):
        MultiLevelOT(inner, n_jobs=n_jobs).fit(X, y)
    assert each_once(prepared) == {"_prepare": 3 + 4}


@pytest.mark.parametrize("strategy", ["transport", "single_best"])
@pytest.mark.parametrize("inner", MAPPINGS, ids=str)
def test_scores_prepare_each_layer_once(prepared, inner, strategy):
    X, y = even_networks()
    train, test = slice(0, 45), slice(45, 60)
    X, y = LayerStack(X), LayerStack(y)
    mot = MultiLevelOT(inner, strategy=strategy).fit(X[train], y[train])
    if strategy == "transport":
        n_sources, n_targets = 3, 4
    else:
        # Layers that nothing is reconstructed from are not prepared.
        n_sources = np.count_nonzero(mot.coupling_.any(axis=1))
        n_targets = np.count_nonzero(mot.inverse_coupling_.any(axis=0))
    prepared.clear()
    X, y = X[test], y[test]
    for call in (
        lambda: mot.predict(X),
        lambda: mot.score(X, y),
        lambda: mot.layer_scores(X, y),
        lambda: mot.unit_scores(X, y),
    ):
        call()
        assert each_once(prepared) == {"_prepare_map": n_sources}
    for call in (
        lambda: mot.inverse_predict(y),
        lambda: mot.inverse_score(X, y),
        lambda: mot.layer_scores(X, y, direction="source"),
        lambda: mot.unit_scores(X, y, direction="source"),
    ):
        call()
        assert each_once(prepared) == {"_prepare_map": n_targets}


@pytest.mark.parametrize("inner", MAPPINGS, ids=str)
def test_costs_of_mappings_on_other_stimuli_prepare_each_layer_once(prepared, inner):
    X, y = even_networks()
    mot = MultiLevelOT(inner).fit(X, y)
    prepared.clear()
    mot.held_out_cost(X, y)
    assert each_once(prepared) == {"_prepare_held_out": 3 + 4}
    MultiLevelOT(inner, cost_cv=3).fit(X, y)
    assert each_once(prepared) == {
        "_prepare": (3 + 4) * (1 + 3),
        "_prepare_held_out": (3 + 4) * 3,
    }


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("inner", COMPARISONS, ids=str)
def test_costs_of_comparisons_on_other_stimuli_prepare_each_layer_once(
    prepared, inner, n_jobs
):
    X, y = even_networks()
    mot = MultiLevelOT(inner, n_jobs=n_jobs, cost_cv=3)
    with joblib.parallel_config("threading"):
        mot.fit(X, y)
    # A comparison of standardised units prepares the held-out units by `_prepare`.
    raw = isinstance(inner, FunctionComparison | RSA)
    n_test, n_here = (0, 0) if raw else (3, 3 + 4)
    # Held-out geometries do not depend on a fit to the other stimuli.
    n_train = 0 if isinstance(inner, RSA | CKA) else 3
    assert each_once(prepared) == {
        "_prepare": (3 + 4) * (1 + n_train + n_test),
        "_prepare_held_out": (3 + 4) * 3,
    }
    mot.held_out_cost(X, y)
    counts = {"_prepare": n_here, "_prepare_held_out": 3 + 4}
    assert each_once(prepared) == {name: n for name, n in counts.items() if n}


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("cost_cv", [None, 2])
def test_layers_of_a_trajectory_are_prepared_once_not_once_a_pair(
    prepared, cost_cv, n_jobs
):
    X, y = trajectories()
    inner = MultiLevelOT(counted(SoftMatching)(), cost_cv=cost_cv)
    n_layers, n_folds = 3 * 3 + 2 * 4, 0 if cost_cv is None else 2
    mot = MultiLevelOT(inner, n_jobs=n_jobs).fit(X, y)
    counts = {
        "_prepare": n_layers * (1 + n_folds),
        "_prepare_held_out": n_layers * n_folds,
    }
    assert each_once(prepared) == {name: n for name, n in counts.items() if n}
    mot.score(X, y)
    assert each_once(prepared) == {"_prepare_map": 3 * 3}
    mot.layer_scores(X, y, direction="source")
    assert each_once(prepared) == {"_prepare_map": 2 * 4}
    mot.held_out_cost(X, y)
    assert each_once(prepared) == {"_prepare_held_out": n_layers}


def test_folds_of_a_trajectory_are_prepared_once_not_once_a_pair(prepared):
    X, y = trajectories()
    n_layers = 3 * 3 + 2 * 4
    inner = MultiLevelOT(counted(SoftMatching)())
    MultiLevelOT(inner, cost_cv=3).fit(X, y)
    assert each_once(prepared) == {
        "_prepare": n_layers * (1 + 3),
        "_prepare_held_out": n_layers * 3,
    }
    # Folds of the level above and, of each training part, those of the level below:
    # drawn, because halves of two thirds would be the same stimuli again.
    inner.set_params(cost_cv=KFold(2, shuffle=True, random_state=0))
    MultiLevelOT(inner, cost_cv=3).fit(X, y)
    assert each_once(prepared) == {
        "_prepare": n_layers * (1 + 2) * (1 + 3),
        "_prepare_held_out": n_layers * (2 * (1 + 3) + 3),
    }


class Noted(PairComparison):
    """Notes in a file which process prepares which layer."""

    def __init__(self, path=None):
        self.path = path

    def _prepare(self, leaves, statistics):
        population = super()._prepare(leaves, statistics)
        with open(self.path, "a") as lines:
            lines.write(f"{os.getpid()} {population.units[0, 0]!r}\n")
        return population

    def _solve(self, source, target):
        return Solution(cost=abs(source.units.shape[1] - target.units.shape[1]))


def test_workers_prepare_each_layer_once(tmp_path):
    X, y = (
        [layer for network in side for layer in network] for side in trajectories(3, 3)
    )
    path = tmp_path / "prepared"
    MultiLevelOT(Noted(str(path)), n_jobs=2).fit(X, y)
    lines = path.read_text().splitlines()
    assert str(os.getpid()) not in {line.split()[0] for line in lines}
    # None is prepared again for one of the 108 pairs, in either worker.
    assert len(set(lines)) == len(lines) <= 2 * (9 + 12)


# -- a level more ----------------------------------------------------------------------


def test_a_level_more_is_what_its_networks_are_one_by_one():
    X, y = trajectories()
    for inner in (MultiLevelOT(), MultiLevelOT(cost_cv=2), MultiLevelOT(CKA())):
        mot = MultiLevelOT(inner).fit(X, y)
        for k, n in np.ndindex(3, 2):
            alone = MultiLevelOT(inner.inner, cost_cv=inner.cost_cv).fit(X[k], y[n])
            assert_same_fit(mot.inner_[k][n], alone)
            assert mot.inner_[k][n].cost_ == alone.cost_
            assert mot.inner_[k][n].n_features_in_ == alone.n_features_in_


def test_networks_matched_after_rotations_are_what_they_are_one_by_one():
    X, y = trajectories()
    inner = MultiLevelOTRotation(max_iter=3, tol=1.0)
    mot = MultiLevelOT(inner).fit(X, y)
    for k, n in np.ndindex(3, 2):
        alone = clone(inner).fit(X[k], y[n])
        np.testing.assert_array_equal(mot.inner_[k][n].n_iter_, alone.n_iter_)
        np.testing.assert_array_equal(mot.inner_[k][n].layer_costs_, alone.layer_costs_)


# -- what is kept of layers ------------------------------------------------------------


@pytest.mark.parametrize(
    "inner",
    [counted(SoftMatching)(), counted(CKA)(), MultiLevelOT(counted(SoftMatching)())],
    ids=str,
)
def test_how_much_is_kept_changes_nothing(prepared, inner):
    X, y = trajectories()
    plain = MultiLevelOT(inner).fit(X, y)
    n_plain = n_prepared(prepared)
    # Less than one layer takes: everything is made anew for each pair.
    with config_context(working_memory=1e-3):
        assert_same_fit(MultiLevelOT(inner).fit(X, y), plain)
    assert n_prepared(prepared) >= 2 * n_plain


class Remembered(SoftMatching):
    """A matching that remembers, weakly, all that is prepared of layers."""

    made = []

    def _remember(self, population):
        # Of what is prepared, arrays and objects can be weakly referenced.
        part = population[0] if isinstance(population, tuple) else population
        self.made.append(weakref.ref(part))
        return population

    def _prepare(self, leaves, statistics):
        return self._remember(super()._prepare(leaves, statistics))

    def _prepare_map(self, leaves, statistics):
        return self._remember(super()._prepare_map(leaves, statistics))

    def _prepare_held_out(self, leaves, statistics):
        return self._remember(super()._prepare_held_out(leaves, statistics))


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize(
    "mot",
    [
        MultiLevelOT(Remembered()),
        MultiLevelOT(Remembered(), cost_cv=2),
        MultiLevelOT(MultiLevelOT(Remembered(), cost_cv=2)),
    ],
    ids=str,
)
def test_nothing_that_is_prepared_outlives_a_call(mot, n_jobs):
    made = Remembered.made
    X, y = trajectories()
    X, y = (X, y) if isinstance(mot.inner, MultiLevelOT) else (X[0], y[0])
    # Freed when the call ends, not when cycles happen to be collected.
    gc.disable()
    try:
        for method in ("fit", "score", "inverse_score", "held_out_cost"):
            made.clear()
            getattr(mot.set_params(n_jobs=n_jobs), method)(X, y)
            assert len(made) >= 3
            assert [ref for ref in made if ref() is not None] == []
    finally:
        gc.enable()


def layers_in_files(folder, n_layers, shape):
    rng = np.random.default_rng(0)
    for index in range(n_layers):
        np.save(folder / f"{index}.npy", rng.normal(size=shape))
    return [np.load(folder / f"{i}.npy", mmap_mode="r") for i in range(n_layers)]


def test_layers_larger_than_memory_are_not_all_there_at_once(tmp_path):
    layer_bytes = 8 * 4_000 * 50
    layers = layers_in_files(tmp_path, 16, (4_000, 50))
    X, y = LayerStack(layers[:12]), LayerStack(layers[12:])
    # Rows apart from each other are copied where they are asked for.
    order = np.random.default_rng(0).permutation(4_000)
    fits = []
    tracemalloc.start()
    try:
        for source, target in ((X, y), (X[order], y[order])):
            with config_context(working_memory=6 * layer_bytes / MEBIBYTE):
                fits.append(MultiLevelOT().fit(source, target))
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    # Six that are kept, and what one pair takes beside them; there are sixteen.
    assert peak < 10 * layer_bytes
    np.testing.assert_allclose(fits[0].layer_costs_, fits[1].layer_costs_, atol=1e-12)


# -- what is sent to workers -----------------------------------------------------------


class PicklingBackend(ParallelBackendBase):
    """Runs each call as a worker gets it: pickled, and read again, in this process.

    Attributes
    ----------
    sent : list of int
        The bytes of each call.
    """

    def __init__(self, **settings):
        super().__init__(**settings)
        self.sent = []

    def effective_n_jobs(self, n_jobs):
        return n_jobs

    def submit(self, func, callback=None):
        content = pickle.dumps(func)
        self.sent.append(len(content))
        done = Done(pickle.loads(content)())
        if callback is not None:
            callback(done)
        return done

    # What joblib called it before 1.5.
    apply_async = submit


class Done:
    def __init__(self, results):
        self.results = results

    def get(self, timeout=None):
        return self.results


def fit_elsewhere(mot, X, y):
    """Fit with calls that are pickled; return the fit, and the bytes of each call."""
    backend = PicklingBackend()
    with joblib.parallel_config(backend, n_jobs=2):
        return clone(mot).fit(X, y), backend.sent


@pytest.mark.parametrize(
    "mot",
    [
        MultiLevelOT(),
        MultiLevelOT(CKA()),
        MultiLevelOT(cost_cv=2),
        MultiLevelOT(MultiLevelOT()),
        MultiLevelOT(MultiLevelOT(cost_cv=2), cost_cv=2),
    ],
    ids=str,
)
def test_what_is_sent_to_a_worker_is_solved_there_alike(mot):
    X, y = trajectories()
    if not isinstance(mot.inner, MultiLevelOT):
        X, y = X[0], y[0]
    fit, sent = fit_elsewhere(mot, X, y)
    assert len(sent) == fit.layer_costs_.size * (1 if mot.cost_cv is None else 3)
    plain = clone(mot).fit(X, y)
    assert_same_fit(fit, plain)
    assert fit.held_out_cost(X, y) == plain.held_out_cost(X, y)


def test_layers_in_files_are_sent_as_references(tmp_path):
    layers = layers_in_files(tmp_path, 4, (20_000, 12))
    X, y = layers[:2], layers[2:]
    # Two megabytes a layer; statistics of twelve units, and names.
    for mot, sides in (
        (MultiLevelOT(), (X, y)),
        (MultiLevelOT(MultiLevelOT()), ([X], [y])),
    ):
        fit, sent = fit_elsewhere(mot, *sides)
        assert max(sent) < 20_000
        assert_same_fit(fit, clone(mot).fit(*sides))
    # Rows apart from each other: their numbers, not theirs.
    order = np.random.default_rng(0).permutation(20_000)
    halves = order[::2], order[1::2]
    mot = MultiLevelOT(cost_cv=[halves])
    fit, sent = fit_elsewhere(mot, X, y)
    assert len(sent) == 4 + 4
    assert max(sent[:4]) < 20_000
    assert max(sent[4:]) < 20_000 + 2 * 20_000 * 8
    assert_same_fit(fit, clone(mot).fit(X, y))


class Sent(CountedPreparations, SoftMatching):
    """A matching of a module, so that it can be pickled."""


def test_layers_that_are_sent_are_prepared_once_in_a_worker(prepared):
    X, y = random_networks()
    fit_elsewhere(MultiLevelOT(Sent()), X, y)
    assert each_once(prepared) == {"_prepare": 3 + 4}


# -- messages --------------------------------------------------------------------------


def test_a_layer_is_named_where_something_is_wrong_with_it():
    X, y = trajectories()
    X[1][2][4, 3] = np.nan
    with pytest.raises(ValueError, match="X, layer 1, layer 2"):
        MultiLevelOT(MultiLevelOT()).fit(X, y)
    X, y = random_networks()
    y[3][:] = 1.0
    for mot in (MultiLevelOT(), MultiLevelOT(cost_cv=2), MultiLevelOT(n_jobs=2)):
        with pytest.raises(ValueError, match=r"Every unit is constant.* in y, layer 3"):
            mot.fit(X, y)


def test_a_layer_constant_in_a_fold_is_named():
    X, y = random_networks()
    X[1][30:] = 1.0
    with pytest.raises(ValueError, match=r"Every unit is constant.* in X, layer 1"):
        MultiLevelOT(cost_cv=2).fit(X, y)


class Foreign(BaseEstimator):
    """A foreign inner estimator, which is given layers as they are."""

    def fit(self, X, y):
        self.cost_ = abs(X.mean() - y.mean())
        return self


@pytest.mark.parametrize("inner", [Foreign(), RSA(), MultiLevelOT()], ids=str)
def test_constant_layers_are_named_whatever_is_fitted_to_them(inner):
    X, y = random_networks()
    y[3][:] = 1.0
    if isinstance(inner, MultiLevelOT):
        X, y = [X], [y]
    with pytest.raises(ValueError, match=r"Every unit is constant.* in y,.* layer 3"):
        MultiLevelOT(inner).fit(X, y)

"""`memory=`: what is kept of a fit, what it is found by, and what is trusted."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest
from joblib._store_backends import CacheWarning, FileSystemStoreBackend
from sklearn.base import BaseEstimator, clone
from sklearn.cluster import KMeans
from sklearn.model_selection import GridSearchCV, KFold, ShuffleSplit
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_info

from skmot import (
    CKA,
    LayerStack,
    LinearPredictivity,
    MultiLevelOT,
    MultiLevelOTRotation,
    RotationMatching,
    SoftMatching,
)
from skmot._pair_store import describe
from tests.networks import random_networks, rows
from tests.test_prepared import assert_same_fit, trajectories


class Counted(BaseEstimator):
    """A foreign inner estimator that writes down each of its fits."""

    def __init__(self, path=None, factor=1.0, die_at=None):
        self.path = path
        self.factor = factor
        self.die_at = die_at

    def fit(self, X, y):
        with open(self.path, "a") as lines:
            lines.write("fitted\n")
        if self.die_at is not None and n_fits(self.path) == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.cost_ = self.factor * abs(float(X.mean()) - float(y.mean()))
        return self

    def held_out_cost(self, X, y):
        return self.cost_ + abs(float(X.mean()) - float(y.mean()))


def n_fits(path):
    return Path(path).read_text().count("\n") if Path(path).exists() else 0


@pytest.fixture
def fits(monkeypatch):
    """Collect the pairs that skmot's own matching solves."""
    solved, fit = [], SoftMatching._fit_populations

    def counting(self, source, target):
        solved.append(self.get_params())
        return fit(self, source, target)

    monkeypatch.setattr(SoftMatching, "_fit_populations", counting)
    return solved


# -- what is found again ---------------------------------------------------------------


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("cost_cv", [None, 2])
def test_a_fit_is_found_again(tmp_path, fits, cost_cv, n_jobs):
    X, y = random_networks()
    plain = MultiLevelOT(cost_cv=cost_cv).fit(X, y)
    n_solved = len(fits)
    kept = MultiLevelOT(cost_cv=cost_cv, memory=str(tmp_path), n_jobs=n_jobs)
    assert_same_fit(kept.fit(X, y), plain)
    assert len(fits) == 2 * n_solved
    again = clone(kept).fit(X, y)
    assert len(fits) == 2 * n_solved
    assert_same_fit(again, plain)
    for layer, expected in zip(again.predict(X), plain.predict(X), strict=True):
        np.testing.assert_array_equal(layer, expected)
    assert again.inner_[0][1]._source_statistics is (
        again.inner_[0][0]._source_statistics
    )


@pytest.mark.parametrize("kind", [str, Path, joblib.Memory])
def test_the_place_is_given_as_scikit_learn_takes_it(tmp_path, fits, kind):
    X, y = random_networks()
    # joblib puts a folder of its own into a place that is a text, in no other.
    memory = kind(str(tmp_path))
    MultiLevelOT(memory=memory).fit(X, y)
    MultiLevelOT(memory=str(tmp_path)).fit(X, y)
    assert len(fits) == 12


def test_no_other_kind_of_place_is_taken():
    X, y = random_networks()
    with pytest.raises(ValueError, match="'memory' parameter of MultiLevelOT"):
        MultiLevelOT(memory=3).fit(X, y)


@pytest.mark.parametrize("cost_cv", [None, 2])
def test_a_search_over_strategies_solves_each_pair_once_a_fold(tmp_path, fits, cost_cv):
    X, y = (LayerStack(side) for side in random_networks())
    strategies = ["transport", "single_best", "pairwise_best", "permuted"]
    search = GridSearchCV(
        MultiLevelOT(cost_cv=cost_cv, memory=str(tmp_path), random_state=0),
        {"strategy": strategies},
        cv=3,
    ).fit(X, y)
    n_fits_a_pair = 1 if cost_cv is None else 1 + cost_cv
    # Three folds, and once more on everything.
    assert len(fits) == 12 * (3 + 1) * n_fits_a_pair
    plain = GridSearchCV(
        MultiLevelOT(cost_cv=cost_cv, random_state=0), {"strategy": strategies}, cv=3
    ).fit(X, y)
    np.testing.assert_array_equal(
        search.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"]
    )


def test_layers_are_known_again_in_whatever_order_and_place(tmp_path, fits):
    X, y = random_networks()
    MultiLevelOT(memory=str(tmp_path / "kept")).fit(X, y)
    mapped = []
    for index, layer in enumerate(X):
        np.save(tmp_path / f"{index}.npy", layer)
        mapped.append(np.load(tmp_path / f"{index}.npy", mmap_mode="r"))
    same = [
        mapped,
        [np.asfortranarray(layer) for layer in X],
        [np.repeat(layer, 2, axis=1)[:, ::2] for layer in X],
        dict(zip("abc", X, strict=True)),
        LayerStack([np.vstack([layer, layer])[::-1] for layer in X])[119:59:-1],
    ]
    for source in same:
        MultiLevelOT(memory=str(tmp_path / "kept")).fit(source, y)
        assert len(fits) == 12


def test_layers_of_other_numbers_are_not_taken_for_these(tmp_path, fits):
    X, y = random_networks()
    mot = MultiLevelOT(memory=str(tmp_path))
    mot.fit(X, y)
    changed = X[0].copy()
    changed[-1, -1] = np.nextafter(changed[-1, -1], np.inf)
    mot.fit([changed, *X[1:]], y)
    assert len(fits) == 12 + 4
    single = [layer.astype(np.float32) for layer in y]
    mot.fit(X, single)
    assert len(fits) == 16 + 12
    # The same numbers of other stimuli.
    mot.fit(rows(X, slice(None, None, -1)), rows(y, slice(None, None, -1)))
    assert len(fits) == 28 + 12


def test_other_settings_are_fitted_anew(tmp_path, fits):
    X, y = random_networks()
    for inner in (
        SoftMatching(),
        SoftMatching("cosine"),
        SoftMatching(mass=0.5),
        SoftMatching(mass=np.float64(0.5)),
        SoftMatching(reconstruct="raw"),
    ):
        MultiLevelOT(inner, memory=str(tmp_path)).fit(X, y)
    # A number is the same number as numpy's.
    assert len(fits) == 4 * 12


def test_another_version_fits_anew(tmp_path, fits, monkeypatch):
    X, y = random_networks()
    MultiLevelOT(memory=str(tmp_path)).fit(X, y)
    monkeypatch.setattr("skmot.__version__", "1000.0")
    MultiLevelOT(memory=str(tmp_path)).fit(X, y)
    assert len(fits) == 24


def test_other_folds_are_fitted_anew(tmp_path, fits):
    X, y = random_networks()
    for cost_cv in (2, KFold(2), KFold(3), KFold(2, shuffle=True, random_state=0)):
        MultiLevelOT(cost_cv=cost_cv, memory=str(tmp_path)).fit(X, y)
    assert len(fits) == 12 * (1 + 2 + 3 + 2)


def test_networks_of_a_trajectory_are_kept_at_either_level(tmp_path, fits):
    X, y = trajectories()
    plain = MultiLevelOT(MultiLevelOT()).fit(X, y)
    n_solved = len(fits)
    outer = MultiLevelOT(MultiLevelOT(), memory=str(tmp_path / "outer"))
    inner = MultiLevelOT(MultiLevelOT(memory=str(tmp_path / "inner")))
    for mot in (outer, inner):
        assert_same_fit(mot.fit(X, y), plain)
        n_solved += 3 * 2 * 3 * 4
        assert len(fits) == n_solved
        assert_same_fit(clone(mot).fit(X, y), plain)
        assert len(fits) == n_solved
    # Each network pair alone is what was kept of it below.
    MultiLevelOT(memory=str(tmp_path / "inner")).fit(X[1], y[0])
    assert len(fits) == n_solved
    # Where pairs lie and how many run at once changes no result of a level above.
    moved = MultiLevelOT(memory=str(tmp_path / "moved"), n_jobs=2)
    MultiLevelOT(moved, memory=str(tmp_path / "outer")).fit(X, y)
    assert len(fits) == n_solved


def test_folds_of_trajectories_are_kept_too(tmp_path, fits):
    X, y = trajectories()
    for mot in (
        MultiLevelOT(MultiLevelOT(memory=str(tmp_path / "1")), cost_cv=2),
        MultiLevelOT(MultiLevelOT(cost_cv=2, memory=str(tmp_path / "2"))),
    ):
        first = mot.fit(X, y)
        n_solved = len(fits)
        assert_same_fit(clone(mot).fit(X, y), first)
        assert len(fits) == n_solved


def test_rotations_are_kept(tmp_path, monkeypatch):
    X, y = random_networks()
    mot = MultiLevelOTRotation(max_iter=3, tol=1.0, memory=str(tmp_path))
    first = clone(mot).fit(X, y)
    assert_same_fit(first, clone(mot).set_params(memory=None).fit(X, y))

    def refuse(*arguments):
        raise RuntimeError("fitted again")

    monkeypatch.setattr(RotationMatching, "_fit_populations", refuse)
    again = clone(mot).set_params(strategy="single_best").fit(X, y)
    np.testing.assert_array_equal(again.layer_costs_, first.layer_costs_)
    np.testing.assert_array_equal(again.n_iter_, first.n_iter_)
    with pytest.raises(RuntimeError, match="fitted again"):
        clone(mot).set_params(max_iter=2).fit(X, y)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_foreign_inner_estimators_are_kept(tmp_path, n_jobs):
    X, y = random_networks()
    path = str(tmp_path / "fits")
    mot = MultiLevelOT(Counted(path), memory=str(tmp_path / "kept"), n_jobs=n_jobs)
    first = mot.fit(X, y)
    assert n_fits(path) == 12
    again = clone(mot).fit(X, y)
    assert n_fits(path) == 12
    np.testing.assert_array_equal(again.layer_costs_, first.layer_costs_)
    assert again.inner_[2][3].cost_ == first.inner_[2][3].cost_
    clone(mot).set_params(inner__factor=2.0, cost_cv=2).fit(X, y)
    assert n_fits(path) == 12 * (1 + 1 + 2)
    clone(mot).set_params(cost_cv=2).fit(X, y)
    assert n_fits(path) == 12 * (4 + 2)


# -- what was killed -------------------------------------------------------------------

_FIT = """
import sys
from skmot import MultiLevelOT
from tests.networks import random_networks
from tests.test_memory import Counted

path, kept = sys.argv[1:]
MultiLevelOT(Counted(path, die_at=8), memory=kept).fit(*random_networks())
"""


def test_a_fit_that_was_killed_goes_on_where_it_was(tmp_path):
    path, kept = str(tmp_path / "fits"), str(tmp_path / "kept")
    # It is killed in its eighth pair, before that is fitted.
    killed = subprocess.run([sys.executable, "-c", _FIT, path, kept], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert n_fits(path) == 8
    X, y = random_networks()
    mot = MultiLevelOT(Counted(path, die_at=8), memory=kept).fit(X, y)
    assert n_fits(path) == 8 + 5
    plain = MultiLevelOT(Counted(path)).fit(X, y)
    np.testing.assert_array_equal(mot.layer_costs_, plain.layer_costs_)


def test_pairs_before_an_error_are_kept(tmp_path, monkeypatch, fits):
    X, y = random_networks()
    fit = SoftMatching._fit_populations

    def failing(self, source, target):
        if len(fits) == 5:
            raise KeyboardInterrupt
        return fit(self, source, target)

    with monkeypatch.context() as patch:
        patch.setattr(SoftMatching, "_fit_populations", failing)
        with pytest.raises(KeyboardInterrupt):
            MultiLevelOT(memory=str(tmp_path)).fit(X, y)
    MultiLevelOT(memory=str(tmp_path)).fit(X, y)
    assert len(fits) == 12


# -- what is damaged, or cannot be written ---------------------------------------------


def entries(folder):
    return sorted(Path(folder).rglob("output.pkl"))


# joblib says which pairs were under way, if any were: the error ends them.
@pytest.mark.filterwarnings("ignore:.*tasks.*(not used|cancelled):UserWarning")
def test_an_error_in_keeping_a_pair_ends_what_is_under_way(tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError("no space left")

    before = threadpool_info()
    monkeypatch.setattr("skmot._pair_store.PairStore.keep", fail)
    X, y = random_networks()
    with pytest.raises(OSError, match="no space left"):
        MultiLevelOT(memory=str(tmp_path), n_jobs=2).fit(X, y)
    # The limit of threads is taken back, too.
    assert threadpool_info() == before


@pytest.mark.parametrize("position", [0, 40, 0.5, -1])
def test_a_flipped_bit_is_found(tmp_path, fits, position):
    X, y = random_networks()
    plain = MultiLevelOT(memory=str(tmp_path)).fit(X, y)
    damaged = entries(tmp_path)[3]
    content = bytearray(damaged.read_bytes())
    place = int(position * len(content)) if position == 0.5 else position
    content[place] ^= 4
    damaged.write_bytes(content)
    with pytest.warns(RuntimeWarning, match=r"is damaged.* \(1 time\(s\) in all\)"):
        again = MultiLevelOT(memory=str(tmp_path)).fit(X, y)
    assert len(fits) == 12 + 1
    assert_same_fit(again, plain)
    # It was written again.
    assert_same_fit(MultiLevelOT(memory=str(tmp_path)).fit(X, y), plain)
    assert len(fits) == 13


def test_what_was_cut_short_is_found_and_warned_of_once(tmp_path, fits):
    X, y = random_networks()
    plain = MultiLevelOT(memory=str(tmp_path)).fit(X, y)
    for damaged in entries(tmp_path)[:5]:
        damaged.write_bytes(damaged.read_bytes()[:100])
    with pytest.warns(RuntimeWarning) as caught:
        again = MultiLevelOT(memory=str(tmp_path)).fit(X, y)
    assert len(caught) == 1
    assert "(5 time(s) in all)" in str(caught[0].message)
    assert caught[0].filename == __file__
    assert len(fits) == 12 + 5
    assert_same_fit(again, plain)


class Unwritable(FileSystemStoreBackend):
    """A store that can be read only, whoever runs the tests."""

    def _move_item(self, source, destination):
        os.unlink(source)
        raise PermissionError(f"[Errno 13] Permission denied: {destination!r}")


def test_a_place_that_can_only_be_read_is_read(tmp_path, fits):
    X, y = random_networks()
    MultiLevelOT(memory=str(tmp_path)).fit(X[:2], y)
    joblib.register_store_backend("unwritable", Unwritable)
    memory = joblib.Memory(tmp_path / "joblib", backend="unwritable")
    assert len(fits) == 8
    with pytest.warns(CacheWarning, match="Unable to cache to disk") as caught:
        kept = MultiLevelOT(memory=memory).fit(X, y)
    # Once, not once a pair.
    assert len(caught) == 1
    assert len(fits) == 8 + 4
    assert_same_fit(kept, MultiLevelOT().fit(X, y))


def test_a_place_that_cannot_be_made_is_an_error(tmp_path, fits):
    X, y = random_networks()
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OSError, match="file"):
        MultiLevelOT(memory=str(tmp_path / "file" / "kept")).fit(X, y)
    assert fits == []


# -- what is not known again -----------------------------------------------------------


@pytest.mark.parametrize(
    ("inner", "message"),
    [
        (LinearPredictivity(), "LinearPredictivity draws: its `random_state` is None"),
        (LinearPredictivity(random_state=np.random.RandomState(0)), "RandomState"),
        (KMeans(), "KMeans draws"),
        (MultiLevelOT(LinearPredictivity()), "LinearPredictivity draws"),
        (MultiLevelOT(strategy="permuted"), "MultiLevelOT draws"),
        (RotationMatching(n_init=2), "RotationMatching draws"),
        (MultiLevelOT(cost_cv=ShuffleSplit(2)), "MultiLevelOT, `cost_cv` draws"),
        (
            MultiLevelOT(cost_cv=KFold(2, shuffle=True)),
            "MultiLevelOT, `cost_cv` draws",
        ),
    ],
    ids=str,
)
def test_what_draws_without_a_seed_cannot_be_kept(tmp_path, inner, message):
    X, y = random_networks()
    with pytest.raises(ValueError, match=message) as error:
        MultiLevelOT(inner, memory=str(tmp_path)).fit(X, y)
    assert "Give an integer" in str(error.value)
    assert entries(tmp_path) == []


@pytest.mark.parametrize(
    "inner",
    [
        LinearPredictivity(random_state=0),
        LinearPredictivity(random_state=np.int64(0)),
        MultiLevelOT(strategy="permuted", random_state=0),
        MultiLevelOT(cost_cv=KFold(2)),
        MultiLevelOT(cost_cv=ShuffleSplit(2, random_state=0)),
        CKA(),
    ],
    ids=str,
)
def test_what_draws_with_a_seed_or_does_not_draw_is_kept(tmp_path, inner):
    X, y = trajectories() if isinstance(inner, MultiLevelOT) else random_networks()
    mot = MultiLevelOT(inner, memory=str(tmp_path))
    first = mot.fit(X, y)
    n_entries = len(entries(tmp_path))
    assert n_entries == first.layer_costs_.size
    again = clone(mot).fit(X, y)
    np.testing.assert_array_equal(again.layer_costs_, first.layer_costs_)
    assert len(entries(tmp_path)) == n_entries


def test_the_seed_of_the_level_above_is_of_no_matter(tmp_path, fits):
    X, y = random_networks()
    mot = MultiLevelOT(memory=str(tmp_path), strategy="permuted")
    for seed in (None, 1, np.random.RandomState(0)):
        clone(mot).set_params(random_state=seed).fit(X, y)
    assert len(fits) == 12


def test_settings_that_differ_are_described_differently():
    array = np.arange(6.0).reshape(2, 3)
    settings = [
        *(None, True, 1, 1.0, "1", b"1", (1,), [1], {1}, {1: 2}, np.nan),
        *(0.1, np.nextafter(0.1, 1)),
        *(array, array.T, array.astype(np.float32), array.ravel(), array + 1),
        *(CKA(), CKA(debiased=False), StandardScaler(), KFold(2), KFold(3)),
        *(np.mean, np.median, np.float32, len, ["a", "b"], ["ab"], CKA),
    ]
    assert len({describe(value, "it") for value in settings}) == len(settings)


def test_settings_that_are_the_same_are_described_alike():
    array = np.arange(6.0).reshape(2, 3)
    for first, second in (
        (array, np.asfortranarray(array)),
        (array, np.repeat(array, 2, axis=1)[:, ::2]),
        (1.5, np.float64(1.5)),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({1, 2, 3}, {3, 2, 1}),
        (StandardScaler(), StandardScaler().fit(array)),
        (KFold(3), KFold(3)),
    ):
        assert describe(first, "it") == describe(second, "it")


def test_functions_without_a_name_are_refused(tmp_path):
    X, y = random_networks()
    inner = Counted(str(tmp_path / "fits"), factor=lambda: 1)
    with pytest.raises(ValueError, match=r"Counted, `factor`: .*<lambda> has no name"):
        MultiLevelOT(inner, memory=str(tmp_path)).fit(X, y)

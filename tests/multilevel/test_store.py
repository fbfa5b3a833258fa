"""`memory=`: what is kept of a fit, what it is found by, and what is trusted.

Entries of another format, or version of skmot, are made by changing these numbers where
they are read, which is not public: nothing public writes other entries.
"""

import importlib
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import joblib
import numpy as np
import pytest
from joblib._store_backends import CacheWarning, FileSystemStoreBackend
from sklearn.base import BaseEstimator, clone
from sklearn.cluster import KMeans
from sklearn.model_selection import GridSearchCV, KFold, ShuffleSplit
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_info, threadpool_limits

from skmot import (
    CKA,
    FunctionComparison,
    LayerStack,
    LinearPredictivity,
    MultiLevelOT,
    MultiLevelOTRotation,
    RotationMatching,
    SoftMatching,
)
from skmot.base import PairComparison, Solution
from skmot.metrics import negative_cost
from tests.multilevel.fits import CountedMatching, assert_same_fit, trajectories
from tests.networks import random_networks, rows


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
def fits():
    """Collect the pairs that a counting matching solves."""
    CountedMatching.solved.clear()
    return CountedMatching.solved


def mot_of(inner=None, **settings):
    """Return a level above a matching that counts."""
    return MultiLevelOT(CountedMatching() if inner is None else inner, **settings)


@pytest.fixture
def measures(tmp_path, monkeypatch):
    """Return a function that writes a module, and imports it or reads it again."""
    folder = tmp_path / "modules"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    # A file that is written twice in one second is read anew.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(source):
        (folder / "measures_of_mine.py").write_text(source)
        importlib.invalidate_caches()
        if "measures_of_mine" in sys.modules:
            return importlib.reload(sys.modules["measures_of_mine"])
        return importlib.import_module("measures_of_mine")

    write.folder = folder
    yield write
    sys.modules.pop("measures_of_mine", None)


# -- what is found again ---------------------------------------------------------------


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("cost_cv", [None, 2])
def test_a_fit_is_found_again(tmp_path, fits, cost_cv, n_jobs):
    X, y = random_networks()
    plain = mot_of(cost_cv=cost_cv).fit(X, y)
    n_solved = len(fits)
    kept = mot_of(cost_cv=cost_cv, memory=str(tmp_path), n_jobs=n_jobs)
    assert_same_fit(kept.fit(X, y), plain)
    assert len(fits) == 2 * n_solved
    again = clone(kept).fit(X, y)
    assert len(fits) == 2 * n_solved
    assert_same_fit(again, plain)
    for layer, expected in zip(again.predict(X), plain.predict(X), strict=True):
        np.testing.assert_array_equal(layer, expected)


@pytest.mark.parametrize("kind", [str, Path, joblib.Memory])
def test_the_place_is_given_as_scikit_learn_takes_it(tmp_path, fits, kind):
    X, y = random_networks()
    # joblib puts a folder of its own into a place that is a text, in no other.
    memory = kind(str(tmp_path))
    mot_of(memory=memory).fit(X, y)
    mot_of(memory=str(tmp_path)).fit(X, y)
    assert len(fits) == 12


def test_no_other_kind_of_place_is_taken():
    X, y = random_networks()
    with pytest.raises(ValueError, match="'memory' parameter of MultiLevelOT"):
        MultiLevelOT(memory=3).fit(X, y)


@pytest.mark.parametrize("cost_cv", [None, 2])
def test_a_search_over_strategies_solves_each_pair_once_a_fold(tmp_path, fits, cost_cv):
    X, y = (LayerStack(side) for side in random_networks())
    strategies = ["transport", "single_best", "pairwise_best", "permuted", "uniform"]
    search = GridSearchCV(
        mot_of(cost_cv=cost_cv, memory=str(tmp_path), random_state=0),
        {"strategy": strategies},
        cv=3,
    ).fit(X, y)
    n_fits_a_pair = 1 if cost_cv is None else 1 + cost_cv
    # Three folds, and once more on everything.
    assert len(fits) == 12 * (3 + 1) * n_fits_a_pair
    plain = GridSearchCV(
        mot_of(cost_cv=cost_cv, random_state=0), {"strategy": strategies}, cv=3
    ).fit(X, y)
    np.testing.assert_array_equal(
        search.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"]
    )


def test_a_search_over_depth_priors_solves_each_pair_once_a_fold(tmp_path, fits):
    X, y = (LayerStack(side) for side in random_networks())
    grid = {"depth_prior": [0.0, 0.3, 1.0]}
    search = GridSearchCV(
        mot_of(memory=str(tmp_path)), grid, cv=3, scoring=negative_cost
    ).fit(X, y)
    assert len(fits) == 12 * (3 + 1)
    plain = GridSearchCV(mot_of(), grid, cv=3, scoring=negative_cost).fit(X, y)
    np.testing.assert_array_equal(
        search.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"]
    )


def test_networks_coupled_with_another_depth_prior_are_solved_anew(tmp_path, fits):
    X, y = ([network] for network in random_networks())
    for weight, n_solved in ((0.0, 12), (2.0, 24), (2.0, 24), (0.0, 24)):
        level = mot_of(mot_of(depth_prior=weight), memory=str(tmp_path)).fit(X, y)
        assert len(fits) == n_solved
        plain = MultiLevelOT(depth_prior=weight).fit(X[0], y[0])
        assert level.cost_ == plain.cost_
        np.testing.assert_array_equal(level.inner_[0][0].coupling_, plain.coupling_)


def test_layers_are_known_again_in_whatever_order_and_place(tmp_path, fits):
    X, y = random_networks()
    mot_of(memory=str(tmp_path / "kept")).fit(X, y)
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
        mot_of(memory=str(tmp_path / "kept")).fit(source, y)
        assert len(fits) == 12


def test_layers_of_other_numbers_are_not_taken_for_these(tmp_path, fits):
    X, y = random_networks()
    mot = mot_of(memory=str(tmp_path))
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
        CountedMatching(),
        CountedMatching("cosine"),
        CountedMatching(mass=0.5),
        CountedMatching(mass=np.float64(0.5)),
        CountedMatching(reconstruct="raw"),
    ):
        MultiLevelOT(inner, memory=str(tmp_path)).fit(X, y)
    # A number is the same number as numpy's.
    assert len(fits) == 4 * 12


@pytest.mark.parametrize("cost_cv", [None, 2])
@pytest.mark.parametrize(
    ("place", "earlier"),
    [
        ("skmot.multilevel.store._FORMAT", 0),
        ("skmot.multilevel.store.__version__", "0.0.1"),
        ("sklearn.__version__", "1.0.0"),
    ],
)
def test_entries_of_another_format_or_version_are_not_used(
    tmp_path, fits, monkeypatch, place, earlier, cost_cv
):
    X, y = random_networks()
    mot = mot_of(cost_cv=cost_cv, memory=str(tmp_path))
    n_solved = 12 * (1 if cost_cv is None else 1 + 2)
    with monkeypatch.context() as patch:
        patch.setattr(place, earlier)
        mot.fit(X, y)
        mot.fit(X, y)
    assert len(fits) == n_solved
    mot.fit(X, y)
    assert len(fits) == 2 * n_solved
    mot.fit(X, y)
    assert len(fits) == 2 * n_solved


def test_other_folds_are_fitted_anew(tmp_path, fits):
    X, y = random_networks()
    for cost_cv in (2, KFold(2), KFold(3), KFold(2, shuffle=True, random_state=0)):
        mot_of(cost_cv=cost_cv, memory=str(tmp_path)).fit(X, y)
    assert len(fits) == 12 * (1 + 2 + 3 + 2)


def test_folds_of_networks_are_told_apart_by_their_repeated_labels(tmp_path, fits):
    # The folds of the level below depend on which rows repeat a stimulus.
    X, y = trajectories(2, 1)
    mot = MultiLevelOT(mot_of(cost_cv=2), memory=str(tmp_path))
    labels = [None, np.arange(60) // 2, np.arange(60) % 30, np.arange(60)]
    costs = []
    for stimuli in labels:
        stacks = LayerStack(X, stimuli=stimuli), LayerStack(y)
        costs.append(mot.fit(*stacks).layer_costs_)
        plain = clone(mot).set_params(memory=None).fit(*stacks)
        np.testing.assert_array_equal(costs[-1], plain.layer_costs_)
        fits.clear()
        again = clone(mot).fit(*stacks)
        np.testing.assert_array_equal(costs[-1], again.layer_costs_)
        assert not fits
    assert not np.allclose(costs[1], costs[2])
    # Labels that do not repeat leave the folds as they are without labels.
    np.testing.assert_array_equal(costs[0], costs[3])


def test_uniform_needs_no_seed_to_be_kept(tmp_path, fits):
    X, y = random_networks()
    mot = mot_of(strategy="uniform", memory=str(tmp_path))
    MultiLevelOT(mot, memory=str(tmp_path)).fit([X], [y])
    assert len(fits) == 12
    MultiLevelOT(mot, memory=str(tmp_path)).fit([X], [y])
    assert len(fits) == 12


def test_networks_of_a_trajectory_are_kept_at_either_level(tmp_path, fits):
    X, y = trajectories()
    plain = MultiLevelOT(mot_of()).fit(X, y)
    n_solved = len(fits)
    outer = MultiLevelOT(mot_of(), memory=str(tmp_path / "outer"))
    inner = MultiLevelOT(mot_of(memory=str(tmp_path / "inner")))
    for mot in (outer, inner):
        assert_same_fit(mot.fit(X, y), plain)
        n_solved += 3 * 2 * 3 * 4
        assert len(fits) == n_solved
        assert_same_fit(clone(mot).fit(X, y), plain)
        assert len(fits) == n_solved
    # Each network pair alone is what was kept of it below.
    mot_of(memory=str(tmp_path / "inner")).fit(X[1], y[0])
    assert len(fits) == n_solved
    # Where pairs lie and how many run at once changes no result of a level above.
    moved = mot_of(memory=str(tmp_path / "moved"), n_jobs=2)
    MultiLevelOT(moved, memory=str(tmp_path / "outer")).fit(X, y)
    assert len(fits) == n_solved


@pytest.mark.parametrize(
    "mot",
    [
        MultiLevelOT(mot_of(memory="kept"), cost_cv=2),
        MultiLevelOT(mot_of(cost_cv=2, memory="kept")),
        MultiLevelOT(mot_of(cost_cv=2, memory="kept"), cost_cv=2),
        MultiLevelOT(mot_of(cost_cv=2), cost_cv=2, memory="kept"),
        MultiLevelOT(mot_of(cost_cv=2, memory="kept"), cost_cv=2, memory="above"),
    ],
    ids=lambda mot: f"{mot.cost_cv} {mot.memory}, {mot.inner.cost_cv}",
)
def test_folds_of_trajectories_are_kept_too(tmp_path, fits, monkeypatch, mot):
    monkeypatch.chdir(tmp_path)
    X, y = trajectories(2, 1)
    plain = clone(mot).set_params(memory=None, inner__memory=None).fit(X, y)
    first = clone(mot).fit(X, y)
    assert_same_fit(first, plain)
    n_solved = len(fits)
    assert_same_fit(clone(mot).fit(X, y), plain)
    assert len(fits) == n_solved
    # Another network is not taken for one of these.
    X[0][1][0, 0] += 1.0
    plain = clone(mot).set_params(memory=None, inner__memory=None).fit(X, y)
    assert_same_fit(clone(mot).fit(X, y), plain)


class CountedRotation(RotationMatching):
    solved = []

    def _solve(self, source, target):
        self.solved.append(self.get_params())
        return super()._solve(source, target)


def test_rotations_are_kept(tmp_path):
    X, y = random_networks()
    mot = MultiLevelOTRotation(max_iter=3, tol=1.0, memory=str(tmp_path))
    first = clone(mot).fit(X, y)
    assert_same_fit(first, clone(mot).set_params(memory=None).fit(X, y))
    n_entries = len(entries(tmp_path))
    assert n_entries == 12
    again = clone(mot).set_params(strategy="single_best").fit(X, y)
    np.testing.assert_array_equal(again.layer_costs_, first.layer_costs_)
    np.testing.assert_array_equal(again.n_iter_, first.n_iter_)
    assert len(entries(tmp_path)) == 12
    clone(mot).set_params(max_iter=2).fit(X, y)
    assert len(entries(tmp_path)) == 24


def test_rotations_that_were_kept_are_not_solved_again(tmp_path):
    X, y = random_networks()
    solved = CountedRotation.solved
    solved.clear()
    mot = MultiLevelOT(CountedRotation(max_iter=3, tol=1.0), memory=str(tmp_path))
    for strategy in ("transport", "single_best"):
        clone(mot).set_params(strategy=strategy).fit(X, y)
        assert len(solved) == 12
    clone(mot).set_params(inner__max_iter=2).fit(X, y)
    assert len(solved) == 24


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
from tests.multilevel.test_store import Counted

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


class Interrupted(CountedMatching):
    """A matching that is interrupted in its sixth pair, once."""

    is_over = False

    def _solve(self, source, target):
        if not self.is_over and len(self.solved) == 5:
            type(self).is_over = True
            raise KeyboardInterrupt
        return super()._solve(source, target)


def test_pairs_before_an_error_are_kept(tmp_path, fits):
    X, y = random_networks()
    Interrupted.is_over = False
    mot = MultiLevelOT(Interrupted(), memory=str(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        mot.fit(X, y)
    assert len(fits) == len(entries(tmp_path)) == 5
    mot.fit(X, y)
    assert len(fits) == 12


# -- what is damaged, or cannot be written ---------------------------------------------


def entries(folder):
    return sorted(Path(folder).rglob("output.pkl"))


class Full(FileSystemStoreBackend):
    """A store that takes nothing."""

    def dump_item(self, *arguments, **settings):
        raise OSError("no space left")


# joblib says which pairs were under way, if any were: the error ends them.
@pytest.mark.filterwarnings("ignore:.*tasks.*(not used|cancelled):UserWarning")
def test_an_error_in_keeping_a_pair_ends_what_is_under_way(tmp_path):
    joblib.register_store_backend("full", Full)
    memory = joblib.Memory(tmp_path / "joblib", backend="full", verbose=0)
    X, y = random_networks()
    with threadpool_limits(2):
        before = threadpool_info()
        with pytest.raises(OSError, match="no space left"):
            MultiLevelOT(memory=memory, n_jobs=2).fit(X, y)
        # The limit of threads is taken back, too, by the last of them.
        deadline = time.monotonic() + 10
        while threadpool_info() != before and time.monotonic() < deadline:
            time.sleep(0.01)
        assert threadpool_info() == before
    assert entries(tmp_path) == []


@pytest.mark.parametrize("position", [0, 40, 0.5, -1])
def test_a_flipped_bit_is_found(tmp_path, fits, position):
    X, y = random_networks()
    plain = mot_of(memory=str(tmp_path)).fit(X, y)
    damaged = entries(tmp_path)[3]
    content = bytearray(damaged.read_bytes())
    place = int(position * len(content)) if position == 0.5 else position
    content[place] ^= 4
    damaged.write_bytes(content)
    with pytest.warns(RuntimeWarning, match=r"is damaged.* \(1 time\(s\) in all\)"):
        again = mot_of(memory=str(tmp_path)).fit(X, y)
    assert len(fits) == 12 + 1
    assert_same_fit(again, plain)
    # It was written again.
    assert_same_fit(mot_of(memory=str(tmp_path)).fit(X, y), plain)
    assert len(fits) == 13


def test_what_was_cut_short_is_found_and_warned_of_once(tmp_path, fits):
    X, y = random_networks()
    plain = mot_of(memory=str(tmp_path)).fit(X, y)
    for damaged in entries(tmp_path)[:5]:
        damaged.write_bytes(damaged.read_bytes()[:100])
    with pytest.warns(RuntimeWarning) as caught:
        again = mot_of(memory=str(tmp_path)).fit(X, y)
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
    mot_of(memory=str(tmp_path)).fit(X[:2], y)
    joblib.register_store_backend("unwritable", Unwritable)
    memory = joblib.Memory(tmp_path / "joblib", backend="unwritable")
    assert len(fits) == 8
    with pytest.warns(CacheWarning, match="Unable to cache to disk") as caught:
        kept = mot_of(memory=memory).fit(X, y)
    # Once, not once a pair.
    assert len(caught) == 1
    assert len(fits) == 8 + 4
    assert_same_fit(kept, mot_of().fit(X, y))


def test_a_place_that_cannot_be_made_is_an_error(tmp_path, fits):
    X, y = random_networks()
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OSError, match="file"):
        mot_of(memory=str(tmp_path / "file" / "kept")).fit(X, y)
    assert fits == []


def test_entries_that_are_exchanged_are_not_believed(tmp_path, fits):
    X, y = random_networks()
    plain = mot_of(memory=str(tmp_path)).fit(X, y)
    first, second = entries(tmp_path)[:2]
    contents = first.read_bytes(), second.read_bytes()
    first.write_bytes(contents[1])
    second.write_bytes(contents[0])
    with pytest.warns(RuntimeWarning, match=r"is damaged.* \(2 time"):
        again = mot_of(memory=str(tmp_path)).fit(X, y)
    assert len(fits) == 12 + 2
    assert_same_fit(again, plain)


@pytest.mark.parametrize("cost_cv", [None, 2])
def test_entries_of_other_settings_or_folds_are_not_believed(tmp_path, fits, cost_cv):
    X, y = random_networks()
    mot = mot_of(cost_cv=cost_cv, memory=str(tmp_path))
    plain = clone(mot).fit(X, y)
    own = entries(tmp_path)
    clone(mot).set_params(inner__metric="cosine").fit(X, y)
    (other, *_) = sorted(set(entries(tmp_path)) - set(own))
    # The first is that of other settings, and all after the second are the second.
    contents = {own[0]: other.read_bytes()}
    contents.update(dict.fromkeys(own[2:], own[1].read_bytes()))
    for entry, content in contents.items():
        entry.write_bytes(content)
    n_solved = len(fits)
    message = rf"is damaged.* \({len(own) - 1} time"
    with pytest.warns(RuntimeWarning, match=message):
        again = clone(mot).fit(X, y)
    assert len(fits) == n_solved + len(own) - 1
    assert_same_fit(again, plain)


_MAPPING = """
import numpy as np
from skmot.base import PairMapping, Solution


class Constant:
    def __init__(self, n_units):
        self.n_units = n_units

    def __call__(self, units):
        return np.zeros((len(units), self.n_units))


class Mapping(PairMapping):
    def _solve(self, source, target):
        n_units = [side.units.shape[1] for side in (target, source)]
        return Solution(cost=n_units[0], maps=tuple(map(Constant, n_units)))
"""


def test_entries_that_cannot_be_read_are_fitted_again(tmp_path, measures):
    X, y = random_networks()
    module = measures(_MAPPING)
    plain = MultiLevelOT(module.Mapping(), memory=str(tmp_path / "kept")).fit(X, y)
    # What was kept refers to a class that has another name now.
    sys.modules.pop(module.__name__)
    module = measures(_MAPPING.replace("Constant", "Constants"))
    mot = MultiLevelOT(module.Mapping(), memory=str(tmp_path / "kept"))
    with pytest.warns(RuntimeWarning, match="fitted again"):
        again = mot.fit(X, y)
    assert_same_fit(again, plain)


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
    mot = mot_of(memory=str(tmp_path), strategy="permuted")
    for seed in (None, 1, np.random.RandomState(0)):
        clone(mot).set_params(random_state=seed).fit(X, y)
    assert len(fits) == 12


# -- settings that are told apart ------------------------------------------------------

calls = []


def counted_difference(X, Y, setting=None):
    calls.append(setting)
    return abs(float(X.mean() - Y.mean()))


def n_calls(folder, settings):
    """Fit once for each setting; count how often a function is called."""
    calls.clear()
    X, y = ([layers[0]] for layers in random_networks())
    for setting in settings:
        inner = FunctionComparison(counted_difference, kw_args={"setting": setting})
        MultiLevelOT(inner, memory=str(folder)).fit(X, y)
    return len(calls)


def test_settings_that_differ_are_told_apart(tmp_path):
    array = np.arange(6.0).reshape(2, 3)
    settings = [
        *(None, True, 1, 1.0, "1", b"1", (1,), [1], {1}, {1: 2}, np.nan),
        *(0.1, np.nextafter(0.1, 1)),
        *(array, array.T, array.astype(np.float32), array.ravel(), array + 1),
        *(CKA(), CKA(debiased=False), StandardScaler(), KFold(2), KFold(3)),
        *(np.mean, np.median, np.float32, len, ["a", "b"], ["ab"], CKA),
        *(n_fits, entries, partial(n_fits), partial(n_fits, "a"), {"a": n_fits}),
    ]
    assert n_calls(tmp_path, settings) == len(settings)
    assert n_calls(tmp_path, settings) == 0


def test_settings_that_are_the_same_are_found_again(tmp_path):
    array = np.arange(6.0).reshape(2, 3)
    for index, same in enumerate(
        (
            (array, np.asfortranarray(array), np.repeat(array, 2, axis=1)[:, ::2]),
            (1.5, np.float64(1.5)),
            ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
            ({1, 2, 3}, {3, 2, 1}, {3, 1, 2}),
            (StandardScaler(), StandardScaler().fit(array)),
            (KFold(3), KFold(3)),
            (n_fits, n_fits),
            (partial(n_fits, "a"), partial(n_fits, "a")),
        )
    ):
        assert n_calls(tmp_path / str(index), same) == 1


def test_settings_without_a_name_are_refused(tmp_path):
    X, y = random_networks()
    inner = Counted(str(tmp_path / "fits"), factor=lambda: 1)
    with pytest.raises(ValueError, match=r"Counted, `factor`: .*<lambda> has no name"):
        MultiLevelOT(inner, memory=str(tmp_path)).fit(X, y)


# -- layers that are told apart --------------------------------------------------------


class CountedWidths(PairComparison):
    """Compares nothing of large layers, and counts its pairs."""

    _input = "raw"
    solved = []

    def _solve(self, source, target):
        self.solved.append((source.units.shape, target.units.shape))
        return Solution(cost=0.0)


@pytest.fixture
def widths():
    CountedWidths.solved.clear()
    return CountedWidths.solved


def test_long_layers_are_told_apart_wherever_they_differ(tmp_path, widths):
    # 40 megabytes: layers are hashed in blocks of fewer.
    layer = np.zeros((10_000, 500))
    layer[0] = 1.0
    small = np.arange(10_000.0).reshape(-1, 1)
    mot = MultiLevelOT(CountedWidths(), memory=str(tmp_path))
    mot.fit([layer], [small])
    np.save(tmp_path / "layer.npy", layer)
    for same in (
        np.asfortranarray(layer),
        np.load(tmp_path / "layer.npy", mmap_mode="r"),
        layer[::-1].copy()[::-1],
    ):
        mot.fit([same], [small])
        assert len(widths) == 1
    for n_solved, place in enumerate([(0, 0), (5_000, 250), (9_999, 499)], start=2):
        other = layer.copy()
        other[place] = np.nextafter(other[place], 2)
        mot.fit([other], [small])
        assert len(widths) == n_solved


def test_layers_are_told_apart_by_their_numbers_type_and_shape(tmp_path, widths):
    layer = np.random.default_rng(0).normal(size=(50, 7))
    padded = np.zeros((100, 14))
    padded[::2, ::2] = layer
    small = np.arange(50.0).reshape(-1, 1)
    mot = MultiLevelOT(CountedWidths(), memory=str(tmp_path))
    for same in (
        *(layer, np.asfortranarray(layer), padded[::2, ::2], layer.copy()),
        *(layer[::-1][::-1], layer.tolist(), layer.astype(object)),
    ):
        mot.fit([same], [small])
    assert len(widths) == 1
    changed = layer.copy()
    changed[49, 6] = np.nextafter(changed[49, 6], 2)
    mot.fit([changed], [small])
    mot.fit([layer.astype(np.float32)], [small])
    mot.fit([layer[:49]], [small[:49]])
    mot.fit([layer.reshape(70, 5)], [np.arange(70.0).reshape(-1, 1)])
    assert len(widths) == 5
    # Source and target are not the same.
    mot.fit([small], [layer])
    assert len(widths) == 6


def test_folds_are_told_apart_by_their_rows_however_they_are_written(tmp_path, widths):
    X, y = random_networks(n_stimuli=10)
    mask = np.zeros(10, dtype=bool)
    mask[2:5] = True
    rest = [0, 1, 5, 6, 7, 8, 9]
    mot = MultiLevelOT(CountedWidths(), memory=str(tmp_path))

    def n_solved_with(test, train=rest):
        before = len(widths)
        clone(mot).set_params(cost_cv=[(train, test)]).fit(X, y)
        return len(widths) - before

    # All stimuli; the training stimuli; and, because it is solved anew, the others.
    assert n_solved_with([2, 3, 4]) == 3 * 12
    for same in (
        *(slice(2, 5), np.array([2, 3, 4], dtype=np.int32), mask, [-8, -7, -6]),
        *(np.array([2, 3, 4], dtype=np.uint8), range(2, 5)),
    ):
        assert n_solved_with(same) == 0
    assert n_solved_with(mask, ~mask) == 0
    for other in ([4, 3, 2], [2, 3], [2, 3, 4, 4]):
        assert n_solved_with(other) == 2 * 12
    assert n_solved_with([2, 3, 4], rest[::-1]) == 2 * 12


@pytest.mark.parametrize(
    ("inner", "n_differing"), [(SoftMatching(), 4), (MultiLevelOT(), 5)], ids=str
)
def test_networks_are_told_apart_by_their_layers(tmp_path, inner, n_differing):
    X, y = random_networks()
    named = dict(zip("abc", X, strict=True))
    mot = MultiLevelOT(inner, memory=str(tmp_path))
    for network in (X, X[::-1], y, [X[0], X[1]], named):
        # What compares populations does not see names.
        mot.fit([network], [y])
    assert len(entries(tmp_path)) == n_differing


# -- functions as inner estimators -----------------------------------------------------

_MEASURE = """
import numpy as np

calls = []


def measure(X, Y, power=1.0, *, offset=0):
    calls.append((X.shape, Y.shape))
    if "cosine" in {"correlation", "cosine", "euclidean", "jaccard", "hamming"}:
        offset += 0.5
    parts = [abs(x.mean() - Y.mean()) ** power for x in X.T]
    return 2.0 * np.sum(parts) + offset
"""


def fit_measure(folder, module, **settings):
    """Fit with a module's function; return the fit, and how often it was called."""
    X, y = random_networks()
    before = len(module.calls)
    inner = FunctionComparison(module.measure, **settings)
    fit = MultiLevelOT(inner, memory=str(folder / "kept")).fit(X, y)
    return fit, len(module.calls) - before


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("** power for", "* power for"),
        ("2.0 *", "3.0 *"),
        ("2.0 *", "2 *"),
        ("np.sum", "np.prod"),
        ("x.mean()", "x.max()"),
        ("power=1.0", "power=2.0"),
        ("offset=0)", "offset=1)"),
        ("power=1.0, *, offset=0", "*, power=1.0, offset=0"),
        ('"hamming"', '"dice"'),
        ('"cosine" in', '"cosine" not in'),
        ("(X, Y, power", "(Y, X, power"),
        ("    return 2.0 *", "    return\n    return 2.0 *"),
    ],
)
def test_an_edited_function_is_called_anew(tmp_path, measures, before, after):
    assert before in _MEASURE
    module = measures(_MEASURE)
    assert fit_measure(tmp_path, module)[1] == 12
    assert fit_measure(tmp_path, module)[1] == 0
    edited = measures(_MEASURE.replace(before, after))
    # It has the same module and name.
    assert edited.measure.__module__ == module.measure.__module__
    assert edited.measure.__qualname__ == module.measure.__qualname__
    if after.startswith("    return\n"):
        with pytest.raises(TypeError, match="returned NoneType"):
            fit_measure(tmp_path, edited)
        assert len(edited.calls) > 0
        return
    fit, n_called = fit_measure(tmp_path, edited)
    assert n_called == 12
    X, y = random_networks()
    assert fit.layer_costs_[1, 2] == edited.measure(X[1], y[2])
    assert fit_measure(tmp_path, edited)[1] == 0
    # What was kept before the edit is there still.
    assert fit_measure(tmp_path, measures(_MEASURE))[1] == 0


def test_a_function_in_another_place_of_its_file_is_found_again(tmp_path, measures):
    assert fit_measure(tmp_path, measures(_MEASURE))[1] == 12
    moved = _MEASURE.replace("calls = []", "calls = []\n\n\ndef other():\n    pass\n")
    moved = moved.replace("    parts =", "\n    # What is summed.\n    parts =")
    assert moved != _MEASURE
    assert fit_measure(tmp_path, measures(moved))[1] == 0


def test_settings_of_a_function_are_told_apart(tmp_path, measures):
    module = measures(_MEASURE)
    for settings in (
        {},
        {"kw_args": {"power": 2.0}},
        {"kw_args": {"power": 2.0, "offset": 1}},
        {"kw_args": {"power": 2.0, "offset": 2}},
        {"greater_is_more_alike": True},
    ):
        fit, n_called = fit_measure(tmp_path, module, **settings)
        assert n_called == 12
        X, y = random_networks()
        sign = -1 if settings.get("greater_is_more_alike") else 1
        expected = sign * module.measure(X[2], y[0], **settings.get("kw_args", {}))
        assert fit.layer_costs_[2, 0] == expected
        module.calls.clear()
        assert fit_measure(tmp_path, module, **settings)[1] == 0
    # Whatever the order they are written in.
    swapped = {"kw_args": {"offset": 1, "power": 2.0}}
    assert fit_measure(tmp_path, module, **swapped)[1] == 0


def test_folds_of_a_function_are_kept(tmp_path, measures):
    module = measures(_MEASURE)
    X, y = random_networks()
    mot = MultiLevelOT(
        FunctionComparison(module.measure), cost_cv=2, memory=str(tmp_path / "kept")
    )
    first = clone(mot).fit(X, y)
    n_called = len(module.calls)
    again = clone(mot).fit(X, y)
    assert len(module.calls) == n_called
    np.testing.assert_array_equal(again.layer_costs_, first.layer_costs_)
    halves = np.split(np.arange(60), 2)
    expected = np.mean([module.measure(X[0][half], y[1][half]) for half in halves])
    assert first.layer_costs_[0, 1] == pytest.approx(expected)


_ELSEWHERE = """
import sys
import measures_of_mine
from skmot import FunctionComparison, MultiLevelOT
from tests.networks import random_networks

inner = FunctionComparison(measures_of_mine.measure)
fit = MultiLevelOT(inner, memory=sys.argv[1]).fit(*random_networks())
print(len(measures_of_mine.calls), repr(float(fit.cost_)))
"""


def run(code, *arguments, path=(), **environment):
    """Run code in another process; return what it prints."""
    path = os.pathsep.join([*map(str, path), *filter(None, sys.path), os.getcwd()])
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_a_function_is_found_again_in_another_process(tmp_path, measures):
    measures(_MEASURE)
    printed = [
        run(
            _ELSEWHERE,
            str(tmp_path / "kept"),
            path=[measures.folder],
            # Texts hash, and sets are ordered, by it.
            PYTHONHASHSEED=seed,
        ).split()
        for seed in "01"
    ]
    (first, cost), (again, same_cost) = printed
    assert (first, again) == ("12", "0")
    assert cost == same_cost
    assert fit_measure(tmp_path, measures(_MEASURE))[0].cost_ == float(cost)


def test_whatever_a_process_keeps_is_found_again_in_another(tmp_path, measures):
    # A process that keeps fits in one place first, and then in this.
    module = measures(_MEASURE)
    assert fit_measure(tmp_path / "first", module)[1] == 12
    fit, n_called = fit_measure(tmp_path, module)
    assert n_called == 12
    printed = run(_ELSEWHERE, str(tmp_path / "kept"), path=[measures.folder])
    assert printed.split() == ["0", repr(float(fit.cost_))]


def a_closure(factor):
    def scaled(X, Y):
        return factor * counted_difference(X, Y)

    return scaled


def a_local_function():
    def plain(X, Y):
        return counted_difference(X, Y)

    return plain


def closure_by_name():
    """Return a closure that pretends to be a function of this module."""
    scaled = a_closure(2.0)
    scaled.__qualname__ = scaled.__name__ = "counted_difference"
    return scaled


@pytest.mark.parametrize(
    ("func", "message"),
    [
        (lambda X, Y: 0.0, "<lambda> has no name"),
        (a_closure(2.0), r"a_closure.<locals>.scaled has no name"),
        (a_local_function(), r"a_local_function.<locals>.plain has no name"),
        (closure_by_name(), "counted_difference is a closure"),
        (partial(a_closure(2.0)), "scaled has no name"),
        (partial(counted_difference, setting=lambda: 1), "<lambda> has no name"),
    ],
    ids=["lambda", "closure", "local", "named closure", "partial", "argument"],
)
def test_functions_that_cannot_be_told_apart_are_refused(tmp_path, func, message):
    X, y = random_networks()
    for inner in (
        FunctionComparison(func),
        FunctionComparison(counted_difference, kw_args={"setting": func}),
    ):
        with pytest.raises(ValueError, match=message) as error:
            MultiLevelOT(inner, memory=str(tmp_path)).fit(X, y)
        assert str(error.value).startswith("`memory` cannot keep FunctionComparison, `")
    assert entries(tmp_path) == []
    # Nothing is to be found again without a place to keep it.
    assert np.isfinite(MultiLevelOT(FunctionComparison(func)).fit(X, y).cost_)


_MAIN = """
import sys
from skmot import FunctionComparison, MultiLevelOT
from tests.networks import random_networks

def measure(X, Y):
    return abs(float(X.mean() - Y.mean()))

try:
    MultiLevelOT(FunctionComparison(measure), memory=sys.argv[1]).fit(
        *random_networks()
    )
except ValueError as error:
    print(error)
MultiLevelOT(FunctionComparison(measure)).fit(*random_networks())
"""


def test_functions_of_a_script_are_refused(tmp_path):
    printed = run(_MAIN, str(tmp_path))
    assert (
        "`memory` cannot keep FunctionComparison, `func`: __main__.measure" in printed
    )
    assert "Define it in a module" in printed
    assert entries(tmp_path) == []


class Scaled:
    """A function that is an object, with methods that are functions."""

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, X, Y):
        return self.factor * counted_difference(X, Y)

    def method(self, X, Y):
        return self(X, Y)


class Doubled(Scaled):
    default = 2.0

    @classmethod
    def by_default(cls, X, Y):
        return cls(cls.default)(X, Y)


class Tripled(Doubled):
    default = 3.0


@pytest.mark.parametrize(
    "functions",
    [
        [Scaled(1.0), Scaled(2.0), Doubled(1.0)],
        [Scaled(1.0).method, Scaled(2.0).method],
        [Doubled.by_default, Tripled.by_default],
        [partial(counted_difference, setting=1), partial(Scaled.method, Scaled(2.0))],
    ],
    ids=["objects", "methods", "class methods", "partials"],
)
def test_functions_of_objects_are_not_taken_for_one_another(tmp_path, functions):
    X, y = random_networks()
    for func in functions:
        mot = MultiLevelOT(FunctionComparison(func))
        expected = clone(mot).fit(X, y).layer_costs_
        # They may be refused; a result of another is never used.
        with suppress(ValueError):
            kept = mot.set_params(memory=str(tmp_path)).fit(X, y)
            np.testing.assert_array_equal(kept.layer_costs_, expected)

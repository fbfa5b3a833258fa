"""What is prepared of layers is kept up to `working_memory`, and made once.

Pairs and prepared layers are counted through a public base class. That a worker forgets
what lies idle is tested on the cache itself: nothing public tells a worker that a fit
has ended, or asks what it keeps.
"""

import threading
import time
import weakref
from collections import Counter
from functools import cached_property

import numpy as np
import pytest
from sklearn import config_context

from skmot import MultiLevelOT
from skmot.base import PairComparison, Solution
from skmot.multilevel import cache as layer_cache

KIBIBYTE, MEBIBYTE = 2**10, 2**20


class Stamped(PairComparison):
    """Compares nothing, and writes down what is prepared and the order of pairs.

    A layer carries its name in its first entry. What is prepared of it takes as many
    kibibytes as it has units.
    """

    _input = "raw"
    _runs_in_threads = True
    names, pairs = [], []

    def _prepare(self, leaves, statistics):
        (leaf,) = leaves
        name = int(leaf.layer[0, 0])
        self.names.append(name)
        return np.full(leaf.layer.shape[1] * KIBIBYTE // 8, float(name))

    def _prepared_bytes(self, n_stimuli, statistics):
        return len(statistics.live) * KIBIBYTE

    def _solve(self, source, target):
        self.pairs.append((int(source[0]), int(target[0])))
        return Solution(cost=0.0)


@pytest.fixture(autouse=True)
def emptied():
    Stamped.names.clear()
    Stamped.pairs.clear()


def stamped_layers(*sides):
    """Return layers of some widths, which are named by numbers from 1."""
    names = iter(range(1, 1000))
    random = np.random.default_rng(0)
    networks = []
    for widths in sides:
        networks.append([random.normal(size=(3, width)) for width in widths])
        for layer in networks[-1]:
            layer[0, 0] = next(names)
    return networks


def fit_within(limit, inner, *sides, n_jobs=1):
    """Fit, with room for some kibibytes."""
    with config_context(working_memory=limit * KIBIBYTE / MEBIBYTE):
        return MultiLevelOT(inner, n_jobs=n_jobs).fit(*stamped_layers(*sides))


def n_made(pairs, sizes, limit):
    """Count what is made where pairs come in this order, by the definition."""
    kept, count = [], 0
    for pair in pairs:
        for layer in pair:
            if layer in kept:
                kept.remove(layer)
            else:
                count += 1
            kept.append(layer)
            while sum(sizes[other] for other in kept) > limit and len(kept) > 1:
                kept.pop(0)
    return count


def sizes_of(*sides):
    return dict(enumerate((width for side in sides for width in side), start=1))


def all_pairs(*sides):
    depths = [len(side) for side in sides]
    return [(row + 1, depths[0] + column + 1) for row, column in np.ndindex(*depths)]


# -- the order of pairs ----------------------------------------------------------------


@pytest.mark.parametrize("limit", [0, 5, 20, 50, 1000])
@pytest.mark.parametrize("depths", [(1, 1), (3, 8), (8, 3), (5, 5)])
def test_every_pair_comes_once_and_what_was_used_last_is_kept(depths, limit):
    random = np.random.default_rng(0)
    sides = [random.integers(1, 10, size=depth).tolist() for depth in depths]
    fit_within(limit, Stamped(), *sides)
    assert sorted(Stamped.pairs) == all_pairs(*sides)
    assert len(Stamped.names) == n_made(Stamped.pairs, sizes_of(*sides), limit)


@pytest.mark.parametrize("limit", [0, 20, 1000])
@pytest.mark.parametrize("depths", [(1, 1), (3, 8), (8, 3), (5, 5)])
def test_every_pair_comes_once_where_several_are_worked_on(depths, limit):
    random = np.random.default_rng(0)
    sides = [random.integers(1, 10, size=depth).tolist() for depth in depths]
    fit_within(limit, Stamped(), *sides, n_jobs=2)
    assert sorted(Stamped.pairs) == all_pairs(*sides)


@pytest.mark.parametrize("turned", [False, True])
def test_layers_are_made_once_where_the_smaller_side_fits(turned):
    # Forty layers of 60 stream past twelve of 15.
    sides = ([60] * 40, [15] * 12)
    sides, limit = sides[::-1] if turned else sides, 12 * 15 + 2 * 60
    fit_within(limit, Stamped(), *sides)
    assert sorted(Stamped.pairs) == all_pairs(*sides)
    assert len(Stamped.names) == 52
    # Row by row of the larger number of targets, they would be made again each time.
    if turned:
        assert n_made(all_pairs(*sides), sizes_of(*sides), limit) > 480


def test_tiles_make_each_passing_layer_once_a_tile():
    sides = [10] * 9, [10] * 8
    fit_within(10 * (4 + 2), Stamped(), *sides)
    assert len(Stamped.names) == 8 + 2 * 9


# -- what is kept ----------------------------------------------------------------------


class Unplanned(Stamped):
    """Thought to take nothing, so that pairs come in one order whatever the limit."""

    def _prepared_bytes(self, n_stimuli, statistics):
        return 1


class Nested(Unplanned):
    """Prepares an object whose arrays lie at several depths."""

    def _prepare(self, leaves, statistics):
        return Parts(super()._prepare(leaves, statistics))

    def _solve(self, source, target):
        return super()._solve(source.half, target.half)


class Parts:
    def __init__(self, array):
        self.half, self.name = array[::2].copy(), "a text takes no room"
        self.rest = Rest(array[1::2].copy())


class Rest:
    def __init__(self, array):
        self.array, self.number = array, 3


@pytest.mark.parametrize("kind", [Unplanned, Nested])
def test_sizes_are_those_of_all_arrays_in_an_object(kind):
    # Five layers pass four that stay, and two others; or there is a byte too little.
    sides = [1] * 5, [1] * 4
    made = []
    for limit in (4 + 2, 4 + 2 - 1 / KIBIBYTE):
        Stamped.names.clear()
        Stamped.pairs.clear()
        fit_within(limit, kind(), *sides)
        assert len(Stamped.names) == n_made(Stamped.pairs, sizes_of(*sides), limit)
        made.append(len(Stamped.names))
    assert made[0] == 5 + 4 < made[1]


class Remembering(Stamped):
    """Counts the prepared layers that are there when a pair is solved."""

    made, n_alive = [], []

    def _prepare(self, leaves, statistics):
        # An array can be larger than the limit, and is weakly referenced.
        population = super()._prepare(leaves, statistics)
        self.made.append(weakref.ref(population))
        return population

    def _solve(self, source, target):
        self.n_alive.append(sum(ref() is not None for ref in self.made))
        return super()._solve(source, target)


def test_what_is_larger_than_the_limit_is_made_and_gives_way():
    Remembering.n_alive.clear()
    fit_within(1, Remembering(), [5, 7, 9], [6, 8])
    # The two that are compared, and none beside them.
    assert Remembering.n_alive == [2] * 6


class Lazy(Unplanned):
    """Prepares what computes as much again when it is first compared."""

    def _prepare(self, leaves, statistics):
        return Doubling(super()._prepare(leaves, statistics))

    def _solve(self, source, target):
        return super()._solve(source.squared, target.squared)


class Doubling:
    def __init__(self, array):
        self.array = array

    @cached_property
    def squared(self):
        return self.array**2


def test_what_is_added_to_what_is_kept_counts():
    sides = [1] * 5, [1] * 4
    for kind, limit, is_enough in (
        (Unplanned, 5 + 4, True),
        (Lazy, 2 * (5 + 4), True),
        (Lazy, 5 + 4, False),
    ):
        Stamped.names.clear()
        fit_within(limit, kind(), *sides)
        assert (len(Stamped.names) == 5 + 4) == is_enough


class Failing(Stamped):
    """Cannot prepare the second layer, for as long as it is told so."""

    fails = True

    def _prepare(self, leaves, statistics):
        time.sleep(0.01)
        population = super()._prepare(leaves, statistics)
        if self.fails and population[0] == 2:
            raise ValueError("no such layer")
        return population


@pytest.mark.parametrize("n_jobs", [1, 4])
def test_what_cannot_be_prepared_is_an_error_each_time(n_jobs, monkeypatch):
    # Those that wait for it get the error, too.
    for _ in range(2):
        with pytest.raises(ValueError, match="no such layer"):
            fit_within(1000, Failing(), [5, 5, 5], [5] * 4, n_jobs=n_jobs)
    monkeypatch.setattr(Failing, "fails", False)
    assert fit_within(1000, Failing(), [5, 5, 5], [5] * 4, n_jobs=n_jobs).cost_ == 0


class Slow(Stamped):
    """Takes its time to prepare; keeps which objects were compared, and where."""

    compared, threads = [], set()

    def _prepare(self, leaves, statistics):
        time.sleep(0.02)
        return super()._prepare(leaves, statistics)

    def _solve(self, source, target):
        self.compared += [source, target]
        self.threads.add(threading.get_ident())
        return super()._solve(source, target)


def test_what_is_asked_for_by_many_threads_is_made_once():
    Slow.compared.clear()
    Slow.threads.clear()
    fit_within(1000, Slow(), [5] * 4, [5] * 8, n_jobs=8)
    assert len(Slow.threads) > 1
    assert Counter(Stamped.names) == Counter(range(1, 13))
    assert len({id(population) for population in Slow.compared}) == 12


def test_a_worker_forgets_what_lies_idle(monkeypatch):
    monkeypatch.setattr(layer_cache, "_SECONDS_IDLE", 0.05)
    cache = layer_cache._WorkerCache()
    kept = weakref.ref(cache.get("key", lambda: np.zeros(10)))
    assert kept() is not None
    deadline = time.monotonic() + 10
    while kept() is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert kept() is None

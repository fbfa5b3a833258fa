import gc
import pickle
import threading
import time
import tracemalloc
import weakref
from collections import Counter

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone

from skmot import CKA, LayerStack, MultiLevelOT, MultiLevelOTRotation, SoftMatching
from skmot import _layer_cache as layer_cache
from skmot import _pair as pair
from skmot._layer_cache import LayerCache, in_tiles, size_of, worker_cache
from skmot._prepared import LayerDigest, digest_rows, prepare_layers
from skmot.multilevel import LayerCoupler
from tests.networks import random_networks

MEBIBYTE = 2**20


def trajectories(n_source=3, n_target=2):
    networks = [random_networks(seed=seed) for seed in range(max(n_source, n_target))]
    return [n[0] for n in networks[:n_source]], [n[1] for n in networks[:n_target]]


def handles(layers, inner=None, cache=None, keyed=False):
    return prepare_layers(
        inner or SoftMatching(),
        LayerStack(layers),
        "layer {}".format,
        cache or LayerCache(),
        keyed,
    )


def assert_same_fit(first, second):
    """Compare two fits, at every level, bit for bit."""
    if isinstance(first, LayerCoupler):
        np.testing.assert_array_equal(first.layer_costs_, second.layer_costs_)
        np.testing.assert_array_equal(first.coupling_, second.coupling_)
        for row, other in zip(first.inner_, second.inner_, strict=True):
            for inner, same in zip(row, other, strict=True):
                assert_same_fit(inner, same)
    else:
        assert first.cost_ == second.cost_
        if hasattr(first, "coupling_"):
            difference = abs(first.coupling_ - second.coupling_)
            assert difference.nnz == 0 or difference.max() == 0


# -- the cache ---------------------------------------------------------------------


def test_what_is_asked_for_by_many_threads_is_made_once():
    cache, made = LayerCache(), []
    start = threading.Barrier(8)

    def make():
        made.append(threading.get_ident())
        time.sleep(0.05)
        return np.arange(3)

    def ask(found):
        start.wait()
        found.append(cache.get("key", make))

    found = []
    threads = [threading.Thread(target=ask, args=(found,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert len({id(array) for array in found}) == 1


def test_what_was_used_last_is_kept_within_the_limit():
    cache, made = LayerCache(limit=3 * 800), Counter()

    def ask(key):
        def make():
            made[key] += 1
            return np.zeros(100)

        return cache.get(key, make)

    for key in "abc":
        ask(key)
    # "b" is now the longest unused, and gives way.
    ask("a")
    ask("c")
    ask("d")
    for key in "acd":
        ask(key)
    assert made == {"a": 1, "b": 1, "c": 1, "d": 1}
    ask("b")
    assert made["b"] == 2


def test_what_is_larger_than_the_limit_is_made_and_gives_way():
    cache = LayerCache(limit=1000)
    small = weakref.ref(cache.get("small", lambda: np.zeros(10)))
    large = weakref.ref(cache.get("large", lambda: np.zeros(1000)))
    assert small() is None
    cache.get("small", lambda: np.zeros(10))
    assert large() is None


def test_what_is_added_to_what_is_kept_counts():
    class Growing:
        def __init__(self):
            self.own = np.zeros(10)

    cache = LayerCache(limit=1000)
    first = weakref.ref(cache.get("first", Growing))
    second = cache.get("second", Growing)
    second.more = np.zeros(120)
    assert first() is not None
    assert cache.get("second", Growing) is second
    assert first() is None


def test_what_cannot_be_made_is_an_error_each_time():
    cache = LayerCache()

    def fail():
        raise ValueError("no such layer")

    for _ in range(2):
        with pytest.raises(ValueError, match="no such layer"):
            cache.get("key", fail)
    assert cache.get("key", lambda: 1) == 1


def test_the_limit_is_that_of_scikit_learn():
    with config_context(working_memory=3):
        assert LayerCache().limit == 3 * MEBIBYTE


def test_a_worker_forgets_what_lies_idle(monkeypatch):
    monkeypatch.setattr(layer_cache, "_SECONDS_IDLE", 0.05)
    cache = layer_cache._WorkerCache()
    kept = weakref.ref(cache.get("key", lambda: np.zeros(10)))
    assert kept() is not None
    deadline = time.monotonic() + 10
    while kept() is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert kept() is None


def test_sizes_are_those_of_all_arrays_in_an_object():
    population = handles([np.random.default_rng(0).normal(size=(50, 7))])[0].made()
    expected = population.curves.vectors.nbytes + population.curves.offsets.nbytes
    expected += sum(
        value.nbytes
        for value in vars(population.statistics).values()
        if isinstance(value, np.ndarray)
    )
    assert size_of(population) == expected


# -- the order of pairs ------------------------------------------------------------


def n_made(pairs, source_bytes, target_bytes, limit):
    """Count what is made where pairs come in this order, by the definition."""
    kept, count = [], 0
    sizes = {
        **{("source", i): size for i, size in enumerate(source_bytes)},
        **{("target", i): size for i, size in enumerate(target_bytes)},
    }
    for source, target in pairs:
        for layer in (("source", source), ("target", target)):
            if layer in kept:
                kept.remove(layer)
            else:
                count += 1
            kept.append(layer)
            while sum(sizes[other] for other in kept) > limit and len(kept) > 1:
                kept.pop(0)
    return count


@pytest.mark.parametrize("limit", [0, 5, 20, 50, 1000])
@pytest.mark.parametrize("depths", [(1, 1), (3, 8), (8, 3), (5, 5)])
def test_every_pair_comes_once_whatever_fits(depths, limit):
    rng = np.random.default_rng(0)
    sizes = [rng.integers(1, 10, size=depth).tolist() for depth in depths]
    pairs = in_tiles(*sizes, limit, n_at_once=2)
    assert sorted(pairs) == list(np.ndindex(depths))


@pytest.mark.parametrize("turned", [False, True])
def test_layers_are_made_once_where_the_smaller_side_fits(turned):
    # Forty layers of 60 stream past twelve of 15.
    sides = ([60] * 40, [15] * 12)
    sides = sides[::-1] if turned else sides
    pairs = in_tiles(*sides, limit=12 * 15 + 2 * 60, n_at_once=1)
    assert n_made(pairs, *sides, limit=12 * 15 + 2 * 60) == 52
    # Row by row of the larger number of targets, they would be made again each time.
    if turned:
        assert n_made(np.ndindex(12, 40), *sides, limit=12 * 15 + 2 * 60) > 480


def test_tiles_make_each_passing_layer_once_a_tile():
    source, target, limit = [10] * 9, [10] * 8, 10 * (4 + 2)
    pairs = in_tiles(source, target, limit, n_at_once=1)
    assert n_made(pairs, source, target, limit) == 8 + 2 * 9


# -- handles -----------------------------------------------------------------------


@pytest.fixture
def counted(monkeypatch):
    """Count readings and standardisations."""
    counts = Counter()
    for name in ("unit_statistics", "tuning_curves", "check_layer"):
        function = getattr(pair, name)

        def counting(*args, _name=name, _function=function, **kwargs):
            counts[_name] += 1
            return _function(*args, **kwargs)

        monkeypatch.setattr(pair, name, counting)
    return counts


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_each_layer_is_read_once_and_standardised_once(counted, n_jobs):
    X, y = random_networks()
    MultiLevelOT(n_jobs=n_jobs).fit(X, y)
    assert counted["unit_statistics"] == counted["tuning_curves"] == 3 + 4


def test_folds_are_read_once_and_standardised_once(counted):
    X, y = random_networks()
    MultiLevelOT(cost_cv=3).fit(X, y)
    assert counted["unit_statistics"] == (3 + 4) * (1 + 3)
    assert counted["tuning_curves"] == (3 + 4) * (1 + 3)


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("cost_cv", [None, 2])
def test_layers_of_a_trajectory_are_standardised_once_not_once_a_pair(
    counted, cost_cv, n_jobs
):
    X, y = trajectories()
    MultiLevelOT(MultiLevelOT(cost_cv=cost_cv), n_jobs=n_jobs).fit(X, y)
    n_readings = 1 if cost_cv is None else 1 + cost_cv
    assert counted["unit_statistics"] == (3 * 3 + 2 * 4) * n_readings
    assert counted["tuning_curves"] == (3 * 3 + 2 * 4) * n_readings


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


@pytest.mark.parametrize("inner", [None, CKA(), MultiLevelOT()], ids=str)
def test_how_much_is_kept_changes_nothing(counted, inner):
    X, y = trajectories()
    plain = MultiLevelOT(inner).fit(X, y)
    made = counted["tuning_curves"]
    # Less than one layer takes: everything is made anew for each pair.
    with config_context(working_memory=1e-3):
        assert_same_fit(MultiLevelOT(inner).fit(X, y), plain)
    assert counted["tuning_curves"] >= 2 * made


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize(
    "mot",
    [MultiLevelOT(), MultiLevelOT(cost_cv=2), MultiLevelOT(MultiLevelOT(cost_cv=2))],
    ids=str,
)
def test_nothing_that_is_made_of_layers_outlives_a_fit(monkeypatch, mot, n_jobs):
    made, populate = [], SoftMatching._populate

    def remembering(self, *args):
        population = populate(self, *args)
        made.append(weakref.ref(population))
        return population

    monkeypatch.setattr(SoftMatching, "_populate", remembering)
    X, y = trajectories()
    X, y = (X, y) if mot.inner is not None else (X[0], y[0])
    # Freed when the fit ends, not when cycles happen to be collected.
    gc.disable()
    try:
        mot.set_params(n_jobs=n_jobs).fit(X, y)
        assert len(made) >= 7
        assert [ref for ref in made if ref() is not None] == []
    finally:
        gc.enable()


def test_layers_larger_than_memory_are_not_all_there_at_once(tmp_path):
    rng = np.random.default_rng(0)
    layers, layer_bytes = [], 8 * 4_000 * 50
    for index in range(16):
        np.save(tmp_path / f"{index}.npy", rng.normal(size=(4_000, 50)))
        layers.append(np.load(tmp_path / f"{index}.npy", mmap_mode="r"))
    X, y = LayerStack(layers[:12]), LayerStack(layers[12:])
    # Rows apart from each other are copied where they are asked for.
    order = rng.permutation(4_000)
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


def test_handles_of_layers_in_files_are_light(tmp_path):
    rng = np.random.default_rng(0)
    layers = []
    for index in range(3):
        np.save(tmp_path / f"{index}.npy", rng.normal(size=(20_000, 12)))
        layers.append(np.load(tmp_path / f"{index}.npy", mmap_mode="r"))
    for whole in handles(layers), handles([layers], inner=MultiLevelOT()):
        # Two megabytes a layer; statistics of twelve units, and names.
        assert len(pickle.dumps(whole[0])) < 10_000
        # Rows apart from each other: their numbers, not theirs.
        part = whole[0].at(np.arange(0, 20_000, 3) ** 2 % 20_000)
        assert len(pickle.dumps(part)) < 10_000 + 4 * 8 * 6_667
    again = pickle.loads(pickle.dumps(handles(layers)[1]))
    assert again.cache is worker_cache()
    np.testing.assert_array_equal(
        again.made().curves.vectors, handles(layers)[1].made().curves.vectors
    )


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


# -- digests -----------------------------------------------------------------------


def digest(layer):
    found = LayerDigest()
    found.add(layer)
    return found.text


def test_digests_are_of_numbers_whatever_their_order(tmp_path):
    layer = np.random.default_rng(0).normal(size=(50, 7))
    np.save(tmp_path / "layer.npy", layer)
    mapped = np.load(tmp_path / "layer.npy", mmap_mode="r")
    padded = np.zeros((100, 14))
    padded[::2, ::2] = layer
    same = [layer, mapped, np.asfortranarray(layer), padded[::2, ::2], layer.copy()]
    assert len({digest(other) for other in same}) == 1
    stacks = [*same, layer[::-1][::-1], layer.tolist()]
    assert len({handles([other], keyed=True)[0].digest for other in stacks}) == 1
    changed = layer.copy()
    changed[49, 6] = np.nextafter(changed[49, 6], 2)
    other = [changed, layer.astype(np.float32), layer[:49], layer.reshape(70, 5)]
    assert len({digest(array) for array in [layer, *other]}) == 5


def test_digests_of_long_layers_are_those_of_their_blocks(monkeypatch):
    layer = np.random.default_rng(0).normal(size=(50, 7))
    whole = digest(layer)
    monkeypatch.setattr("skmot._prepared._BLOCK_BYTES", 200)
    assert digest(layer) == digest(np.asfortranarray(layer)) == whole


def test_rows_are_told_apart_however_they_are_written():
    mask = np.zeros(10, dtype=bool)
    mask[2:5] = True
    same = [slice(2, 5), [2, 3, 4], np.array([2, 3, 4], dtype=np.int32), mask]
    same.append([-8, -7, -6])
    assert len({digest_rows(rows, 10) for rows in same}) == 1
    assert digest_rows([4, 3, 2], 10) != digest_rows([2, 3, 4], 10)


@pytest.mark.parametrize("inner", [SoftMatching(), MultiLevelOT()], ids=str)
def test_digests_of_networks_tell_their_layers_apart(inner):
    X, y = random_networks()
    named = dict(zip("abc", X, strict=True))
    networks = [X, X[::-1], y, [X[0], X[1]], named]
    found = {
        handles([network], inner=inner, keyed=True)[0].digest for network in networks
    }
    # What compares populations does not see names.
    assert len(found) == (4 if isinstance(inner, SoftMatching) else 5)

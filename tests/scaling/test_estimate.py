import pickle
import time
import tracemalloc

import numpy as np
import pytest
from sklearn import config_context
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold
from threadpoolctl import threadpool_limits

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
from skmot.base import PairComparison, Solution
from skmot.metrics import linear_cka
from skmot.model_selection import StimulusKFold
from skmot.scaling import Estimate, estimate, placeholder_layers
from skmot.scaling.measured import measure_overhead

PARTS = ["reading", "preparation", "pairs", "bookkeeping"]
FEW = 20  # Stimuli, where what is made of units is to outweigh what is made of layers.


def networks(n_source=3, n_target=4, n_units=300, n_stimuli=500, dtype="float32"):
    return [
        placeholder_layers(n_stimuli, [n_units] * n_layers, dtype)
        for n_layers in (n_source, n_target)
    ]


def correlated_layers(n_stimuli, source_widths, target_widths, dtype="float32"):
    """Return layers with numbers in them, tuned to what all share, with noise."""
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(n_stimuli, 32))
    return [
        [
            (
                shared @ rng.normal(size=(32, width))
                + rng.normal(size=(n_stimuli, width))
            ).astype(dtype)
            for width in widths
        ]
        for widths in (source_widths, target_widths)
    ]


def most_bytes_of_fit(estimator, X, y):
    """Fit, and return the most bytes that were held beside the layers."""
    tracemalloc.start()
    try:
        estimator.fit(X, y)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def seconds_of_fit(estimator, X, y):
    """Fit twice, and return the shorter time."""
    times = []
    for _ in range(2):
        start = time.thread_time()
        estimator.fit(X, y)
        times.append(time.thread_time() - start)
    return min(times)


def assert_alike(found, expected, factor=2.0):
    """Compare orders of magnitude."""
    assert expected / factor < found < expected * factor


@pytest.fixture(scope="module", autouse=True)
def _one_thread_and_everything_imported():
    """Fit once, so that no import is taken for the memory of a fit."""
    with threadpool_limits(1):
        for mot in (MultiLevelOT(), MultiLevelOTRotation(max_iter=2, tol=4)):
            mot.fit(*correlated_layers(FEW, [5, 6], [7]))
        yield


# -- time, beside that of fits ---------------------------------------------------------


@pytest.mark.parametrize(
    "inner",
    [
        SoftMatching(),
        SoftMatching("abs_correlation"),
        SoftMatching(mass=0.5),
        SemiMatching(),
        OneToOneMatching(),
        Procrustes(),
        RSA(),
        CKA(),
        LinearPredictivity(random_state=0),
        FunctionComparison(linear_cka, greater_is_more_alike=True),
        RegressorMapping(Ridge(), random_state=0),
    ],
)
def test_a_fit_takes_about_the_time_that_was_said(inner):
    X, y = correlated_layers(300, [250, 250], [150, 150, 150])
    mot = MultiLevelOT(inner)
    expected = estimate(mot, X, y).seconds
    # Orders of magnitude: other processes can slow down either side.
    assert_alike(seconds_of_fit(mot, X, y), expected, factor=8.0)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_rotations_take_about_the_time_that_was_said():
    X, y = correlated_layers(300, [250, 250], [150, 150])
    mot = MultiLevelOTRotation(max_iter=6, tol=0)
    taken = seconds_of_fit(mot, X, y)
    expected = estimate(mot, X, y, n_rounds=mot.n_iter_.mean()).seconds
    assert_alike(taken, expected, factor=8.0)


class Slow(PairComparison):
    """Comparison that takes a known time: preparing a layer, and comparing two."""

    def __init__(self, preparing=0.0, comparing=0.0):
        self.preparing, self.comparing = preparing, comparing

    def _prepare(self, leaves, statistics):
        work(self.preparing)
        return super()._prepare(leaves, statistics)

    def _solve(self, source, target):
        work(self.comparing)
        return Solution(cost=0.5)


def work(seconds):
    """Use the processor for some time."""
    start = time.thread_time()
    while time.thread_time() - start < seconds:
        pass


def test_time_that_does_not_grow_is_not_extrapolated():
    X, y = networks(2, 3, n_units=200)
    slow = MultiLevelOT(Slow(preparing=0.02, comparing=0.03))
    parts = estimate(slow, X, y).parts
    # Two layers are prepared in each measurement, and each of the five once.
    assert parts["preparation"] == pytest.approx(5 * 0.02, rel=0.5)
    assert parts["pairs"] == pytest.approx(6 * 0.03, rel=0.5)


@pytest.mark.parametrize(
    # Seconds that every pair takes, and those of the products of a whole pair. The
    # smallest pairs take up to .3 s, so that at least two sizes can be measured.
    ("constant", "products"),
    [(0.1, 0.2 * 16**3), (0.0, 20.0), (0.02, 20.0), (0.3, 0.0)],
)
def test_times_that_are_a_polynomial_of_the_size_are_extrapolated_exactly(
    monkeypatch, constant, products
):
    now, sizes = [0.0], []
    monkeypatch.setattr(time, "thread_time", lambda: now[0])

    class Polynomial(PairComparison):
        """Comparison that takes a known time on a clock of its own."""

        def _solve(self, source, target):
            size = (*source.units.shape, target.units.shape[1])
            sizes.append(size)
            now[0] += constant + products * np.prod(np.array(size) / 1024)
            return Solution(cost=0.5)

    layers = placeholder_layers(1024, [1024])
    found = estimate(Polynomial(), layers, layers)
    assert found.parts["pairs"] == pytest.approx(constant + products, rel=1e-6)
    assert found.seconds == pytest.approx(constant + products, rel=1e-6)
    # Nothing as large as the data was fitted.
    assert np.max(sizes) <= 512


def test_what_a_level_adds_to_each_pair_is_what_layers_and_pairs_do_not_take(
    monkeypatch,
):
    now = [0.0]
    monkeypatch.setattr(time, "thread_time", lambda: now[0])

    def takes(owner, name, seconds):
        method = getattr(owner, name)

        def timed(self, *args):
            now[0] += seconds(args)
            return method(self, *args)

        monkeypatch.setattr(owner, name, timed)

    takes(SoftMatching, "_prepare", lambda args: 3.0)
    takes(SoftMatching, "_solve", lambda args: 5.0)
    takes(MultiLevelOT, "fit", lambda args: 7.0 * len(args[0]) * len(args[1]))
    X, y = networks(2, 3, n_units=4, n_stimuli=16)
    # It is measured once a process.
    measure_overhead.cache_clear()
    try:
        parts = estimate(MultiLevelOT(), X, y).parts
    finally:
        measure_overhead.cache_clear()
    assert parts["preparation"] == pytest.approx(5 * 3.0)
    assert parts["pairs"] == pytest.approx(6 * 5.0)
    assert parts["bookkeeping"] == pytest.approx(6 * 7.0)


# -- laws of the time ------------------------------------------------------------------


@pytest.mark.parametrize("estimator", [MultiLevelOT(), MultiLevelOT(CKA())])
@pytest.mark.parametrize("more", [{"n_source": 6}, {"n_target": 8}])
def test_more_layers_cost_more(estimator, more):
    little = estimate(estimator, *networks())
    much = estimate(estimator, *networks(**more))
    assert much.seconds > little.seconds
    assert much.peak_bytes > little.peak_bytes
    for name in PARTS:
        assert much.parts[name] >= little.parts[name]


def test_four_times_as_large_pairs_cost_much_more():
    little = estimate(Procrustes(), *networks(1, 1, n_units=200, n_stimuli=200))
    much = estimate(Procrustes(), *networks(1, 1, n_units=800, n_stimuli=800))
    assert much.parts["pairs"] > 8 * little.parts["pairs"]
    assert much.peak_bytes > 8 * little.peak_bytes


def test_pairs_of_the_same_size_cost_the_same():
    little = estimate(MultiLevelOT(), *networks(n_source=2)).parts
    much = estimate(MultiLevelOT(), *networks(n_source=4)).parts
    for name in ("pairs", "bookkeeping"):
        assert much[name] == pytest.approx(2 * little[name])
    # Four more layers of the target, of six and eight: each is prepared once.
    assert much["preparation"] == pytest.approx(8 / 6 * little["preparation"])


def test_one_worker_does_all_work_in_that_time():
    found = estimate(MultiLevelOT(), *networks(), n_workers=1)
    assert list(found.parts) == PARTS
    assert found.seconds == pytest.approx(sum(found.parts.values()))
    assert found.n_pairs == 12


def test_more_workers_save_what_is_not_read_one_by_one():
    found = {
        n_workers: estimate(MultiLevelOT(), *networks(), n_workers=n_workers)
        for n_workers in (1, 2, 4, 10**6)
    }
    parts = found[1].parts
    # Workers wait for the three layers of the smaller network, of seven alike.
    alone = parts["reading"] + 3 / 7 * parts["preparation"]
    in_parallel = sum(parts.values()) - alone
    for n_workers in (2, 4):
        expected = alone + in_parallel / n_workers
        assert found[n_workers].seconds == pytest.approx(expected)
        assert found[n_workers].parts == parts
    # However many there are, one has a whole pair.
    pair = (parts["pairs"] + parts["bookkeeping"]) / 12
    assert found[10**6].seconds == pytest.approx(alone + pair)
    assert found[10**6].n_workers == 10**6


def test_layers_of_many_widths_are_between_those_that_are_measured():
    widths = [[300, 40, 120, 60, 300], [40, 500, 80, 250]]

    def seconds(*sides):
        found = estimate(MultiLevelOT(), *(placeholder_layers(200, w) for w in sides))
        return found.parts["pairs"]

    smallest, largest = seconds([40], [40]), seconds([300], [500])
    assert 20 * smallest < seconds(*widths) < 20 * largest
    assert seconds([40, 300], [40]) > seconds([40, 40], [40])


# -- memory, beside that of fits -------------------------------------------------------


@pytest.mark.parametrize(
    ("n_stimuli", "n", "k", "dtype", "mass"),
    [
        # Arcs.
        (FEW, 1500, 1200, "float32", 1.0),
        (FEW, 1500, 1200, "float64", 1.0),
        (FEW, 1500, 1200, "float32", 0.5),
        (FEW, 1200, 900, "float64", 0.5),
        # Layers, of either side.
        (20_000, 100, 80, "float32", 1.0),
        (20_000, 100, 10, "float64", 1.0),
        (20_000, 10, 100, "float64", 1.0),
    ],
)
def test_a_pair_takes_the_memory_that_was_said(n_stimuli, n, k, dtype, mass):
    X, y = correlated_layers(n_stimuli, [n], [k], dtype)
    matching = SoftMatching(mass=mass)
    expected = estimate(matching, X, y).peak_bytes
    assert_alike(most_bytes_of_fit(matching, X, y), expected)


@pytest.mark.parametrize(
    ("n_stimuli", "source_widths", "target_widths"),
    [
        # Layers.
        (2000, [200] * 8, [150] * 8),
        (2000, [200] * 8, [10]),
        # Plans: of both sides, and of either.
        (FEW, [300] * 12, [300] * 12),
        (FEW, [800] * 12, [10] * 6),
        (FEW, [10] * 6, [800] * 12),
        # Arcs of the widest pair.
        (FEW, [1200, 10], [10, 1000]),
    ],
)
def test_networks_take_the_memory_that_was_said(
    n_stimuli, source_widths, target_widths
):
    X, y = correlated_layers(n_stimuli, source_widths, target_widths)
    expected = estimate(MultiLevelOT(), X, y).peak_bytes
    assert_alike(most_bytes_of_fit(MultiLevelOT(), X, y), expected)


@pytest.mark.parametrize("working_memory", [0, 8])
def test_layers_beyond_the_working_memory_take_the_memory_that_was_said(
    working_memory,
):
    X, y = correlated_layers(2000, [200] * 12, [150] * 12)
    free = estimate(MultiLevelOT(), X, y).peak_bytes
    with config_context(working_memory=working_memory):
        expected = estimate(MultiLevelOT(), X, y).peak_bytes
        found = most_bytes_of_fit(MultiLevelOT(), X, y)
    assert 2 * expected < free
    assert_alike(found, expected)


@pytest.mark.parametrize("mot", [MultiLevelOT(), MultiLevelOTRotation(max_iter=2)])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_as_much_is_kept_a_pair_as_was_said(mot):
    few, many = (
        correlated_layers(FEW, [200] * n_layers, [150] * n_layers)
        for n_layers in (3, 6)
    )
    # What is made for one pair at a time does not grow with their number.
    expected, found = (
        after - before
        for before, after in zip(
            *(
                (
                    estimate(mot, *layers).peak_bytes,
                    len(pickle.dumps(mot.fit(*layers).inner_)),
                )
                for layers in (few, many)
            ),
            strict=True,
        )
    )
    assert_alike(found, expected)


@pytest.mark.parametrize(
    ("n_stimuli", "n", "k", "dtype"),
    [
        # Ranks of all sizes: stimuli, source units and target units are the fewest.
        (30, 600, 500, "float32"),
        (450, 400, 400, "float64"),
        (300, 300, 600, "float32"),
        (300, 300, 40, "float64"),
        # Layers, and a wide target: all products of its units.
        (10_000, 60, 60, "float32"),
        (60, 40, 700, "float64"),
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_rotation_takes_the_memory_that_was_said(n_stimuli, n, k, dtype):
    X, y = correlated_layers(n_stimuli, [n], [k], dtype)
    matching = RotationMatching(max_iter=3, tol=0)
    expected = estimate(matching, X, y, n_rounds=3).peak_bytes
    assert_alike(most_bytes_of_fit(matching, X, y), expected)


# -- memory, by what is counted --------------------------------------------------------


def test_each_pair_that_is_worked_on_takes_its_own_memory():
    def peak(n_workers, **settings):
        X, y = networks(2, 3, **settings)
        return estimate(MultiLevelOT(), X, y, n_workers=n_workers).peak_bytes

    arrays = peak(2) - peak(1)
    # At least the costs, in the precision of the layers.
    assert 4 * 300**2 < arrays < 10 * 4 * 300**2
    assert peak(6) == pytest.approx(peak(1) + 5 * arrays, abs=2)
    # No more pairs are worked on than there are.
    assert peak(64) == peak(6)


def test_the_limit_is_that_of_the_working_memory():
    def peak(megabytes, n_workers=1):
        X, y = (placeholder_layers(10_000, [width] * 100) for width in (300, 200))
        with config_context(working_memory=megabytes):
            return estimate(MultiLevelOT(), X, y, n_workers=n_workers).peak_bytes

    assert peak(200) - peak(100) == pytest.approx(100 * 2**20, abs=2)
    # Both layers of a pair are kept whatever the limit, each as if it were the largest;
    # a further pair takes one more, beside what solving it takes.
    a_layer = 4 * 10_000 * 300
    solving = peak(200, 2) - peak(200, 1)
    assert peak(0, 2) - peak(0, 1) - solving == pytest.approx(a_layer, rel=0.01)


# -- what is estimated -----------------------------------------------------------------


def test_rotations_cost_their_rounds():
    pair = [placeholder_layers(500, [n_units]) for n_units in (300, 200)]
    plain = estimate(SoftMatching(), *pair)
    few, more, many = (
        estimate(RotationMatching(), *pair, n_rounds=n_rounds) for n_rounds in (2, 4, 6)
    )
    added = more.parts["pairs"] - few.parts["pairs"]
    assert 0 < added < more.parts["pairs"]
    assert many.parts["pairs"] - more.parts["pairs"] == pytest.approx(added)
    assert few.seconds > plain.seconds
    # By default as many as there may be.
    most = estimate(RotationMatching(max_iter=20, n_init=3), *pair)
    assert most.parts == estimate(RotationMatching(), *pair, n_rounds=60).parts
    # A rotation is kept a pair.
    assert few.peak_bytes > plain.peak_bytes + 0.9 * 4 * 300**2


def test_single_populations_are_all_layers_side_by_side():
    X, y = networks()
    found = estimate(SoftMatching(), X, y)
    assert found == estimate(
        SoftMatching(),
        placeholder_layers(500, [900]),
        placeholder_layers(500, [1200]),
    )
    # No level is above them.
    assert found.parts["bookkeeping"] == 0


def test_levels_above_match_all_pairs_of_layers_below():
    checkpoints = [
        LayerStack([placeholder_layers(500, [300] * n_layers)] * n_checkpoints)
        for n_layers, n_checkpoints in ((3, 2), (4, 5))
    ]
    nested = estimate(MultiLevelOT(MultiLevelOT()), *checkpoints)
    flat = estimate(MultiLevelOT(), *networks(3 * 2, 4 * 5))
    assert nested == flat
    # One level only: each checkpoint is one population.
    populations = estimate(MultiLevelOT(), *checkpoints)
    assert populations.n_pairs == 2 * 5
    assert populations.parts["pairs"] != nested.parts["pairs"]


def test_folds_of_costs_are_fits_of_fewer_stimuli():
    X, y = networks()
    plain = estimate(MultiLevelOT(), X, y).parts
    fewer = estimate(MultiLevelOT(), *networks(n_stimuli=400)).parts
    for cost_cv in (5, KFold(5), list(KFold(5).split(np.zeros(500)))):
        folded = estimate(MultiLevelOT(cost_cv=cost_cv), X, y).parts
        for name in PARTS:
            assert folded[name] == pytest.approx(plain[name] + 5 * fewer[name])


def test_wider_numbers_take_more_memory():
    single = estimate(MultiLevelOT(), *networks())
    double = estimate(MultiLevelOT(), *networks(dtype="float64"))
    assert double.peak_bytes > single.peak_bytes
    # Whole numbers are computed with as float64.
    assert estimate(MultiLevelOT(), *networks(dtype="int16")) == double
    # And those of half the precision as float32.
    assert estimate(MultiLevelOT(), *networks(dtype="float16")) == single


def test_a_share_of_the_mass_takes_more_memory():
    whole, share = (
        estimate(SoftMatching(mass=mass), *networks(1, 1)) for mass in (1.0, 0.5)
    )
    assert share.peak_bytes > whole.peak_bytes


def test_working_memory_bounds_what_is_kept_of_layers():
    many = networks(n_source=400)
    with config_context(working_memory=10):
        little = estimate(MultiLevelOT(), *many)
    assert little.peak_bytes < estimate(MultiLevelOT(), *many).peak_bytes


def test_workers_are_those_of_the_estimator_or_as_given():
    X, y = networks()
    assert estimate(MultiLevelOT(), X, y).n_workers == 1
    assert estimate(MultiLevelOT(n_jobs=3), X, y).n_workers == 3
    assert estimate(MultiLevelOT(n_jobs=3), X, y, n_workers=64).n_workers == 64
    assert estimate(SoftMatching(), X, y).n_workers == 1


# -- input ---------------------------------------------------------------------------


def test_anything_that_can_be_fitted_to_is_read():
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(40, width)).astype(np.float32) for width in (5, 6)]
    y = {"V1": rng.normal(size=(40, 7)).astype(np.float32)}
    expected = estimate(
        MultiLevelOT(), placeholder_layers(40, [5, 6]), placeholder_layers(40, [7])
    )
    assert estimate(MultiLevelOT(), X, y) == expected
    assert estimate(MultiLevelOT(), LayerStack(X), LayerStack(y)) == expected


def test_arrays_of_other_libraries_are_read_as_numpy_arrays():
    xp = pytest.importorskip("array_api_strict")
    X, y = ([xp.zeros((40, width), dtype=xp.float32)] for width in (5, 6))
    with config_context(array_api_dispatch=True):
        found = estimate(MultiLevelOT(), X, y)
    expected = placeholder_layers(40, [5]), placeholder_layers(40, [6])
    assert found == estimate(MultiLevelOT(), *expected)


def test_nothing_but_shapes_is_read(tmp_path):
    class Untouchable(np.memmap):
        def __getitem__(self, key):
            raise AssertionError("Numbers were read.")

    path = tmp_path / "layer.npy"
    np.save(path, np.full((30, 8), np.nan))
    layer = np.load(path, mmap_mode="r").view(Untouchable)
    before = path.read_bytes()
    stack = LayerStack([layer])
    # Rows of a stack are lazy, and not taken here.
    assert estimate(MultiLevelOT(), stack[[3, 1, 2]], stack[[3, 1, 2]]).n_pairs == 1
    assert estimate(MultiLevelOT(), [layer], [layer]).n_pairs == 1
    assert path.read_bytes() == before


def test_the_estimator_is_left_as_it_is():
    mot = MultiLevelOT(SoftMatching(), cost_cv=3)
    before = mot.get_params()
    estimate(mot, *networks())
    assert mot.get_params() == before
    assert vars(mot).keys() == vars(MultiLevelOT()).keys()


@pytest.mark.parametrize("estimator", [MultiLevelOT(Ridge()), Ridge()])
def test_other_estimators_are_refused(estimator):
    with pytest.raises(TypeError, match=r"Measure the time for one pair of layers"):
        estimate(estimator, *networks())


def test_input_that_cannot_be_fitted_is_refused():
    X, y = networks()
    with pytest.raises(ValueError, match=r"X has 500 stimuli and y has 400"):
        estimate(MultiLevelOT(), X, y[:400])
    for name in ("n_workers", "n_rounds"):
        with pytest.raises(ValueError, match=f"The '{name}' parameter .* Got 0"):
            estimate(MultiLevelOTRotation(), X, y, **{name: 0})
    with pytest.raises(ValueError, match="found in y"):
        estimate(MultiLevelOT(), X, [np.zeros((500, 2, 2))])
    folds = KFold(3).split(np.zeros(500))
    with pytest.raises(ValueError, match="can be read only once"):
        estimate(MultiLevelOT(cost_cv=folds), X, y)


def test_placeholders_have_a_shape_and_no_memory():
    layers = placeholder_layers(10**9, [10, 20], "float64").layers
    assert [layer.shape for layer in layers] == [(10**9, 10), (10**9, 20)]
    assert all(layer.strides == (0, 0) for layer in layers)
    assert all(layer.dtype == np.float64 for layer in layers)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((0, [3]), ValueError, "'n_stimuli' parameter .* Got 0"),
        ((5, 3), ValueError, "'widths' parameter"),
        ((5, [3, 0]), ValueError, "`widths` must be whole numbers .* got 0"),
        ((5, [2.5]), ValueError, "`widths` must be whole numbers .* got 2.5"),
        ((5, []), ValueError, "`widths` is empty"),
        ((5, [3], "singles"), TypeError, "`dtype` is none"),
        ((5, [3], "complex128"), ValueError, "dtype of real numbers; got 'complex128'"),
    ],
)
def test_placeholders_that_are_no_layers_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        placeholder_layers(*arguments)


def test_layers_that_are_not_numbers_are_refused_by_name():
    X, _ = networks(n_stimuli=5)
    with pytest.raises(ValueError, match=r"numeric values .*found in y, layer 1"):
        estimate(MultiLevelOT(), X, [np.ones((5, 2)), np.full((5, 2), "loud")])


# -- as it is printed ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "n_bytes", "printed"),
    [
        (0.25, 999, ["250 ms", "999 bytes"]),
        (30, 2_000, ["30 s", "2 kB"]),
        (119, 2_000, ["119 s", "2 kB"]),
        (150, 3e6, ["2.5 min", "3 MB"]),
        (7_199, 3e6, ["120 min", "3 MB"]),
        (9_000, 4e9, ["2.5 h", "4 GB"]),
        (172_799, 4e9, ["48 h", "4 GB"]),
        (172_800, 5e12, ["2 days", "5 TB"]),
        (216_000, 5e12, ["2.5 days", "5 TB"]),
        (864_000, 6e18, ["10 days", "6e+03 PB"]),
    ],
)
def test_times_and_sizes_are_printed_in_units_of_their_size(seconds, n_bytes, printed):
    parts = dict.fromkeys(PARTS, 1.0)
    lines = str(Estimate(seconds, n_bytes, parts, 1, 1)).splitlines()[-2:]
    assert [" ".join(line.split()[2:]) for line in lines] == printed


def test_a_printed_estimate_is_a_table():
    parts = dict(zip(PARTS, (0.5, 30.0, 69.0, 0.5), strict=True))
    lines = str(Estimate(7200.0, 2_500_000_000, parts, 6400, 64)).splitlines()
    assert [line.split() for line in lines] == [
        ["6,400", "pair(s),", "64", "worker(s)"],
        ["reading", "500", "ms", "0%"],
        ["preparation", "30", "s", "30%"],
        ["pairs", "69", "s", "69%"],
        ["bookkeeping", "500", "ms", "0%"],
        ["all", "work", "100", "s"],
        ["wall", "time", "2", "h"],
        ["peak", "memory", "2.5", "GB"],
    ]


def test_folds_of_stimuli_are_counted():
    layers = LayerStack([np.zeros((60, 5))], stimuli=np.repeat(np.arange(20), 3))
    by_stimulus = MultiLevelOT(cost_cv=StimulusKFold(4))
    found = estimate(by_stimulus, layers, layers)
    # The folds of 20 stimuli with three rows each are as large as those of 60 rows.
    rows = layers.with_stimuli(None)
    assert found.seconds == estimate(MultiLevelOT(cost_cv=4), rows, rows).seconds

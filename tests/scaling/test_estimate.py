import pickle
import tracemalloc
from itertools import product

import numpy as np
import pytest
from sklearn import config_context
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold
from threadpoolctl import threadpool_limits

from skmot import (
    CKA,
    LayerStack,
    MultiLevelOT,
    MultiLevelOTRotation,
    RotationMatching,
    SoftMatching,
)
from skmot.model_selection import StimulusKFold
from skmot.scaling import Estimate, estimate, placeholder_layers

PARTS = ["standardisation", "products", "transport", "rotation", "bookkeeping"]
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


# -- laws --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "estimator",
    [MultiLevelOT(), MultiLevelOT(SoftMatching(mass=0.5)), MultiLevelOTRotation()],
)
@pytest.mark.parametrize(
    "more",
    [{"n_source": 6}, {"n_target": 5}, {"n_units": 600}, {"n_stimuli": 2000}],
)
def test_more_of_anything_costs_more(estimator, more):
    little = estimate(estimator, *networks())
    much = estimate(estimator, *networks(**more))
    assert much.seconds > little.seconds
    assert much.peak_bytes > little.peak_bytes
    for name in ("standardisation", "products"):
        assert much.parts[name] > little.parts[name]


def test_twice_the_workers_save_half_at_most():
    before = estimate(MultiLevelOT(), *networks(), n_workers=1)
    for n_workers in (2, 4, 8, 16, 1000):
        after = estimate(MultiLevelOT(), *networks(), n_workers=n_workers)
        assert before.seconds / 2 <= after.seconds <= before.seconds
        assert after.parts == before.parts
        before = after
    # However many there are, one has a whole pair.
    pair = estimate(MultiLevelOT(), *networks(1, 1))
    assert before.seconds > 0.5 * pair.seconds


def test_parts_grow_as_the_model_says():
    little = estimate(MultiLevelOT(), *networks(n_source=2)).parts
    much = estimate(MultiLevelOT(), *networks(n_source=4)).parts
    for name in ("products", "transport", "bookkeeping"):
        assert much[name] == pytest.approx(2 * little[name])
    stimuli = estimate(MultiLevelOT(), *networks(n_source=2, n_stimuli=1000)).parts
    assert stimuli["products"] == pytest.approx(2 * little["products"])
    assert stimuli["standardisation"] == pytest.approx(2 * little["standardisation"])
    assert stimuli["transport"] == little["transport"]
    units = estimate(MultiLevelOT(), *networks(n_source=2, n_units=600)).parts
    assert units["products"] == pytest.approx(4 * little["products"])


def test_one_worker_does_all_work_in_that_time():
    found = estimate(MultiLevelOT(), *networks(), n_workers=1)
    assert list(found.parts) == PARTS
    assert found.seconds == pytest.approx(sum(found.parts.values()))
    assert found.n_pairs == 12


# -- laws of the time ------------------------------------------------------------------


def test_more_workers_save_what_is_not_read_one_by_one():
    pair = networks(1, 1, n_units=1000)
    alone = estimate(MultiLevelOT(), *pair, n_workers=10**6)
    # One worker has the pair, after its layers were read.
    longest = sum(alone.parts.values()) - alone.parts["standardisation"]
    reading = alone.seconds - longest
    assert 0 < reading < 0.95 * alone.parts["standardisation"]
    for n_workers in (1, 2, 5):
        found = estimate(
            MultiLevelOT(), *networks(8, 8, n_units=1000), n_workers=n_workers
        )
        work = sum(found.parts.values()) - 8 * reading
        assert found.seconds == pytest.approx(8 * reading + work / n_workers)
    # The widest pair takes longest, wherever it is.
    for widths in ([1000, 10], [10, 1000], [10, 1000, 1000, 10]):
        layers = placeholder_layers(500, widths)
        found = estimate(MultiLevelOT(), layers, layers, n_workers=10**6)
        assert found.n_workers == 10**6
        assert found.seconds == pytest.approx(reading * sum(widths) / 1000 + longest)


def test_layers_of_many_widths_take_the_sum_of_their_pairs():
    widths = [300, 40, 300, 7], [40, 500, 40]
    found = estimate(MultiLevelOT(), *(placeholder_layers(500, w) for w in widths))
    pairs = [
        estimate(
            MultiLevelOT(), placeholder_layers(500, [n]), placeholder_layers(500, [k])
        ).parts
        for n, k in product(*widths)
    ]
    for name in ("products", "transport", "bookkeeping"):
        assert found.parts[name] == pytest.approx(sum(pair[name] for pair in pairs))
    # Each layer is standardised once, not once a pair.
    expected = pairs[0]["standardisation"] * sum(map(sum, widths)) / (300 + 40)
    assert found.parts["standardisation"] == pytest.approx(expected)
    assert found.n_pairs == 12


@pytest.mark.parametrize("mass", [1.0, 0.5])
def test_transport_grows_with_arcs_and_makes_no_leap(mass):
    def seconds(n, k):
        sides = (placeholder_layers(FEW, [width]) for width in (n, k))
        return estimate(SoftMatching(mass=mass), *sides).parts["transport"]

    widths = np.unique(np.geomspace(20, 3000, 120).astype(int))
    times = np.array([seconds(width, width) for width in widths])
    steps, arcs = times[1:] / times[:-1], (widths[1:] / widths[:-1]) ** 2.0
    # Between sizes that are timed it is drawn straight, on logarithmic scales.
    assert (np.abs(np.log(steps)) < 4 * np.log(arcs)).all()
    assert times[-1] > 10 * times[0]
    # Whichever side is the wider; and of many arcs each takes as long.
    assert seconds(3000, 500) == seconds(500, 3000)
    assert seconds(6000, 8000) == pytest.approx(16 * seconds(3000, 1000))


def test_what_is_computed_in_another_way_is_timed_by_itself():
    single, double = (
        estimate(MultiLevelOT(), *networks(dtype=dtype)).parts
        for dtype in ("float32", "float64")
    )
    for name in ("standardisation", "products"):
        assert single[name] != double[name]
    share = estimate(MultiLevelOT(SoftMatching(mass=0.5)), *networks()).parts
    assert share["transport"] != single["transport"]
    assert share["products"] == single["products"]


# -- what a rotation multiplies --------------------------------------------------------


def multiplications(n, k, n_stimuli):
    """Return how many of a product rotating a pair is worth: once, and a round."""
    sides = [placeholder_layers(n_stimuli, [width]) for width in (n, k)]
    one, two = (
        estimate(RotationMatching(), *sides, n_rounds=n_rounds).parts
        for n_rounds in (1, 2)
    )
    assert two["products"] == one["products"]
    seconds = one["products"] / (n_stimuli * n * k)
    a_round = two["rotation"] - one["rotation"]
    return (one["rotation"] - a_round) / seconds, a_round / seconds


def test_what_is_done_once_a_pair_is_a_few_products():
    # Products of target units with each other.
    assert_alike(multiplications(10, 4000, 500)[0], 500 * 4000**2)
    # A triangular factor of the source: each stimulus meets each pair of units, twice
    # over in a factorisation.
    assert_alike(multiplications(1000, 1, 5000)[0], 2 * 5000 * 1000**2)
    # A basis of the source, of as many units as the target has: the same.
    few, many = (multiplications(10_000, k, 100)[0] for k in (20, 40))
    assert_alike(many - few, 2 * 10_000 * (40**2 - 20**2))


def test_a_round_is_a_few_products():
    def a_round(n, k, n_stimuli):
        return multiplications(n, k, n_stimuli)[1]

    # Sizes are such that what is decomposed is as large on both sides of a difference.
    # The mixture is carried to the source, by a product of n x rank x k.
    added = a_round(10_000, 300, 100) - a_round(10_000, 200, 100)
    assert_alike(added, 10_000 * 100 * 100)
    # Beside it are three products of rank x rank x k in float64, of twice the price.
    added = a_round(100, 300, 100) - a_round(100, 200, 100)
    assert_alike(added, (1 + 3 * 2) * 100**2 * 100)
    # What is turned is the triangular factor, n x n, by three products with the rank.
    turned = [a_round(n, 10, 10_000) for n in (100, 200, 300)]
    assert_alike(np.diff(turned, 2)[0], 3 * 10 * 2 * 100**2)
    # What grows with the square of the rank: the mixture, carried, and three products
    # of n x rank x rank that make the rotation.
    grown = [a_round(2000, k, 100) - a_round(1000, k, 100) for k in (20, 40, 60)]
    assert_alike(np.diff(grown, 2)[0], (1 + 3) * 1000 * 2 * 20**2)


@pytest.mark.parametrize(
    ("n", "k", "n_stimuli"),
    [(50, 80, 100), (80, 50, 100), (80, 100, 50), (100, 80, 50), (50, 50, 50)],
)
def test_twice_as_large_rotations_cost_eight_times_as_much(n, k, n_stimuli):
    little = multiplications(n, k, n_stimuli)
    much = multiplications(2 * n, 2 * k, 2 * n_stimuli)
    np.testing.assert_allclose(much, np.multiply(8, little))


def test_decompositions_are_part_of_each_round():
    n = 1000
    square = multiplications(n, n, n)[1]
    # What grows with the target is all products but one.
    products = multiplications(n, 2 * n, n)[1] - square
    assert square > products + n**3
    # A rank short of the source's units takes singular vectors and five products more.
    assert multiplications(n + 1, n, n + 1)[1] > square + 5 * n**3
    # Stimuli bound the rank as units do.
    few = multiplications(3 * n, 3 * n, 100)[1]
    assert few < multiplications(3 * n, 3 * n, 200)[1] < 4 * few


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


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("n_stimuli", "n", "k"),
    [
        # Ranks of all sizes: stimuli, source units and target units are the fewest.
        (30, 600, 500),
        (650, 600, 600),
        (300, 300, 600),
        (300, 300, 300),
        (300, 300, 40),
        (650, 600, 100),
        # Layers, and a wide target: all products of its units.
        (10_000, 60, 60),
        (60, 40, 700),
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
    def peak(n_workers, n_units=300, **settings):
        X, y = networks(2, 3, n_units=n_units, **settings)
        return estimate(MultiLevelOT(), X, y, n_workers=n_workers).peak_bytes

    arrays = peak(2) - peak(1)
    # Costs, in the precision of the layers, and something of that order.
    assert_alike(arrays, 2 * 4 * 300**2)
    assert peak(6) == peak(1) + 5 * arrays
    # No more pairs are worked on than there are.
    assert peak(64) == peak(6)
    assert peak(2, dtype="float64") - peak(1, dtype="float64") == 2 * arrays
    assert peak(2, n_units=600) - peak(1, n_units=600) == 4 * arrays


def test_the_limit_is_that_of_the_working_memory():
    def peak(megabytes, n_workers=1):
        X, y = (placeholder_layers(10_000, [width] * 100) for width in (300, 200))
        with config_context(working_memory=megabytes):
            return estimate(MultiLevelOT(), X, y, n_workers=n_workers).peak_bytes

    assert peak(200) - peak(100) == 100 * 2**20
    # Both layers of a pair are kept whatever the limit, each as if it were the largest;
    # a further pair takes one more, beside what solving it takes.
    a_layer = 4 * 10_000 * 300
    solving = peak(200, 2) - peak(200, 1)
    assert peak(0, 2) - peak(0, 1) - solving == a_layer
    assert peak(200) - peak(0) == 200 * 2**20 - 2 * a_layer


def entries_of_rotations(n_layers, n, k, n_stimuli):
    """Return entries that rotations hold: in the layers' precision, and in float64."""
    single, double = (
        estimate(MultiLevelOTRotation(), *sides, n_rounds=1).peak_bytes
        - estimate(MultiLevelOT(), *sides).peak_bytes
        for sides in (
            [
                placeholder_layers(n_stimuli, [n] * n_layers, dtype),
                placeholder_layers(n_stimuli, [k], dtype),
            ]
            for dtype in ("float32", "float64")
        )
    )
    return (double - single) / 4, (2 * single - double) / 8


def test_rotations_hold_the_arrays_that_are_counted():
    def own(n, k, n_stimuli, n_layers=1):
        return entries_of_rotations(n_layers, n, k, n_stimuli)[0]

    # The rotation.
    assert_alike(own(5000, 1, 1), 5000**2)
    assert_alike(own(1000, 1, 1, n_layers=4), 4 * 1000**2)
    # Products of target units.
    assert_alike(own(1, 5000, 1), 5000**2)
    # Products of source and target units, before and after.
    a, b = 1000, 2000
    mixed = own(b, b, 1) - own(b, a, 1) - own(a, b, 1) + own(a, a, 1)
    assert_alike(mixed, 2 * a**2)
    # A triangular factor of each source layer.
    few, many = (own(a, 1, s, n_layers=3) - own(a, 1, s, n_layers=2) for s in (1, a))
    assert_alike(many - few, a**2)
    assert own(a, 1, 5 * a) == own(a, 1, a)
    # What is turned of one of them, before and after.
    few, many = (2 * own(a, 1, s) - own(a, 1, s, n_layers=2) for s in (1, a))
    assert_alike(many - few, 2 * a**2)
    # Bases of the rank: on the left, on the right, and where they are combined.
    n, a, b = 10_000, 100, 200
    mixed = own(n, b, b) - own(n, b, a) - own(n, a, b) + own(n, a, a)
    assert_alike(mixed, 4 * n * a)


def test_decompositions_are_in_float64_whatever_the_layers():
    def double(n, k, n_stimuli):
        return entries_of_rotations(1, n, k, n_stimuli)[1]

    a, b = 100, 200
    # What is decomposed, squares of it and its vectors, with what LAPACK works in.
    for sizes in ((a, b, b), (b, a, b), (b, b, a)):
        assert double(*sizes) >= 4 * a**2
    assert_alike(2 * double(a, a, a) - double(a, 2 * a, a), 4 * a**2)
    # Products of the rank and the target units, and a mixture of them.
    assert_alike(double(a, 3 * a, a) - double(a, 2 * a, a), 2 * a**2)
    assert double(5 * a, a, 5 * a) == double(a, a, a)


# -- what is estimated -----------------------------------------------------------------


def test_rotations_cost_their_rounds():
    pair = networks(1, 1)
    plain = estimate(SoftMatching(), *pair)
    assert plain.parts["rotation"] == 0
    few, more, many = (
        estimate(RotationMatching(), *pair, n_rounds=n_rounds) for n_rounds in (2, 4, 6)
    )
    for name in ("transport", "rotation"):
        added = more.parts[name] - few.parts[name]
        assert 0 < added < more.parts[name]
        assert many.parts[name] - more.parts[name] == pytest.approx(added)
    assert few.seconds > plain.seconds
    # By default as many as there may be.
    most = estimate(RotationMatching(max_iter=20, n_init=3), *pair)
    assert most.parts == estimate(RotationMatching(), *pair, n_rounds=60).parts
    # A rotation is kept a pair.
    assert few.peak_bytes >= plain.peak_bytes + 4 * 300**2


def test_single_populations_are_all_layers_side_by_side():
    X, y = networks()
    assert estimate(SoftMatching(), X, y) == estimate(
        SoftMatching(),
        placeholder_layers(500, [900]),
        placeholder_layers(500, [1200]),
    )


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
    assert populations.parts["products"] == pytest.approx(nested.parts["products"])


def test_folds_of_costs_are_fits_of_fewer_stimuli():
    X, y = networks()
    plain = estimate(MultiLevelOT(), X, y).parts
    for cost_cv in (5, KFold(5), list(KFold(5).split(np.zeros(500)))):
        folded = estimate(MultiLevelOT(cost_cv=cost_cv), X, y).parts
        assert folded["transport"] == pytest.approx(6 * plain["transport"])
        assert folded["products"] == pytest.approx((1 + 5 * 0.8) * plain["products"])


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


@pytest.mark.parametrize(
    "estimator", [MultiLevelOT(CKA()), MultiLevelOT(Ridge()), Ridge()]
)
def test_other_estimators_are_refused(estimator):
    with pytest.raises(TypeError, match=r"SoftMatching and RotationMatching only"):
        estimate(estimator, *networks())


def test_input_that_cannot_be_fitted_is_refused():
    X, y = networks()
    with pytest.raises(ValueError, match=r"X has 500 stimuli and y has 400"):
        estimate(MultiLevelOT(), X, y[:400])
    for name in ("n_workers", "n_rounds"):
        with pytest.raises(ValueError, match=f"`{name}` must be more than 0; got 0"):
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


# -- as it is printed ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "n_bytes", "printed"),
    [
        (0.25, 999, ["250 ms", "999 bytes"]),
        (30, 2_000, ["30 s", "2 kB"]),
        (150, 3e6, ["2.5 min", "3 MB"]),
        (9_000, 4e9, ["2.5 h", "4 GB"]),
        (216_000, 5e12, ["2.5 days", "5 TB"]),
        (864_000, 6e18, ["10 days", "6e+03 PB"]),
    ],
)
def test_times_and_sizes_are_printed_in_units_of_their_size(seconds, n_bytes, printed):
    parts = dict.fromkeys(PARTS, 1.0)
    lines = str(Estimate(seconds, n_bytes, parts, 1, 1)).splitlines()[-2:]
    assert [" ".join(line.split()[2:]) for line in lines] == printed


def test_a_printed_estimate_is_a_table():
    parts = dict(zip(PARTS, (0.5, 60.0, 30.0, 9.0, 0.5), strict=True))
    lines = str(Estimate(7200.0, 2_500_000_000, parts, 6400, 64)).splitlines()
    assert [line.split() for line in lines] == [
        ["6,400", "pair(s),", "64", "worker(s)"],
        ["standardisation", "500", "ms", "0%"],
        ["products", "60", "s", "60%"],
        ["transport", "30", "s", "30%"],
        ["rotation", "9", "s", "9%"],
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

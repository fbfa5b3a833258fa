import numpy as np
import pytest
from sklearn import config_context
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold

from skmot import (
    CKA,
    LayerStack,
    MultiLevelOT,
    MultiLevelOTRotation,
    RotationMatching,
    SoftMatching,
)
from skmot.scaling import Estimate, estimate, placeholder_layers

PARTS = ["standardisation", "products", "transport", "rotation", "bookkeeping"]


def networks(n_source=3, n_target=4, n_units=300, n_stimuli=500, dtype="float32"):
    return [
        placeholder_layers(n_stimuli, [n_units] * n_layers, dtype)
        for n_layers in (n_source, n_target)
    ]


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

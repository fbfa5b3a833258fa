"""matches, against loops over dense plans and `np.corrcoef`."""

import sys

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skmot import (
    RSA,
    LayerStack,
    LinearPredictivity,
    MultiLevelOT,
    MultiLevelOTRotation,
    OneToOneMatching,
    Procrustes,
    RotationMatching,
    SemiMatching,
    SoftMatching,
)
from skmot.base import PairMapping, Solution
from skmot.exceptions import DeadUnitWarning
from skmot.inspection import matches
from skmot.preprocessing import (
    FiniteUnitSelector,
    TransformedTargetLayers,
    UnitSubsampler,
)
from tests.libraries import home_at
from tests.networks import random_networks, rows, trajectories
from tests.tables import assert_survives_files

pd = pytest.importorskip("pandas")

COLUMNS = [
    "source_layer",
    "source_unit",
    "target_layer",
    "target_unit",
    "share",
    "weight",
    "correlation",
]
TRAIN, TEST = slice(0, 40), slice(40, 60)


def called(labels, layers):
    """Return the label and the number of each unit of some layers."""
    return [
        (label, unit)
        for label, layer in zip(labels, layers, strict=True)
        for unit in range(layer.shape[1])
    ]


def slow_correlation(x, y):
    if np.ptp(y) == 0:
        return np.nan
    return 0.0 if np.ptp(x) == 0 else np.corrcoef(x, y)[0, 1]


def slow_matches(plans, top):
    """Return the rows of the table by loops.

    Parameters
    ----------
    plans : list of (weight, plan, X, source_units, y, target_units)
        Dense plans of two arrays of units, whose rows and columns are called by pairs
        (label of the layer, name of the unit).
    top : int or None
    """
    found = {}
    for weight, plan, X, source_units, y, target_units in plans:
        for column, target_unit in enumerate(target_units):
            order = sorted(range(len(plan)), key=lambda row: (-plan[row, column], row))
            for row in order[:top]:
                if plan[row, column] > 0:
                    found.setdefault(target_unit, []).append(
                        (
                            *source_units[row],
                            *target_unit,
                            plan[row, column] / plan[:, column].sum(),
                            weight * plan[row, column],
                            slow_correlation(X[:, row], y[:, column]),
                        )
                    )
    table = []
    for *_, target_units in plans:
        for target_unit in target_units:
            # Sorting is stable. Rounding errors decide no tie.
            table += sorted(
                found.pop(target_unit, []), key=lambda row: -round(row[4], 9)
            )
    return table


def assert_same(table, expected):
    assert list(table.columns) == COLUMNS
    assert len(table) == len(expected) > 0
    for name, values in zip(COLUMNS, zip(*expected, strict=True), strict=True):
        if name in ("share", "weight", "correlation"):
            np.testing.assert_allclose(
                table[name], values, rtol=0, atol=1e-12, err_msg=name
            )
        else:
            assert table[name].tolist() == list(values)


def level_plans(mot, source, target, source_labels=None, target_labels=None):
    """Return the plans of a level above one of pairs, target layer by target layer."""
    source_labels = source_labels or range(len(source))
    target_labels = target_labels or range(len(target))
    return [
        (
            mot.coupling_[i, j],
            mot.inner_[i][j].coupling_.toarray(),
            source[i],
            called([source_labels[i]], [source[i]]),
            target[j],
            called([target_labels[j]], [target[j]]),
        )
        for j in range(len(target))
        for i in range(len(source))
        if mot.coupling_[i, j] > 0
    ]


@pytest.fixture
def networks():
    return random_networks()


# -- one pair of populations -------------------------------------------------------


@pytest.mark.parametrize("top", [1, 2, None])
@pytest.mark.parametrize(
    "estimator",
    [
        SoftMatching(),
        SoftMatching("sqeuclidean"),
        SoftMatching(mass=0.4),
        SemiMatching(),
        OneToOneMatching(),
    ],
    ids=repr,
)
def test_one_pair_of_arrays(networks, estimator, top):
    X, y = networks[0][1], networks[1][0]
    estimator.fit(X[TRAIN], y[TRAIN])
    table = matches(estimator, X[TEST], y[TEST], top=top)
    plan = estimator.coupling_.toarray()
    units = called([0], [X]), called([0], [y])
    assert_same(
        table, slow_matches([(1, plan, X[TEST], units[0], y[TEST], units[1])], top)
    )
    assert table["weight"].sum() <= 1 + 1e-12
    per_unit = table.groupby("target_unit")["share"].agg(["sum", "size"])
    if top is None:
        np.testing.assert_allclose(table["weight"].sum(), plan.sum())
        np.testing.assert_allclose(per_unit["sum"], 1)
    else:
        assert per_unit["size"].max() <= top


def test_weighted_correlations_are_the_matching_score(networks):
    X, y = networks[0][1], networks[1][0]
    soft = SoftMatching().fit(X[TRAIN], y[TRAIN])
    table = matches(soft, X[TEST], y[TEST], top=None)
    np.testing.assert_allclose(
        table["weight"] @ table["correlation"], soft.matching_score(X[TEST], y[TEST])
    )


def test_top_is_1_by_default(networks):
    X, y = networks[0][1], networks[1][0]
    soft = SoftMatching().fit(X, y)
    pd.testing.assert_frame_equal(matches(soft, X, y), matches(soft, X, y, top=1))


class EqualWeights(PairMapping):
    """Couples all units with equal weights, in a dense plan."""

    def _solve(self, source, target):
        shape = source.units.shape[1], target.units.shape[1]
        plan = np.full(shape, 1 / np.prod(shape))
        return Solution(0.0, (plan, plan.T), {"coupling_": plan})


def test_ties_go_to_the_lower_index(networks):
    X, y = networks[0][1], networks[1][0]
    table = matches(EqualWeights().fit(X, y), X, y, top=3)
    assert table["source_unit"].tolist() == [0, 1, 2] * y.shape[1]
    np.testing.assert_allclose(table["share"], 1 / X.shape[1])


def test_unmatched_units_are_not_listed(networks):
    X, y = networks[0][2], networks[1][2]
    table = matches(OneToOneMatching().fit(X, y), X, y, top=None)
    assert sorted(table["source_unit"]) == list(range(5))
    assert table["target_unit"].is_unique
    assert len(table) == 5 < y.shape[1]


def test_units_that_are_dead_or_constant_on_the_rows_given(networks):
    X, y = (side[1].copy() for side in networks)
    X[:, 3], y[:, 2] = 1.0, -2.0
    with pytest.warns(DeadUnitWarning):
        soft = SoftMatching().fit(X[TRAIN], y[TRAIN])
    source_unit, target_unit = 5, 4
    X[TEST, source_unit] = 0.1
    y[TEST, target_unit] = 0.1
    table = matches(soft, X[TEST], y[TEST], top=None)
    units = called([0], [X]), called([0], [y])
    plan = soft.coupling_.toarray()
    assert_same(
        table, slow_matches([(1, plan, X[TEST], units[0], y[TEST], units[1])], None)
    )
    assert 3 not in set(table["source_unit"])
    assert set(table["target_unit"]) == set(range(9)) - {2}
    is_constant = table["target_unit"] == target_unit
    assert table["correlation"].isna().equals(is_constant)
    zero = table["correlation"][(table["source_unit"] == source_unit) & ~is_constant]
    assert len(zero) > 0
    assert (zero == 0).all()


@pytest.mark.parametrize("top", [1, None])
def test_layers_as_one_population(networks, top):
    source, target = networks
    names = ["V1", "V2", "V4"]
    X, y = LayerStack(source, names=names), LayerStack(target)
    soft = SoftMatching().fit(X[TRAIN], y[TRAIN])
    table = matches(soft, X[TEST], y[TEST], top=top)
    plan = soft.coupling_.toarray()
    expected = slow_matches(
        [
            (
                1,
                plan,
                np.hstack(source)[TEST],
                called(names, source),
                np.hstack(target)[TEST],
                called(range(4), target),
            )
        ],
        top,
    )
    assert_same(table, expected)
    # A plan of all units crosses layers.
    assert table.groupby("target_layer")["source_layer"].nunique().max() > 1


# -- levels ------------------------------------------------------------------------


@pytest.mark.parametrize("top", [1, 2, None])
@pytest.mark.parametrize(
    "strategy", ["transport", "single_best", "pairwise_best", "permuted"]
)
def test_pairs_of_layers(networks, strategy, top):
    source, target = networks
    mot = MultiLevelOT(strategy=strategy, random_state=0)
    mot.fit(rows(source, TRAIN), rows(target, TRAIN))
    source, target = rows(source, TEST), rows(target, TEST)
    table = matches(mot, source, target, top=top)
    assert_same(table, slow_matches(level_plans(mot, source, target), top))
    if top is None:
        np.testing.assert_allclose(table["weight"].sum(), 1)
    pairs = set(zip(table["source_layer"], table["target_layer"], strict=True))
    assert pairs == set(zip(*np.nonzero(mot.coupling_), strict=True))


@pytest.mark.parametrize("inner", [SemiMatching(), OneToOneMatching()], ids=repr)
def test_other_inner_estimators(networks, inner):
    source, target = networks
    mot = MultiLevelOT(inner).fit(source, target)
    table = matches(mot, source, target)
    assert_same(table, slow_matches(level_plans(mot, source, target), 1))


def test_names_of_layers_and_units(networks):
    frames = {
        area: pd.DataFrame(layer, columns=[f"{area}-{u}" for u in range(width)])
        for area, layer, width in zip(
            ["V1", "V2", "V4"], networks[0], (7, 12, 5), strict=True
        )
    }
    source = LayerStack(frames)
    target = LayerStack(
        dict(zip("abcd", networks[1], strict=True)),
        unit_names=[None, list(range(100, 109)), None, list("pqrstuvw")],
    )
    mot = MultiLevelOT().fit(source, target)
    # The names of the fit are used, and need not be given again.
    table = matches(mot, *map(list, (source.layers, target.layers)), top=2)
    expected = []
    plans = level_plans(mot, *networks, ["V1", "V2", "V4"], "abcd")
    for layer, unit, target_layer, target_unit, *numbers in slow_matches(plans, 2):
        name = {"b": range(100, 109), "d": "pqrstuvw"}.get(target_layer, range(99))
        expected.append(
            (layer, f"{layer}-{unit}", target_layer, name[target_unit], *numbers)
        )
    assert_same(table, expected)


def test_names_of_an_array_and_a_vector(networks):
    X = pd.DataFrame(networks[0][1]).add_prefix("neuron ")
    y = networks[1][0][:, 0]
    table = matches(SemiMatching().fit(X, y), X, y)
    best = max(range(12), key=lambda unit: np.corrcoef(X.iloc[:, unit], y)[0, 1])
    assert table.iloc[0, :6].tolist() == [0, f"neuron {best}", 0, 0, 1, 1]


@pytest.mark.parametrize("top", [1, None])
def test_two_levels_and_all_layers_of_a_network_as_one_population(top):
    sources, targets = trajectories()
    source_names = [f"epoch {number}" for number in range(len(sources))]
    X = LayerStack([LayerStack(n) for n in sources], names=source_names)
    y = LayerStack([LayerStack(n, names=list("abcd")) for n in targets])
    nested = MultiLevelOT(MultiLevelOT()).fit(X[TRAIN], y[TRAIN])
    flat = MultiLevelOT(SoftMatching()).fit(X[TRAIN], y[TRAIN])
    nested_plans, flat_plans = [], []
    for j, target in enumerate(targets):
        target, labels = rows(target, TEST), [f"{j}/{name}" for name in "abcd"]
        group = []
        for i, source in enumerate(sources):
            source = rows(source, TEST)
            source_labels = [f"{source_names[i]}/{number}" for number in range(3)]
            if nested.coupling_[i, j] > 0:
                plans = level_plans(
                    nested.inner_[i][j], source, target, source_labels, labels
                )
                group += [(nested.coupling_[i, j] * w, *rest) for w, *rest in plans]
            if flat.coupling_[i, j] > 0:
                flat_plans.append(
                    (
                        flat.coupling_[i, j],
                        flat.inner_[i][j].coupling_.toarray(),
                        np.hstack(source),
                        called(source_labels, source),
                        np.hstack(target),
                        called(labels, target),
                    )
                )
        nested_plans += sorted(group, key=lambda plan: plan[-1])
    table = matches(nested, X[TEST], y[TEST], top=top)
    assert_same(table, slow_matches(nested_plans, top))
    assert_same(matches(flat, X[TEST], y[TEST], top=top), slow_matches(flat_plans, top))
    if top is None:
        np.testing.assert_allclose(table["weight"].sum(), 1)


# -- wrappers and kinds of input ---------------------------------------------------


def test_pipelines_searches_and_transformed_targets(networks):
    X, y = map(LayerStack, networks)
    subsampler = UnitSubsampler(fraction=0.6, random_state=0)
    fewer, fewer_y = (subsampler.fit_transform(side) for side in (X, y))
    chosen, chosen_y = (clone(subsampler).fit(side).units_ for side in (X, y))
    mot = MultiLevelOT()
    pipeline = make_pipeline(subsampler, mot).fit(X, y)
    plans = level_plans(pipeline[-1], fewer.layers, networks[1])
    # Units have the numbers that they had before the selection.
    expected = slow_matches(
        [
            (
                weight,
                plan,
                A,
                [(layer, chosen[layer][unit]) for layer, unit in of_a],
                *b,
            )
            for weight, plan, A, of_a, *b in plans
        ],
        1,
    )
    assert_same(matches(pipeline, X, y), expected)
    assert_same(matches(pipeline, *networks), expected)
    search = GridSearchCV(mot, {"strategy": ["single_best"]}, cv=2).fit(X, y)
    pd.testing.assert_frame_equal(
        matches(search, X, y), matches(search.best_estimator_, X, y)
    )
    transformed = TransformedTargetLayers(mot, subsampler).fit(X, y)
    plans = level_plans(transformed.regressor_, networks[0], fewer_y.layers)
    expected = [
        (*a, B, [(layer, chosen_y[layer][unit]) for layer, unit in of_b])
        for *a, B, of_b in plans
    ]
    assert_same(matches(transformed, X, y), slow_matches(expected, 1))


@pytest.mark.parametrize("library", ["torch", "array_api_strict"])
def test_arrays_of_other_libraries(networks, library):
    home = home_at(library)
    with config_context(array_api_dispatch=True):
        source, target = map(home.layers, networks)
        tables = [
            matches(MultiLevelOT().fit(*sides), *sides, top=2)
            for sides in (networks, (source, target))
        ]
    pd.testing.assert_frame_equal(*tables, rtol=0, atol=1e-12)


def test_the_table_survives_files(networks):
    mot = MultiLevelOT().fit(*networks)
    constant = networks[1][0].copy()
    constant[:, 0] = 1.0
    # A target unit that is constant over the rows given has no correlation.
    table = matches(mot, networks[0], [constant, *networks[1][1:]])
    assert table["correlation"].isna().any()
    assert_survives_files(table)


def test_without_pandas_the_error_says_what_to_install(networks, monkeypatch):
    mot = MultiLevelOT().fit(*networks)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"pip install 'skmot\[data\]'"):
        matches(mot, *networks)


# -- errors ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "estimator",
    [RSA(), Procrustes(), LinearPredictivity(), MultiLevelOT(RSA()), Ridge()],
    ids=repr,
)
def test_estimators_without_a_coupling_of_units(networks, estimator):
    X, y = networks[0][1], networks[1][1]
    estimator.fit(X, y)
    name = type(getattr(estimator, "inner", None) or estimator).__name__
    with pytest.raises(TypeError, match=f"^{name} has no coupling of units.*MultiLev"):
        matches(estimator, X, y)


@pytest.mark.parametrize("estimator", [RotationMatching(), MultiLevelOTRotation()])
def test_rotated_units_have_no_names(networks, estimator):
    X, y = networks[0][1], networks[1][1]
    estimator.fit(X, y)
    with pytest.raises(TypeError, match="RotationMatching couples rotated source uni"):
        matches(estimator, X, y)


@pytest.mark.parametrize("top", [0, -1, 1.5, "all"])
def test_top_is_a_positive_int_or_none(networks, top):
    mot = MultiLevelOT().fit(*networks)
    with pytest.raises(ValueError, match="The 'top' parameter of matches"):
        matches(mot, *networks, top=top)


@pytest.mark.parametrize(
    "estimator", [SoftMatching(), make_pipeline(UnitSubsampler(), MultiLevelOT())]
)
def test_estimators_that_are_not_fitted(networks, estimator):
    with pytest.raises(NotFittedError):
        matches(estimator, *networks)


def test_input_is_checked_as_in_other_methods(networks):
    source, target = networks
    mot = MultiLevelOT().fit(source, target)
    with pytest.raises(ValueError, match="X has 12 features"):
        matches(mot, source[::2], target)
    with pytest.raises(ValueError, match="stimuli"):
        matches(mot, rows(source, TRAIN), target)
    target[1][3, 2] = np.nan
    with pytest.raises(ValueError, match="found in y, layer 1"):
        matches(mot, source, target)


def test_units_that_selectors_leave_out_do_not_move_the_numbers(networks):
    layer = networks[0][0]
    missing = layer.copy()
    missing[3, 0] = np.nan
    finite = FiniteUnitSelector()
    mot = TransformedTargetLayers(make_pipeline(finite, MultiLevelOT()), finite)
    for give in (lambda values: [values], lambda values: LayerStack([values])):
        table = matches(mot.fit(give(missing), give(missing)), give(layer), give(layer))
        units = list(range(1, layer.shape[1]))
        assert table["source_unit"].tolist() == units
        assert table["target_unit"].tolist() == units


def test_the_row_of_largest_weight_is_the_single_best_source_unit():
    source, target = random_networks()
    mot = MultiLevelOT().fit(source, target)
    table = matches(mot, source, target)
    # Some target layers are coupled with several source layers.
    counts = table.groupby(["target_layer", "target_unit"]).size()
    assert counts.max() > 1
    best = table.sort_values("weight", ascending=False, kind="stable").drop_duplicates(
        ["target_layer", "target_unit"]
    )
    assert len(best) == sum(layer.shape[1] for layer in target)
    for row in best.itertuples():
        weights = [
            mot.coupling_[layer, row.target_layer]
            * mot.inner_[layer][row.target_layer].coupling_.toarray()[
                :, row.target_unit
            ]
            for layer in range(3)
        ]
        assert row.weight == pytest.approx(max(map(np.max, weights)))
        found = weights[row.source_layer][row.source_unit]
        assert found == pytest.approx(row.weight)

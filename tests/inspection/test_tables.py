"""coupling_table and score_table, against loops over what estimators learn."""

import sys

import numpy as np
import pytest
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
    SoftMatching,
)
from skmot.inspection import coupling_table, score_table
from skmot.preprocessing import TransformedTargetLayers, UnitSubsampler
from tests import reference
from tests.networks import random_networks, rows, trajectories
from tests.tables import assert_survives_files

pd = pytest.importorskip("pandas")

TRAIN, TEST = slice(0, 40), slice(40, 60)
SOURCE_NAMES, TARGET_NAMES = ["V1", "V2", "V4"], list("abcd")


@pytest.fixture(scope="module")
def networks():
    return random_networks()


@pytest.fixture(scope="module")
def stacks(networks):
    return [
        LayerStack(dict(zip(names, layers, strict=True)))
        for names, layers in zip((SOURCE_NAMES, TARGET_NAMES), networks, strict=True)
    ]


def slow_units(mot, source, target, direction):
    """Return the correlation of each unit with its reconstruction, layer by layer."""
    truth = target if direction == "target" else source
    predicted = (
        mot.predict(source) if direction == "target" else mot.inverse_predict(target)
    )
    return [
        [
            np.nan
            if np.ptp(layer[:, unit]) == 0
            else reference.pearson(layer[:, unit], found[:, unit])
            for unit in range(layer.shape[1])
        ]
        for layer, found in zip(truth, predicted, strict=True)
    ]


# -- couplings -----------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["transport", "pairwise_best"])
def test_each_pair_of_layers_has_a_row(stacks, strategy):
    mot = MultiLevelOT(strategy=strategy).fit(*stacks)
    table = coupling_table(mot)
    pairs = [(a, b) for a in range(3) for b in range(4)]
    assert table.to_numpy().tolist() == [
        [
            SOURCE_NAMES[a],
            TARGET_NAMES[b],
            mot.layer_costs_[a, b],
            mot.coupling_[a, b],
            mot.inverse_coupling_[a, b],
        ]
        for a, b in pairs
    ]
    assert list(table.columns[2:]) == ["cost", "coupling", "inverse_coupling"]
    assert table["coupling"].sum() == pytest.approx(1)
    assert (table["cost"] @ table["coupling"]) == pytest.approx(mot.cost_)
    assert_survives_files(table)


def test_layers_without_names_are_numbered_from_0(networks):
    table = coupling_table(MultiLevelOTRotation(max_iter=200).fit(*networks))
    assert table["source_layer"].tolist() == np.repeat(range(3), 4).tolist()
    assert table["target_layer"].tolist() == [*range(4)] * 3
    assert_survives_files(table)


def test_estimators_without_a_map_have_couplings(networks):
    mot = MultiLevelOT(RSA()).fit(*networks)
    np.testing.assert_array_equal(
        coupling_table(mot)["cost"].to_numpy().reshape(3, 4), mot.layer_costs_
    )


def test_levels_are_tables_of_their_own():
    sources, targets = trajectories()
    X = LayerStack({f"epoch {i}": LayerStack(n) for i, n in enumerate(sources)})
    y = LayerStack([LayerStack(dict(zip("abcd", n, strict=True))) for n in targets])
    mot = MultiLevelOT(MultiLevelOT()).fit(X, y)
    assert coupling_table(mot)["source_layer"].unique().tolist() == list(X.names)
    inner = coupling_table(mot.inner_[0][1])
    assert inner["target_layer"].tolist() == [*"abcd"] * 3
    np.testing.assert_array_equal(inner["coupling"], mot.inner_[0][1].coupling_.ravel())


def test_the_couplings_of_pipelines_and_searches_are_found(stacks):
    search = GridSearchCV(MultiLevelOT(), {"strategy": ["single_best"]}, cv=2)
    search.fit(*stacks)
    pd.testing.assert_frame_equal(
        coupling_table(search), coupling_table(search.best_estimator_)
    )
    pipeline = make_pipeline(UnitSubsampler(random_state=0), MultiLevelOT())
    pd.testing.assert_frame_equal(
        coupling_table(pipeline.fit(*stacks)), coupling_table(pipeline[-1])
    )


def test_what_couples_no_layers_is_an_error(networks):
    with pytest.raises(TypeError, match="SoftMatching couples no layers"):
        coupling_table(SoftMatching().fit(*networks))
    with pytest.raises(NotFittedError):
        coupling_table(MultiLevelOT())


@pytest.mark.parametrize("inner", [None, RSA(), LinearPredictivity(random_state=0)])
def test_held_out_costs_are_those_of_each_pair_of_layers_alone(stacks, inner):
    X, y = stacks
    mot = MultiLevelOT(inner).fit(X[:40], y[:40])
    table = coupling_table(mot, X[40:], y[40:])
    alone = SoftMatching() if inner is None else inner
    expected = [
        clone(alone)
        .fit(source[:40], target[:40])
        .held_out_cost(source[40:], target[40:])
        for source in X.layers
        for target in y.layers
    ]
    np.testing.assert_allclose(table["held_out_cost"], expected, rtol=1e-9)
    assert list(table.columns[2:4]) == ["cost", "held_out_cost"]
    # The law that joins them to the cost of the networks.
    held_out = (table["coupling"] * table["held_out_cost"]).sum()
    assert held_out == pytest.approx(mot.held_out_cost(X[40:], y[40:]))
    pd.testing.assert_frame_equal(
        table.drop(columns="held_out_cost"), coupling_table(mot)
    )
    assert_survives_files(table)


def test_held_out_costs_are_read_behind_the_steps_of_a_pipeline(stacks):
    X, y = stacks
    pipeline = make_pipeline(UnitSubsampler(random_state=0), MultiLevelOT())
    pipeline.fit(X[:40], y[:40])
    costs = pipeline[-1].held_out_layer_costs(pipeline[:-1].transform(X[40:]), y[40:])
    table = coupling_table(pipeline, X[40:], y[40:])
    np.testing.assert_array_equal(table["held_out_cost"], costs.ravel())
    assert costs.shape == (3, 4)


def test_held_out_costs_of_two_levels_are_those_of_the_networks_below():
    sources, targets = trajectories()
    X, y = (LayerStack([LayerStack(n) for n in side]) for side in (sources, targets))
    mot = MultiLevelOT(MultiLevelOT()).fit(X[:40], y[:40])
    costs = mot.held_out_layer_costs(X[40:], y[40:])
    for (row, column), cost in np.ndenumerate(costs):
        below = MultiLevelOT().fit(X[:40].layers[row], y[:40].layers[column])
        held_out = X[40:].layers[row], y[40:].layers[column]
        assert cost == pytest.approx(below.held_out_cost(*held_out))


def test_one_side_alone_has_no_held_out_costs(stacks):
    mot = MultiLevelOT().fit(*stacks)
    for sides in ((stacks[0], None), (None, stacks[1])):
        with pytest.raises(ValueError, match="both `X` and `y`"):
            coupling_table(mot, *sides)
    with pytest.raises(ValueError, match="is expecting"):
        coupling_table(mot, *stacks[::-1])
    with pytest.raises(NotFittedError):
        MultiLevelOT().held_out_layer_costs(*stacks)


# -- scores --------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["target", "source"])
def test_each_unit_or_layer_has_its_score(networks, stacks, direction):
    mot = MultiLevelOT().fit(*(rows(side, TRAIN) for side in networks))
    held_out = [rows(side, TEST) for side in networks]
    slow = slow_units(mot, *held_out, direction)
    mot.fit(*(side[TRAIN] for side in stacks))
    held_out = [side[TEST] for side in stacks]
    table = score_table(mot, *held_out, direction=direction)
    names = TARGET_NAMES if direction == "target" else SOURCE_NAMES
    assert list(table.columns) == ["direction", "layer", "unit", "score"]
    assert set(table["direction"]) == {direction}
    expected = [
        (name, unit)
        for name, scores in zip(names, slow, strict=True)
        for unit in range(len(scores))
    ]
    assert list(zip(table["layer"], table["unit"], strict=True)) == expected
    np.testing.assert_allclose(table["score"], np.concatenate(slow))
    layers = score_table(mot, *held_out, by="layer", direction=direction)
    assert list(layers.columns) == ["direction", "layer", "score", "n_units"]
    assert layers["layer"].tolist() == names
    assert layers["n_units"].tolist() == [len(scores) for scores in slow]
    np.testing.assert_allclose(
        layers["score"], mot.layer_scores(*held_out, direction=direction)
    )
    assert_survives_files(table)
    assert_survives_files(layers)


def test_constant_units_have_no_score_and_are_not_counted(networks):
    mot = MultiLevelOT().fit(*networks)
    source, target = (rows(side, TEST) for side in networks)
    target[1] = target[1].copy()
    target[1][:, [0, 4]] = 7.0
    target[2] = np.ones_like(target[2])
    table = score_table(mot, source, target)
    missing = table[table["score"].isna()]
    assert missing["unit"][missing["layer"] == 1].tolist() == [0, 4]
    assert set(missing["layer"]) == {1, 2}
    layers = score_table(mot, source, target, by="layer")
    widths = [layer.shape[1] for layer in target]
    assert layers["n_units"].tolist() == [widths[0], widths[1] - 2, 0, widths[3]]
    assert layers["score"].isna().tolist() == [False, False, True, False]
    np.testing.assert_allclose(
        layers["score"][1], table["score"][table["layer"] == 1].mean()
    )
    assert_survives_files(table)
    assert_survives_files(layers)


def test_units_have_the_names_of_the_fit(networks):
    target = LayerStack(
        dict(zip(TARGET_NAMES, networks[1], strict=True)),
        unit_names=[None, list(range(100, 109)), None, list("pqrstuvw")],
    )
    mot = MultiLevelOT().fit(networks[0], target)
    table = score_table(mot, networks[0], networks[1])
    units = table.groupby("layer")["unit"].agg(list)
    assert units["a"] == list(range(6))
    assert units["b"] == list(range(100, 109))
    assert units["d"] == list("pqrstuvw")


def test_selected_units_have_the_numbers_from_before_the_selection(stacks):
    selector = UnitSubsampler(fraction=0.5, random_state=0)
    model = TransformedTargetLayers(MultiLevelOT(), selector).fit(*stacks)
    chosen = selector.fit(stacks[1]).units_
    expected = [unit for units in chosen for unit in units]
    for target in (stacks[1], list(stacks[1].layers)):
        table = score_table(model, stacks[0], target)
        assert table["unit"].tolist() == expected


def test_layers_of_layers_are_named_by_paths():
    sources, targets = trajectories()
    X = LayerStack([LayerStack(n) for n in sources])
    y = LayerStack(
        {
            f"epoch {i}": LayerStack(dict(zip("abcd", n, strict=True)))
            for i, n in enumerate(targets)
        }
    )
    mot = MultiLevelOT(MultiLevelOT()).fit(X[TRAIN], y[TRAIN])
    layers = score_table(mot, X[TEST], y[TEST], by="layer")
    assert layers["layer"].tolist() == [
        f"epoch {i}/{n}" for i in (0, 1) for n in "abcd"
    ]
    # Each network counts alike, and each layer within it.
    assert layers["score"].mean() == pytest.approx(mot.score(X[TEST], y[TEST]))
    units = score_table(mot, X[TEST], y[TEST])
    by_layer = units.groupby("layer", sort=False)["score"].mean()
    np.testing.assert_allclose(by_layer, layers["score"])


def test_layers_of_layers_that_are_one_population_keep_their_paths():
    sources, targets = trajectories()
    X, y = (LayerStack([LayerStack(n) for n in side]) for side in (sources, targets))
    matching = SoftMatching().fit(X[TRAIN], y[TRAIN])
    table = score_table(matching, X[TEST], y[TEST])
    expected = [f"{i}/{j}" for i in (0, 1) for j in range(4)]
    widths = [layer.shape[1] for network in targets for layer in network]
    assert table["layer"].tolist() == np.repeat(expected, widths).tolist()
    by_network = table.groupby(table["layer"].str[0])["score"].mean()
    np.testing.assert_allclose(by_network, matching.layer_scores(X[TEST], y[TEST]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_array_of_more_units_than_stimuli_is_layer_0(dtype):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(6, 9)).astype(dtype)
    y = (X[:, ::-1] + rng.normal(size=X.shape)).astype(dtype)
    matching = SoftMatching().fit(X[:4], y[:4])
    table = score_table(matching, X[4:], y[4:])
    assert table["layer"].tolist() == [0] * 9
    np.testing.assert_array_equal(table["score"], matching.unit_scores(X[4:], y[4:]))
    assert_survives_files(table)


def test_a_vector_is_one_unit(networks):
    X, y = networks[0][1], networks[1][0][:, 0]
    table = score_table(SoftMatching().fit(X, y), X, y)
    assert table[["layer", "unit"]].to_numpy().tolist() == [[0, 0]]


def test_frames_give_their_columns_as_names(networks):
    X = pd.DataFrame(networks[0][1]).add_prefix("neuron ")
    y = pd.DataFrame(networks[1][0]).add_prefix("voxel ")
    model = LinearPredictivity(random_state=0).fit(X, y)
    assert score_table(model, X, y)["unit"].tolist() == list(y.columns)
    assert score_table(model, X, y, direction="source")["unit"].tolist() == list(
        X.columns
    )


def test_estimators_that_do_not_predict_are_an_error(networks):
    X, y = networks[0][1], networks[1][1]
    for estimator in (RSA(), Ridge()):
        name = type(estimator).__name__
        with pytest.raises(TypeError, match=f"{name} has no `unit_scores`"):
            score_table(estimator.fit(X, y), X, y)
    with pytest.raises(NotFittedError):
        score_table(SoftMatching(), X, y)


@pytest.mark.parametrize("wrong", [{"by": "network"}, {"direction": "both"}])
def test_options_are_checked(networks, wrong):
    mot = MultiLevelOT().fit(*networks)
    with pytest.raises(ValueError, match=f"The '{next(iter(wrong))}' parameter"):
        score_table(mot, *networks, **wrong)


def test_without_pandas_the_error_says_what_to_install(networks, monkeypatch):
    mot = MultiLevelOT().fit(*networks)
    monkeypatch.setitem(sys.modules, "pandas", None)
    for make in (lambda: coupling_table(mot), lambda: score_table(mot, *networks)):
        with pytest.raises(ImportError, match=r"pip install 'skmot\[data\]'"):
            make()

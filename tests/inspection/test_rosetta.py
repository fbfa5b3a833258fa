"""Tables of recurring units, against loops and networks with known common units."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from skmot import (
    LayerStack,
    MultiLevelOT,
    Procrustes,
    RotationMatching,
    SoftMatching,
    TemplateMOT,
)
from skmot.exceptions import DeadUnitWarning, LeakWarning
from skmot.inspection import mutual_matches, rosetta_units
from skmot.preprocessing import ActivitySelector
from tests.reference import pearson

pytest.importorskip("pandas")
N_TRAIN = 120
COLUMNS = [
    "template_layer",
    "template_unit",
    "network",
    "layer",
    "unit",
    "weight",
    "correlation",
    "least_correlation",
]


def networks_with_common_units(
    n_networks=3, n_common=4, n_own=4, noise=0.4, seed=0, n_stimuli=200
):
    """Return networks, and which common unit each unit is, or -1."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(n_stimuli, n_common))
    networks, truth = {}, {}
    width = n_common + n_own
    for index in range(n_networks):
        own = rng.normal(size=(n_stimuli, n_own))
        units = np.hstack([common, own]) + noise * rng.normal(size=(n_stimuli, width))
        order = rng.permutation(width)
        networks[f"net {index}"] = units[:, order]
        truth[f"net {index}"] = np.where(order < n_common, order, -1)
    return networks, truth


def split(networks, rows):
    return {name: network[rows] for name, network in networks.items()}


def train_and_test(networks):
    return split(networks, slice(N_TRAIN)), split(networks, slice(N_TRAIN, None))


def sets_of(table, keys, truth):
    """Return the set of common units of each group of rows, in order."""
    return [
        {int(truth[row.network][row.unit]) for row in group.itertuples()}
        for _, group in table.groupby(keys, sort=False)
    ]


# -- units of a template ---------------------------------------------------------------


@pytest.mark.parametrize("init", ["kmeans", 0])
def test_common_units_come_first(init):
    networks, truth = networks_with_common_units()
    train, test = train_and_test(networks)
    template = TemplateMOT(init=init, random_state=0).fit(train)
    table = rosetta_units(template, train, test)
    found = sets_of(table, ["template_layer", "template_unit"], truth)
    assert sorted(found[:4], key=min) == [{0}, {1}, {2}, {3}]
    assert all(-1 in part for part in found[4:])
    assert table["least_correlation"].is_monotonic_decreasing
    assert list(table.columns) == COLUMNS
    assert len(table) == 8 * 3


def test_numbers_are_those_of_a_loop_over_units():
    rng = np.random.default_rng(1)
    names = ("a", "b", "c")
    networks = {
        name: {
            f"layer {layer}": rng.normal(size=(80, 5 + layer + len(names)))
            for layer in range(2 + number % 2)
        }
        for number, name in enumerate(names)
    }
    train, test = (
        {
            name: {key: layer[rows] for key, layer in network.items()}
            for name, network in networks.items()
        }
        for rows in (slice(50), slice(50, None))
    )
    template = TemplateMOT(n_units=10, random_state=0).fit(train)
    table = rosetta_units(template, train, test)
    for row in table.itertuples():
        index = names.index(row.network)
        mot = template.mots_[index]
        # All weights of the unit of the template, by layer of the network.
        m, j = row.template_layer, row.template_unit
        weights = {
            (layer, unit): mot.coupling_[number, m]
            * mot.inner_[number][m].coupling_.toarray()[unit, j]
            for number, layer in enumerate(networks[row.network])
            for unit in range(networks[row.network][layer].shape[1])
        }
        largest = max(weights.values())
        np.testing.assert_allclose(weights[row.layer, row.unit], largest)
        np.testing.assert_allclose(row.weight, largest / sum(weights.values()))
        others = [other for other in names if other != row.network]
        curve = template.transform({other: test[other] for other in others})
        expected = pearson(
            test[row.network][row.layer][:, row.unit], curve.layers[m][:, j]
        )
        np.testing.assert_allclose(row.correlation, expected, atol=1e-9)
    by_unit = table.groupby(["template_layer", "template_unit"])
    least = by_unit["correlation"].transform("min")
    np.testing.assert_array_equal(least, table["least_correlation"])


def test_equal_weights_are_decided_by_the_correlation():
    # Two units share each unit of the template alike: a unit, and the same with noise.
    rng = np.random.default_rng(0)
    units = rng.normal(size=(100, 3))
    noisy = units + 1.5 * rng.normal(size=(100, 3))
    networks = [np.hstack([noisy, units])[:, [0, 3, 1, 4, 2, 5]], units]
    template = TemplateMOT(init=1).fit(networks)
    with pytest.warns(UserWarning, match="3 units, and the widest layer .* 6"):
        table = rosetta_units(template, networks)
    first = table[table["network"] == 0]
    np.testing.assert_allclose(first["weight"], 0.5)
    assert sorted(first["unit"]) == [1, 3, 5]


@pytest.mark.filterwarnings("ignore:.*constant over:skmot.exceptions.DeadUnitWarning")
def test_a_template_as_wide_as_the_live_units_is_not_narrow():
    networks, _ = networks_with_common_units()
    networks["net 0"] = np.insert(networks["net 0"], 2, 1.0, axis=1)
    template = TemplateMOT(n_units=8, random_state=0).fit(networks)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = rosetta_units(template, networks)
    # Units are counted with the dead one.
    first = table[table["network"] == "net 0"]["unit"]
    assert 2 not in set(first)
    assert first.max() == 8
    narrow = TemplateMOT(n_units=7, random_state=0).fit(networks)
    with pytest.warns(UserWarning, match=r"Use TemplateMOT\(n_units=8\)"):
        rosetta_units(narrow, networks)


def test_names_of_networks_layers_and_units_are_those_given():
    pd = pytest.importorskip("pandas")
    networks, _ = networks_with_common_units()
    frames = {
        name: {"IT": pd.DataFrame(array, columns=[f"voxel {i}" for i in range(8)])}
        for name, array in networks.items()
    }
    table = rosetta_units(TemplateMOT(random_state=0).fit(frames), frames)
    assert set(table["network"]) == set(networks)
    assert set(table["layer"]) == {"IT"}
    assert set(table["unit"]) == {f"voxel {i}" for i in range(8)}


def test_some_of_the_networks_are_enough():
    networks, _ = networks_with_common_units(4)
    template = TemplateMOT(random_state=0).fit(networks)
    some = {name: networks[name] for name in ("net 2", "net 0")}
    table = rosetta_units(template, some)
    assert table["network"].tolist() == ["net 2", "net 0"] * 8
    with pytest.raises(ValueError, match="other networks than `networks`"):
        rosetta_units(template, some, networks)


def test_units_without_a_match_count_as_zero():
    networks, truth = networks_with_common_units(n_common=4, n_own=4)
    train, test = train_and_test(networks)
    template = TemplateMOT(inner=SoftMatching(mass=0.5), random_state=0).fit(train)
    table = rosetta_units(template, train, test)
    assert len(table) < 8 * 3
    by_unit = table.groupby(["template_layer", "template_unit"])
    for _, group in by_unit:
        least = min([*group["correlation"], *([0] if len(group) < 3 else [])])
        assert group["least_correlation"].iloc[0] == least
    found = sets_of(table, ["template_layer", "template_unit"], truth)
    assert sorted(found[:4], key=min) == [{0}, {1}, {2}, {3}]


def test_a_unit_that_is_constant_on_held_out_stimuli_counts_as_zero():
    networks, _ = networks_with_common_units()
    train, test = train_and_test(networks)
    template = TemplateMOT(random_state=0).fit(train)
    first = rosetta_units(template, train, test).iloc[0]
    test[first["network"]] = test[first["network"]].copy()
    test[first["network"]][:, first["unit"]] = 3.0
    table = rosetta_units(template, train, test)
    same = table[table["template_unit"] == first["template_unit"]]
    assert np.isnan(same["correlation"]).sum() == 1
    assert (same["least_correlation"] == 0).all()


def test_signs_of_the_matches_are_taken_out():
    networks, _ = networks_with_common_units(n_own=0, noise=0.2)
    signs = np.array([1, -1, 1, -1])
    networks["net 1"] = networks["net 1"] * signs
    template = TemplateMOT(inner=SoftMatching("abs_correlation"), init=0).fit(networks)
    table = rosetta_units(template, networks)
    assert table["least_correlation"].min() > 0.8


def test_a_pipeline_gives_the_template_what_it_selects():
    networks, _ = networks_with_common_units()
    networks = {name: np.maximum(layer, 0) for name, layer in networks.items()}
    networks["net 0"] = np.insert(networks["net 0"], 1, 0.0, axis=1)
    pipeline = make_pipeline(ActivitySelector(), TemplateMOT(random_state=0))
    table = rosetta_units(pipeline.fit(networks), networks)
    # Numbers are those before the selection, also on held-out stimuli.
    held_out = rosetta_units(pipeline, networks, networks)
    assert held_out.equals(table)
    assert set(table[table["network"] == "net 0"]["unit"]) <= {0, *range(2, 9)}


def test_labels_of_training_stimuli_are_warned_of():
    networks, _ = networks_with_common_units()
    stack = LayerStack(networks, stimuli=np.arange(200))
    template = TemplateMOT(random_state=0).fit(stack[:150])
    rosetta_units(template, stack[:150], stack[150:])
    with pytest.warns(LeakWarning, match="trained on"):
        rosetta_units(template, stack[:150], stack[140:])


def test_what_has_no_table_is_refused():
    networks, _ = networks_with_common_units()
    with pytest.raises(NotFittedError):
        rosetta_units(TemplateMOT(), networks)
    first, second = (networks[f"net {index}"] for index in range(2))
    with pytest.raises(TypeError, match="MultiLevelOT, which has no template"):
        rosetta_units(MultiLevelOT().fit(first, second), networks)
    rotated = TemplateMOT(inner=RotationMatching(), init=0, tol=0.5).fit(networks)
    with pytest.raises(TypeError, match="couples rotated source units"):
        rosetta_units(rotated, networks)
    mixed = TemplateMOT(inner=Procrustes(), init=0, tol=0.5).fit(networks)
    with pytest.raises(TypeError, match="no coupling of units"):
        rosetta_units(mixed, networks)
    template = TemplateMOT(random_state=0).fit(networks)
    with pytest.raises(ValueError, match=r"features .*found in `networks`"):
        rosetta_units(template, list(networks.values())[:2])
    with pytest.raises(ValueError, match="At least two networks are needed; got 1"):
        rosetta_units(template, {"net 0": first})


# -- mutual matches --------------------------------------------------------------------


def slow_mutual_matches(arrays):
    """Return the tuples of units that are each other's best in every pair."""

    def best(i, unit, j):
        found = [pearson(arrays[i][:, unit], other) for other in arrays[j].T]
        return int(np.argmax(found))

    matches = []
    for unit in range(arrays[0].shape[1]):
        match = [unit, *(best(0, unit, j) for j in range(1, len(arrays)))]
        if all(
            best(i, match[i], j) == match[j]
            for i in range(len(arrays))
            for j in range(len(arrays))
            if i != j
        ):
            matches.append(tuple(match))
    return matches


@pytest.mark.parametrize("noise", [0.4, 2.0, 30.0])
def test_mutual_matches_are_those_of_a_loop(noise):
    networks, _ = networks_with_common_units(4, 5, 4, noise=noise, n_stimuli=40)
    table = mutual_matches(networks)
    found = [tuple(group["unit"]) for _, group in table.groupby("match")]
    assert sorted(found) == slow_mutual_matches(list(networks.values()))
    assert table["least_correlation"].is_monotonic_decreasing


def test_correlations_are_the_least_over_the_other_networks():
    networks, truth = networks_with_common_units()
    train, test = train_and_test(networks)
    table = mutual_matches(train, test)
    # Own units can be each other's best by chance; common ones come first.
    found = sets_of(table, "match", truth)
    assert sorted(found[:4], key=min) == [{0}, {1}, {2}, {3}]
    for _, group in table.groupby("match"):
        curves = {
            row.network: test[row.network][:, row.unit] for row in group.itertuples()
        }
        for row in group.itertuples():
            expected = min(
                pearson(curves[row.network], curve)
                for name, curve in curves.items()
                if name != row.network
            )
            np.testing.assert_allclose(row.correlation, expected)
        assert group["least_correlation"].iloc[0] == group["correlation"].min()


def test_all_layers_of_a_network_are_searched():
    rng = np.random.default_rng(0)
    units = rng.normal(size=(50, 4))
    networks = {"a": {"V1": units[:, :3], "V2": units[:, 3:]}, "b": units[:, ::-1]}
    table = mutual_matches(networks)
    rows = table[table["network"] == "a"]
    assert set(zip(rows["layer"], rows["unit"], strict=True)) == {
        ("V1", 0),
        ("V1", 1),
        ("V1", 2),
        ("V2", 0),
    }
    np.testing.assert_allclose(table["least_correlation"], 1)


def test_dead_units_keep_the_numbers_of_the_others():
    units = np.random.default_rng(0).normal(size=(50, 3))
    table = mutual_matches([np.insert(units, 1, 7.0, axis=1), units])
    assert set(table[table["network"] == 0]["unit"]) == {0, 2, 3}


def test_networks_without_a_match_give_an_empty_table():
    rng = np.random.default_rng(0)
    unit = rng.normal(size=(30, 1))
    # Of three pairs of equal units, the lower index is taken in one order only.
    first = np.hstack([unit, unit + 1e-9 * rng.normal(size=(30, 1))])
    assert len(mutual_matches([first, unit])) == 2
    networks = [rng.normal(size=(30, 2)) for _ in range(12)]
    table = mutual_matches(networks)
    assert len(table) == 0
    assert "least_correlation" in table


@pytest.mark.parametrize(
    ("networks", "held_out", "message"),
    [
        ([np.eye(4)], None, "At least two networks are needed; got 1"),
        ([np.eye(4), np.eye(5)], None, "4|5"),
        ([np.eye(4), np.eye(4)], [np.eye(4), np.eye(4)[:, :2]], "differ from those"),
        ([np.eye(4), np.full((4, 2), np.nan)], None, r"NaN.*networks, network 1"),
        ([np.eye(4), [[np.eye(4)]]], None, "network 1, layer 0 has layers itself"),
    ],
    ids=["one", "unequal stimuli", "other networks", "missing", "nested"],
)
def test_mutual_matches_refuse_bad_networks(networks, held_out, message):
    with pytest.raises(ValueError, match=message):
        mutual_matches(networks, held_out)


def test_mutual_matches_refuse_networks_layers_and_units_in_another_order():
    rng = np.random.default_rng(0)
    V1, V4 = rng.normal(size=(2, 30, 3))
    with pytest.raises(ValueError, match=r"X, network 'b' has the place of .*'a'"):
        mutual_matches({"a": V1, "b": V4}, {"b": V4, "a": V1})
    layers = {"V1": V1, "V4": V4}
    swapped = {"V4": V4, "V1": V1}
    with pytest.raises(ValueError, match="their layers in name, number or width"):
        mutual_matches([layers, layers], [layers, swapped])
    frame = pd.DataFrame(V1, columns=["x", "y", "z"])
    with pytest.raises(ValueError, match=r"units of X, network 1, layer 0, have other"):
        mutual_matches([frame, frame], [frame, frame[["y", "x", "z"]]])
    # Without names there is nothing to tell by.
    assert len(mutual_matches({"a": V1, "b": V1}, [V4, V4])) == 6


def test_units_whose_template_is_constant_elsewhere_have_no_correlation():
    rng = np.random.default_rng(22)
    common = rng.normal(size=(60, 3))
    networks = {name: common + 0.1 * rng.normal(size=(60, 3)) for name in "abc"}
    template = TemplateMOT(n_units=3, random_state=0).fit(networks)
    silent = {name: layer[:6].copy() for name, layer in networks.items()}
    silent["b"][:, 0], silent["c"][:, 0] = 0.3, 0.7
    table = rosetta_units(template, networks, silent)
    of_others = table[(table["network"] == "a") & (table["unit"] == 0)]
    assert len(of_others) == 1
    assert of_others["correlation"].item() == 0.0


def test_float32_networks_have_the_matches_of_float64():
    networks, _ = networks_with_common_units(noise=1.0)
    single = {name: layer.astype(np.float32) for name, layer in networks.items()}
    double = mutual_matches(networks)
    np.testing.assert_array_equal(mutual_matches(single)["unit"], double["unit"])


def test_a_dead_unit_warning_is_not_repeated_by_the_tables():
    networks, _ = networks_with_common_units()
    networks["net 0"] = np.insert(networks["net 0"], 0, 0.0, axis=1)
    with pytest.warns(DeadUnitWarning):
        template = TemplateMOT(n_units=8, random_state=0).fit(networks)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rosetta_units(template, networks)
        mutual_matches(networks)

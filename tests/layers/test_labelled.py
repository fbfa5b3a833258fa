import numpy as np
import pytest
import xarray as xr

from skmot import LayerStack, MultiLevelOT, SoftMatching
from tests.layers.common import N

# -- arrays of one layer ---------------------------------------------------------------

IDS = np.array([f"im{i:03d}" for i in range(N)])


def assembly(values, rows=slice(None), **coords):
    stimulus_id = ("presentation", IDS[rows])
    return xr.DataArray(
        values[rows],
        dims=("presentation", "neuroid"),
        coords={"stimulus_id": stimulus_id, **coords},
    )


def test_the_only_coordinate_of_the_rows_names_the_stimuli(v1):
    assert LayerStack([assembly(v1)]).stimuli.tolist() == IDS.tolist()
    with pytest.raises(ValueError, match=r"row 0 is 'im000' in X and 'im011' in y"):
        SoftMatching().fit(assembly(v1), assembly(v1, slice(None, None, -1)))


def test_stimuli_are_the_coordinate_that_is_named(v1, v2):
    day = ("presentation", np.arange(N) % 3)
    regions = {"V1": assembly(v1, day=day), "V2": assembly(v2, day=day)}
    for layers in (regions, list(regions.values())):
        stack = LayerStack.from_trials(layers, stimuli="stimulus_id")
        assert stack.stimuli.tolist() == IDS.tolist()
    with pytest.raises(ValueError, match="'image'` is no coordinate along the rows"):
        LayerStack.from_trials(regions["V1"], stimuli="image")


def test_arrays_of_regions_are_never_scored_against_other_rows(v1, v2):
    # Regions repeat, so that they name no units.
    X, y = (
        assembly(values, region=("neuroid", [region] * values.shape[1]))
        for values, region in ((v1, "V1"), (v2, "V4"))
    )
    moved = y[[1, 0, *range(2, N)]]
    mot = MultiLevelOT().fit([X], [y])
    assert np.isfinite(mot.score([X], [y]))
    message = r"row 0 is 'im000' in X and 'im001' in y"
    for call in (MultiLevelOT().fit, mot.score, mot.held_out_cost):
        with pytest.raises(ValueError, match=message):
            call([X], [moved])
    days = np.arange(N).astype("M8[D]")
    dated = [
        xr.DataArray(values, dims=("day", "unit"), coords={"day": order})
        for values, order in ((v1, days), (v2, days[::-1]))
    ]
    with pytest.raises(ValueError, match=r"row 0 is .*1970-01-01.* and .*1970-01-12"):
        SoftMatching().fit(*dated)


def test_of_several_coordinates_one_must_be_chosen(v1):
    several = assembly(v1, run=("presentation", np.arange(N) % 2))
    with pytest.raises(ValueError, match=r"stimulus_id.*run.*`stimuli="):
        LayerStack([several])
    assert LayerStack([several], stimuli="stimulus_id").stimuli.tolist() == IDS.tolist()


def test_a_transposed_assembly_is_an_error(v1):
    named = assembly(v1, neuroid_id=("neuroid", np.arange(v1.shape[1])))
    with pytest.raises(
        ValueError, match=r"array\.transpose\('presentation', 'neuroid'\)"
    ):
        LayerStack([named.T])


# -- arrays of several layers ----------------------------------------------------------

REGION = ["V4", "IT", "V4", "IT", "IT"]
NEUROID = ["a1", "b1", "a2", "b2", "b3"]


def brain_score_assembly(values, indexed=True, **dims):
    """Return an assembly as Brain-Score makes them: levels of indexes, a time bin."""
    array = xr.DataArray(
        values[:, :, np.newaxis],
        dims=("presentation", "neuroid", "time_bin"),
        coords={
            "stimulus_id": ("presentation", IDS),
            "image_label": ("presentation", ["face", "car"] * (N // 2)),
            "neuroid_id": ("neuroid", NEUROID),
            "region": ("neuroid", REGION),
            "time_bin_start": ("time_bin", [70]),
        },
    )
    if indexed:
        array = array.set_index(
            presentation=["stimulus_id", "image_label"],
            neuroid=["neuroid_id", "region"],
        )
    return array


@pytest.fixture
def values():
    return np.random.default_rng(0).normal(size=(N, 5))


@pytest.mark.parametrize("indexed", [True, False])
@pytest.mark.parametrize(
    "order",
    [
        ("presentation", "neuroid", "time_bin"),
        ("neuroid", "time_bin", "presentation"),
        ("time_bin", "neuroid", "presentation"),
    ],
)
def test_coordinates_tell_dimensions_in_any_order(values, indexed, order):
    array = brain_score_assembly(values, indexed).transpose(*order)
    stack = LayerStack.from_xarray(array)
    assert stack.names == ("V4", "IT")
    assert stack.stimuli.tolist() == IDS.tolist()
    assert np.array_equal(stack.layer("V4"), values[:, [0, 2]])
    assert np.array_equal(stack.layer("IT"), values[:, [1, 3, 4]])
    assert [own.tolist() for own in stack.unit_names] == [
        ["a1", "a2"],
        ["b1", "b2", "b3"],
    ]


def test_assemblies_in_another_order_do_not_fit(values):
    array = brain_score_assembly(values)
    X = LayerStack.from_xarray(array)
    y = LayerStack.from_xarray(array.isel(presentation=slice(None, None, -1)))
    with pytest.raises(ValueError, match=r"row 0 is 'im000' in X and 'im011' in y"):
        MultiLevelOT().fit(X, y)
    mot = MultiLevelOT().fit(X, X)
    other = LayerStack.from_xarray(array.isel(neuroid=[2, 1, 0, 3, 4]))
    with pytest.raises(ValueError, match=r"unit 0 is 'a2', .* was fitted to 'a1'"):
        mot.predict(other)


def test_presentations_of_one_stimulus_are_trials(values):
    array = xr.concat([brain_score_assembly(values)] * 2, dim="presentation")
    stack = LayerStack.from_trials(LayerStack.from_xarray(array))
    assert stack.stimuli.tolist() == IDS.tolist()
    assert stack.n_trials.tolist() == [2] * N
    np.testing.assert_allclose(stack.layer("V4"), values[:, [0, 2]])
    assert stack.trials.unit_names[0].tolist() == ["a1", "a2"]


def test_other_coordinates_can_be_chosen(values):
    array = brain_score_assembly(values)
    stack = LayerStack.from_xarray(
        array, layer="neuroid_id", stimulus="image_label", unit="region"
    )
    assert stack.names == tuple(NEUROID)
    assert stack.stimuli.tolist() == ["face", "car"] * (N // 2)


def test_names_that_repeat_name_no_units(values):
    array = brain_score_assembly(values, indexed=False).drop_vars("neuroid_id")
    assert LayerStack.from_xarray(array).unit_names == [None, None]
    with pytest.raises(ValueError, match="'region' does not tell the units of 'V4'"):
        LayerStack.from_xarray(array, unit="region")


def test_what_an_array_lacks_is_named(values):
    array = brain_score_assembly(values, indexed=False)
    with pytest.raises(ValueError, match=r"'area' is no coordinate .*'region'"):
        LayerStack.from_xarray(array, layer="area")
    with pytest.raises(ValueError, match="both along 'neuroid'"):
        LayerStack.from_xarray(array, stimulus="neuroid_id")
    with pytest.raises(ValueError, match="not along the units"):
        LayerStack.from_xarray(array, unit="image_label")
    with pytest.raises(TypeError, match="ndarray"):
        LayerStack.from_xarray(values)
    times = xr.concat([array, array], dim="time_bin")
    with pytest.raises(ValueError, match=r"'time_bin' of length 2 .*isel\(time"):
        LayerStack.from_xarray(times)
    missing = array.assign_coords(region=("neuroid", ["V4", None, "V4", "IT", "IT"]))
    with pytest.raises(ValueError, match="missing"):
        LayerStack.from_xarray(missing)


def test_a_region_of_neighbours_is_no_copy(values):
    array = brain_score_assembly(values).isel(neuroid=[0, 2, 1, 3, 4], time_bin=0)
    stack = LayerStack.from_xarray(array)
    assert all(np.shares_memory(layer, array.values) for layer in stack.layers)


@pytest.mark.parametrize(
    "dims",
    [
        ("neuron", "time"),
        ("voxel", "frame"),
        ("site", "stimulus"),
        ("electrode", "image"),
        ("Neuroid", "Presentation"),
    ],
)
def test_arrays_whose_rows_are_units_are_an_error_also_where_they_are_square(dims):
    array = xr.DataArray(np.eye(6), dims=dims)
    with pytest.raises(ValueError, match="its rows are units"):
        LayerStack([array])
    LayerStack([array.T])


def test_coordinates_tell_what_dimensions_without_meaning_are():
    array = xr.DataArray(
        np.eye(4),
        dims=("x", "y"),
        coords={"region": ("x", list("aabb")), "stimulus_id": ("y", list("efgh"))},
    )
    with pytest.raises(ValueError, match="its rows are units"):
        LayerStack([array])
    # Names of all kinds do not hide what the dimensions say.
    named = xr.DataArray(
        np.eye(4),
        dims=("presentation", "neuroid"),
        coords={
            "cell_size": ("presentation", range(4)),
            "time_constant": ("neuroid", range(4)),
        },
    )
    assert LayerStack([named]).stimuli.tolist() == [0, 1, 2, 3]

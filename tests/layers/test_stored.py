import pickle

import h5py
import numpy as np
import pytest
import zarr
from sklearn.model_selection import cross_val_score

from skmot import LayerStack, MultiLevelOT

SHAPE = (120, 30)
LIBRARIES = ("h5py", "zarr")


@pytest.fixture
def values():
    return np.random.default_rng(0).normal(size=SHAPE)


def store(folder, values, library, name="V1", mode="r"):
    """Write an array in chunks and return the array of the open file."""
    chunks = (7, min(10, *values.shape[1:]))
    if library == "h5py":
        path = folder / f"{name}.h5"
        with h5py.File(path, "w") as file:
            file.create_dataset(f"layers/{name}", data=values, chunks=chunks)
        return h5py.File(path, mode)["layers"][name]
    array = zarr.create_array(
        folder / f"{name}.zarr", shape=values.shape, chunks=chunks, dtype=values.dtype
    )
    array[:] = values
    return array


ROWS = [
    np.s_[:],
    np.s_[10:17],
    np.s_[::-3],
    np.s_[3::5],
    [4, 119, 0],
    [8, 8, 7, 8],
    [50, 51, 53, 52],
    np.s_[:0],
]


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int16])
@pytest.mark.parametrize("rows", ROWS)
def test_rows_are_those_of_the_array(tmp_path, values, library, dtype, rows):
    values = (9 * values).astype(dtype)
    stack = LayerStack([store(tmp_path, values, library)], stimuli=range(120))
    assert stack.shape == SHAPE
    assert stack.dtype == dtype
    part = stack[rows]
    assert type(part.layers[0]) is np.ndarray
    assert np.array_equal(part.layers[0], values[rows])
    assert np.array_equal(part[::-1].layers[0], values[rows][::-1])
    assert np.array_equal(np.asarray(part), values[rows])


@pytest.mark.parametrize("library", LIBRARIES)
def test_array_stays_in_its_file(tmp_path, values, library):
    array = store(tmp_path, values, library, mode="r+")
    stack = LayerStack({"V1": array})
    array[3] = 7.0
    assert (stack[[3]].layer("V1") == 7).all()


@pytest.mark.parametrize("library", LIBRARIES)
def test_stack_is_pickled_as_a_reference(tmp_path, library):
    values = np.random.default_rng(0).normal(size=(2_000, 30))
    stack = LayerStack({"V1": store(tmp_path, values, library)})[[3, 1_000, 4]]
    pickled = pickle.dumps(stack)
    assert len(pickled) < 4_000
    assert np.array_equal(pickle.loads(pickled).layer("V1"), values[[3, 1_000, 4]])


def test_closed_file_is_opened_again(tmp_path, values):
    with store(tmp_path, values, "h5py").file as file:
        stack = LayerStack(file["layers"])
    assert stack.names == ("V1",)
    assert np.array_equal(stack[5:9].layer("V1"), values[5:9])


def test_dataset_without_a_file_on_disk_is_pickled_by_value(values):
    file = h5py.File("nowhere.h5", "w", driver="core", backing_store=False)
    dataset = file.create_dataset("V1", data=values)
    received = pickle.loads(pickle.dumps(LayerStack([dataset])[4:8]))
    assert np.array_equal(received.layers[0], values[4:8])
    whole = pickle.loads(pickle.dumps(LayerStack([dataset])))
    assert np.array_equal(whole.layers[0], values)


@pytest.mark.parametrize("library", LIBRARIES)
def test_fits_are_those_to_arrays(tmp_path, values, library):
    other = values[:, ::-1] + np.random.default_rng(1).normal(size=SHAPE)
    arrays = {"V1": values, "V4": values[:, :9] ** 2}, {"IT": other}
    stored = [
        {name: store(tmp_path, layer, library, name) for name, layer in side.items()}
        for side in arrays
    ]
    expected = MultiLevelOT().fit(*arrays)
    assert MultiLevelOT().fit(*stored).cost_ == expected.cost_
    X, y = map(LayerStack, stored)
    scores = cross_val_score(MultiLevelOT(), X, y, cv=3, n_jobs=2)
    expected = cross_val_score(MultiLevelOT(), *map(LayerStack, arrays), cv=3)
    assert np.array_equal(scores, expected)


@pytest.mark.parametrize("library", LIBRARIES)
def test_trials_stay_in_their_file(tmp_path, values, library):
    labels = np.random.default_rng(2).permutation(np.repeat(np.arange(40), 3))
    stack = LayerStack.from_trials([store(tmp_path, values, library)], labels)
    in_memory = LayerStack.from_trials([values], labels)
    rows = [30, 2, 17]
    for one, other in (
        (stack, in_memory),
        (stack[rows], in_memory[rows]),
        (stack[rows].trials, in_memory[rows].trials),
        (pickle.loads(pickle.dumps(stack[rows])), in_memory[rows]),
    ):
        assert np.array_equal(one.layers[0], other.layers[0])


def test_stored_feature_maps_are_refused():
    with pytest.raises(ValueError, match=r"dim 3, .*feature maps"):
        LayerStack([zarr.array(np.ones((4, 3, 2)))])


def test_missing_responses_in_a_file_are_named(tmp_path, values):
    values[17, 4] = np.nan
    dataset = store(tmp_path, values, "h5py")
    with pytest.raises(ValueError, match=r"1 of 30 .*layer 0 .*unit 4, row 17"):
        MultiLevelOT().fit([dataset], [values[:, :3]])


def test_files_of_relative_paths_stay_the_same_files(tmp_path, values, monkeypatch):
    stacks = []
    for subject, layer in (("s1", values), ("s2", -values)):
        (tmp_path / subject).mkdir()
        monkeypatch.chdir(tmp_path / subject)
        with h5py.File("responses.h5", "w") as file:
            file["V1"] = layer
        with h5py.File("responses.h5", "r") as file:
            stacks.append(LayerStack(file))
    assert np.array_equal(stacks[0].layer("V1"), values)
    assert np.array_equal(pickle.loads(pickle.dumps(stacks[0])).layer("V1"), values)


def test_labels_can_be_in_the_file(tmp_path, values):
    with h5py.File(tmp_path / "labelled.h5", "w") as file:
        file["V1"], file["ids"] = values, np.arange(120)
        stack = LayerStack([file["V1"]], stimuli=file["ids"])
    assert stack.stimuli.tolist() == list(range(120))

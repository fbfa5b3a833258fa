import pickle

import numpy as np
import pytest

from skmot import LayerStack

SHAPE = (500, 40)


@pytest.fixture
def values():
    return np.random.default_rng(0).normal(size=SHAPE)


def saved(folder, values, order="C", mode="r"):
    path = folder / f"layer{order}.npy"
    np.save(path, np.asarray(values, order=order))
    return np.load(path, mmap_mode=mode)


def backing_map(array):
    """Return the memory map at the bottom of an array, or None."""
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap) and not isinstance(array.base, np.ndarray):
            return array
        array = array.base
    return None


def sent(stack):
    """Pickle a stack and read it back; its size must be that of a reference."""
    pickled = pickle.dumps(stack)
    assert len(pickled) < 2_000
    return pickle.loads(pickled)


# -- layers in files ---------------------------------------------------------------


@pytest.mark.parametrize("order", ["C", "F"])
def test_file_is_pickled_as_a_reference(tmp_path, values, order):
    stack = LayerStack({"V1": saved(tmp_path, values, order)})
    received = sent(stack)
    assert received.names == ("V1",)
    assert np.array_equal(received.layer("V1"), values)
    assert backing_map(received.layer("V1")) is not None


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(
    "part",
    [
        np.s_[100:],
        np.s_[7:450],
        np.s_[:, 3:],
        np.s_[10:20, 5:9],
        np.s_[::3],
        np.s_[1::7, 2::5],
        np.s_[499:],
    ],
)
def test_view_into_a_file_is_pickled_as_a_reference(tmp_path, values, order, part):
    received = sent(LayerStack([saved(tmp_path, values, order)[part]]))
    assert np.array_equal(received.layers[0], values[part])
    assert backing_map(received.layers[0]) is not None


def test_transposed_file_is_pickled_as_a_reference(tmp_path, values):
    received = sent(LayerStack([saved(tmp_path, values).T]))
    assert np.array_equal(received.layers[0], values.T)


def test_raw_map_with_an_offset_is_pickled_as_a_reference(tmp_path, values):
    path = tmp_path / "raw.bin"
    path.write_bytes(b"header!" + values.astype(">f4").tobytes())
    mapped = np.memmap(path, dtype=">f4", mode="r", offset=7, shape=SHAPE)
    received = sent(LayerStack([mapped[50:]]))
    assert np.array_equal(received.layers[0], values.astype(">f4")[50:])


def test_selected_rows_travel_with_the_reference(tmp_path, values):
    rows = np.array([4, 400, 17])
    received = sent(LayerStack([saved(tmp_path, values)], stimuli=range(500))[rows])
    assert np.array_equal(received.layers[0], values[rows])
    assert received.stimuli.tolist() == rows.tolist()


def test_nested_files_are_pickled_as_references(tmp_path, values):
    inner = LayerStack({"V1": saved(tmp_path, values)})
    received = sent(LayerStack({"run": inner})[10:20])
    assert np.array_equal(received.layer("run").layer("V1"), values[10:20])


# -- layers whose bytes must travel ------------------------------------------------


def test_copy_on_write_map_is_pickled_by_value(tmp_path, values):
    mapped = saved(tmp_path, values, mode="c")
    mapped[0] = 1e6
    received = pickle.loads(pickle.dumps(LayerStack([mapped])))
    assert np.array_equal(received.layers[0], mapped)
    assert (received.layers[0][0] == 1e6).all()


@pytest.mark.parametrize("part", [np.s_[::-1], np.s_[:, ::-1], np.s_[50:10:-2, 3:]])
def test_reversed_view_into_a_file_keeps_its_values(tmp_path, values, part):
    stack = LayerStack([saved(tmp_path, values)[part]])
    received = pickle.loads(pickle.dumps(stack))
    assert np.array_equal(received.layers[0], values[part])


@pytest.mark.parametrize("part", [np.s_[:0], np.s_[:, :0]])
def test_empty_part_of_a_file_keeps_its_shape(tmp_path, values, part):
    stack = LayerStack([saved(tmp_path, values)[part]])
    received = pickle.loads(pickle.dumps(stack))
    assert received.layers[0].shape == values[part].shape


def test_array_in_memory_is_pickled_by_value(values):
    received = pickle.loads(pickle.dumps(LayerStack([values], stimuli=range(500))))
    assert np.array_equal(received.layers[0], values)
    assert received.stimuli.tolist() == list(range(500))


def test_array_of_a_file_changed_in_memory_keeps_the_change(tmp_path, values):
    changed = saved(tmp_path, values) * 2
    received = pickle.loads(pickle.dumps(LayerStack([changed])))
    assert np.array_equal(received.layers[0], 2 * values)


@pytest.mark.parametrize("rows", [slice(10, 20), [400, 3, 3], slice(None, None, 50)])
def test_a_pickled_selection_holds_its_own_rows_only(values, rows):
    stack = LayerStack([values, values[:, :3]], stimuli=[f"s{i}" for i in range(500)])
    pickled = pickle.dumps(stack[rows])
    n_rows = len(stack[rows])
    assert len(pickled) < n_rows * 43 * 8 + 2_000
    again = pickle.loads(pickled)
    np.testing.assert_array_equal(again.layers[0], values[rows])
    assert again.stimuli.tolist() == stack[rows].stimuli.tolist()
    np.testing.assert_array_equal(again[1:].layers[1], values[rows][1:, :3])


def test_a_pickled_selection_of_a_nested_stack_holds_its_own_rows_only(values):
    nested = LayerStack([LayerStack([values]), LayerStack([values])])[5:9]
    pickled = pickle.dumps(nested)
    assert len(pickled) < 2 * 4 * 40 * 8 + 3_000
    again = pickle.loads(pickled)
    np.testing.assert_array_equal(again.layers[1].layers[0], values[5:9])


def test_what_is_in_a_file_stays_there_beside_what_is_in_memory(values, tmp_path):
    stack = LayerStack([saved(tmp_path, values), values[:, :1]])
    again = sent(stack[20:30])
    assert backing_map(again.layers[0]) is not None
    for index, layer in enumerate((values, values[:, :1])):
        np.testing.assert_array_equal(again.layers[index], layer[20:30])

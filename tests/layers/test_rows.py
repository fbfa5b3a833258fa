import numpy as np
import pytest

from skmot import LayerStack

N = 300
MASK = np.arange(N) % 7 == 3
KEYS = {
    "everything": slice(None),
    "ellipsis": Ellipsis,
    "start": slice(5, None),
    "end": slice(-20, None),
    "step": slice(3, 290, 4),
    "reversed": slice(None, None, -1),
    "reversed with step": slice(200, 10, -3),
    "slice past the end": slice(250, 9999),
    "empty slice": slice(10, 10),
    "rows": np.array([4, 2, 2, 299]),
    "contiguous rows": np.arange(20, 60),
    "descending rows": np.arange(60, 20, -1),
    "one row": [7],
    "negative rows": [-1, -300, 5],
    "list": [0, 10, 20],
    "no row": [],
    "mask": MASK,
    "mask as a list": MASK.tolist(),
    "mask of nothing": np.zeros(N, dtype=bool),
    "mask of everything": np.ones(N, dtype=bool),
    "uint8 rows": np.array([3, 255], dtype=np.uint8),
    "int8 rows": np.array([-128, 127, 0], dtype=np.int8),
    "uint64 rows": np.array([3, 255], dtype=np.uint64),
}
VALUES = np.arange(N) * 10


@pytest.fixture
def stack():
    return LayerStack([VALUES[:, np.newaxis]], stimuli=VALUES)


def plain(key):
    return np.array([], dtype=int) if isinstance(key, list) and not key else key


def assert_rows(stack, expected):
    """Compare the rows of a stack with those of its values, labels too."""
    assert len(stack) == len(expected)
    np.testing.assert_array_equal(stack.layers[0][:, 0], expected)
    np.testing.assert_array_equal(stack.stimuli, expected)


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_key_selects_the_rows_numpy_selects(key, stack):
    assert_rows(stack[key], VALUES[plain(key)])


# Keys that make sense for fewer rows than N.
SECOND_KEYS = {
    "everything": slice(None),
    "reversed": slice(None, None, -1),
    "step": slice(1, None, 2),
    "rows": [1, 0, 0],
    "negative rows": [-1, -2],
    "no row": [],
}
LONG_ENOUGH = {name: key for name, key in KEYS.items() if len(VALUES[plain(key)]) >= 2}


@pytest.mark.parametrize("second", SECOND_KEYS.values(), ids=SECOND_KEYS)
@pytest.mark.parametrize("first", LONG_ENOUGH.values(), ids=LONG_ENOUGH)
def test_selection_of_a_selection_is_that_of_numpy(first, second, stack):
    assert_rows(stack[first][second], VALUES[plain(first)][plain(second)])


def is_view(stack):
    return np.shares_memory(stack.layers[0], VALUES)


@pytest.mark.parametrize(
    "key", [np.arange(20, 60), slice(20, 60), np.arange(N) // 40 == 2, [3]]
)
def test_rows_that_ascend_one_by_one_are_a_view(key, stack):
    assert is_view(stack[key])
    assert not is_view(stack[[5, 3, 8]])


def test_rows_of_rows_that_ascend_one_by_one_are_a_view(stack):
    part = stack[np.arange(50, 150)][np.arange(10, 20)]
    assert is_view(part)
    assert_rows(part, VALUES[60:70])
    part = stack[1::2][np.array([4, 5])]
    assert is_view(part)
    assert_rows(part, VALUES[[9, 11]])
    # In any other order they are not.
    part = stack[1::2][np.array([5, 4])]
    assert not is_view(part)
    assert_rows(part, VALUES[[11, 9]])


@pytest.mark.parametrize("key", [[300], [-301], [0, 10**6], np.array([2**63 + 1])])
def test_row_out_of_range_is_an_index_error(key, stack):
    with pytest.raises(IndexError, match="out of range for a stack of 300 stimuli"):
        stack[key]


def test_mask_of_another_length_is_an_index_error(stack):
    with pytest.raises(IndexError, match="mask of 2 rows for a stack of 300"):
        stack[[True, False]]


@pytest.mark.parametrize("key", [[0.5], [1.0, 2.0], ["V1"], np.array([1], dtype="O")])
def test_rows_that_are_no_whole_numbers_are_an_index_error(key, stack):
    with pytest.raises(IndexError, match="whole numbers or a mask"):
        stack[key]


def test_rows_in_two_dimensions_are_an_index_error(stack):
    with pytest.raises(IndexError, match="in one dimension; got 2"):
        stack[[[0, 1]]]


@pytest.mark.parametrize("key", [3, np.int64(3)])
def test_whole_number_points_to_layers_and_to_a_list(key, stack):
    with pytest.raises(TypeError, match=r"`\.layers\[3\]`.*`\[\[3\]\]`"):
        stack[key]


@pytest.mark.parametrize("key", [True, np.True_, None, 1.5])
def test_other_scalar_is_a_type_error(key, stack):
    with pytest.raises(TypeError, match="slice, row numbers or a mask"):
        stack[key]


def test_name_points_to_the_method(stack):
    with pytest.raises(TypeError, match=r"`\.layer\('V1'\)`"):
        stack["V1"]


@pytest.mark.parametrize(
    "key", [(), (slice(None), 0), (slice(None), [0, 1]), (0, 2), (slice(5), slice(5))]
)
def test_units_cannot_be_selected(key, stack):
    with pytest.raises(TypeError, match="by stimuli only"):
        stack[key]

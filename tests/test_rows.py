import numpy as np
import pytest

from skmot._rows import as_index, check_rows, compose_rows

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


def plain(key):
    return np.array([], dtype=int) if isinstance(key, list) and not key else key


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_key_selects_the_rows_numpy_selects(key):
    values = np.arange(N) * 10
    selected = values[as_index(check_rows(key, N))]
    assert np.array_equal(selected, values[plain(key)])


# Keys that make sense for fewer rows than N.
SECOND_KEYS = {
    "everything": slice(None),
    "reversed": slice(None, None, -1),
    "step": slice(1, None, 2),
    "rows": [1, 0, 0],
    "negative rows": [-1, -2],
    "no row": [],
}
LONG_ENOUGH = {
    name: key for name, key in KEYS.items() if len(np.arange(N)[plain(key)]) >= 2
}


@pytest.mark.parametrize("second", SECOND_KEYS.values(), ids=SECOND_KEYS)
@pytest.mark.parametrize("first", LONG_ENOUGH.values(), ids=LONG_ENOUGH)
def test_selection_of_a_selection_is_that_of_numpy(first, second):
    values = np.arange(N) * 10
    rows = check_rows(first, N)
    composed = compose_rows(rows, check_rows(second, len(rows)))
    expected = values[plain(first)][plain(second)]
    assert np.array_equal(values[as_index(composed)], expected)


@pytest.mark.parametrize(
    "key", [np.arange(20, 60), slice(20, 60), np.arange(N) // 40 == 2, [3]]
)
def test_rows_that_ascend_one_by_one_are_a_slice(key):
    assert isinstance(as_index(check_rows(key, N)), slice)


def test_rows_of_a_range_that_ascend_one_by_one_are_a_slice():
    odd = check_rows(slice(1, None, 2), N)
    assert as_index(compose_rows(odd, np.array([4, 5]))).tolist() == [9, 11]
    every = compose_rows(check_rows(np.arange(50, 150), N), np.arange(10, 20))
    assert as_index(every) == slice(60, 70, 1)


@pytest.mark.parametrize("key", [[300], [-301], [0, 10**6], np.array([2**63 + 1])])
def test_row_out_of_range_is_an_index_error(key):
    with pytest.raises(IndexError, match="out of range for a stack of 300 stimuli"):
        check_rows(key, N)


def test_mask_of_another_length_is_an_index_error():
    with pytest.raises(IndexError, match="mask of 2 rows for a stack of 300"):
        check_rows([True, False], N)


@pytest.mark.parametrize("key", [[0.5], [1.0, 2.0], ["V1"], np.array([1], dtype="O")])
def test_rows_that_are_no_whole_numbers_are_an_index_error(key):
    with pytest.raises(IndexError, match="whole numbers or a mask"):
        check_rows(key, N)


def test_rows_in_two_dimensions_are_an_index_error():
    with pytest.raises(IndexError, match="in one dimension; got 2"):
        check_rows([[0, 1]], N)


@pytest.mark.parametrize("key", [3, np.int64(3)])
def test_whole_number_points_to_layers_and_to_a_list(key):
    with pytest.raises(TypeError, match=r"`\.layers\[3\]`.*`\[\[3\]\]`"):
        check_rows(key, N)


@pytest.mark.parametrize("key", [True, np.True_, None, 1.5])
def test_other_scalar_is_a_type_error(key):
    with pytest.raises(TypeError, match="slice, row numbers or a mask"):
        check_rows(key, N)


def test_name_points_to_the_method():
    with pytest.raises(TypeError, match=r"`\.layer\('V1'\)`"):
        check_rows("V1", N)


@pytest.mark.parametrize(
    "key", [(), (slice(None), 0), (slice(None), [0, 1]), (0, 2), (slice(5), slice(5))]
)
def test_units_cannot_be_selected(key):
    with pytest.raises(TypeError, match="by stimuli only"):
        check_rows(key, N)

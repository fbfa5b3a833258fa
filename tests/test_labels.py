import datetime

import numpy as np
import pandas as pd
import pytest

from skmot._labels import as_labels, check_same_stimuli


def compare(first, second):
    check_same_stimuli(as_labels(first), as_labels(second), "X", "y")


SAME = {
    "numbers": ([3, 1, 2], np.array([3, 1, 2], dtype=np.uint8)),
    "whole and real numbers": ([1, 2], [1.0, 2.0]),
    "strings of any width": (["owl", "cat"], np.array(["owl", "cat"], dtype="<U50")),
    "strings and objects": (["owl", "cat"], np.array(["owl", "cat"], dtype=object)),
    "a pandas index": (["owl", "cat"], pd.Index(["owl", "cat"])),
    "rows of tuples": (
        [("owl", 1), ("cat", 2)],
        pd.MultiIndex.from_tuples([("owl", 1), ("cat", 2)]),
    ),
    "dates in other units": (
        np.array(["2020-01-01", "2020-01-02"], dtype="M8[ns]"),
        np.array(["2020-01-01", "2020-01-02"], dtype="M8[D]"),
    ),
    "nothing at all": ([], []),
}


@pytest.mark.parametrize(("first", "second"), SAME.values(), ids=SAME)
def test_equal_labels_agree(first, second):
    compare(first, second)


@pytest.mark.parametrize(
    ("first", "second", "row", "found"),
    [
        (["cat", "dog", "owl"], ["cat", "owl", "dog"], 1, ("'dog'", "'owl'")),
        ([1, 2, 3], [1, 2, 4], 2, ("3", "4")),
        ([1, 2], [1, 2, 3], 2, ("'nothing'", "3")),
        ([1, 2, 3], [1, 2], 2, ("3", "'nothing'")),
        (["1"], [1], 0, ("'1'", "1")),
    ],
)
def test_first_mismatch_is_named(first, second, row, found):
    message = f"row {row} is {found[0]} in X and {found[1]} in y"
    with pytest.raises(ValueError, match=message) as error:
        compare(first, second)
    assert "align_stimuli" in str(error.value)
    assert "with_stimuli(None)" in str(error.value)


def test_dates_differ_in_words():
    with pytest.raises(ValueError, match=r"2020-01-02.*2021-01-02"):
        compare(
            np.array(["2020-01-01", "2020-01-02"], dtype="M8[ns]"),
            np.array(["2020-01-01", "2021-01-02"], dtype="M8[ns]"),
        )


def test_side_without_labels_agrees_with_every_other():
    check_same_stimuli(None, as_labels([1, 2]), "X", "y")
    check_same_stimuli(as_labels([1, 2]), None, "X", "y")


@pytest.mark.parametrize("stimuli", ["abc", 3, None, datetime.date(2020, 1, 1)])
def test_one_label_for_all_is_an_error(stimuli):
    with pytest.raises(ValueError, match="one label a stimulus"):
        as_labels(stimuli)


@pytest.mark.parametrize(
    "stimuli",
    [
        [1.0, 2.0, np.nan],
        np.array(["a", "b", np.nan], dtype=object),
        np.array(["2020-01-01", "2020-01-02", "NaT"], dtype="M8[D]"),
    ],
)
def test_missing_label_is_an_error_with_its_row(stimuli):
    with pytest.raises(ValueError, match=r"label of row 2 is missing \((nan|NaT)\)"):
        as_labels(stimuli)

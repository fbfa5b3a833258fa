import datetime

import numpy as np
import pandas as pd
import pytest

from skmot import LayerStack, SoftMatching


def stack_of(labels):
    """Return a stack with labels; None leaves it without."""
    n_stimuli = 2 if labels is None else len(labels)
    return LayerStack([np.eye(n_stimuli, 2)], stimuli=labels)


def join(first, second):
    """Make stacks with labels the layers of one network, which must show the same."""
    return LayerStack([stack_of(first), stack_of(second)])


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
    assert join(first, second).n_layers == 2
    if len(first) > 0:
        matching = SoftMatching().fit(stack_of(first), stack_of(second))
        assert matching.cost_ == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("first", "second", "row", "found"),
    [
        (["cat", "dog", "owl"], ["cat", "owl", "dog"], 1, ("'dog'", "'owl'")),
        ([1, 2, 3], [1, 2, 4], 2, ("3", "4")),
        (["1"], [1], 0, ("'1'", "1")),
        ([("cat", 1), ("owl", 2)], [("cat", 1), ("owl", 3)], 1, (".*2.*", ".*3.*")),
    ],
)
def test_first_mismatch_is_named(first, second, row, found):
    message = f"row {row} is {found[0]} in X and {found[1]} in y"
    with pytest.raises(ValueError, match=message) as error:
        SoftMatching().fit(stack_of(first), stack_of(second))
    assert "align_stimuli" in str(error.value)
    assert "with_stimuli(None)" in str(error.value)


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [([1, 2], [1, 2, 3], ("'nothing'", "3")), ([1, 2, 3], [1, 2], ("3", "'nothing'"))],
)
def test_first_label_that_only_one_side_has_is_named(first, second, found):
    message = f"row 2 is {found[0]} in the layers before it and {found[1]} in layer 1"
    with pytest.raises(ValueError, match=message):
        join(first, second)


def test_dates_differ_in_words():
    with pytest.raises(ValueError, match=r"2020-01-02.*2021-01-02"):
        join(
            np.array(["2020-01-01", "2020-01-02"], dtype="M8[ns]"),
            np.array(["2020-01-01", "2021-01-02"], dtype="M8[ns]"),
        )


@pytest.mark.parametrize(("first", "second"), [(None, [1, 2]), ([1, 2], None)])
def test_side_without_labels_agrees_with_every_other(first, second):
    matching = SoftMatching().fit(stack_of(first), stack_of(second))
    assert matching.cost_ == pytest.approx(0, abs=1e-12)
    assert join(first, second).stimuli.tolist() == [1, 2]


@pytest.mark.parametrize("stimuli", ["abc", 3, datetime.date(2020, 1, 1)])
def test_one_label_for_all_is_an_error(stimuli):
    with pytest.raises(ValueError, match="one label a stimulus"):
        LayerStack([np.eye(3)], stimuli=stimuli)


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
        LayerStack([np.eye(3)], stimuli=stimuli)

import datetime
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import cross_val_score

from skmot import LayerStack, MultiLevelOT, SoftMatching
from skmot.exceptions import RowNumberWarning


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


@pytest.mark.parametrize("stimuli", [3, 2.5, datetime.date(2020, 1, 1)])
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


@pytest.mark.parametrize(
    "missing", [None, np.nan, np.datetime64("NaT"), pd.NA, pd.NaT, ("a", None)]
)
def test_a_missing_label_is_an_error_that_names_its_row(missing):
    with pytest.raises(ValueError, match=r"label of row 1 is missing"):
        LayerStack([np.eye(3)], stimuli=["a", missing, "b"])


def test_labels_are_not_converted():
    labels = [1, "1", 2.5, (1, "a")]
    stack = LayerStack([np.eye(4)], stimuli=labels)
    assert stack.stimuli.tolist() == labels
    assert [type(label) for label in stack[::-1].stimuli] == [tuple, float, str, int]
    large = [2**60, 2**60 + 1, 2**70]
    assert LayerStack([np.eye(3)], stimuli=large).stimuli.tolist() == large
    joined = np.concatenate(
        [LayerStack([np.eye(1)], stimuli=[one]) for one in (1, "1", 2.5)]
    )
    assert joined.stimuli.tolist() == [1, "1", 2.5]


def test_labels_that_cannot_be_hashed_are_an_error():
    with pytest.raises(ValueError, match=r"row 1 is a dict, which cannot be hashed"):
        LayerStack([np.eye(3)], stimuli=["a", {"b": 1}, "c"])


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        ("e\u0301", "\u00e9", "Unicode form"),
        ("cat", "cat ", "white space"),
        (1, "1", "One is a int, the other a str"),
    ],
)
def test_labels_that_differ_in_their_form_alone_are_told_as_such(first, second, told):
    X, y = (
        LayerStack(
            [np.random.default_rng(0).normal(size=(3, 2))], stimuli=[label, 8, 9]
        )
        for label in (first, second)
    )
    with pytest.raises(ValueError, match=f"row 0 is .*{told}"):
        SoftMatching().fit(X, y)


# -- row numbers of DataFrames ---------------------------------------------------------


def frames(n=60):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(n, 5)))
    return X, X + 0.4 * rng.normal(size=X.shape)


def test_rows_in_another_order_are_warned_of():
    X, y = frames()
    with pytest.warns(RowNumberWarning, match="row 0 is number 0 in X and") as caught:
        SoftMatching().fit(X, y.sample(frac=1, random_state=0))
    assert caught[0].filename == __file__
    # Filtered and shuffled on either side.
    with pytest.warns(RowNumberWarning):
        SoftMatching().fit(X.iloc[10:50], y.iloc[10:50][::-1])
    with pytest.warns(RowNumberWarning):
        SoftMatching().fit(X.iloc[10:50], y.iloc[20:60])


def test_rows_of_whatever_holds_a_frame_are_warned_of():
    X, y = frames()
    moved = y.iloc[[1, 0, *range(2, 60)]]
    for source, target in (
        (X, moved[0]),
        ([X], [moved]),
        (pd.concat({"V1": X, "V4": X}, axis=1), pd.concat({"IT": moved}, axis=1)),
        (LayerStack({"V1": X}), LayerStack({"IT": moved})),
        ([[X], [X]], [[moved]]),
    ):
        with pytest.warns(RowNumberWarning, match="row 0 is number 0 in X and 1 in y"):
            MultiLevelOT().fit(source, target)


def test_rows_that_agree_are_not_warned_of():
    X, y = frames()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SoftMatching().fit(X, y)
        SoftMatching().fit(X.iloc[10:], y.iloc[10:])
        # A renumbered frame says nothing of the other.
        SoftMatching().fit(X.iloc[10:], y.iloc[10:].reset_index(drop=True))
        cross_val_score(SoftMatching(), X, y, cv=3)
        cross_val_score(SoftMatching(), X, LayerStack(y, stimuli=range(60)), cv=3)


def test_names_in_another_order_are_an_error():
    X, y = (frame.rename_axis("stimulus") for frame in frames())
    with pytest.raises(ValueError, match="row 0 is 0 in X and"):
        SoftMatching().fit(X, y.sample(frac=1, random_state=0))


def test_a_level_of_the_index_can_name_the_stimuli():
    X, _ = frames(4)
    X.index = pd.MultiIndex.from_arrays(
        [list("abcd"), range(4)], names=["image", "run"]
    )
    assert LayerStack(X).stimuli.tolist() == [("a", 0), ("b", 1), ("c", 2), ("d", 3)]
    assert LayerStack(X, stimuli="image").stimuli.tolist() == list("abcd")
    with pytest.raises(ValueError, match="`stimuli='subject'` names a coordinate"):
        LayerStack(X, stimuli="subject")

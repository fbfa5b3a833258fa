import datetime
import warnings
from decimal import Decimal

import array_api_strict as xp
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from sklearn.model_selection import cross_val_score
from sklearn.preprocessing import StandardScaler

from skmot import LayerStack, MultiLevelOT, SoftMatching, align_stimuli
from skmot.exceptions import RowNumberWarning
from skmot.metrics import noise_ceiling
from skmot.model_selection import StimulusKFold
from skmot.preprocessing import LayerwiseTransformer, TransformedTargetLayers


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
    "missing", [None, np.nan, np.datetime64("NaT", "s"), pd.NA, pd.NaT, ("a", None)]
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


def test_frames_of_one_stack_must_number_their_rows_alike():
    X, y = frames()
    with pytest.raises(ValueError, match="layer 1 has other row numbers than"):
        LayerStack([X, y.iloc[::-1]])


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


@pytest.mark.parametrize(
    "missing",
    [complex(np.nan, 1), Decimal("nan"), frozenset([None, 1]), ("a", (np.nan, 1))],
    ids=repr,
)
def test_missing_labels_of_any_type_are_refused(missing):
    with pytest.raises(ValueError, match="label of row 1 is missing"):
        LayerStack([np.eye(3)], stimuli=["a", missing, "b"])


def test_structured_labels_with_a_missing_part_are_refused():
    labels = np.array([(1, 2.0), (3, np.nan)], dtype=[("run", int), ("onset", float)])
    with pytest.raises(ValueError, match="label of row 1 is missing"):
        LayerStack([np.eye(2)], stimuli=labels)


def test_labels_under_a_mask_are_refused():
    labels = np.ma.array([1, 2, 3], mask=[False, False, True])
    for read in (
        lambda: LayerStack([np.eye(3)], stimuli=labels),
        lambda: LayerStack.from_trials([np.eye(3)], labels),
        lambda: LayerStack([np.eye(3)], unit_names=[labels]),
        lambda: noise_ceiling(np.eye(3), labels),
        lambda: list(StimulusKFold(2).split(np.eye(3), groups=labels)),
    ):
        with pytest.raises(ValueError, match=r"label of row 2 is masked"):
            read()
    with pytest.raises(IndexError, match="masked entries"):
        LayerStack([np.eye(3)])[labels > 1]
    with pytest.raises(ValueError, match="masked"):
        LayerStack([np.eye(3)]).select_units([labels > 1])


def test_labels_can_be_a_coordinate():
    array = xr.DataArray(
        np.eye(3), dims=("x", "y"), coords={"image": ("x", list("abc"))}
    )
    stack = LayerStack([np.eye(3)], stimuli=array.coords["image"])
    assert stack.stimuli.tolist() == ["a", "b", "c"]


def test_one_name_for_all_units_is_an_error_about_names():
    with pytest.raises(ValueError, match="`unit_names` must be one label a unit"):
        LayerStack([np.eye(3)], unit_names=["abc"])


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        (b"cat", "cat", "One is a bytes, the other a str"),
        (1.0, "1", "One is a float, the other a str"),
        (("a", 1), ("a", "1"), "One is a int, the other a str"),
        (("a", "caf\u00e9"), ("a", "cafe\u0301"), "Unicode form alone"),
        ("\ufb01sh", "fish", "Unicode form alone"),
        ("a\u00a0cat", "a cat", "alone"),
        ("cafe\u0301 ", "caf\u00e9", "Unicode form and white space alone"),
    ],
)
def test_labels_that_differ_in_form_are_told_also_in_parts(one, other, message):
    first, second = stack_of([one, "b"]), stack_of([other, "b"])
    with pytest.raises(ValueError, match=message):
        SoftMatching().fit(first, second)
    # They are not dropped as if they were other stimuli.
    with pytest.raises(ValueError, match=rf"of stack 0 is .* in stack 1\..*{message}"):
        align_stimuli(first, second)


def test_whole_numbers_that_floats_would_merge_are_joined_exactly():
    large = 2**60
    first = stack_of(np.array([large, large + 1], dtype=np.int64))
    second = stack_of(np.array([large + 2, large + 3], dtype=np.uint64))
    joined = np.concatenate([first, second])
    assert joined.stimuli.tolist() == [large, large + 1, large + 2, large + 3]


def test_labels_of_other_array_libraries_are_compared_by_value():
    labels = xp.asarray(np.repeat(np.arange(5), 2))
    values = np.random.default_rng(0).normal(size=(10, 3))
    for given in (labels, list(labels)):
        stack = LayerStack.from_trials([values], given)
        assert stack.stimuli.tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="without an order"):
        LayerStack([np.eye(2)], stimuli={"a", "b"})


@pytest.mark.parametrize("method", ["score", "held_out_cost", "unit_scores"])
def test_shuffled_rows_are_told_where_they_are_scored(method):
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 5)))
    fitted = SoftMatching().fit(X[:40], X[:40])
    with pytest.warns(RowNumberWarning):
        getattr(fitted, method)(X[40:], X[40:].sample(frac=1, random_state=0))
    getattr(fitted, method)(X[40:], X[40:])


def test_predictions_of_a_transformed_target_have_the_rows_of_the_source():
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 5)))
    scaler = LayerwiseTransformer(StandardScaler())
    y = pd.concat({"V1": X}, axis=1)
    fitted = TransformedTargetLayers(MultiLevelOT(), scaler).fit(y, y)
    predicted = fitted.predict(y.iloc[[5, 2, 9]])
    assert predicted.index.tolist() == [5, 2, 9]


def test_dropping_labels_drops_row_numbers_too():
    stack = LayerStack(pd.DataFrame(np.eye(3)))
    # No RowNumberWarning.
    SoftMatching().fit(stack, stack[::-1].with_stimuli(None))

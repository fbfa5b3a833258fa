import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.model_selection import cross_validate

from skmot import LayerStack, SoftMatching
from skmot.model_selection import (
    StimulusKFold,
    StimulusShuffleSplit,
    train_validation_test_split,
)
from tests.model_selection.common import stacks
from tests.networks import random_networks


@pytest.mark.parametrize(
    "splitter",
    [
        StimulusKFold(4),
        StimulusKFold(4, shuffle=True, random_state=0),
        StimulusShuffleSplit(6, test_size=0.3, random_state=0),
    ],
)
@pytest.mark.parametrize("labels", [np.arange(12), [f"image {i}" for i in range(12)]])
def test_rows_of_a_stimulus_never_straddle(splitter, labels):
    groups = np.repeat(labels, [1, 2, 3] * 4)[np.random.default_rng(0).permutation(24)]
    X = LayerStack([np.zeros((24, 2))])
    held_out = []
    for train, test in splitter.split(X, groups=groups):
        assert not set(groups[train]) & set(groups[test])
        np.testing.assert_array_equal(np.union1d(train, test), np.arange(24))
        held_out.append(test)
    assert len(held_out) == splitter.get_n_splits()
    if isinstance(splitter, StimulusKFold):
        np.testing.assert_array_equal(np.sort(np.concatenate(held_out)), np.arange(24))


@pytest.mark.parametrize("splitter", [StimulusKFold(2), StimulusShuffleSplit(2)])
def test_groups_are_asked_for_and_checked(splitter):
    X = np.zeros((6, 2))
    with pytest.raises(ValueError, match="'groups' parameter should not be None"):
        splitter.split(X)
    with pytest.raises(ValueError, match="5 labels for 6 rows"):
        splitter.split(X, groups=np.arange(5))
    with pytest.raises(ValueError, match="row 3 is missing"):
        splitter.split(X, groups=[0.0, 0, 1, np.nan, 2, 2])
    with pytest.raises(ValueError, match="one label a row"):
        splitter.split(X, groups=3)
    # A list of three layers has three rows for scikit-learn.
    with pytest.raises(ValueError, match="6 labels for 3 rows"):
        splitter.split([X, X, X], groups=np.arange(6))


@pytest.mark.parametrize(
    "splitter", [StimulusKFold(3), StimulusShuffleSplit(3, random_state=0)]
)
def test_groups_are_routed(splitter):
    assert splitter.get_metadata_routing().split.requests == {"groups": True}
    X, y = stacks()
    groups = np.repeat(np.arange(20), 3)
    with config_context(enable_metadata_routing=True):
        found = cross_validate(
            SoftMatching(), X, y, cv=splitter, params={"groups": groups}
        )
    by_hand = [
        SoftMatching().fit(X[train], y[train]).score(X[test], y[test])
        for train, test in splitter.split(X, groups=groups)
    ]
    np.testing.assert_allclose(found["test_score"], by_hand)
    with pytest.raises(ValueError, match="groups"):
        cross_validate(SoftMatching(), X, y, cv=splitter)


def test_three_parts_are_what_they_came_as():
    source, target = random_networks()
    X = LayerStack(source, stimuli=np.arange(60))
    y = dict(zip("abcd", target, strict=True))
    labels = np.arange(60)
    parts = train_validation_test_split(X, y, source, source[0], labels, random_state=0)
    assert len(parts) == 15
    assert [len(part) for part in parts[:3]] == [42, 6, 12]
    assert all(isinstance(part, LayerStack) for part in parts[:3])
    assert all(isinstance(part, dict) for part in parts[3:6])
    assert all(isinstance(part, list) for part in parts[6:9])
    kept = parts[12:]
    np.testing.assert_array_equal(np.sort(np.concatenate(kept)), labels)
    for number, selected in enumerate(kept):
        np.testing.assert_array_equal(parts[number].stimuli, selected)
        np.testing.assert_array_equal(parts[3 + number]["b"], target[1][selected])
        np.testing.assert_array_equal(parts[6 + number][2], source[2][selected])
        np.testing.assert_array_equal(parts[9 + number], source[0][selected])


def test_three_parts_keep_groups_together():
    groups = np.repeat([f"image {i}" for i in range(20)], 3)
    parts = train_validation_test_split(
        groups, groups=groups, validation_size=3, test_size=0.25, random_state=0
    )
    assert [len(set(part)) for part in parts] == [12, 3, 5]
    assert sum(len(part) for part in parts) == 60


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"test_size": 0.95}, "none is left to train on"),
        ({"test_size": 0}, "`test_size` must be"),
        ({"validation_size": 1.5}, "`validation_size` must be"),
    ],
)
def test_impossible_parts_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        train_validation_test_split(np.zeros((10, 2)), **sizes)


def test_three_parts_need_equal_rows():
    with pytest.raises(ValueError, match="at least one array"):
        train_validation_test_split()
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        train_validation_test_split(np.zeros((10, 2)), np.zeros(9))


@pytest.mark.parametrize("labelled", [0, 1])
def test_repeats_are_kept_in_one_part_by_their_labels(labelled):
    values = np.random.default_rng(0).normal(size=(60, 4))
    stimuli = np.repeat(np.arange(20), 3)
    sides = [LayerStack([values]), LayerStack([values])]
    sides[labelled] = LayerStack([values], stimuli=stimuli)
    parts = train_validation_test_split(*sides, random_state=0)[3 * labelled :][:3]
    found = [set(part.stimuli.tolist()) for part in parts]
    assert sum(map(len, found)) == 20
    assert all(
        len(part) == 3 * len(names) for part, names in zip(parts, found, strict=True)
    )


def test_parts_of_labelled_frames_keep_their_labels():
    values = np.random.default_rng(0).normal(size=(30, 4))
    frame = pd.DataFrame(values, index=[f"image {row}" for row in range(30)])
    with pytest.raises(ValueError, match="in input 0 and 'image 29' in input 1"):
        train_validation_test_split({"V1": frame}, {"V1": frame[::-1]})
    parts = train_validation_test_split({"V1": frame}, {"V4": frame}, random_state=0)
    for first, second in zip(parts[:3], parts[3:], strict=True):
        assert first.stimuli.tolist() == second.stimuli.tolist()
    with pytest.raises(TypeError, match=r"np\.load"):
        train_validation_test_split("responses.npy")


@pytest.mark.parametrize("entry", [tuple, list, np.array])
def test_a_list_with_one_entry_for_each_stimulus_is_split_by_stimuli(entry):
    places = [entry([k, k + 1]) for k in range(10)]
    names = [f"image {k}" for k in range(10)]
    train, _, test, *of_names = train_validation_test_split(
        places, names, random_state=0
    )
    assert isinstance(train, list)
    assert [len(train), len(test)] == [7, 2]
    for part, said in ((train, of_names[0]), (test, of_names[2])):
        assert [f"image {place[0]}" for place in part] == said


def test_what_has_no_length_is_named():
    with pytest.raises(TypeError, match="Input 0 must be layers, an array or a list"):
        train_validation_test_split(iter(range(6)), np.zeros((6, 2)))


def test_a_seed_decides_all_three_parts():
    rows = np.arange(60)
    first, again, other = (
        train_validation_test_split(rows, random_state=seed) for seed in (0, 0, 1)
    )
    for one, two, three in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(one, two)
        assert not np.array_equal(one, three)

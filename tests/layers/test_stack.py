import copy
import operator
import tracemalloc

import numpy as np
import pandas as pd
import pytest

from skmot import LayerStack, align_stimuli
from tests.layers.common import LABELS, N


@pytest.fixture
def stack(v1, v2):
    return LayerStack({"V1": v1, "V2": v2}, stimuli=LABELS)


# -- names -----------------------------------------------------------------------------


def test_names_given_replace_those_that_came(v1, v2):
    assert LayerStack([v1, v2], names=["a", "b"]).names == ("a", "b")
    assert LayerStack({"V1": v1, "V2": v2}, names=["a", "b"]).names == ("a", "b")
    assert LayerStack(LayerStack({"V1": v1}), names=[7]).layer(7) is not None


@pytest.mark.parametrize(
    ("names", "message"),
    [(["a"], "1 names for 2 layers"), (["a", "a"], "must differ")],
)
def test_names_that_do_not_fit_are_an_error(names, message, v1, v2):
    with pytest.raises(ValueError, match=message):
        LayerStack([v1, v2], names=names)


def test_unknown_name_is_an_error(stack, v1):
    with pytest.raises(KeyError, match=r"V9.*\['V1', 'V2'\]"):
        stack.layer("V9")
    with pytest.raises(KeyError, match="have no names"):
        LayerStack([v1]).layer("V1")


# -- layers of one network -------------------------------------------------------------


def test_stack_of_a_stack_leaves_the_first_as_it_is(stack):
    other = LayerStack(stack, names=["a", "b"], stimuli=range(N))
    assert other.names == ("a", "b")
    assert stack.names == ("V1", "V2")
    assert stack.stimuli.tolist() == LABELS


@pytest.mark.parametrize("nothing", [[], {}, ()])
def test_no_layer_is_an_error(nothing):
    with pytest.raises(ValueError, match="at least one layer, got none"):
        LayerStack(nothing)


def test_layers_of_unequal_length_are_an_error_with_both(v1, v2):
    with pytest.raises(ValueError, match=r"layer 'V1' has 12.*layer 'V2' has 5"):
        LayerStack({"V1": v1, "V2": v2[:5]})
    with pytest.raises(ValueError, match=r"layer 0 has 12 .*layer 1 has 5"):
        LayerStack([v1, v2[:5]])


# -- one array of two dimensions -------------------------------------------------------


def test_stack_speaks_of_stimuli_and_all_units(stack, v1, v2):
    assert stack.shape == (N, 7)
    assert stack.ndim == 2
    assert stack.size == N * 7
    assert len(stack) == N
    assert stack.dtype == np.float64
    assert LayerStack([v1.astype("f4"), v2.astype("f4")]).dtype == np.float32
    assert LayerStack([v1.astype("f4"), v2]).dtype == np.float64


def test_array_of_a_stack_is_its_layers_side_by_side(stack, v1, v2):
    side_by_side = np.column_stack([v1, v2])
    assert np.array_equal(np.asarray(stack), side_by_side)
    assert np.array_equal(np.asarray(stack[[3, 1]]), side_by_side[[3, 1]])
    assert np.asarray(stack, dtype=np.float32).dtype == np.float32
    assert np.array_equal(np.asarray(stack, dtype=int), side_by_side.astype(int))


def test_numeric_objects_become_numbers_when_asked(v1, v2):
    stack = LayerStack([v1.astype(object), v2])
    assert np.array_equal(np.asarray(stack, dtype=float), np.column_stack([v1, v2]))


def test_array_of_a_stack_is_never_a_view(v1):
    stack = LayerStack([v1])
    assert not np.shares_memory(np.asarray(stack), v1)
    with pytest.raises(ValueError, match="are a copy"):
        np.asarray(stack, copy=False)


def test_stack_is_not_iterated(stack):
    with pytest.raises(TypeError, match=r"`for layer in stack\.layers`"):
        iter(stack)
    with pytest.raises(TypeError, match="not iterable"):
        operator.contains(stack, "V1")
    assert [layer.shape for layer in stack.layers] == [(N, 4), (N, 3)]


def test_whole_number_is_no_key(stack):
    with pytest.raises(TypeError, match=r"`\.layers\[0\]`"):
        stack[0]


def test_repr_tells_names_and_sizes(stack, v1):
    assert repr(stack) == "LayerStack(12 stimuli, 2 layers: V1 (4 units), V2 (3 units))"
    assert repr(LayerStack(v1)) == "LayerStack(12 stimuli, 1 layer: 0 (4 units))"


# -- rows --------------------------------------------------------------------------

KEYS = {
    "slice": slice(2, 9),
    "reversed": slice(None, None, -1),
    "rows": [5, 0, 5],
    "negative rows": np.array([-1, 3]),
    "mask": np.arange(N) % 3 == 0,
    "mask as a list": (np.arange(N) % 3 == 0).tolist(),
    "rows and dots": ([4, 2], Ellipsis),
    "rows and all units": (slice(3, 6), slice(None)),
    "dots": Ellipsis,
    "nothing": slice(0, 0),
}


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_rows_are_selected_in_every_layer(key, stack, v1, v2):
    part = stack[key]
    assert isinstance(part, LayerStack)
    assert part.names == ("V1", "V2")
    assert part.shape == (len(v1[key]), 7)
    assert np.array_equal(part.layer("V1"), v1[key])
    assert np.array_equal(part.layer("V2"), v2[key])
    rows = key[0] if isinstance(key, tuple) else key
    assert part.stimuli.tolist() == np.array(LABELS)[rows].tolist()


def test_rows_of_rows_are_selected(stack, v2):
    part = stack[[7, 3, 1, 9]][1:][::-1][[True, False, True]]
    assert np.array_equal(part.layer("V2"), v2[[9, 3]])
    assert part.stimuli.tolist() == ["image9", "image3"]


def test_empty_list_selects_nothing(stack):
    assert stack[[]].shape == (0, 7)
    assert stack[[]].layer("V1").shape == (0, 4)
    assert stack[[]].stimuli.shape == (0,)


@pytest.mark.parametrize("key", [slice(2, 9), np.arange(2, 9), np.arange(N) > 3])
def test_contiguous_rows_are_a_view(key, stack, v1):
    part = stack[key]
    assert np.shares_memory(part.layer("V1"), v1)
    assert np.shares_memory(part[[1, 2]].layer("V1"), v1)


def test_changing_a_base_layer_shows_in_a_selection(stack, v1):
    part = stack[[5, 0]]
    v1[5] = 99.0
    assert (part.layer("V1")[0] == 99.0).all()


def test_fold_of_layers_in_files_holds_no_activations(tmp_path):
    n_stimuli, n_units = 2_000, 500
    layers = []
    for index in range(4):
        values = np.full((n_stimuli, n_units), float(index))
        np.save(tmp_path / f"{index}.npy", values)
        layers.append(np.load(tmp_path / f"{index}.npy", mmap_mode="r"))
    stack = LayerStack(layers)
    rows = np.random.default_rng(0).permutation(n_stimuli)[: n_stimuli // 2]
    layer_bytes = values.nbytes // 2
    del values
    tracemalloc.start()
    try:
        fold = stack[rows]
        held, _ = tracemalloc.get_traced_memory()
        assert held < 10 * rows.nbytes < layer_bytes / 10
        means = [layer.mean() for layer in fold.layers]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert means == [0.0, 1.0, 2.0, 3.0]
    # One made while the one before is still named by the loop, never all four.
    assert peak < 2.5 * layer_bytes


# -- stacks within stacks ----------------------------------------------------------


@pytest.fixture
def trajectory(v1, v2):
    return LayerStack(
        {"early": {"V1": v1, "V2": v2}, "late": LayerStack({"V1": -v1, "V2": -v2})},
        stimuli=LABELS,
    )


def test_nested_stacks_keep_their_layers(trajectory, v1, v2):
    assert trajectory.names == ("early", "late")
    assert trajectory.widths == (7, 7)
    assert trajectory.shape == (N, 14)
    late = trajectory[[4, 1]].layer("late")
    assert isinstance(late, LayerStack)
    assert np.array_equal(late.layer("V1"), -v1[[4, 1]])
    assert np.array_equal(np.asarray(trajectory), np.column_stack([v1, v2, -v1, -v2]))


def test_structure_tells_names_and_widths_at_every_depth(trajectory, v1):
    inner = (("V1", "V2"), (4, 3))
    assert trajectory.structure == (("early", "late"), (inner, inner))
    assert LayerStack([v1]).structure == (None, (4,))


def test_nested_stacks_follow_the_labels_of_the_outer(trajectory):
    assert trajectory[[3, 2]].layer("early").stimuli.tolist() == ["image3", "image2"]
    assert trajectory.with_stimuli(None).layer("late").stimuli is None
    renamed = trajectory.with_stimuli(range(N))
    assert renamed.layer("late").stimuli.tolist() == list(range(N))


def test_labels_of_nested_stacks_are_those_of_the_outer(stack, v1, v2):
    outer = LayerStack([stack, LayerStack([v1, v2])])
    assert outer.stimuli.tolist() == LABELS
    other = LayerStack([v1], stimuli=LABELS[::-1])
    with pytest.raises(ValueError, match=r"row 0 is 'image0'.*'image11' in layer 1"):
        LayerStack([stack, other])


# -- labels ----------------------------------------------------------------------------


def test_labels_given_replace_those_that_came(stack, v1):
    numbers = list(range(N))
    assert LayerStack(stack, stimuli=numbers).stimuli.tolist() == numbers
    frame = pd.DataFrame(v1, index=LABELS)
    assert LayerStack([frame], stimuli=numbers).stimuli.tolist() == numbers


def test_with_stimuli_shares_layers_and_leaves_the_stack(stack, v1):
    bare = stack.with_stimuli(None)
    assert bare.stimuli is None
    assert stack.stimuli.tolist() == LABELS
    assert np.shares_memory(bare.layer("V1"), v1)
    assert stack.with_stimuli(LABELS[::-1]).stimuli.tolist() == LABELS[::-1]


@pytest.mark.parametrize("labels", [LABELS[:-1], [*LABELS, "one more"], []])
def test_other_number_of_labels_is_an_error(stack, labels):
    message = f"`stimuli` has {len(labels)} labels.* 12 stimuli"
    with pytest.raises(ValueError, match=message):
        LayerStack(stack, stimuli=labels)
    with pytest.raises(ValueError, match=message):
        stack.with_stimuli(labels)


# -- every array, at whatever depth --------------------------------------------------


@pytest.fixture
def subjects(v1, v2):
    """Two subjects: one of two networks of one and two layers, one of one layer."""
    networks = LayerStack([[v1], {"V1": v1, "V2": v2}])
    return LayerStack({"a": networks, "b": v2}, stimuli=LABELS)


def described(leaves):
    return [(leaf.where, leaf.top, leaf.weight) for leaf in leaves]


def test_leaves_of_a_stack_are_its_layers(stack, v1, v2):
    assert described(stack.leaves()) == [
        ("X, layer 'V1'", 0, 1.0),
        ("X, layer 'V2'", 1, 1.0),
    ]
    assert described(LayerStack([v1, v2]).leaves("y")) == [
        ("y, layer 0", 0, 1.0),
        ("y, layer 1", 1, 1.0),
    ]
    for leaf, layer in zip(stack.leaves(), (v1, v2), strict=True):
        assert np.shares_memory(leaf.layer, layer)
        assert np.array_equal(leaf.layer, layer)


def test_leaves_are_the_arrays_at_whatever_depth(subjects, v1, v2):
    # Every layer of a stack has the same share of it: halves, and halves of a half.
    assert described(subjects.leaves("runs")) == [
        ("runs, layer 'a', layer 0, layer 0", 0, 0.5),
        ("runs, layer 'a', layer 1, layer 'V1'", 0, 0.25),
        ("runs, layer 'a', layer 1, layer 'V2'", 0, 0.25),
        ("runs, layer 'b'", 1, 1.0),
    ]
    for leaf, layer in zip(subjects.leaves(), (v1, v1, v2, v2), strict=True):
        assert np.array_equal(leaf.layer, layer)


def test_leaves_of_a_selection_have_its_rows(subjects, v1, v2):
    leaves = [leaf.layer for leaf in subjects[[7, 2, 2]].leaves()]
    for found, layer in zip(leaves, (v1, v1, v2, v2), strict=True):
        assert np.array_equal(found, layer[[7, 2, 2]])


def test_leaves_are_made_when_they_are_asked_for(stack, v2):
    leaves = stack[[3, 1]].leaves()
    next(leaves)
    v2[3] = 99.0
    assert (next(leaves).layer[0] == 99.0).all()
    with pytest.raises(StopIteration):
        next(leaves)


def test_map_keeps_names_labels_and_depth(subjects, v1, v2):
    mapped = subjects.map(lambda layer: 2 * layer[:, :1])
    assert mapped.names == ("a", "b")
    assert mapped.structure == (
        ("a", "b"),
        ((None, ((None, (1,)), (("V1", "V2"), (1, 1)))), 1),
    )
    assert mapped.stimuli.tolist() == LABELS
    assert mapped.layer("a").layers[1].stimuli.tolist() == LABELS
    for leaf, layer in zip(mapped.leaves(), (v1, v1, v2, v2), strict=True):
        assert np.array_equal(leaf.layer, 2 * layer[:, :1])
    # What is mapped is left as it is.
    assert subjects.widths == (4 + 4 + 3, 3)
    assert np.array_equal(subjects.layer("b"), v2)


def test_map_of_a_selection_has_its_rows_and_labels(subjects, v1):
    seen = []

    def double(layer):
        seen.append(len(layer))
        return 2 * layer

    mapped = subjects[[7, 2, 2]].map(double)
    assert seen == [3, 3, 3, 3]
    assert mapped.stimuli.tolist() == ["image7", "image2", "image2"]
    assert np.array_equal(mapped.layer("a").layers[0].layers[0], 2 * v1[[7, 2, 2]])
    # Selecting and mapping can change places.
    other = subjects.map(double)[[7, 2, 2]]
    assert np.array_equal(np.asarray(mapped), np.asarray(other))


def test_map_of_a_stack_without_labels_has_none(subjects, v1):
    assert subjects.with_stimuli(None).map(np.negative).stimuli is None
    assert subjects.with_stimuli(None).map(np.negative).layer("a").stimuli is None
    # Then a function may select stimuli, the same in every array.
    mapped = LayerStack([v1, [v1, v1]]).map(lambda layer: layer[:5])
    assert mapped.shape == (5, 12)


def test_map_gives_every_array_the_values_in_its_place(subjects, v1, v2):
    mapped = subjects.map(
        lambda layer, factor, shift: factor * layer + shift,
        [1, 10, 100, 1000],
        (leaf.weight for leaf in subjects.leaves()),
    )
    expected = [v1 + 0.5, 10 * v1 + 0.25, 100 * v2 + 0.25, 1000 * v2 + 1]
    for leaf, layer in zip(mapped.leaves(), expected, strict=True):
        assert np.array_equal(leaf.layer, layer)


@pytest.mark.parametrize("n_values", [0, 3, 5])
def test_map_of_another_number_of_values_than_arrays_is_an_error(subjects, n_values):
    with pytest.raises(ValueError, match="argument"):
        subjects.map(lambda layer, value: layer, range(n_values))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda layer: layer[:5], "12 labels, but the layers have 5 stimuli"),
        (lambda layer: layer[: layer.shape[1]], "inconsistent numbers of samples"),
        (lambda layer: layer[:, :, np.newaxis], "Found array with dim 3"),
    ],
)
def test_map_to_what_is_no_layer_is_an_error(stack, function, message):
    with pytest.raises(ValueError, match=message):
        stack.map(function)


@pytest.mark.parametrize("names", [None, ["V1", "V2"]])
def test_map_to_vectors_is_an_error(names, v1, v2):
    # A list of vectors would be read as one array of as many stimuli.
    stack = LayerStack([v1, v2], names=names)
    with pytest.raises(ValueError, match=r"(?s)Expected 2D array.*layer (0|'V1')"):
        stack.map(lambda layer: layer.mean(axis=1))


# -- numpy's functions -------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, -2])
def test_concatenating_stimuli_keeps_the_layers(axis, stack, v1):
    joined = np.concatenate([stack[5:], stack[[0, 2]]], axis=axis)
    assert isinstance(joined, LayerStack)
    assert joined.names == ("V1", "V2")
    rows = [*range(5, N), 0, 2]
    assert np.array_equal(joined.layer("V1"), v1[rows])
    assert joined.stimuli.tolist() == [LABELS[row] for row in rows]


def test_concatenating_drops_labels_that_are_not_everyones(stack):
    assert np.concatenate([stack, stack.with_stimuli(None)]).stimuli is None


def test_concatenating_nested_stacks_keeps_their_layers(trajectory, v2):
    joined = np.concatenate([trajectory[:3], trajectory[5:]])
    late = joined.layer("late")
    assert np.array_equal(late.layer("V2"), -np.delete(v2, [3, 4], axis=0))


@pytest.mark.parametrize(
    "make",
    [
        lambda a, b: LayerStack({"V2": a, "V1": b}),
        lambda a, b: LayerStack([a, b]),
        lambda a, b: LayerStack({"V1": a, "V2": b[:, :2]}),
    ],
)
def test_concatenating_other_layers_is_an_error(make, stack, v1, v2):
    with pytest.raises(ValueError, match="Stacks of other layers cannot be joined"):
        np.concatenate([stack, make(v1, v2)])


def test_concatenating_nested_stacks_of_other_layers_is_an_error(trajectory, v1, v2):
    inner = {"V2": v2, "V1": v1}
    other = LayerStack({"early": inner, "late": inner})
    with pytest.raises(ValueError, match="Stacks of other layers cannot be joined"):
        np.concatenate([trajectory, other])


def test_concatenating_with_arrays_or_along_units_gives_an_array(stack, v1, v2):
    side_by_side = np.column_stack([v1, v2])
    below = np.concatenate([stack, side_by_side])
    assert np.array_equal(below, np.concatenate([side_by_side, side_by_side]))
    beside = np.concatenate([stack, stack], axis=1)
    assert np.array_equal(beside, np.column_stack([side_by_side, side_by_side]))
    flat = np.concatenate([stack, stack], axis=None)
    assert np.array_equal(flat, np.tile(side_by_side.ravel(), 2))


def test_taking_stimuli_keeps_the_layers(stack, v2):
    taken = np.take(stack, [4, -1], axis=0)
    assert isinstance(taken, LayerStack)
    assert np.array_equal(taken.layer("V2"), v2[[4, -1]])


def test_other_ways_of_taking_are_those_of_arrays(stack, v1, v2):
    side_by_side = np.column_stack([v1, v2])
    assert np.array_equal(np.take(stack, [1, 5], axis=1), side_by_side[:, [1, 5]])
    assert np.take(stack, 8) == side_by_side.ravel()[8]
    clipped = np.take(stack, [99], axis=0, mode="clip")
    assert np.array_equal(clipped, side_by_side[[-1]])


def test_other_functions_see_the_layers_side_by_side(stack, v1, v2):
    side_by_side = np.column_stack([v1, v2])
    assert np.array_equal(np.mean(stack, axis=0), side_by_side.mean(axis=0))
    assert np.array_equal(np.isfinite(stack), np.ones((N, 7), dtype=bool))
    assert np.array_equal(np.vstack([stack, stack])[N:], side_by_side)


def test_copies_have_the_same_layers(stack, v1):
    for twin in (copy.copy(stack), copy.deepcopy(stack)):
        assert np.array_equal(twin.layer("V1"), v1)
        assert twin.stimuli.tolist() == LABELS
    assert not np.shares_memory(copy.deepcopy(stack).layer("V1"), v1)


# -- aligning ----------------------------------------------------------------------


def test_aligned_stacks_have_the_common_stimuli_in_the_order_of_the_first():
    values = np.arange(5.0)[:, np.newaxis]
    first = LayerStack([values], stimuli=["d", "a", "c", "b", "e"])
    second = LayerStack([values, values], stimuli=["a", "b", "x", "d", "c"])
    third = LayerStack([values[:4]], stimuli=["c", "d", "a", "y"])
    aligned = align_stimuli(first, second, third)
    assert [stack.stimuli.tolist() for stack in aligned] == [["d", "a", "c"]] * 3
    assert [stack.layers[0].ravel().tolist() for stack in aligned] == [
        [0, 1, 2],
        [3, 0, 4],
        [1, 2, 0],
    ]
    assert aligned[1].n_layers == 2


def test_frames_are_aligned_by_their_index(v1, v2):
    first = pd.DataFrame(v1, index=LABELS)
    second = pd.DataFrame(v2, index=LABELS[::-1])
    _, aligned = align_stimuli(first, second)
    assert np.array_equal(aligned.layers[0], v2[::-1])


def test_dates_are_aligned():
    days = np.array(["2020-01-01", "2020-01-02"], dtype="M8[ns]")
    first = LayerStack([np.eye(2)], stimuli=days)
    second = LayerStack([np.eye(2)], stimuli=days[::-1])
    _, aligned = align_stimuli(first, second)
    assert aligned.layers[0].tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "Stack 1 has no stimulus labels"),
        (["a", "b", "a"], "Stack 1 has the stimulus 'a' more than once"),
        (["x", "y", "z"], "no stimulus in common"),
    ],
)
def test_what_cannot_be_aligned_is_an_error(labels, message):
    first = LayerStack([np.eye(3)], stimuli=["a", "b", "c"])
    with pytest.raises(ValueError, match=message):
        align_stimuli(first, LayerStack([np.eye(3)], stimuli=labels))


def test_aligning_nothing_is_an_error():
    with pytest.raises(ValueError, match="at least one stack"):
        align_stimuli()


def test_joined_rows_have_the_same_units():
    frame = pd.DataFrame(np.arange(12.0).reshape(4, 3), columns=list("abc"))
    top, bottom = LayerStack({"V1": frame[:2]}), LayerStack({"V1": frame[2:]})
    joined = np.concatenate([top, bottom])
    assert joined.unit_names[0].tolist() == ["a", "b", "c"]
    reordered = LayerStack({"V1": frame[2:][["a", "c", "b"]]})
    with pytest.raises(ValueError, match=r"unit 1 of layer 'V1' is 'b' .* 'c'"):
        np.concatenate([top, reordered])
    unnamed = LayerStack({"V1": frame[2:].to_numpy()})
    assert np.concatenate([unnamed, top]).unit_names[0].tolist() == ["a", "b", "c"]
    nested = [LayerStack({"run": part}) for part in (top, reordered)]
    with pytest.raises(ValueError, match="unit 1 of layer 'V1'"):
        np.concatenate(nested)

import copy
import operator
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from skmot import LayerStack, align_stimuli

N = 12
LABELS = [f"image{row}" for row in range(N)]


@pytest.fixture
def v1():
    return np.random.default_rng(0).normal(size=(N, 4))


@pytest.fixture
def v2():
    return np.random.default_rng(1).normal(size=(N, 3))


@pytest.fixture
def stack(v1, v2):
    return LayerStack({"V1": v1, "V2": v2}, stimuli=LABELS)


def two_level_frame(v1, v2):
    """Layers side by side, their columns apart: V1 has the last of them."""
    return pd.DataFrame(
        np.column_stack([v1[:, :2], v2, v1[:, 2:]]),
        columns=pd.MultiIndex.from_tuples(
            [(layer, unit) for unit, layer in enumerate("aabbbaa")]
        ).set_levels(["V1", "V2"], level=0),
    )


# -- what a stack is made from -----------------------------------------------------

NETWORKS = {
    "list": lambda a, b: [a, b],
    "tuple": lambda a, b: (a, b),
    "dict": lambda a, b: {"V1": a, "V2": b},
    "two-level frame": two_level_frame,
    "list of lists": lambda a, b: [a.tolist(), b.tolist()],
    "list of frames": lambda a, b: [pd.DataFrame(a), pd.DataFrame(b)],
    "dict of frames": lambda a, b: {"V1": pd.DataFrame(a), "V2": pd.DataFrame(b)},
    "stack": lambda a, b: LayerStack([a, b]),
}


@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
def test_layers_stay_apart(make, v1, v2):
    stack = LayerStack(make(v1, v2))
    assert stack.n_layers == len(stack.layers) == 2
    assert stack.widths == (4, 3)
    assert np.array_equal(stack.layers[0], v1)
    assert np.array_equal(stack.layers[1], v2)
    assert np.array_equal(stack.layers[-1], v2)
    assert [len(layer) for layer in stack.layers[:]] == [N, N]


@pytest.mark.parametrize("kind", ["dict", "two-level frame", "dict of frames"])
def test_names_come_along(kind, v1, v2):
    stack = LayerStack(NETWORKS[kind](v1, v2))
    assert stack.names == ("V1", "V2")
    assert np.array_equal(stack.layer("V2"), v2)


@pytest.mark.parametrize("make", [lambda a: a, lambda a: a.tolist(), pd.DataFrame])
def test_one_array_is_one_layer(make, v1):
    stack = LayerStack(make(v1))
    assert stack.n_layers == 1
    assert np.array_equal(stack.layers[0], v1)


def test_frame_of_missing_numbers_is_read_as_numbers():
    column = pd.array([1, 2, None], dtype="Int64")
    stack = LayerStack(pd.DataFrame({("V1", "a"): column, ("V1", "b"): [4, 5, 6]}))
    assert stack.layers[0].dtype == np.float64
    assert np.array_equal(stack.layers[0], [[1, 4], [2, 5], [np.nan, 6]], True)


def test_names_given_replace_those_that_came(v1, v2):
    assert LayerStack([v1, v2], names=["a", "b"]).names == ("a", "b")
    assert LayerStack({"V1": v1, "V2": v2}, names=["a", "b"]).names == ("a", "b")
    assert LayerStack(LayerStack({"V1": v1}), names=[7]).layer(7) is not None


def test_layers_in_memory_are_not_copied(v1, v2):
    stack = LayerStack([v1, np.asfortranarray(v2)])
    assert np.shares_memory(stack.layers[0], v1)
    assert stack.layers[1].flags.f_contiguous


def test_stack_of_a_stack_leaves_the_first_as_it_is(stack):
    other = LayerStack(stack, names=["a", "b"], stimuli=range(N))
    assert other.names == ("a", "b")
    assert stack.names == ("V1", "V2")
    assert stack.stimuli.tolist() == LABELS


# -- what is refused ---------------------------------------------------------------


@pytest.mark.parametrize("nothing", [[], {}, ()])
def test_no_layer_is_an_error(nothing):
    with pytest.raises(ValueError, match="at least one layer, got none"):
        LayerStack(nothing)


SPARSE = [sparse.csr_array, sparse.csr_matrix, sparse.dok_array, sparse.dok_matrix]


@pytest.mark.parametrize("kind", SPARSE)
@pytest.mark.parametrize(
    ("wrap", "name"),
    [
        (lambda a: a, "the layer"),
        (lambda a: [np.ones((4, 2)), a], "layer 1"),
        (lambda a: {"V1": np.ones((4, 2)), "V2": a}, "layer 'V2'"),
    ],
)
def test_sparse_layer_is_an_error(kind, wrap, name):
    with pytest.raises(TypeError, match=f"Sparse data was passed.*{name}"):
        LayerStack(wrap(kind(np.eye(4))))


@pytest.mark.parametrize("shape", [(N, 2, 3), (N, 2, 3, 3)])
def test_layer_of_more_dimensions_names_the_reductions(shape, v1):
    with pytest.raises(ValueError, match="layer 'V2' must be") as error:
        LayerStack({"V1": v1, "V2": np.zeros(shape)})
    assert f"Found array with dim {len(shape)}, while dim <= 2" in str(error.value)
    assert "layer.mean(axis=(2, 3))" in str(error.value)
    assert "layer.reshape(len(layer), -1)" in str(error.value)
    assert "layer[:, -1]" in str(error.value)


def test_layer_of_one_dimension_is_an_error(v1):
    with pytest.raises(ValueError, match=r"(?s)Expected 2D.*got 1D.*layer 'V2'"):
        LayerStack({"V1": v1, "V2": v1[:, 0]})


def test_layers_of_unequal_length_are_an_error_with_both(v1, v2):
    with pytest.raises(ValueError, match=r"layer 'V1' has 12.*layer 'V2' has 5"):
        LayerStack({"V1": v1, "V2": v2[:5]})
    with pytest.raises(ValueError, match=r"layer 0 has 12 .*layer 1 has 5"):
        LayerStack([v1, v2[:5]])


def test_frame_of_deeper_columns_is_an_error(v1):
    columns = pd.MultiIndex.from_product([["run"], ["V1", "V2"], [0, 1]])
    with pytest.raises(ValueError, match="3 levels: two are read"):
        LayerStack(pd.DataFrame(v1, columns=columns))


def test_masked_entries_are_an_error(v1):
    hidden = np.ma.array(v1, mask=v1 > 1)
    assert hidden.mask.any()
    with pytest.raises(ValueError, match="layer 'V1' has masked entries"):
        LayerStack({"V1": hidden})
    assert LayerStack({"V1": np.ma.array(v1)}).shape == v1.shape


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


# -- one array of two dimensions ---------------------------------------------------


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
    with pytest.raises(TypeError, match="not iterable"):
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


def test_lists_nest(v1, v2):
    stack = LayerStack([[v1, v2], (v2, v1)])
    assert [network.widths for network in stack.layers] == [(4, 3), (3, 4)]
    framed = LayerStack({"run": two_level_frame(v1, v2)})
    assert np.array_equal(framed.layer("run").layer("V1"), v1)


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


# -- labels ------------------------------------------------------------------------


def test_index_of_a_frame_is_its_labels(v1, v2):
    frame = two_level_frame(v1, v2)
    assert LayerStack(frame).stimuli is None
    assert LayerStack(frame.set_axis(LABELS)).stimuli.tolist() == LABELS
    assert LayerStack(frame.iloc[3:]).stimuli.tolist() == list(range(3, N))
    assert LayerStack(pd.DataFrame(v1, index=LABELS)).stimuli.tolist() == LABELS


def test_frames_of_one_network_must_share_their_labels(v1, v2):
    first = pd.DataFrame(v1, index=LABELS)
    stack = LayerStack({"V1": first, "V2": v2, "V4": first})
    assert stack.stimuli.tolist() == LABELS
    swapped = pd.DataFrame(v2, index=[*LABELS[:10], "image11", "image10"])
    with pytest.raises(ValueError, match=r"row 10 is 'image10'.*'image11' in .*'V2'"):
        LayerStack({"V1": first, "V2": swapped})


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


def test_the_layers_of_a_stack_read_as_layers():
    source = [np.eye(4)[:, :2], np.eye(4)]
    stack = LayerStack(source)
    again = LayerStack(stack[1:].layers)
    assert again.widths == (2, 4)
    np.testing.assert_array_equal(again.layers[1], np.eye(4)[1:])
    assert LayerStack([stack.layers, stack.layers]).layers[0].widths == (2, 4)

"""Layers are read from lists, dicts, DataFrames and arrays."""

from collections import deque
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from skmot import LayerStack, MultiLevelOT, SoftMatching
from skmot.preprocessing import average_repeats, positions_as_stimuli
from tests.layers.common import LABELS, N, two_level_frame

# -- what layers are read from ---------------------------------------------------------

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


def test_lists_nest(v1, v2):
    stack = LayerStack([[v1, v2], (v2, v1)])
    assert [network.widths for network in stack.layers] == [(4, 3), (3, 4)]
    framed = LayerStack({"run": two_level_frame(v1, v2)})
    assert np.array_equal(framed.layer("run").layer("V1"), v1)


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


def test_layers_in_memory_are_not_copied(v1, v2):
    stack = LayerStack([v1, np.asfortranarray(v2)])
    assert np.shares_memory(stack.layers[0], v1)
    assert stack.layers[1].flags.f_contiguous


def test_the_layers_of_a_stack_read_as_layers():
    source = [np.eye(4)[:, :2], np.eye(4)]
    stack = LayerStack(source)
    again = LayerStack(stack[1:].layers)
    assert again.widths == (2, 4)
    np.testing.assert_array_equal(again.layers[1], np.eye(4)[1:])
    assert LayerStack([stack.layers, stack.layers]).layers[0].widths == (2, 4)


# -- labels ----------------------------------------------------------------------------


def test_index_of_a_frame_is_its_labels(v1, v2):
    frame = two_level_frame(v1, v2)
    assert LayerStack(frame).stimuli is None
    assert LayerStack(frame.set_axis(LABELS)).stimuli.tolist() == LABELS
    # Whole numbers without a name number rows.
    assert LayerStack(frame.iloc[3:]).stimuli is None
    named = frame.rename_axis("stimulus").iloc[3:]
    assert LayerStack(named).stimuli.tolist() == list(range(3, N))
    assert LayerStack(pd.DataFrame(v1, index=LABELS)).stimuli.tolist() == LABELS


def test_frames_of_one_network_must_share_their_labels(v1, v2):
    first = pd.DataFrame(v1, index=LABELS)
    stack = LayerStack({"V1": first, "V2": v2, "V4": first})
    assert stack.stimuli.tolist() == LABELS
    swapped = pd.DataFrame(v2, index=[*LABELS[:10], "image11", "image10"])
    with pytest.raises(ValueError, match=r"row 10 is 'image10'.*'image11' in .*'V2'"):
        LayerStack({"V1": first, "V2": swapped})


# -- what is refused -------------------------------------------------------------------

SPARSE = [sparse.csr_array, sparse.csr_matrix, sparse.dok_array, sparse.dok_matrix]


@pytest.mark.parametrize("kind", SPARSE)
def test_a_single_sparse_array_is_an_error_that_names_the_stack(kind):
    with pytest.raises(TypeError, match=r"Sparse data was.*`LayerStack\(\[X\]\)`"):
        LayerStack(kind(np.eye(4)))
    for sides in ((kind(np.eye(4)), np.eye(4)), (np.eye(4), kind(np.eye(4)))):
        with pytest.raises(TypeError, match=r"Sparse data was.*`LayerStack\(\[X\]\)`"):
            SoftMatching().fit(*sides)


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


@pytest.mark.parametrize("kind", [np.asarray, pd.Series])
def test_vectors_in_a_list_are_refused(kind):
    # Two layers of one unit and 80 stimuli, or two stimuli of 80 units?
    vectors = [kind(vector) for vector in np.random.default_rng(0).normal(size=(2, 80))]
    with pytest.raises(ValueError, match=r"2 vectors of 80 .*np\.newaxis.*np\.stack"):
        LayerStack(vectors)
    with pytest.raises(ValueError, match=r"found in y"):
        SoftMatching().fit(np.stack(vectors), vectors)
    # Nested lists of numbers are one array.
    assert LayerStack([list(vector) for vector in vectors]).shape == (2, 80)


@pytest.mark.parametrize("lengths", [(30, 30, 30), (30, 30, 18)])
def test_vectors_are_refused_wherever_layers_are_read(lengths):
    rng = np.random.default_rng(1)
    vectors = tuple(rng.normal(size=length) for length in lengths)
    layers = list(rng.normal(size=(2, 3, 30)))
    for read in (
        lambda: MultiLevelOT().fit(layers, vectors),
        lambda: MultiLevelOT().fit(layers, layers).predict(vectors),
        lambda: MultiLevelOT().fit(layers, layers).score(layers, vectors),
        lambda: LayerStack.from_trials(vectors, [0, 0, 1]),
        lambda: average_repeats(vectors, [0, 0, 1]),
        lambda: LayerStack({"subject 1": vectors, "subject 2": vectors}),
        lambda: LayerStack([deque(vectors), layers]),
        lambda: MultiLevelOT(MultiLevelOT()).fit([vectors, layers], [layers, layers]),
    ):
        with pytest.raises(ValueError, match=r"list of 3 vectors.*np\.newaxis"):
            read()


# -- units have names ------------------------------------------------------------------


def named_pair():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(60, 8)), columns=[f"u{i}" for i in range(8)])
    y = X.set_axis([f"v{i}" for i in range(8)], axis=1) + 0.3 * rng.normal(size=X.shape)
    return X, y


@pytest.mark.parametrize("method", ["score", "held_out_cost", "matching_score"])
def test_units_of_the_target_in_another_order_are_an_error(method):
    X, y = named_pair()
    fitted = SoftMatching().fit(X, y)
    with pytest.raises(ValueError, match=r"units of y differ: unit 0 is 'v7'.*'v0'"):
        getattr(fitted, method)(X, y[y.columns[::-1]])
    assert np.isfinite(getattr(fitted, method)(X, y))
    # What has no names agrees with every name.
    assert np.isfinite(getattr(fitted, method)(X, y.to_numpy()))


def test_default_columns_in_another_order_are_an_error():
    X, y = (frame.set_axis(range(8), axis=1) for frame in named_pair())
    fitted = SoftMatching().fit(X, y)
    with pytest.raises(ValueError, match=r"units of y differ: unit 0 is 7, .* to 0"):
        fitted.score(X, y[y.columns[::-1]])
    fitted.score(X, y)
    layers = pd.concat({"V1": y}, axis=1)
    mot = MultiLevelOT().fit(layers, layers)
    with pytest.raises(ValueError, match="unit 0 is 7"):
        mot.score(layers, layers[layers.columns[::-1]])


def test_units_of_layers_in_another_order_are_an_error():
    X, y = named_pair()
    networks = [LayerStack({"a": side, "b": side}) for side in (X, y)]
    mot = MultiLevelOT().fit(*networks)
    other = LayerStack({"a": X, "b": X[X.columns[[1, 0, *range(2, 8)]]]})
    with pytest.raises(ValueError, match=r"X, layer 'b' differ: unit 0 is 'u1'"):
        mot.predict(other)
    nested = [LayerStack([network, network]) for network in networks]
    fitted = MultiLevelOT(MultiLevelOT()).fit(*nested)
    with pytest.raises(ValueError, match=r"unit 0 is 'u1'"):
        fitted.predict(LayerStack([networks[0], other]))


def test_unit_names_are_read_and_carried():
    X, _ = named_pair()
    frame = pd.concat({"V1": X, "V2": X[["u3", "u1"]]}, axis=1)
    stack = LayerStack(frame)
    assert [names.tolist() for names in stack.unit_names] == [list(X), ["u3", "u1"]]
    assert stack[[3, 1]].unit_names[1].tolist() == ["u3", "u1"]
    assert LayerStack([X.to_numpy()]).unit_names == [None]
    assert LayerStack([X.set_axis(range(8), axis=1)]).unit_names == [None]
    given = LayerStack([X.to_numpy()], unit_names=[list("abcdefgh")])
    assert given.unit_names[0].tolist() == list("abcdefgh")
    with pytest.raises(ValueError, match="2 names for the 8 units of layer 0"):
        LayerStack([X.to_numpy()], unit_names=[["a", "b"]])
    with pytest.raises(ValueError, match="2 elements for 1 layers"):
        LayerStack([X.to_numpy()], unit_names=[None, None])


def test_units_are_selected_by_mask_number_and_name():
    X, _ = named_pair()
    stack = LayerStack(
        {"V1": X, "V2": X.to_numpy()}, stimuli=[f"s{i}" for i in range(60)]
    )
    mask = np.arange(8) % 2 == 0
    part = stack.select_units({"V1": ["u5", "u2"], "V2": mask})
    np.testing.assert_array_equal(part.layers[0], X[["u5", "u2"]])
    np.testing.assert_array_equal(part.layers[1], X.to_numpy()[:, mask])
    assert part.unit_names[0].tolist() == ["u5", "u2"]
    assert part.stimuli.tolist() == stack.stimuli.tolist()
    assert stack.select_units([None, [3]]).widths == (8, 1)
    for selection, message in (
        ([["u9"], None], "no unit 'u9'"),
        ([None, ["u1"]], "have no names"),
        ([[True], None], "mask of layer 'V1'"),
        ([None, [8]], "from 0 to 7"),
        ([None], "1 elements for 2 layers"),
        ({"V4": [0]}, "V4"),
    ):
        with pytest.raises(ValueError, match=message):
            stack.select_units(selection)


def test_names_that_do_not_tell_units_apart_select_none():
    X = np.random.default_rng(0).normal(size=(6, 3))
    stack = LayerStack({"V1": X}, unit_names=[["a", "b", "a"]])
    with pytest.raises(ValueError, match="Several units of layer 'V1' have the same"):
        stack.select_units([["a"]])
    np.testing.assert_array_equal(stack.select_units([[0, 2]]).layers[0], X[:, ::2])
    with pytest.raises(ValueError, match="layer 'run' is a stack: give unit names to"):
        LayerStack({"run": stack}, unit_names=[["a", "b", "a"]])


# -- hints ---------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["responses.npy", Path("folder") / "responses.npy"])
@pytest.mark.parametrize(
    "give",
    [
        lambda path: path,
        lambda path: [path],
        lambda path: {"V1": path},
        lambda path: [np.ones((N, 2)), path],
    ],
    ids=["alone", "list", "dict", "beside an array"],
)
def test_paths_are_refused_with_the_way_to_open_them(give, path):
    with pytest.raises(TypeError, match=r"`np.load\(path, mmap_mode=\"r\"\)`") as error:
        LayerStack(give(path))
    assert repr(str(path)) in str(error.value)


def test_hints_for_more_dimensions_are_code_that_runs(v1):
    with pytest.raises(ValueError, match="dim 4") as error:
        LayerStack([np.ones((N, 3, 4, 5))])
    for hint in (
        "skmot.preprocessing.positions_as_stimuli(layer)",
        "positions_as_stimuli(layer, mask=attention_mask)",
        "list(array)",
    ):
        assert f"`{hint}`" in str(error.value)
    # Each gives what the sentence says.
    layer = np.arange(N * 3 * 4 * 5.0).reshape(N, 3, 4, 5)
    positions = positions_as_stimuli(layer).layers[0]
    assert np.array_equal(positions[7], layer[0, :, 1, 2])
    tokens, attention_mask = layer[:, :, 0], np.ones((N, 3), dtype=bool)
    attention_mask[0, 2] = False
    assert positions_as_stimuli(tokens, mask=attention_mask).shape == (3 * N - 1, 5)
    assert LayerStack(list(np.ones((2, N, 4)))).widths == (4, 4)

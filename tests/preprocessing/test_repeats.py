import tracemalloc

import numpy as np
import pytest

from skmot import LayerStack
from skmot.preprocessing import average_repeats


def test_rows_of_a_label_are_averaged_in_order_of_appearance(stack):
    labels = np.array(["cat", "owl", "cat", "ant", "owl", "cat"])
    averages = average_repeats(LayerStack(stack[:6], stimuli=labels))
    assert averages.stimuli.tolist() == ["cat", "owl", "ant"]
    assert averages.names == stack.names
    for given, got in zip(stack.layers, averages.layers, strict=True):
        expected = [given[[0, 2, 5]], given[[1, 4]], given[[3]]]
        np.testing.assert_allclose(got, [part.mean(axis=0) for part in expected])


def test_labels_that_only_look_alike_are_not_averaged():
    layer = np.arange(6.0)[:, np.newaxis]
    labels = [1, "1", 2**53, 2**53 + 1, "1", 1]
    averages = average_repeats([layer], labels)
    assert averages.stimuli.tolist() == [1, "1", 2**53, 2**53 + 1]
    assert averages.layers[0].ravel().tolist() == [2.5, 2.5, 2, 3]
    by_trials = LayerStack.from_trials([layer], labels)
    assert by_trials.n_trials.tolist() == [2, 2, 1, 1]
    with pytest.raises(ValueError, match=r"row 4 is missing \(None\)"):
        average_repeats([layer], [*labels[:4], None, 1])


def test_groups_take_the_place_of_labels(stack):
    groups = [("a", 1), ("b", 1)] * 30
    averages = average_repeats(stack, groups)
    assert averages.stimuli.tolist() == [("a", 1), ("b", 1)]
    np.testing.assert_allclose(
        averages.layer("V2")[1], stack.layer("V2")[1::2].mean(axis=0)
    )
    bare = average_repeats(stack.layers[0], groups)
    np.testing.assert_allclose(bare.layers[0], averages.layers[0])


def test_stacks_within_stacks_are_averaged_at_the_bottom(stack):
    nested = LayerStack({"run": stack}, stimuli=np.arange(60) // 3)
    averages = average_repeats(nested)
    assert averages.layer("run").names == stack.names
    assert averages.layer("run").stimuli.tolist() == list(range(20))
    np.testing.assert_allclose(
        averages.layer("run").layer("V4")[7], stack.layer("V4")[21:24].mean(axis=0)
    )


def test_averages_keep_precision_and_add_in_float64():
    layer = np.full((10_000, 1), 0.1, dtype=np.float32)
    layer[::2] += np.float32(1e-3)
    (average,) = average_repeats(LayerStack([layer]), np.zeros(10_000)).layers
    assert average.dtype == np.float32
    assert average[0, 0] == np.float32(layer.astype(np.float64).mean())
    assert average_repeats([layer.astype(np.float64)], range(10_000)).dtype == float


def test_constant_units_stay_constant():
    # (0.1 + 0.1 + 0.1) / 3 is not 0.1.
    layer = np.column_stack([np.full(7, 0.1), np.arange(7)])
    averages = average_repeats([layer], [0, 0, 0, 1, 2, 2, 1])
    assert set(averages.layers[0][:, 0].tolist()) == {0.1}


def test_layers_are_averaged_one_at_a_time():
    layers = [np.ones((400, 500)) for _ in range(20)]
    shuffled = LayerStack(layers)[np.random.default_rng(0).permutation(400)]
    groups = np.arange(400) % 4
    average_repeats([np.ones((2, 2))], [0, 0])
    tracemalloc.start()
    average_repeats(shuffled, groups)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # A layer, and what averaging it takes; all twenty at once would be 32 MB and more.
    assert peak < 7 * layers[0].nbytes


def test_what_cannot_be_averaged_is_an_error(stack):
    with pytest.raises(ValueError, match=r"no stimulus labels.*give `groups`"):
        average_repeats(stack.with_stimuli(None))
    with pytest.raises(ValueError, match=r"`groups` has 59 labels.* 60 trials"):
        average_repeats(stack, np.zeros(59))
    broken = [layer.copy() for layer in stack.layers]
    broken[2][3, 3] = np.nan
    with pytest.raises(ValueError, match=r"NaN.*layer 'V4'"):
        average_repeats(LayerStack(broken, names=stack.names), np.zeros(60))

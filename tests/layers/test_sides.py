"""Sides that do not belong together are an error that names both."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from skmot import LayerStack, MultiLevelOT
from tests.layers.common import N_STIMULI, SOURCE, TARGET, with_layer


@pytest.mark.parametrize("nothing", [[], {}])
@pytest.mark.parametrize("side", ["X", "y"])
def test_no_layer_is_an_error(estimator, nothing, side):
    sides = (nothing, TARGET) if side == "X" else (SOURCE, nothing)
    with pytest.raises(ValueError, match=f"at least one layer.*found in {side}"):
        estimator.fit(*sides)


def test_no_target_is_an_error(estimator):
    with pytest.raises(ValueError, match="requires y to be passed, but the target y"):
        estimator.fit(SOURCE, None)


@pytest.mark.parametrize("n_stimuli", [0, 1])
def test_fewer_than_two_stimuli_are_an_error(estimator, n_stimuli):
    X, y = LayerStack(SOURCE)[:n_stimuli], LayerStack(TARGET)[:n_stimuli]
    phrase = rf"Found array with {n_stimuli} sample\(s\) .* minimum of 2 is required"
    with pytest.raises(ValueError, match=phrase + ".*X, layer 'V1'"):
        estimator.fit(X, y)
    estimator.fit(SOURCE, TARGET)
    with pytest.raises(ValueError, match=f"{n_stimuli} sample.*layer 'V1'"):
        estimator.score(X, y)


def test_layers_of_unequal_length_are_an_error_with_both(estimator):
    bad = with_layer(SOURCE, "V2", SOURCE["V2"][:30])
    with pytest.raises(ValueError, match=r"'V1' has 40 .*'V2' has 30.*found in X"):
        estimator.fit(bad, TARGET)


def test_sides_of_unequal_length_are_an_error_with_both(estimator):
    short = LayerStack(TARGET)[:30]
    message = "inconsistent numbers of samples: X has 40 stimuli and y has 30"
    with pytest.raises(ValueError, match=message):
        estimator.fit(SOURCE, short)
    with pytest.raises(ValueError, match=message):
        estimator.fit(SOURCE, TARGET).score(SOURCE, short)


def test_sides_of_other_labels_are_an_error_with_the_first_mismatch(estimator):
    labels = [f"image{row}" for row in range(N_STIMULI)]
    X = LayerStack(SOURCE, stimuli=labels)
    y = LayerStack(TARGET, stimuli=[*labels[:5], labels[6], labels[5], *labels[7:]])
    message = "row 5 is 'image5' in X and 'image6' in y"
    with pytest.raises(ValueError, match=message):
        estimator.fit(X, y)
    estimator.fit(X, y.with_stimuli(None))
    with pytest.raises(ValueError, match=message):
        estimator.score(X, y)
    assert estimator.score(X, y.with_stimuli(None)) == estimator.score(SOURCE, TARGET)


def test_labels_dropped_are_dropped_within_nested_stacks():
    labels = np.arange(N_STIMULI)
    X = LayerStack([LayerStack(SOURCE, stimuli=labels)])
    y = LayerStack([LayerStack(TARGET, stimuli=labels[::-1])])
    nested = MultiLevelOT(MultiLevelOT())
    with pytest.raises(ValueError, match="row 0 is 0 in X and 39 in y"):
        nested.fit(X, y)
    nested.fit(X, y.with_stimuli(None))
    assert nested.score(X, y.with_stimuli(None)) == nested.score([SOURCE], [TARGET])


@pytest.mark.parametrize("bare", ["X", "y"])
def test_bare_array_against_layers_is_an_error(estimator, bare):
    array = np.asarray(LayerStack(SOURCE))
    sides = (array, TARGET) if bare == "X" else (TARGET, array)
    with pytest.raises(ValueError, match=rf"LayerStack\(\[{bare}\]\)") as error:
        estimator.fit(*sides)
    assert f"{'y' if bare == 'X' else 'X'} has 3 layers" in str(error.value)
    sides = [LayerStack([side]) if side is array else side for side in sides]
    estimator.fit(*sides)


@pytest.mark.parametrize("method", ["predict", "inverse_predict", "score"])
def test_unfitted_use_is_an_error(estimator, method):
    given = (SOURCE, TARGET) if method == "score" else (SOURCE,)
    with pytest.raises(NotFittedError):
        getattr(estimator, method)(*given)

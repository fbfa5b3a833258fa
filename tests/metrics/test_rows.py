"""What two sides say of their rows is compared by every function of two arrays."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from skmot import LayerStack, metrics
from skmot.exceptions import RowNumberWarning

N_STIMULI = 60
IDS = [f"image {row:02d}" for row in range(N_STIMULI)]
FUNCTIONS = [
    metrics.linear_cka,
    metrics.linear_predictivity_score,
    metrics.one_to_one_distance,
    metrics.procrustes_distance,
    metrics.reconstruction_correlation,
    metrics.rectangular_matching_score,
    metrics.rsa_score,
    metrics.semi_matching_score,
    metrics.soft_matching_distance,
    metrics.soft_matching_score,
    lambda X, y: metrics.rotation_curve(X, y, [0.0, 1.0], random_state=0),
]
by_function = pytest.mark.parametrize("function", FUNCTIONS)


@pytest.fixture
def values():
    return np.random.default_rng(0).normal(size=(N_STIMULI, 5))


@by_function
@pytest.mark.parametrize(
    "label",
    [
        lambda values: pd.DataFrame(values, index=IDS),
        lambda values: xr.DataArray(values, coords={"x": IDS}, dims=("x", "y")),
        lambda values: LayerStack([values], stimuli=IDS),
    ],
    ids=["frame", "DataArray", "stack"],
)
def test_other_stimuli_in_a_row_are_an_error(function, label, values):
    labelled = label(values)
    with pytest.raises(ValueError, match=r"row 0 is 'image 00' .* 'image 59'"):
        function(labelled, labelled[::-1])
    function(labelled, labelled)
    function(labelled, values[::-1])


@by_function
def test_other_row_numbers_are_warned_of(function, values):
    frame = pd.DataFrame(values)
    with pytest.warns(RowNumberWarning, match="row 0 is number 0") as caught:
        function(frame, frame[::-1])
    assert caught[0].filename == __file__
    function(frame, frame)


def test_reconstructed_units_in_another_order_are_an_error(values):
    frame = pd.DataFrame(values, columns=list("abcde"))
    with pytest.raises(ValueError, match="unit 0 is 'a' in y_true and 'e' in y_pred"):
        metrics.reconstruction_correlation(frame, frame[frame.columns[::-1]])
    assert metrics.reconstruction_correlation(frame, frame) == pytest.approx(1)
    # What has no names agrees with every name.
    assert metrics.reconstruction_correlation(frame, values) == pytest.approx(1)

import numpy as np
import pytest

from skmot import MultiLevelOT, SoftMatching
from skmot.metrics import reconstruction_correlation
from tests import reference


def recorded_and_reconstructed(n_units=6, n_stimuli=40, seed=0):
    rng = np.random.default_rng(seed)
    recorded = rng.normal(3, 2, (n_stimuli, n_units))
    return recorded, recorded + rng.normal(size=recorded.shape) * np.arange(n_units)


def test_score_is_the_mean_correlation_over_units():
    y_true, y_pred = recorded_and_reconstructed()
    expected = np.mean(
        [np.corrcoef(y_true[:, i], y_pred[:, i])[0, 1] for i in range(6)]
    )
    found = reconstruction_correlation(y_true, y_pred)
    assert found == pytest.approx(expected, abs=1e-14)
    assert isinstance(found, float)


def test_perfect_and_reversed_reconstructions_score_one_and_minus_one():
    y, _ = recorded_and_reconstructed()
    assert reconstruction_correlation(y, 2 * y + 7) == pytest.approx(1, abs=1e-14)
    assert reconstruction_correlation(y, -y) == pytest.approx(-1, abs=1e-14)


def test_score_ignores_offset_and_scale_of_each_unit_on_either_side():
    y_true, y_pred = recorded_and_reconstructed()
    expected = reconstruction_correlation(y_true, y_pred)
    scales = 10.0 ** np.arange(-30, 30, 10)
    moved = reconstruction_correlation(scales * (y_true + 5), (y_pred - 3) / scales)
    assert moved == pytest.approx(expected, abs=1e-13)


def test_units_constant_in_the_truth_are_left_out():
    y_true, y_pred = recorded_and_reconstructed()
    expected = reconstruction_correlation(
        np.delete(y_true, [1, 4], axis=1), np.delete(y_pred, [1, 4], axis=1)
    )
    y_true[:, [1, 4]] = 0.1
    found = reconstruction_correlation(y_true, y_pred)
    assert found == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_units_constant_in_the_reconstruction_count_as_zero(dtype):
    y_true, y_pred = (part.astype(dtype) for part in recorded_and_reconstructed())
    y_pred[:, [0, 3]] = 0.1
    kept = [1, 2, 4, 5]
    expected = (
        sum(
            reference.pearson(y_true[:, i].astype(float), y_pred[:, i].astype(float))
            for i in kept
        )
        / 6
    )
    found = reconstruction_correlation(y_true, y_pred)
    assert found == pytest.approx(expected, abs=1e-13)


def test_units_constant_on_both_sides_are_left_out():
    y_true, y_pred = recorded_and_reconstructed()
    expected = reconstruction_correlation(y_true[:, 1:], y_pred[:, 1:])
    y_true[:, 0] = y_pred[:, 0] = 2.0
    found = reconstruction_correlation(y_true, y_pred)
    assert found == pytest.approx(expected, abs=1e-15)


def test_a_reconstruction_of_constants_scores_zero():
    y_true, _ = recorded_and_reconstructed()
    assert reconstruction_correlation(y_true, np.full_like(y_true, 0.1)) == 0


def test_a_truth_of_constants_is_an_error():
    y_true, y_pred = recorded_and_reconstructed()
    with pytest.raises(ValueError, match="Every unit of y_true is constant"):
        reconstruction_correlation(np.ones_like(y_true), y_pred)


def test_one_dimension_is_one_unit():
    y_true, y_pred = recorded_and_reconstructed()
    found = reconstruction_correlation(y_true[:, 2], y_pred[:, 2])
    assert found == pytest.approx(
        reference.pearson(y_true[:, 2], y_pred[:, 2]), abs=1e-14
    )
    assert reconstruction_correlation([1, 2, 3], [1.0, 2.0, 3.0]) == pytest.approx(1)


@pytest.mark.parametrize("shape", [(40, 5), (39, 6), (40,), (6, 40)])
def test_shapes_that_differ_are_an_error_with_both(shape):
    y_true, _ = recorded_and_reconstructed()
    with pytest.raises(ValueError, match=r"same shape; got \(40, 6\) and \("):
        reconstruction_correlation(y_true, np.ones(shape))


def test_a_single_stimulus_and_numbers_that_are_not_finite_are_errors():
    y_true, y_pred = recorded_and_reconstructed()
    with pytest.raises(
        ValueError, match=r"1 sample\(s\).*minimum of 2.*found in y_true"
    ):
        reconstruction_correlation(y_true[:1], y_pred[:1])
    y_pred[3, 3] = np.inf
    with pytest.raises(ValueError, match="found in y_pred"):
        reconstruction_correlation(y_true, y_pred)


def test_the_mean_is_over_the_units_that_have_a_correlation():
    # Of these orthonormal columns, by how much of the truth is in them.
    columns = np.random.default_rng(0).normal(size=(20, 2))
    columns -= columns.mean(axis=0)
    a, b = np.linalg.qr(columns)[0].T
    y_true = np.column_stack([a, np.ones(20), a, a])
    y_pred = np.column_stack(
        [a + np.sqrt(3) * b, a, np.sqrt(15) * b - a, np.full(20, 0.1)]
    )
    # Correlations of 1/2, none, -1/4, and 0.
    assert reconstruction_correlation(y_true, y_pred) == pytest.approx(0.25 / 3)


def test_a_layer_without_a_correlation_is_named():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 4))
    y = {"V1": rng.normal(size=(30, 3)), "V2": rng.normal(size=(30, 5))}
    for estimator in (SoftMatching(), MultiLevelOT()):
        estimator.fit({"all": X}, y)
        silent = {**y, "V1": np.ones((30, 3))}
        with pytest.raises(ValueError, match=r"Every unit of y, .*V1.* is constant"):
            estimator.score({"all": X}, silent)


def test_entries_under_a_mask_are_refused_on_either_side():
    y = np.random.default_rng(0).normal(size=(24, 4))
    masked = np.ma.array(y, mask=np.zeros(y.shape, dtype=bool))
    masked[3, 1] = np.ma.masked
    for sides in ((y, masked), (masked, y)):
        with pytest.raises(ValueError, match="masked entries"):
            reconstruction_correlation(*sides)

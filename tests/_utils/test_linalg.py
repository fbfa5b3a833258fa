"""Factorisations, against the properties that define them.

An estimator shows what it makes of them, not the factors: hence the internal import.
"""

import numpy as np
import pytest

from skmot._utils import linalg
from skmot._utils.linalg import complete_qr, thin_qr, thin_svd
from skmot.transport import TuningCurves
from tests.libraries import beside, to_host

LIBRARIES = ["numpy", "torch", "array_api_strict"]
DTYPES = {"float32": 2e-6, "float64": 1e-13}


def matrix(library, shape, dtype):
    array = np.random.default_rng(0).normal(size=shape).astype(dtype)
    return array, pytest.importorskip(library).asarray(array)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("shape", [(9, 4), (4, 4), (1, 1)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_factors_multiply_to_the_matrix_in_its_precision(library, shape, dtype):
    array, given = matrix(library, shape, dtype)
    parts = *thin_qr(given), *complete_qr(given), *thin_svd(given)
    for part in parts:
        assert part.dtype == given.dtype
        assert beside(part, given)
    basis, triangular, square, upper, left, values, right = map(to_host, parts)
    assert square.shape == (shape[0], shape[0])
    for columns, factor in ((basis, triangular), (square[:, : shape[1]], upper)):
        np.testing.assert_allclose(columns @ factor, array, atol=10 * DTYPES[dtype])
        np.testing.assert_array_equal(np.tril(factor, -1), 0)
    np.testing.assert_allclose((left * values) @ right, array, atol=10 * DTYPES[dtype])
    for orthonormal in (basis, square, left, right.T):
        np.testing.assert_allclose(
            orthonormal.T @ orthonormal,
            np.eye(orthonormal.shape[1]),
            atol=DTYPES[dtype],
        )


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("n", [1, 4, 5, 8, 9, 16, 17, 100])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_triangular_factor_has_the_same_products(library, n, dtype):
    array, given = matrix(library, (n, 4), dtype)
    # Units may depend on each other.
    array[:, 3] = array[:, 0]
    given[:, 3] = given[:, 0]
    factor = TuningCurves(given, offsets=np.zeros(4), weight=1.0).triangular
    assert factor.shape == (min(n, 4), 4)
    assert factor.dtype == given.dtype
    assert beside(factor, given)
    if n <= 4:
        assert factor is given
    factor = to_host(factor)
    np.testing.assert_allclose(
        factor.T @ factor, array.T @ array, atol=200 * DTYPES[dtype]
    )
    # The difference of two that are the same is no more than rounding.
    assert np.linalg.norm(factor @ [1, 0, 0, -1]) < 100 * DTYPES[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
def test_svd_has_another_way_where_divide_and_conquer_does_not_converge(
    monkeypatch, dtype
):
    def failing(*arguments, **settings):
        raise np.linalg.LinAlgError("SVD did not converge")

    def without_result(matrix, signature):
        return tuple(np.full(shape, np.nan) for shape in ((7, 4), 4, (4, 4)))

    monkeypatch.setattr(np.linalg, "svd", failing)
    monkeypatch.setattr(linalg, "_svd_of_float32", without_result)
    _check_svd(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_svd_does_without_the_private_function_of_numpy(monkeypatch, dtype):
    monkeypatch.setattr(linalg, "_svd_of_float32", None)
    _check_svd(dtype)


def _check_svd(dtype):
    matrix = np.random.default_rng(0).normal(size=(7, 4)).astype(dtype)
    left, values, right = thin_svd(matrix)
    assert left.dtype == values.dtype == right.dtype == dtype
    np.testing.assert_allclose((left * values) @ right, matrix, atol=DTYPES[dtype])
    np.testing.assert_allclose(left.T @ left, np.eye(4), atol=DTYPES[dtype])
    np.testing.assert_allclose(right @ right.T, np.eye(4), atol=DTYPES[dtype])

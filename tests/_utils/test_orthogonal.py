"""The best rotation, against its formula; random ones, against what they must have.

An estimator keeps the best of many rounds, each with a plan of its own. What one plan
gives, and that no plan leaves a trace in the next, only the internal import shows.
"""

from itertools import combinations

import numpy as np
import pytest
from scipy.linalg import expm, orthogonal_procrustes, polar
from scipy.optimize import minimize
from scipy.sparse import csr_array
from scipy.stats import ortho_group
from sklearn.utils import check_random_state

from skmot._utils.orthogonal import (
    DenseRotation,
    ProcrustesProblem,
    SplitUnits,
    differ,
    random_rotation,
)
from skmot.transport import solve_transport
from tests.libraries import beside, to_host

# How far orthogonal matrices of up to 60 units are off by rounding.
ROUNDING = {"float32": 3e-6, "float64": 1e-12}


def slow_nearest_rotation(product):
    """U1 V1' + U2 polar(U2' V2) V2', by a full singular value decomposition."""
    u, _, vt = np.linalg.svd(product)
    rank = np.linalg.matrix_rank(product)
    v = vt.T
    rotation = u[:, :rank] @ v[:, :rank].T
    if rank < len(u):
        rest = polar(u[:, rank:].T @ v[:, rank:])[0]
        rotation = rotation + u[:, rank:] @ rest @ v[:, rank:].T
    return rotation


def nearest_rotation(left, right):
    """Return what the package finds for M = left right'."""
    return ProcrustesProblem(left).solve(csr_array(right))[0].matrix


def coupled(n, k, seed=0):
    """Return weights as a round of the alternation has them."""
    costs = np.random.default_rng(seed).normal(size=(n, k))
    return solve_transport(costs).coupling * n


# -- the best rotation -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "k"), [(1, 1), (5, 5), (5, 9), (9, 5), (12, 1), (40, 25), (60, 59)]
)
@pytest.mark.parametrize("seed", range(3))
def test_the_nearest_rotation_is_the_formula_s(n, k, seed):
    rng = np.random.default_rng(seed)
    left, right = rng.normal(size=(2, n, k))
    right[rng.random((n, k)) < 0.3] = 0
    expected = slow_nearest_rotation(left @ right.T)
    rotation = nearest_rotation(left, right)
    np.testing.assert_allclose(rotation, expected, atol=1e-8)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(n), atol=1e-12)


@pytest.mark.parametrize(("n", "k"), [(1, 1), (8, 8), (8, 13), (30, 31)])
@pytest.mark.parametrize("dtype", ROUNDING)
def test_where_the_product_has_full_rank_it_is_its_polar_factor(n, k, dtype):
    left = np.random.default_rng(0).normal(size=(n, k)).astype(dtype)
    weights = coupled(n, k)
    product = left.astype(np.float64) @ weights.toarray().T
    found = ProcrustesProblem(left).solve(weights)[0].matrix
    assert found.dtype == dtype
    # As far as the float32 of the product's smallest singular value decides it.
    error = 4 * ROUNDING[dtype] * np.linalg.cond(product)
    np.testing.assert_allclose(found, polar(product)[0], atol=error)
    by_scipy = orthogonal_procrustes(left.T, weights.toarray().T)[0]
    np.testing.assert_allclose(found, by_scipy, atol=error)


@pytest.mark.parametrize(("n", "k", "rank"), [(8, 8, 3), (9, 6, 4), (6, 20, 5)])
def test_the_rank_is_that_of_the_product_not_of_its_shape(n, k, rank):
    rng = np.random.default_rng(0)
    left = rng.normal(size=(n, rank)) @ rng.normal(size=(rank, k))
    right = rng.normal(size=(n, k))
    assert np.linalg.matrix_rank(left @ right.T) == rank
    expected = slow_nearest_rotation(left @ right.T)
    for scale in (1.0, 1e-12, 1e12):
        rotation = nearest_rotation(scale * left, right)
        np.testing.assert_allclose(rotation, expected, atol=1e-10)
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(n), atol=1e-12)
    single = nearest_rotation(left.astype(np.float32), right.astype(np.float32))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, expected, atol=1e-4)
    np.testing.assert_allclose(single @ single.T, np.eye(n), atol=1e-5)


@pytest.mark.parametrize("n", [16, 128])
@pytest.mark.parametrize("n_stimuli", [5, 12, 64])
def test_rounding_errors_of_few_stimuli_turn_nothing(n, n_stimuli):
    # Centred, they span one dimension less than there are; in float32 up to rounding.
    rng = np.random.default_rng(0)
    X, Y = (
        side - side.mean(axis=0)
        for side in (rng.normal(size=(n_stimuli, width)) for width in (n, 90))
    )
    weights = coupled(n, 90)
    expected = slow_nearest_rotation(X.T @ Y @ weights.toarray().T)
    for dtype, error in (("float64", 1e-9), ("float32", 1e-4)):
        x, y = X.astype(dtype), Y.astype(dtype)
        for spanning in (None, x.T):
            found, _ = ProcrustesProblem(x.T @ y, spanning).solve(weights)
            np.testing.assert_allclose(found.matrix, expected, atol=error)


@pytest.mark.parametrize("shape", [(4, 4), (4, 8), (8, 4)])
def test_small_singular_values_are_resolved_in_float32(shape):
    # M = S H W' with singular values on the diagonal of S, and H and W orthogonal but
    # for a factor. All is exact in float32, so what is small is no rounding error.
    n, k = shape
    values = np.array([1.0, 1e-2, 1e-4, 5e-6])
    H = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]])
    rows = np.vstack([np.eye(4), np.zeros((n - 4, 4))])
    weights = np.tile(np.eye(4)[[2, 0, 3, 1]], (n // 4, k // 4))
    left = rows @ np.tile(np.diag(values) @ H, k // 4)
    # Other singular values, not zero, do not change the rotation.
    expected = slow_nearest_rotation(rows @ np.tile(H, k // 4) @ weights.T)
    found = nearest_rotation(left.astype(np.float32), weights)
    np.testing.assert_allclose(found, expected, atol=3e-6)


@pytest.mark.parametrize(("n", "rank"), [(4, 2), (5, 2), (5, 3)])
def test_no_completion_is_nearer_to_the_identity(n, rank):
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(2, n, rank))
    product = left @ right.T
    found = nearest_rotation(left, right)
    # Every R of largest <R, M> is U1 V1' + U2 W V2': search over orthogonal W of
    # either determinant, W = W0 exp(A) with antisymmetric A.
    u, _, vt = np.linalg.svd(product)
    free = n - rank
    upper = np.triu_indices(free, 1)

    def completed(entries, start):
        A = np.zeros((free, free))
        A[upper] = entries
        W = start @ expm(A - A.T)
        return u[:, :rank] @ vt[:rank] + u[:, rank:] @ W @ vt[rank:]

    def distance(entries, start):
        return np.sum((completed(entries, start) - np.eye(n)) ** 2)

    least = min(
        (
            minimize(distance, rng.normal(size=len(upper[0])), start)
            for start in ortho_group.rvs(free, size=8, random_state=0)
        ),
        key=lambda result: result.fun,
    )
    assert np.sum((found - np.eye(n)) ** 2) == pytest.approx(least.fun, abs=1e-8)
    largest = np.linalg.svd(product, compute_uv=False).sum()
    assert np.sum(found * product) == pytest.approx(largest)


@pytest.mark.parametrize("dtype", ROUNDING)
def test_where_nothing_is_shared_nothing_is_rotated(dtype):
    for shape in ((3, 2), (3, 5)):
        rotation = nearest_rotation(np.zeros(shape, dtype=dtype), np.ones(shape))
        np.testing.assert_array_equal(rotation, np.eye(3))


@pytest.mark.parametrize("dtype", ROUNDING)
def test_orthogonal_subspaces_are_turned_into_each_other(dtype):
    # Their principal angles are all right ones: any polar factor of zero is as near.
    left, right = np.eye(4, dtype=dtype)[:, :2], np.eye(4)[:, 2:]
    rotation = nearest_rotation(left, right)
    np.testing.assert_allclose(rotation @ right, left, atol=ROUNDING[dtype])
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(4), atol=ROUNDING[dtype])


@pytest.mark.parametrize("cosine", [0.0, 1e-9, 1e-5, 1e-4, 1e-3, 0.1, 1.0])
@pytest.mark.parametrize("dtype", ROUNDING)
def test_angles_of_any_size_are_turned_where_subspaces_intersect(cosine, dtype):
    # Two subspaces of three of five dimensions share one dimension. The second
    # dimension of each has this cosine with that of the other.
    mixing = ortho_group.rvs(5, random_state=0)
    left = mixing[:, :3]
    sine = np.sqrt(1 - cosine**2)
    right = np.column_stack(
        [
            mixing[:, 0],
            cosine * mixing[:, 1] + sine * mixing[:, 3],
            0.6 * mixing[:, 2] + 0.8 * mixing[:, 4],
        ]
    )
    coordinates = ortho_group.rvs(3, random_state=1)
    values = np.diag([1.0, 0.7, 0.4])
    found = nearest_rotation((left @ values @ coordinates).astype(dtype), right)
    target = (left @ values @ coordinates) @ right.T
    assert np.sum(found * target) == pytest.approx(2.1, rel=1e-6)
    np.testing.assert_allclose(found @ found.T, np.eye(5), atol=ROUNDING[dtype])
    # The rotation between the others is by these angles, which have one trace.
    nearest = slow_nearest_rotation(target)
    assert np.trace(found) == pytest.approx(np.trace(nearest), abs=1e-5)


@pytest.mark.parametrize("n", [3, 4, 5])
@pytest.mark.parametrize("dtype", ROUNDING)
def test_subspaces_along_the_axes_are_turned_into_each_other(n, dtype):
    # Axes of one subspace are in the other one, or at exactly right angles to it.
    axes = np.eye(n)
    for rank in range(1, n):
        for kept in combinations(range(n), rank):
            left, right = axes[:, :rank], axes[:, kept]
            found = nearest_rotation(left.astype(dtype), right)
            np.testing.assert_allclose(found @ right, left, atol=ROUNDING[dtype])
            np.testing.assert_allclose(found @ found.T, axes, atol=ROUNDING[dtype])
            # The polar factor of U2' V2 gives the largest trace.
            others = [np.delete(axes, columns, 1) for columns in (range(rank), kept)]
            shared = np.linalg.norm(others[0].T @ others[1], "nuc")
            assert np.trace(found) == pytest.approx(
                np.sum(left * right) + shared, abs=n * ROUNDING[dtype]
            )


@pytest.mark.parametrize(("n", "k"), [(60, 20), (60, 31), (60, 45), (60, 59)])
@pytest.mark.parametrize("dtype", ROUNDING)
def test_few_and_many_dimensions_of_near_duplicates_are_rotated_alike(n, k, dtype):
    # With k < n / 2 from principal vectors, otherwise from complements.
    rng = np.random.default_rng(0)
    left = np.repeat(rng.normal(size=(n // 2, k)), 2, axis=0)
    left = (left + 1e-2 * rng.normal(size=(n, k))).astype(dtype)
    weights = coupled(n, k)
    product = left.astype(np.float64) @ weights.toarray().T
    found = nearest_rotation(left, weights)
    np.testing.assert_allclose(found @ found.T, np.eye(n), atol=ROUNDING[dtype])
    expected = slow_nearest_rotation(product)
    values = np.linalg.svd(product, compute_uv=False)[:k]
    error = 4 * ROUNDING[dtype] * values[0] / values[-1]
    assert np.trace(found) == pytest.approx(np.trace(expected), abs=error)
    assert np.sum(found * product) == pytest.approx(values.sum(), rel=1e-6)


@pytest.mark.parametrize("scale", [1.0, 1e-3])
@pytest.mark.parametrize("dtype", ROUNDING)
def test_weights_that_nearly_depend_on_each_other_lose_no_digits(scale, dtype):
    # The coupling of 100 units with 99 in one chain: shares of two neighbours. With the
    # small scale, the last two columns of the weights are nearly the same.
    n, k = 100, 99
    places = [np.arange(width) / width for width in (n, k)]
    costs = (places[0][:, np.newaxis] - places[1]) ** 2
    weights = (solve_transport(costs).coupling * n).toarray()
    weights[:, -1] = scale * weights[:, -1] + (1 - scale) * weights[:, -2]
    left = np.random.default_rng(0).normal(size=(n, k)).astype(dtype)
    problem = ProcrustesProblem(left)
    found, _ = problem.solve(csr_array(weights))
    R = found.matrix
    np.testing.assert_allclose(R @ R.T, np.eye(n), atol=2 * ROUNDING[dtype])
    rotated = found.rotate(SplitUnits(left, problem.core))
    np.testing.assert_allclose(rotated, R.T @ left, atol=20 * ROUNDING[dtype])


@pytest.mark.parametrize(
    ("n", "k", "n_stimuli"), [(9, 9, 40), (30, 24, 50), (9, 20, 5)]
)
@pytest.mark.parametrize("rank", [3, None])
@pytest.mark.parametrize("dtype", ROUNDING)
def test_the_value_is_what_the_rotation_attains(n, k, n_stimuli, rank, dtype):
    rng = np.random.default_rng(0)
    X, Y = (rng.normal(size=(n_stimuli, width)) for width in (n, k))
    if rank is not None:
        X = X[:, :rank] @ rng.normal(size=(rank, n))
    X, Y = X.astype(dtype), Y.astype(dtype)
    weights = coupled(n, k)
    rotation, value = ProcrustesProblem(X.T @ Y, X.T).solve(weights)
    product = X.T.astype(float) @ Y @ weights.toarray().T
    tolerance = 10 * ROUNDING[dtype] * value
    assert value == pytest.approx(np.sum(rotation.matrix * product), abs=tolerance)
    assert value == pytest.approx(np.linalg.norm(product, "nuc"), abs=tolerance)


# -- many weights, one cross -----------------------------------------------------------

# n, k, stimuli: a narrow basis and a wide one, of target units and of stimuli, or none.
SHAPES = [(30, 8, 50), (30, 24, 50), (30, 20, 9), (12, 12, 50), (9, 20, 50), (9, 20, 6)]


@pytest.mark.parametrize(("n", "k", "n_stimuli"), SHAPES)
@pytest.mark.parametrize("dtype", ROUNDING)
def test_products_with_a_rotation_are_those_with_its_matrix(n, k, n_stimuli, dtype):
    rng = np.random.default_rng(0)
    X, Y = (rng.normal(size=(n_stimuli, width)).astype(dtype) for width in (n, k))
    problem = ProcrustesProblem(X.T @ Y, X.T)
    units = rng.normal(size=(n, 7)).astype(dtype)
    basis = np.eye(n, dtype=dtype) if problem.basis is None else problem.basis
    np.testing.assert_allclose(
        basis @ problem.core, X.T @ Y, atol=1e3 * ROUNDING[dtype]
    )
    for rotation in (
        problem.solve(coupled(n, k))[0],
        DenseRotation(ortho_group.rvs(n, random_state=0).astype(dtype)),
    ):
        R = rotation.matrix
        assert R.dtype == dtype
        np.testing.assert_allclose(R @ R.T, np.eye(n), atol=ROUNDING[dtype])
        np.testing.assert_allclose(
            rotation.rotate(problem.split(units)),
            R.T @ units,
            atol=20 * ROUNDING[dtype],
        )
        np.testing.assert_allclose(
            rotation.rotate(SplitUnits(X.T @ Y, problem.core)),
            R.T @ X.T @ Y,
            atol=1e3 * ROUNDING[dtype],
        )


@pytest.mark.parametrize(("n", "k", "n_stimuli"), SHAPES)
@pytest.mark.parametrize("dtype", ROUNDING)
def test_what_was_solved_before_does_not_matter(n, k, n_stimuli, dtype):
    rng = np.random.default_rng(0)
    X, Y = (rng.normal(size=(n_stimuli, width)).astype(dtype) for width in (n, k))
    problem = ProcrustesProblem(X.T @ Y, X.T)
    # At equal widths all have the same overlaps.
    for seed in (0, 1, 1, 0):
        weights = coupled(n, k, seed)
        np.testing.assert_array_equal(
            problem.solve(weights)[0].matrix,
            ProcrustesProblem(X.T @ Y, X.T).solve(weights)[0].matrix,
        )


@pytest.mark.parametrize(("n", "k", "n_stimuli"), SHAPES)
@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("library", ["torch", "array_api_strict"])
def test_arrays_of_other_libraries_stay_theirs(n, k, n_stimuli, dtype, library):
    xp = pytest.importorskip(library)
    rng = np.random.default_rng(0)
    X, Y = (rng.normal(size=(n_stimuli, width)).astype(dtype) for width in (n, k))
    cross, weights = X.T @ Y, coupled(n, k)
    expected, _ = ProcrustesProblem(cross, X.T).solve(weights)
    problem = ProcrustesProblem(xp.asarray(cross), xp.asarray(X).T)
    rotation, _ = problem.solve(weights)
    assert beside(rotation.matrix, xp.asarray(cross))
    for found, wanted in (
        (rotation.matrix, expected.matrix),
        (
            rotation.rotate(SplitUnits(xp.asarray(cross), problem.core)),
            expected.matrix.T @ cross,
        ),
    ):
        np.testing.assert_allclose(to_host(found), wanted, atol=1e3 * ROUNDING[dtype])


def test_sparse_matrices_differ_where_an_entry_does():
    matrix = csr_array([[1.0, 0.0, 2.0], [0.0, 3.0, 0.0]])
    assert not differ(matrix, matrix.copy())
    assert differ(matrix, csr_array([[1.0, 0.0, 2.0], [0.0, 3.5, 0.0]]))
    assert differ(matrix, csr_array([[1.0, 2.0, 0.0], [0.0, 3.0, 0.0]]))
    assert differ(matrix, csr_array([[1.0, 0.0, 2.0], [0.0, 3.0, 1.0]]))


# -- random rotations ------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 7])
@pytest.mark.parametrize("reflections", [True, False])
def test_random_rotations_are_of_their_group_and_of_no_direction(n, reflections):
    random = check_random_state(0)
    drawn = np.array(
        [random_rotation(n, random, reflections=reflections) for _ in range(400)]
    )
    np.testing.assert_allclose(
        drawn @ drawn.transpose(0, 2, 1),
        np.broadcast_to(np.eye(n), drawn.shape),
        atol=1e-12,
    )
    signs = np.linalg.det(drawn).round(9)
    assert set(signs) == ({-1.0, 1.0} if reflections else {1.0})
    if n > 1 or reflections:
        # Entries have the mean 0 and the variance 1 / n.
        assert abs(drawn.mean(axis=0)).max() < 5 / np.sqrt(400 * n)

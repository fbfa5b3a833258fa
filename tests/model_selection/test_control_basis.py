import numpy as np
import pytest
from scipy.stats import special_ortho_group
from sklearn.model_selection import KFold

from skmot import LayerStack, MultiLevelOT, Procrustes, SoftMatching
from skmot.model_selection import permutation_control
from tests.model_selection.common import ONE_SPLIT, stacks
from tests.networks import random_networks


def control(estimator, X, y, **options):
    return permutation_control(
        estimator,
        X,
        y,
        control="basis",
        **{"n_permutations": 19, "random_state": 0, "cv": ONE_SPLIT, **options},
    )


def loud_pair(seed):
    """Return the same space in two bases of its own; half of the units are loud.

    Rotations of raw units spread the loud ones over all, which are then alike.
    """
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(90, 8))
    X = (shared + 0.5 * rng.normal(size=shared.shape)) * np.repeat([1, 20], 4)
    rotation = special_ortho_group.rvs(8, random_state=seed)
    return X, shared @ rotation + 0.5 * rng.normal(size=shared.shape)


def test_standardised_units_are_rotated_in_each_split():
    class Spy(SoftMatching):
        seen = []

        def fit(self, X, y):
            self.seen.append([np.asarray(layer) for layer in X.layers])
            return super().fit(X, y)

    X, y = random_networks(source_widths=(7, 1, 5), n_stimuli=40)
    X = [50 + layer * np.arange(1, layer.shape[1] + 1) for layer in X]
    splits = list(KFold(2).split(X[0]))
    control(Spy(), X, y, cv=splits, scale="standardized")
    # The scores of the data as they are, standardised, and rotated 19 times.
    assert len(Spy.seen) == 2 * (1 + 1 + 19)
    for number, (train, _) in enumerate(splits):
        as_given, standardised, *rotated = Spy.seen[number::2]
        for k, layer in enumerate(X):
            layer = layer[train]
            z = (layer - layer.mean(axis=0)) / layer.std(axis=0)
            np.testing.assert_allclose(as_given[k], layer)
            np.testing.assert_allclose(standardised[k], z, atol=1e-9)
            for fitted in rotated:
                rotation = np.linalg.lstsq(z, fitted[k])[0]
                np.testing.assert_allclose(z @ rotation, fitted[k], atol=1e-9)
                np.testing.assert_allclose(
                    rotation.T @ rotation, np.eye(layer.shape[1]), atol=1e-9
                )
        assert len({fitted[0][0, 0] for fitted in rotated}) == 19


def test_units_that_are_constant_in_a_split_are_neither_scaled_nor_rotated():
    seen = []

    class Spy(SoftMatching):
        def fit(self, X, y):
            seen.append(np.asarray(X.layers[0]))
            return super().fit(X, y)

    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 4)), rng.normal(size=(40, 4))
    X[:20, 1] = 7.0
    splits = [(np.arange(20), np.arange(20, 40)), (np.arange(20, 40), np.arange(20))]
    with pytest.warns(UserWarning, match="constant"):
        control(Spy(), X, y, cv=splits)
    for number, fitted in enumerate(seen):
        np.testing.assert_array_equal(fitted[:, 1], X[splits[number % 2][0], 1])


def test_both_scales_give_the_larger_p_value():
    # The p-value of units as they are is the larger one for the last of these only.
    for seed in (0, 1, 4):
        X, y = loud_pair(seed)
        both = control(SoftMatching(), X, y)
        alone = {
            scale: control(SoftMatching(), X, y, scale=scale)
            for scale in ("standardized", "raw")
        }
        for scale, result in alone.items():
            # The same rotations.
            np.testing.assert_allclose(
                both.by_scale[scale].null_scores, result.null_scores
            )
            assert list(result.by_scale) == [result.decisive_scale] == [scale]
        assert both.p_value == max(result.p_value for result in alone.values())
        decisive = alone[both.decisive_scale]
        assert both.p_value == decisive.p_value
        np.testing.assert_array_equal(both.null_scores, decisive.null_scores)


def test_rotations_of_loud_units_alone_score_lower_than_the_null_hypothesis():
    gaps = {"standardized": [], "raw": []}
    for seed in range(25):
        X, y = loud_pair(seed)
        result = control(SoftMatching(), X, y, n_permutations=19)
        for scale, found in result.by_scale.items():
            gaps[scale].append(found.score - found.null_scores.mean())
    # The axes of X are those of any other rotation: there should be no gap.
    errors = {scale: np.std(gap) / 5 for scale, gap in gaps.items()}
    assert np.mean(gaps["raw"]) > 3 * errors["raw"]
    assert abs(np.mean(gaps["standardized"])) < 3 * errors["standardized"]


def test_an_estimator_that_depends_on_scale_is_compared_at_each_scale():
    X, y = loud_pair(0)
    train, test = next(ONE_SPLIT.split(X))
    result = control(Procrustes(), X, y)
    as_given = Procrustes().fit(X[train], y[train]).score(X[test], y[test])
    z = (X - X[train].mean(axis=0)) / X[train].std(axis=0)
    standardised = Procrustes().fit(z[train], y[train]).score(z[test], y[test])
    assert as_given != pytest.approx(standardised, abs=1e-3)
    assert result.score == pytest.approx(as_given)
    assert result.by_scale["raw"].score == pytest.approx(as_given)
    assert result.by_scale["standardized"].score == pytest.approx(standardised)
    # Procrustes turns the source as it likes, so no rotation changes its score.
    np.testing.assert_allclose(
        result.by_scale["standardized"].null_scores, standardised, atol=1e-9
    )
    assert result.p_value == 1


@pytest.mark.parametrize("scale", ["both", "standardized", "raw"])
@pytest.mark.parametrize("direction", ["target", "source"])
def test_shared_units_have_special_axes(scale, direction):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 10)) * np.exp(rng.normal(size=10))
    y = X[:, ::-1] / X[:, ::-1].std(axis=0) + 0.8 * rng.normal(size=(80, 10))
    result = control(SoftMatching(), X, y, cv=2, scale=scale, direction=direction)
    assert result.p_value == 1 / 20
    assert "shows that the axes of the source units are special" in result.conclusion
    assert "does not show that units are shared" in result.conclusion
    assert ("use scale='both'" in result.conclusion) == (scale != "both")


def test_layers_of_nested_stacks_are_rotated():
    X, y = stacks(source_widths=(4, 5), target_widths=(4, 5), n_stimuli=40)
    nested = [LayerStack({"a": side, "b": side}) for side in (X, y)]
    result = control(MultiLevelOT(MultiLevelOT()), *nested)
    assert np.isfinite(result.null_scores).all()
    assert set(result.by_scale) == {"standardized", "raw"}

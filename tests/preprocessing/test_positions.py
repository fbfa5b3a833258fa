import numpy as np
import pytest
from scipy.ndimage import zoom
from sklearn.model_selection import KFold, cross_validate

from skmot import LayerStack, MultiLevelOT, SoftMatching
from skmot.exceptions import LeakWarning
from skmot.model_selection import StimulusKFold, permutation_control
from skmot.preprocessing import common_positions, positions_as_stimuli

N = 6


def feature_map(n_channels=3, size=(4, 5), seed=0):
    return np.random.default_rng(seed).normal(size=(N, n_channels, *size))


def slow_rows(layer):
    """Return the rows of a layer of shape (stimuli, channels, height, width)."""
    n_stimuli, _, height, width = layer.shape
    return np.array(
        [
            layer[stimulus, :, row, column]
            for stimulus in range(n_stimuli)
            for row in range(height)
            for column in range(width)
        ]
    )


# -- rows and labels -------------------------------------------------------------------


def test_each_position_of_each_stimulus_is_a_row_with_the_label_of_its_stimulus():
    maps = {"a": feature_map(), "b": feature_map(7, seed=1)}
    names = [f"image {k}" for k in range(N)]
    stack = positions_as_stimuli(maps, stimuli=names)
    assert stack.names == ("a", "b")
    for name, layer in maps.items():
        np.testing.assert_array_equal(stack.layer(name), slow_rows(layer))
    assert stack.stimuli.tolist() == [name for name in names for _ in range(20)]
    assert (
        positions_as_stimuli(maps).stimuli.tolist() == np.repeat(range(N), 20).tolist()
    )


def test_one_array_a_list_and_a_dict_are_taken():
    first, second = feature_map(), feature_map(2, seed=1)
    alone = positions_as_stimuli(first)
    assert alone.names is None
    assert alone.n_layers == 1
    several = positions_as_stimuli([first, second])
    assert several.names is None
    for layer, given in zip(several.layers, (first, second), strict=True):
        np.testing.assert_array_equal(layer, slow_rows(given))
    np.testing.assert_array_equal(
        positions_as_stimuli(first.tolist()).layers[0], alone.layers[0]
    )


def test_tokens_have_their_units_on_the_last_axis_and_maps_on_the_second():
    tokens = np.random.default_rng(0).normal(size=(N, 4, 3))
    np.testing.assert_array_equal(
        positions_as_stimuli(tokens).layers[0], np.concatenate(tokens)
    )
    turned = np.moveaxis(tokens, 1, 2)
    np.testing.assert_array_equal(
        positions_as_stimuli(turned, unit_axis=1).layers[0], np.concatenate(tokens)
    )
    channels_last = np.moveaxis(feature_map(), 1, -1)
    stack = positions_as_stimuli(
        {"first": feature_map(), "last": channels_last}, unit_axis={"last": -1}
    )
    np.testing.assert_array_equal(*stack.layers)
    films = np.random.default_rng(0).normal(size=(N, 2, 3, 4, 5))
    rows = positions_as_stimuli(films).layers[0]
    np.testing.assert_array_equal(rows[60 + 1 * 20 + 2 * 5 + 3], films[1, :, 1, 2, 3])


@pytest.mark.parametrize(
    ("given", "learned"),
    [
        ("float64", "float64"),
        ("float32", "float32"),
        ("float16", "float32"),
        ("int64", "float64"),
        ("bool", "float64"),
    ],
)
def test_precision_is_that_of_estimators_and_the_maps_are_not_changed(given, learned):
    maps = (10 * feature_map(size=(4, 4))).astype(given)
    maps.flags.writeable = False
    before = maps.copy()
    for settings in ({}, {"grid": (2, 3)}, {"positions": np.zeros((N, 16), int)}):
        if "positions" in settings:
            tokens = maps.reshape(N, 3, 16)
            layer = positions_as_stimuli(tokens, unit_axis=1, **settings).layers[0]
            expected = before.astype(float).mean(axis=(2, 3))
            np.testing.assert_allclose(layer, expected, rtol=1e-5, atol=1e-5)
        else:
            layer = positions_as_stimuli(maps, **settings).layers[0]
        assert layer.dtype == learned
    np.testing.assert_array_equal(maps, before)


# -- splits and controls ---------------------------------------------------------------


def related_maps(n_stimuli=20):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_stimuli, 4, 3, 3))
    y = X[:, ::-1] + 0.5 * rng.normal(size=X.shape)
    return positions_as_stimuli(X), positions_as_stimuli(y)


def test_splits_keep_the_positions_of_a_stimulus_together():
    X, y = related_maps()
    for train, test in StimulusKFold(5).split(X, y):
        assert not set(X.stimuli[train]) & set(X.stimuli[test])
        assert len(test) == 4 * 9
    scores = cross_validate(MultiLevelOT(), X, y, cv=StimulusKFold(5))["test_score"]
    assert min(scores) > 0.8
    with pytest.warns(LeakWarning):
        cross_validate(MultiLevelOT(), X, y, cv=KFold(5, shuffle=True, random_state=0))


def test_controls_permute_whole_stimuli():
    X, y = related_maps(4)
    result = permutation_control(
        SoftMatching(), X, y, control="stimuli", statistic="cost", n_permutations=99
    )
    # Four stimuli have 24 orders, 36 rows have far more.
    assert result.p_value >= 1 / 24


def test_other_positions_of_the_other_side_are_an_error_at_the_fit():
    X, _ = related_maps()
    coarse = positions_as_stimuli(feature_map(size=(2, 2)))
    with pytest.raises(ValueError, match="stimul"):
        SoftMatching().fit(X[: 9 * N], coarse)


# -- resampling ------------------------------------------------------------------------


def test_whole_factors_are_average_pooling():
    maps = feature_map(size=(6, 8))
    pooled = maps.reshape(N, 3, 3, 2, 2, 4).mean(axis=(3, 5))
    rows = positions_as_stimuli(maps, grid=(3, 2)).layers[0]
    np.testing.assert_allclose(rows, slow_rows(pooled), atol=1e-14)


def slow_area(values, n_wanted):
    """Return area averages: each position repeated, then averaged in whole blocks."""
    fine = np.repeat(values, n_wanted)
    return fine.reshape(n_wanted, len(values)).mean(axis=1)


@pytest.mark.parametrize("n_wanted", [1, 2, 3, 4, 6, 7, 12])
def test_other_factors_average_over_the_area(n_wanted):
    maps = feature_map(2, size=(7, 5))
    rows = positions_as_stimuli(maps, grid=(n_wanted, 5)).layers[0]
    expected = np.apply_along_axis(slow_area, 2, maps, n_wanted)
    np.testing.assert_allclose(rows, slow_rows(expected), atol=1e-13)


@pytest.mark.parametrize("grid", [(7, 5), (3, 4), (14, 15), (1, 1), (2, 9)])
def test_linear_interpolation_is_that_of_scipy(grid):
    maps = feature_map(2, size=(7, 5))
    rows = positions_as_stimuli(maps, grid=grid, resampling="linear").layers[0]
    factors = (1, 1, grid[0] / 7, grid[1] / 5)
    expected = zoom(maps, factors, order=1, mode="nearest", grid_mode=True)
    np.testing.assert_allclose(rows, slow_rows(expected), atol=1e-12)


@pytest.mark.parametrize("resampling", ["area", "linear"])
def test_maps_of_the_size_of_the_grid_stay_as_they_are(resampling):
    maps = feature_map()
    rows = positions_as_stimuli(maps, grid=(4, 5), resampling=resampling).layers[0]
    np.testing.assert_array_equal(rows, slow_rows(maps))
    constant = np.ones((N, 1, 7, 3))
    rows = positions_as_stimuli(constant, grid=(5, 4), resampling=resampling).layers[0]
    np.testing.assert_allclose(rows, 1, rtol=1e-14)


def test_layers_of_any_size_are_in_one_stack_through_a_grid():
    maps = {"early": feature_map(size=(8, 8)), "late": feature_map(5, size=(2, 2))}
    with pytest.raises(
        ValueError, match=r"'early' has positions of size \(8, 8\).*`grid="
    ):
        positions_as_stimuli(maps)
    stack = positions_as_stimuli(maps, grid=(4, 4))
    assert stack.widths == (3, 5)
    assert len(stack) == 16 * N
    # A finer grid repeats positions.
    late = stack.layer("late").reshape(N, 4, 4, 5)
    np.testing.assert_allclose(late[:, ::2, ::2], late[:, 1::2, 1::2])


def test_a_grid_has_as_many_numbers_as_the_maps_have_axes():
    sequences = np.random.default_rng(0).normal(size=(N, 3, 8))
    rows = positions_as_stimuli(sequences, unit_axis=1, grid=(4,)).layers[0]
    expected = sequences.reshape(N, 3, 4, 2).mean(axis=3)
    np.testing.assert_allclose(rows, np.concatenate(np.moveaxis(expected, 1, 2)))
    for grid in ((4,), 4, (4, 0), (4, 2.0), (4, 4, 4), "44"):
        with pytest.raises(ValueError, match="`grid` must have a positive whole"):
            positions_as_stimuli(feature_map(), grid=grid)


# -- tokens ----------------------------------------------------------------------------


def test_masked_positions_are_left_out_whatever_they_are():
    tokens = np.random.default_rng(0).normal(size=(3, 4, 2))
    mask = np.array([[1, 1, 0, 0], [0, 0, 0, 1], [1, 1, 1, 1]])
    tokens[mask == 0] = np.nan
    stack = positions_as_stimuli([tokens, tokens], mask=mask, stimuli=["x", "y", "z"])
    assert stack.stimuli.tolist() == ["x", "x", "y", "z", "z", "z", "z"]
    expected = np.concatenate([tokens[0, :2], tokens[1, 3:], tokens[2]])
    for layer in stack.layers:
        np.testing.assert_array_equal(layer, expected)


def test_tokens_of_a_common_position_are_averaged_in_the_order_of_the_numbers():
    tokens = np.random.default_rng(0).normal(size=(2, 4, 3))
    positions = np.array([[1, -1, 0, 1], [-1, 0, -1, -1]])
    tokens[0, 1] = tokens[1, 3] = np.inf
    stack = positions_as_stimuli(tokens, positions=positions)
    expected = [tokens[0, 2], (tokens[0, 0] + tokens[0, 3]) / 2, tokens[1, 1]]
    np.testing.assert_allclose(stack.layers[0], expected)
    assert stack.stimuli.tolist() == [0, 0, 1]


def test_networks_of_different_tokens_are_compared_piece_by_piece():
    # A unit is one number a character: tokens are sums of what they stand for.
    rng = np.random.default_rng(0)
    n_texts, length = 30, 12
    characters = rng.normal(size=(n_texts, length, 4))

    def tokenize(cuts):
        spans = list(zip([0, *cuts], [*cuts, length], strict=True))
        tokens = np.stack([characters[:, a:b].mean(axis=1) for a, b in spans], axis=1)
        return tokens, np.tile(spans, (n_texts, 1, 1))

    (coarse, coarse_spans), (fine, fine_spans) = tokenize([6, 9]), tokenize([3, 6, 10])
    shared = common_positions(coarse_spans, fine_spans)
    assert [numbers[0].tolist() for numbers in shared] == [[0, 1, 1], [0, 0, 1, 1]]
    X = positions_as_stimuli(coarse, positions=shared[0])
    y = positions_as_stimuli(fine, positions=shared[1])
    assert X.stimuli.tolist() == y.stimuli.tolist() == np.repeat(range(30), 2).tolist()
    matching = SoftMatching().fit(X[:40], y[:40])
    np.testing.assert_allclose(matching.coupling_.toarray(), np.eye(4) / 4)
    assert matching.score(X[40:], y[40:]) > 0.8


def slow_pieces(*tokenizers):
    """Return the pieces by merging tokens that share characters until none do."""
    groups = [
        ({(who, token)}, set(range(*span)))
        for who, spans in enumerate(tokenizers)
        for token, span in enumerate(spans)
        if span[0] < span[1]
    ]
    merged = True
    while merged:
        merged = False
        for i in range(len(groups)):
            for j in range(i):
                if groups[i][1] & groups[j][1]:
                    members = groups[i][0] | groups[j][0]
                    covered = groups[i][1] | groups[j][1]
                    groups = [g for k, g in enumerate(groups) if k not in (i, j)]
                    groups.append((members, covered))
                    merged = True
                    break
            if merged:
                break
    everyone = set(range(len(tokenizers)))
    groups = [g for g in groups if {who for who, _ in g[0]} == everyone]
    groups.sort(key=lambda group: min(group[1]))
    found = [[-1] * len(spans) for spans in tokenizers]
    for number, (members, _) in enumerate(groups):
        for who, token in members:
            found[who][token] = number
    return found


@pytest.mark.parametrize("n_tokenizers", [1, 2, 3])
def test_pieces_are_the_finest_that_no_token_crosses(n_tokenizers):
    for seed in range(30):
        rng = np.random.default_rng(seed)
        tokenizers = []
        for _ in range(n_tokenizers):
            cuts = np.sort(rng.choice(np.arange(1, 20), rng.integers(1, 9), False))
            spans = list(zip([0, *cuts], [*cuts, 20], strict=True))
            # Some text without a token, an empty special token, and two tokens of one
            # character, as for an emoji.
            spans = [span for span in spans if rng.random() > 0.1] or [(0, 20)]
            tokenizers.append([(0, 0), *spans, spans[-1], (0, 0)])
        expected = slow_pieces(*tokenizers)
        if max(max(numbers) for numbers in expected) < 0:
            continue
        found = common_positions(*([spans] for spans in tokenizers))
        assert [numbers[0].tolist() for numbers in found] == expected


def test_texts_of_different_lengths_are_filled_up():
    found = common_positions([[(0, 3)], [(0, 1), (1, 4)]], [[(0, 3)], [(0, 4)]])
    assert [numbers.tolist() for numbers in found] == [[[0, -1], [0, 0]], [[0], [0]]]


# -- what is refused -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("maps", "settings", "message"),
    [
        (np.ones((4, 3)), {}, r"layer 0 has the shape \(4, 3\), without an axis"),
        ([], {}, "`maps` has no layer"),
        ({"a": np.ones((4, 3, 2)), "b": np.ones((5, 3, 2))}, {}, "'b' has 5"),
        ([np.ones((4, 3, 2)), np.ones((4, 5, 2))], {}, "`positions` from"),
        (np.ones((4, 3, 2)), {"unit_axis": 0}, "first axis is that of the stimuli"),
        (np.ones((4, 3, 2)), {"unit_axis": 3}, "`unit_axis` is 3"),
        (np.ones((4, 3, 2)), {"unit_axis": -3}, "`unit_axis` is -3"),
        ({"a": np.ones((4, 3, 2))}, {"unit_axis": {"b": 1}}, r"layers \['b'\]"),
        ([np.ones((4, 3, 2))], {"unit_axis": {"b": 1}}, r"layers \['b'\]"),
        (np.ones((4, 3, 2)), {"resampling": "cubic"}, "`resampling` must be one of"),
        (np.ones((4, 3, 2)), {"stimuli": ["a"]}, "1 labels, but the maps have 4"),
        (np.ones((4, 3, 2)), {"mask": np.ones((4, 2))}, r"`mask` has the shape \(4, 2"),
        (np.ones((2, 2, 2)), {"mask": [[1, 0], [0, 0]]}, "no position of stimulus 1"),
        (np.ones((2, 2, 2)), {"mask": [[0, 0], [0, -1e9]]}, "`mask` must be booleans"),
        (np.ones((2, 2, 2)), {"mask": [[1, 1], [1, np.nan]]}, "must be booleans"),
        (
            np.ones((2, 2, 2)),
            {"mask": np.ones((2, 2)), "positions": np.zeros((2, 2), int)},
            "two ways",
        ),
        (np.ones((2, 2, 2)), {"positions": [[0, 1], [0, 0.5]]}, "whole numbers"),
        (np.ones((2, 2, 2)), {"positions": [[0, 1], [0, -2]]}, "whole numbers"),
        (np.ones((2, 2, 2)), {"positions": [[0, 1], [-1, -1]]}, "no position of stim"),
        (
            np.ones((2, 3, 2)),
            {"positions": [[0, 1, 2], [0, 2, -1]]},
            "stimulus 1 have no token of number 1, but one of number 2",
        ),
        (np.full((2, 3, 4, 4), np.nan), {"grid": (2, 2)}, "contains NaN"),
        (np.array([[["a", "b"]]]), {}, "strings|<U1"),
    ],
)
def test_what_cannot_be_read_is_refused(maps, settings, message):
    with pytest.raises(ValueError, match=message):
        positions_as_stimuli(maps, **settings)


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ([], "no spans"),
        ([[[(0, 2)]], [[(0, 2)], [(0, 1)]]], r"\[1, 2\] texts"),
        ([[[(0, 2)]], [[(3, 1)]]], "text 0 of tokenizer 1"),
        ([[[(-1, 2)]]], "before the text: text 0 of tokenizer 0"),
        ([[[(0, 2)]], [[0, 2]]], r"the shape \(2,\)"),
        ([[[(0, 2)]], [[(0.0, 2.0)]]], "pairs of whole numbers"),
        ([[[(0, 2)]], [[(2, 4)]]], "Text 0 has no piece"),
        ([[[(0, 2)], []], [[(0, 2)], [(0, 4)]]], "Text 1 has no piece"),
    ],
)
def test_spans_that_cannot_be_aligned_are_refused(spans, message):
    with pytest.raises(ValueError, match=message):
        common_positions(*spans)


def test_stacks_of_positions_take_part_in_everything_that_stacks_do():
    X, y = related_maps()
    assert isinstance(X, LayerStack)
    fitted = SoftMatching().fit(X, y)
    np.testing.assert_allclose(
        fitted.coupling_.toarray(), np.eye(4)[::-1] / 4, atol=1e-12
    )

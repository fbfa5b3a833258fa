import numpy as np
import pytest

from skmot.extraction import record_activations
from tests.extraction.common import Tokens, nn, padded, some_images, torch

LENGTHS = [3, 1, 5, 2]


def token_vectors(model, ids, mask):
    """Return the activations of each text alone, without padding."""
    with torch.no_grad():
        return [
            model(row[keep.bool()][None])[0].numpy()
            for row, keep in zip(ids, mask, strict=True)
        ]


def record_tokens(model, ids, mask, **kwargs):
    batch = {"input_ids": ids, "attention_mask": mask}
    return record_activations(model, batch, layers="layer", **kwargs).layers[0]


# -- tokens ------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(
    ("reduce", "by_hand"),
    [
        ("mean", lambda tokens: tokens.mean(axis=0, keepdims=True)),
        ("max", lambda tokens: tokens.max(axis=0, keepdims=True)),
        ("last_token", lambda tokens: tokens[-1:]),
        ("positions", lambda tokens: tokens),
    ],
)
def test_tokens_are_reduced_without_the_padding(reduce, by_hand, side):
    model = Tokens()
    ids, mask = padded(LENGTHS, side)
    expected = [by_hand(tokens) for tokens in token_vectors(model, ids, mask)]
    rows = record_tokens(model, ids, mask, reduce=reduce)
    np.testing.assert_allclose(rows, np.concatenate(expected), atol=1e-6)


def test_what_is_at_padded_positions_does_not_matter():
    model = Tokens()
    ids, mask = padded(LENGTHS)
    expected = record_tokens(model, ids, mask)
    with torch.no_grad():
        model.embed.weight[0] = float("nan")
    assert np.array_equal(record_tokens(model, ids, mask), expected)
    assert np.isfinite(record_tokens(model, ids, mask, reduce="max")).all()


def test_without_a_mask_all_positions_take_part():
    model = Tokens()
    ids, _ = padded([4, 4, 4])
    tokens = token_vectors(model, ids, torch.ones_like(ids))
    rows = record_activations(model, ids, layers="layer").layers[0]
    np.testing.assert_allclose(rows, np.mean(tokens, axis=1), atol=1e-6)
    last = record_activations(model, ids, layers="layer", reduce="last_token")
    np.testing.assert_allclose(last.layers[0], np.stack(tokens)[:, -1], atol=1e-6)


def test_a_mask_among_positional_arguments_is_read():
    model = Tokens()
    ids, mask = padded(LENGTHS)
    stack = record_activations(model, [(ids, mask)], layers="layer")
    assert np.array_equal(stack.layers[0], record_tokens(model, ids, mask))


def test_a_callable_gets_tensor_and_mask():
    model = Tokens()
    ids, mask = padded(LENGTHS)

    def first_and_length(tokens, mask):
        return torch.cat([tokens[:, 0], mask.sum(1, keepdim=True)], dim=1)

    rows = record_tokens(model, ids, mask, reduce=first_and_length)
    firsts = [tokens[0] for tokens in token_vectors(model, ids, mask)]
    np.testing.assert_allclose(rows[:, :-1], firsts, atol=1e-6)
    assert rows[:, -1].tolist() == LENGTHS


def test_an_empty_text_is_an_error_that_names_it():
    ids, mask = padded([2, 0, 3])
    with pytest.raises(ValueError, match=r"no position of stimulus 1 .*empty text"):
        record_tokens(Tokens(), ids, mask)


def test_a_mask_of_another_shape_is_an_error():
    ids, mask = padded(LENGTHS)
    with pytest.raises(ValueError, match=r"mask has the shape \(4, 4\), but the act"):
        record_tokens(Tokens(), ids, mask[:, :-1])


def test_flatten_of_padded_tokens_is_an_error():
    ids, mask = padded(LENGTHS)
    with pytest.raises(ValueError, match="'flatten'` needs the same number"):
        record_tokens(Tokens(), ids, mask, reduce="flatten")
    ids, mask = padded([3, 3])
    rows = record_tokens(Tokens(), ids, mask, reduce="flatten")
    assert rows.shape == (2, 18)


# -- precision ---------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sums_of_half_precision_are_in_float32(dtype):
    # 300 times 1,000 overflows float16, and bfloat16 has three digits.
    model = Tokens(dtype=dtype)
    with torch.no_grad():
        model.embed.weight.copy_(1000 + 8 * torch.arange(20.0)[:, None])
    ids, mask = padded([300, 200])
    stack = record_activations(
        model, {"input_ids": ids, "attention_mask": mask}, layers="embed"
    )
    with torch.no_grad():
        exact = model.embed(ids).double().numpy()
    expected = [exact[0].mean(axis=0), exact[1, :200].mean(axis=0)]
    assert stack.dtype == np.float32
    np.testing.assert_allclose(stack.layers[0], expected, rtol=1e-6)


def test_overflow_of_float16_is_an_error_that_names_layer_and_batch():
    model = Tokens(dtype=torch.float16)
    with torch.no_grad():
        model.embed.weight.fill_(60_000)
        model.embed.weight[1:10].fill_(1)
        model.layer.weight.fill_(1)
    ids = torch.tensor([[1, 2], [15, 16]])
    with pytest.raises(ValueError, match=r"float16.*layer 'layer', batch 1\).*bfloat"):
        record_activations(model, ids.split(1))


def test_activations_that_are_not_finite_are_an_error():
    model = Tokens()
    with torch.no_grad():
        model.layer.bias[2] = float("nan")
    with pytest.raises(ValueError, match=r"NaN or infinite \(layer 'layer', batch 0"):
        record_activations(model, torch.ones(2, 3, dtype=int))


# -- feature maps ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reduce", "by_hand"),
    [
        ("mean", lambda maps: maps.mean(axis=(2, 3))),
        ("max", lambda maps: maps.max(axis=(2, 3))),
        ("flatten", lambda maps: maps.reshape(len(maps), -1)),
        ("positions", lambda maps: np.moveaxis(maps, 1, -1).reshape(-1, maps.shape[1])),
    ],
)
@pytest.mark.parametrize("n_images", [1, 5])
def test_units_of_feature_maps_are_channels(reduce, by_hand, n_images):
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU())
    images = some_images(n_images)
    stack = record_activations(model, images, reduce=reduce)
    with torch.no_grad():
        maps = model(images).numpy()
    np.testing.assert_allclose(stack.layer("1"), by_hand(maps), atol=1e-6)


def test_units_of_three_dimensional_maps_are_channels():
    model = nn.Sequential(nn.Conv3d(1, 5, 2), nn.ReLU())
    videos = torch.randn(2, 1, 4, 4, 4)
    with torch.no_grad():
        expected = model(videos).mean((2, 3, 4))
    stack = record_activations(model, videos)
    np.testing.assert_allclose(stack.layer("1"), expected, atol=1e-6)


def test_last_token_of_a_feature_map_is_an_error():
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU())
    with pytest.raises(ValueError, match=r"is for tokens.*\(7, 6, 7, 7\) \(layer '0'"):
        record_activations(model, some_images(), reduce="last_token")


def test_layers_with_other_positions_are_an_error():
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.MaxPool2d(2))
    with pytest.raises(ValueError, match="'0' and '1' have 49 and 9 positions"):
        record_activations(model, some_images(), reduce="positions")


# -- the axis of the units ---------------------------------------------------------


class Sound(nn.Module):
    """Convolutions over time, (stimuli, units, positions)."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(2, 6, 3)
        self.norm = nn.BatchNorm1d(6)
        self.relu = nn.ReLU()

    def forward(self, sounds):
        return self.relu(self.norm(self.conv(sounds)))


def test_units_of_convolutions_over_time_are_on_axis_1():
    sounds, model = torch.randn(3, 2, 20), Sound().eval()
    stack = record_activations(model, sounds, layers=["conv", "norm"])
    with torch.no_grad():
        conv = model.conv(sounds)
        expected = {"conv": conv.mean(2), "norm": model.norm(conv).mean(2)}
    for name, rows in expected.items():
        np.testing.assert_allclose(stack.layer(name), rows, atol=1e-6)


def test_an_axis_that_is_not_known_is_an_error_until_it_is_given():
    sounds = torch.randn(3, 2, 20)
    with pytest.raises(ValueError, match=r"layer 'relu'.*unit_axis=\{'relu': 1\}"):
        record_activations(Sound(), sounds)
    for unit_axis in (1, {"relu": 1}):
        stack = record_activations(Sound(), sounds, unit_axis=unit_axis)
        assert stack.widths == (6, 6, 6)
    assert record_activations(Sound(), sounds, unit_axis={"relu": 2}).widths[2] == 18


def test_unit_axis_is_for_maps_with_channels_last():
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.permute, self.head = nn.Linear(3, 5), nn.Linear(5, 2)

        def forward(self, images):
            maps = self.permute(images.movedim(1, -1))
            return self.head(maps.mean((1, 2)))

    images = some_images()
    model = Last()
    stack = record_activations(model, images, unit_axis=-1)
    assert stack.widths == (5, 2)
    with torch.no_grad():
        expected = model.permute(images.movedim(1, -1)).mean((1, 2))
    np.testing.assert_allclose(stack.layer("permute"), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("unit_axis", "message"),
    [
        (0, "is 0, which is the axis of the stimuli"),
        (4, r"is 4, but the activations have the shape \(7, 6, 7, 7\)"),
        (-4, "is -4, but"),
        ({"con": 1}, r"'con', which is not recorded. The nearest names are \['0'\]"),
    ],
)
def test_an_axis_that_does_not_exist_is_an_error(unit_axis, message):
    model = nn.Sequential(nn.Conv2d(3, 6, 3))
    with pytest.raises(ValueError, match=message):
        record_activations(model, some_images(), unit_axis=unit_axis)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_recurrent_layers(kind):
    model = nn.Sequential(kind(4, 6, batch_first=True))
    values = torch.randn(5, 3, 4)
    with torch.no_grad():
        expected = model(values)[0]
    stack = record_activations(model, values, reduce="last_token")
    np.testing.assert_allclose(stack.layers[0], expected[:, -1], atol=1e-6)
    with pytest.raises(ValueError, match="batch_first=False"):
        record_activations(nn.Sequential(kind(4, 6)), values)


# -- errors ------------------------------------------------------------------------


@pytest.mark.parametrize("reduce", ["average", None, 3])
def test_an_unknown_reduction_is_an_error(reduce):
    with pytest.raises(ValueError, match=r"one of \['flatten', 'last_token', 'max'"):
        record_activations(Tokens(), torch.ones(2, 3, dtype=int), reduce=reduce)


def test_a_callable_that_gives_no_rows_is_an_error():
    with pytest.raises(ValueError, match=r"returned the shape \(2, 3, 6\)"):
        record_activations(
            Tokens(), torch.ones(2, 3, dtype=int), reduce=lambda tensor, mask: tensor
        )


def test_an_output_without_a_tensor_is_an_error():
    class Odd(nn.Module):
        def forward(self, values):
            return {"a": values, "b": values}

    with pytest.raises(ValueError, match=r"no tensor but a dict \(layer '0'"):
        record_activations(nn.Sequential(Odd()), torch.ones(2, 3))


def test_whole_numbers_become_floats_and_complex_numbers_an_error():
    class Sign(nn.Module):
        def forward(self, values):
            return (values > 0).int()

    class Spectrum(nn.Module):
        def forward(self, values):
            return torch.fft.fft(values)

    values = torch.tensor([[1.0, -2.0], [0.0, 3.0]])
    stack = record_activations(nn.Sequential(Sign()), values)
    assert stack.layers[0].tolist() == [[1, 0], [0, 1]]
    with pytest.raises(ValueError, match="complex numbers"):
        record_activations(nn.Sequential(Spectrum()), values)

import pickle

import numpy as np
import pytest

from skmot import LayerStack, MultiLevelOT
from skmot.extraction import record_activations
from skmot.model_selection import StimulusKFold
from tests.extraction.common import (
    ConvNet,
    Tokens,
    conv_net_by_hand,
    n_hooks,
    nn,
    padded,
    some_images,
    torch,
    trained_conv_net,
)

NAMES = ("conv1", "norm", "relu", "conv2", "relu#1", "head")


def rows_by_hand(tensors):
    return {
        name: tensor.mean((2, 3)) if tensor.ndim == 4 else tensor
        for name, tensor in tensors.items()
    }


# -- what is recorded --------------------------------------------------------------


def test_layers_are_those_of_the_forward_pass_in_order():
    model, images = trained_conv_net(), some_images()
    stack = record_activations(model, images)
    expected = rows_by_hand(conv_net_by_hand(model, images))
    assert isinstance(stack, LayerStack)
    assert stack.names == NAMES == tuple(expected)
    for name, rows in expected.items():
        assert stack.layer(name).dtype == np.float32
        np.testing.assert_allclose(stack.layer(name), rows, atol=1e-6)


def test_a_module_in_place_does_not_change_the_layer_before_it():
    model, images = trained_conv_net(), some_images()
    stack = record_activations(model, images, reduce="flatten")
    assert stack.layer("norm").min() < 0 <= stack.layer("relu").min()
    assert np.array_equal(np.maximum(stack.layer("norm"), 0), stack.layer("relu"))


def test_tensors_that_the_model_keeps_are_copied():
    class Keeping(nn.Module):
        def __init__(self):
            super().__init__()
            self.state = nn.Identity()
            self.layer = nn.Linear(2, 2)
            self.register_buffer("kept", torch.zeros(1, 2))

        def forward(self, values):
            self.kept += 1
            self.layer(values)
            return self.state(self.kept)

    stack = record_activations(
        Keeping(), [torch.ones(1, 2), torch.ones(1, 2)], layers=["state"]
    )
    assert stack.layers[0].tolist() == [[1, 1], [2, 2]]


@pytest.mark.parametrize("sizes", [(7,), (3, 3, 1), (1,) * 7])
def test_batches_change_nothing(sizes):
    model, images = trained_conv_net(), some_images()
    whole = record_activations(model, images)
    parts = record_activations(model, images.split(sizes))
    for name in NAMES:
        np.testing.assert_allclose(parts.layer(name), whole.layer(name), atol=1e-6)


def test_a_float64_model_keeps_its_precision():
    model = ConvNet().double()
    stack = record_activations(model, some_images())
    expected = rows_by_hand(conv_net_by_hand(model.eval(), some_images().double()))
    assert stack.dtype == np.float64
    np.testing.assert_allclose(stack.layer("head"), expected["head"], rtol=1e-12)


def test_bfloat16_becomes_float32_without_rounding():
    model = nn.Sequential(nn.Linear(4, 3)).bfloat16()
    values = torch.randn(5, 4)
    stack = record_activations(model, values)
    with torch.no_grad():
        expected = model(values.bfloat16()).float()
    assert stack.dtype == np.float32
    assert np.array_equal(stack.layers[0], expected)


def test_a_stack_goes_into_an_estimator():
    first, second = (
        record_activations(trained_conv_net(seed), some_images(40)) for seed in (0, 1)
    )
    fitted = MultiLevelOT().fit(first, second)
    assert fitted.source_names_ == NAMES
    assert np.isfinite(fitted.cost_)
    assert pickle.loads(pickle.dumps(first)).names == NAMES


def test_batch_norm_with_one_stimulus_uses_its_statistics():
    model = trained_conv_net()
    stack = record_activations(model, some_images(1))
    expected = rows_by_hand(conv_net_by_hand(model, some_images(1)))
    np.testing.assert_allclose(stack.layer("head"), expected["head"], atol=1e-6)


# -- what is left behind -----------------------------------------------------------


def interrupted(images):
    yield images
    raise KeyboardInterrupt


class Failing(ConvNet):
    def forward(self, images):
        self.conv1(images)
        raise RuntimeError("no memory")


@pytest.mark.parametrize(
    ("make", "batches", "error"),
    [
        (ConvNet, some_images(), None),
        (ConvNet, interrupted(some_images()), KeyboardInterrupt),
        (Failing, some_images(), RuntimeError),
        (ConvNet, list(some_images()), ValueError),
    ],
)
def test_the_model_is_as_before_whatever_happens(make, batches, error):
    model = make().train()
    model.norm.eval()
    modes = {name: module.training for name, module in model.named_modules()}
    state = {name: value.clone() for name, value in model.state_dict().items()}
    seen = []
    handle = model.conv1.register_forward_hook(lambda *_: seen.append(1))
    if error is None:
        record_activations(model, batches)
    else:
        with pytest.raises(error):
            record_activations(model, batches)
    assert {name: m.training for name, m in model.named_modules()} == modes
    assert all(torch.equal(state[k], v) for k, v in model.state_dict().items())
    assert n_hooks(model) == 1
    assert seen
    handle.remove()
    assert torch.is_grad_enabled()


def test_hooks_do_not_change_the_output():
    outputs = []

    class Kept(ConvNet):
        def forward(self, images):
            outputs.append(super().forward(images))
            return outputs[-1]

    model = Kept()
    record_activations(model, some_images())
    with torch.no_grad():
        expected = model.eval()(some_images())
    assert torch.equal(outputs[0], expected)
    assert not outputs[0].requires_grad


def test_a_model_can_be_trained_afterwards():
    model = Tokens()
    ids, mask = padded([3, 2])
    record_activations(model, {"input_ids": ids, "attention_mask": mask})
    model(ids).sum().backward()
    assert model.layer.weight.grad is not None


# -- labels ------------------------------------------------------------------------


def test_stimuli_are_the_labels():
    labels = [f"image {k}" for k in range(7)]
    stack = record_activations(ConvNet(), some_images(), stimuli=labels)
    assert stack.stimuli.tolist() == labels
    assert record_activations(ConvNet(), some_images()).stimuli is None


@pytest.mark.parametrize("n_labels", [1, 6, 8])
@pytest.mark.parametrize("in_batches", [False, True])
def test_another_number_of_labels_is_an_error(n_labels, in_batches):
    batches = some_images().split(3) if in_batches else some_images()
    with pytest.raises(ValueError, match=f"`stimuli` has {n_labels} labels, but"):
        record_activations(ConvNet(), batches, stimuli=range(n_labels))


def test_too_few_labels_end_the_recording_at_once():
    n_read = 0

    def batches():
        nonlocal n_read
        for _ in range(5):
            n_read += 1
            yield some_images(2)

    with pytest.raises(ValueError, match="have 4 or more stimuli"):
        record_activations(ConvNet(), batches(), stimuli=["a", "b", "c"])
    assert n_read == 2


@pytest.mark.parametrize("stimuli", [None, ["cat", "dog", "owl", "eel"]])
def test_positions_have_the_label_of_their_stimulus(stimuli):
    lengths = [3, 1, 4, 2]
    ids, mask = padded(lengths)
    batches = [
        {"input_ids": ids[rows], "attention_mask": mask[rows]}
        for rows in (slice(0, 3), slice(3, 4))
    ]
    stack = record_activations(Tokens(), batches, reduce="positions", stimuli=stimuli)
    labels = np.arange(4) if stimuli is None else np.array(stimuli)
    assert stack.stimuli.tolist() == np.repeat(labels, lengths).tolist()
    for train, test in StimulusKFold(2).split(stack):
        assert not {*stack.stimuli[train]} & {*stack.stimuli[test]}


def test_no_batches_are_an_error():
    with pytest.raises(ValueError, match="no stimuli"):
        record_activations(ConvNet(), [])


def test_what_is_no_model_is_an_error():
    with pytest.raises(TypeError, match=r"torch.nn.Module; got a function"):
        record_activations(lambda images: images, some_images())

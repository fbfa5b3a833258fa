import pickle

import numpy as np
import pytest

from skmot import LayerStack
from skmot.extraction import record_activations
from tests.extraction.common import ConvNet, nn, some_images, torch, trained_conv_net


def files_of(folder):
    return sorted(path.name for path in folder.iterdir())


def test_layers_in_files_are_those_in_memory(tmp_path):
    model, images = trained_conv_net(), some_images(40)
    expected = record_activations(model, images.split(11), stimuli=range(40))
    folder = tmp_path / "new" / "activations"
    stack = record_activations(model, images.split(11), stimuli=range(40), out=folder)
    assert stack.names == expected.names
    assert stack.stimuli.tolist() == list(range(40))
    for name in stack.names:
        assert np.array_equal(stack.layer(name), expected.layer(name))
        assert stack.layer(name).dtype == np.float32
    names = ["000_conv1", "001_norm", "002_relu", "003_conv2", "004_relu#1", "005_head"]
    assert files_of(folder) == [f"{name}.npy" for name in names]
    # Other readers of `.npy` files agree.
    for number, path in enumerate(sorted(folder.glob("*.npy"))):
        assert np.array_equal(np.load(path), expected.layers[number])


def test_rows_stay_in_the_files(tmp_path):
    images = some_images(300)
    stack = record_activations(ConvNet(), images, out=str(tmp_path))
    assert isinstance(stack, LayerStack)
    sent = pickle.dumps(stack)
    assert len(sent) < 5_000
    received = pickle.loads(sent)
    assert np.array_equal(received[[7, 3]].layer("head"), stack.layer("head")[[7, 3]])


def test_layers_have_temporary_names_until_all_are_complete(tmp_path):
    seen = []

    def batches():
        yield some_images(2)
        seen.extend(files_of(tmp_path))
        yield some_images(2)

    record_activations(ConvNet(), batches(), out=tmp_path, layers=["conv1", "head"])
    assert seen == ["000_conv1.npy.part", "001_head.npy.part"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_no_files_are_left_after_an_error(tmp_path, error):
    def batches():
        yield some_images(2)
        raise error

    with pytest.raises(error):
        record_activations(ConvNet(), batches(), out=tmp_path)
    assert files_of(tmp_path) == []


def test_a_wrong_number_of_labels_leaves_no_files(tmp_path):
    with pytest.raises(ValueError, match="9 labels"):
        record_activations(
            ConvNet(), some_images().split(3), stimuli=range(9), out=tmp_path
        )
    assert files_of(tmp_path) == []


def test_a_folder_with_layers_is_an_error(tmp_path):
    record_activations(ConvNet(), some_images(), out=tmp_path)
    before = files_of(tmp_path)
    with pytest.raises(FileExistsError, match=r"6 .npy files.*'000_conv1.npy'"):
        record_activations(ConvNet(), some_images(), out=tmp_path, layers=["head"])
    assert files_of(tmp_path) == before


def test_names_that_are_no_file_names_are_kept_apart(tmp_path):
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    model.add_module("a/b", nn.Linear(2, 2))
    model.add_module("a b", nn.Linear(2, 2))
    stack = record_activations(model, torch.randn(5, 4), out=tmp_path)
    assert stack.names == ("0", "1", "2", "a/b", "a b")
    assert files_of(tmp_path)[3:] == ["003_a_b.npy", "004_a_b.npy"]


def test_float64_and_transposed_rows_are_written_as_they_are(tmp_path):
    class Transposed(nn.Module):
        def forward(self, values):
            return values.T.contiguous().T

    values = torch.randn(5, 3, dtype=torch.float64)
    stack = record_activations(nn.Sequential(Transposed()), values, out=tmp_path)
    assert stack.dtype == np.float64
    assert np.array_equal(stack.layers[0], values)


@pytest.mark.parametrize("in_folder", [False, True])
def test_stimuli_of_other_sizes_need_a_reduction(tmp_path, in_folder):
    model = nn.Sequential(nn.Conv2d(3, 6, 3))
    batches = [some_images(2, size=9), some_images(2, size=8)]
    out = tmp_path if in_folder else None
    with pytest.raises(ValueError, match=r"'0' has 294 units .* and 216 in a later"):
        record_activations(model, batches, reduce="flatten", out=out)
    stack = record_activations(model, batches, out=out)
    assert stack.shape == (4, 6)

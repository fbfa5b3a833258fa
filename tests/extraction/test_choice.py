import pytest

from skmot.extraction import record_activations
from tests.extraction.common import ConvNet, nn, some_images, torch

PIXELS = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))


def linear(n=6):
    return nn.Linear(6, n)


# -- layers by name ----------------------------------------------------------------


@pytest.mark.parametrize("layers", ["conv2", ["conv2"], ("conv2", "conv2")])
def test_one_layer_is_chosen_by_its_name(layers):
    stack = record_activations(ConvNet(), some_images(), layers=layers)
    assert stack.names == ("conv2",)


def test_layers_are_in_the_order_of_the_forward_pass():
    stack = record_activations(ConvNet(), some_images(), layers=["head", "conv1"])
    assert stack.names == ("conv1", "head")


def test_an_unknown_name_is_an_error_with_the_nearest():
    with pytest.raises(ValueError, match=r"no layer 'con2'.* \['conv2', 'conv1'"):
        record_activations(ConvNet(), some_images(), layers=["con2"])


def test_a_list_of_modules_is_an_error_that_names_its_elements():
    class Listed(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList([linear(), linear()])

        def forward(self, pixels):
            for block in self.blocks:
                pixels = block(pixels)
            return pixels

    with pytest.raises(ValueError, match=r"ModuleList.*'blocks.0', 'blocks.1'"):
        record_activations(Listed(), PIXELS, layers=["blocks"])
    assert record_activations(Listed(), PIXELS).names == ("blocks.0", "blocks.1")


def test_no_layers_are_an_error():
    with pytest.raises(ValueError, match="no layers to record"):
        record_activations(ConvNet(), some_images(), layers=[])
    with pytest.raises(ValueError, match="no layers to record"):
        record_activations(linear(), PIXELS)


def test_a_layer_that_does_not_run_is_an_error_only_if_it_was_asked_for():
    model = ConvNet()
    model.auxiliary = linear()
    assert "auxiliary" not in record_activations(model, some_images()).names
    with pytest.raises(ValueError, match=r"Layers \['auxiliary'\] did not run"):
        record_activations(model, some_images(), layers=["conv1", "auxiliary"])


class Sometimes(nn.Module):
    def __init__(self, n_first, n_later):
        super().__init__()
        self.always, self.extra = linear(), linear()
        self.n_uses = iter([n_first, n_later])

    def forward(self, pixels):
        for _ in range(next(self.n_uses)):
            pixels = self.extra(pixels)
        return self.always(pixels)


@pytest.mark.parametrize(
    ("uses", "layers"),
    [
        ((1, 0), None),
        ((0, 1), None),
        ((2, 1), None),
        ((1, 2), None),
        ((1, 0), ["always", "extra"]),
        ((2, 1), ["always", "extra"]),
        ((1, 2), ["always", "extra"]),
    ],
)
def test_layers_that_run_in_some_batches_only_are_an_error(uses, layers):
    name = "extra" if 0 in uses else "extra#1"
    with pytest.raises(ValueError, match=rf"\['{name}'\] ran in some batches only"):
        record_activations(Sometimes(*uses), PIXELS.split(2), layers=layers)


def test_a_module_with_several_names_has_one_layer_a_use():
    shared = linear()
    model = nn.Sequential(shared, nn.ReLU(), shared)
    stack = record_activations(model, PIXELS)
    assert stack.names == ("0", "1", "0#1")
    # Its second name, which `print(model)` shows, is known too.
    named = record_activations(model, PIXELS, layers=["2", "0"])
    assert named.names == ("2", "2#1")
    assert (named.layer("2#1") == stack.layer("0#1")).all()


# -- default layers ----------------------------------------------------------------


def test_containers_are_opened_and_copying_modules_left_out():
    class Block(nn.Sequential):
        """A subclass of a container is a layer of its own."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.features = nn.Sequential(
                Block(linear(), nn.ReLU()), nn.Sequential(linear(), nn.Dropout())
            )
            self.flatten = nn.Flatten()
            self.head = nn.Identity()
            self.out = linear(2)

        def forward(self, pixels):
            return self.out(self.head(self.flatten(self.features(pixels))))

    names = ("features.0", "features.1.0", "out")
    assert record_activations(Net(), PIXELS).names == names
    # A wrapper adds its prefix, and nothing else.
    wrapped = nn.Sequential(Net())
    assert record_activations(wrapped, PIXELS).names == tuple(f"0.{n}" for n in names)


# -- models that call no hooks -----------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning")
@pytest.mark.parametrize("layers", [None, ["0"]])
def test_script_modules_are_an_error(layers):
    model = torch.jit.script(nn.Sequential(linear(), nn.ReLU()))
    with pytest.raises(ValueError, match="ScriptModule, which calls no hooks"):
        record_activations(model, PIXELS, layers=layers)


def test_a_model_that_calls_no_module_is_an_error():
    class Exported(nn.Module):
        """Has the weights in modules, and calls functions, as exported graphs do."""

        def __init__(self):
            super().__init__()
            self.first, self.second = linear(), linear()

        def forward(self, pixels):
            hidden = nn.functional.linear(pixels, self.first.weight)
            return nn.functional.linear(hidden, self.second.weight)

    with pytest.raises(ValueError, match=r"\['first', 'second'\] did not run.*export"):
        record_activations(Exported(), PIXELS)


def test_a_compiled_model_is_recorded_like_the_original():
    model = nn.Sequential(linear(), nn.ReLU())
    compiled = torch.compile(model, backend="eager")
    compiled(PIXELS)
    stack = record_activations(compiled, PIXELS)
    assert stack.names == ("0", "1")
    assert (stack.layer("1") == compiled(PIXELS).detach().numpy()).all()

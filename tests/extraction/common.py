"""Small models, and layers as a user would take them by hand."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
nn = torch.nn


class ConvNet(nn.Module):
    """Convolutions with batch norm, dropout and a ReLU in place that is used twice."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(6, 4, 3, stride=2)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(4, 5)

    def forward(self, images):
        hidden = self.relu(self.norm(self.conv1(images)))
        hidden = self.relu(self.conv2(hidden))
        return self.head(self.dropout(hidden.mean((2, 3))))


class Tokens(nn.Module):
    """Embeds tokens, so that padding shows in every layer that does not mask it."""

    def __init__(self, width=6, dtype=torch.float32):
        super().__init__()
        self.embed = nn.Embedding(20, width, dtype=dtype)
        self.layer = nn.Linear(width, width, dtype=dtype)

    def forward(self, input_ids, attention_mask=None):
        return self.layer(self.embed(input_ids))


def trained_conv_net(seed=0):
    """Return a model whose batch norm has other statistics than those of a batch."""
    torch.manual_seed(seed)
    model = ConvNet()
    with torch.no_grad():
        for _ in range(3):
            model(3 + 2 * torch.randn(8, 3, 9, 9))
    return model


def some_images(n=7, seed=0, size=9):
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(seed))


def conv_net_by_hand(model, images):
    """Return the outputs of the modules in order, with the functions of torch."""
    relu = nn.functional.relu
    with torch.no_grad():
        conv1 = nn.functional.conv2d(
            images, model.conv1.weight, model.conv1.bias, padding=1
        )
        norm = nn.functional.batch_norm(
            conv1,
            model.norm.running_mean,
            model.norm.running_var,
            model.norm.weight,
            model.norm.bias,
            eps=model.norm.eps,
        )
        conv2 = nn.functional.conv2d(
            relu(norm), model.conv2.weight, model.conv2.bias, stride=2
        )
        last = relu(conv2)
        head = nn.functional.linear(
            last.mean((2, 3)), model.head.weight, model.head.bias
        )
    return {
        "conv1": conv1,
        "norm": norm,
        "relu": relu(norm),
        "conv2": conv2,
        "relu#1": last,
        "head": head,
    }


def n_hooks(model):
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks)
        for module in model.modules()
    )


def padded(lengths, side="right", seed=0):
    """Return token numbers with padding of 0, and their attention mask."""
    rng = np.random.default_rng(seed)
    width = max(lengths)
    ids = np.zeros((len(lengths), width), int)
    mask = np.zeros_like(ids)
    for row, length in enumerate(lengths):
        part = slice(0, length) if side == "right" else slice(width - length, width)
        ids[row, part] = rng.integers(1, 20, length)
        mask[row, part] = 1
    return torch.tensor(ids), torch.tensor(mask)

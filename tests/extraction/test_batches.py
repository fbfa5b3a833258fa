import functools

import numpy as np
import pytest

from skmot.extraction import record_activations
from tests.extraction.common import (
    ConvNet,
    Tokens,
    padded,
    some_images,
    torch,
    trained_conv_net,
)

data = torch.utils.data
TEXTS = ["a bb ccc", "dddd", "a a", "ee bb", "fff"]


def count_letters(texts, padding, return_tensors, truncation=False):
    """Tokenizer whose tokens are the lengths of words."""
    assert padding is True
    assert return_tensors == "pt"
    words = [[len(word) for word in text.split()] for text in texts]
    longest = 2 if truncation else max(map(len, words))
    rows = [word[:longest] + [0] * (longest - len(word)) for word in words]
    ids = torch.tensor(rows)
    return {"input_ids": ids, "attention_mask": (ids > 0).int()}


def mean_embeddings(model, texts):
    lengths = [torch.tensor([len(word) for word in text.split()]) for text in texts]
    return np.stack([model.embed.weight[own].mean(0).detach() for own in lengths])


# -- forms of batches --------------------------------------------------------------


@pytest.mark.parametrize(
    "form",
    [
        lambda images: images,
        lambda images: images.numpy(),
        lambda images: images.double().numpy(),
        lambda images: {"images": images},
        lambda images: list(images.split(3)),
        lambda images: (part for part in images.split(3)),
        lambda images: [part.numpy() for part in images.split(3)],
        lambda images: [{"images": part} for part in images.split(3)],
        lambda images: [(part,) for part in images.split(3)],
        lambda images: data.DataLoader(data.TensorDataset(images), batch_size=3),
        lambda images: data.DataLoader(images, batch_size=3),
    ],
)
def test_batches_in_all_forms_give_the_same(form):
    model, images = trained_conv_net(), some_images(40)
    stack = record_activations(model, form(images), layers="head")
    with torch.no_grad():
        expected = model.eval()(images)
    assert stack.shape == (40, 5)
    np.testing.assert_allclose(stack.layers[0], expected, atol=1e-6)


def test_one_tensor_is_split_into_batches():
    sizes = []

    class Counting(ConvNet):
        def forward(self, images):
            sizes.append(len(images))
            return super().forward(images)

    record_activations(Counting(), some_images(70))
    assert sizes == [32, 32, 6]


def test_a_memory_map_is_read(tmp_path):
    np.save(tmp_path / "images.npy", some_images().numpy())
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    model = trained_conv_net()
    stack, expected = (record_activations(model, b) for b in (mapped, some_images()))
    assert np.array_equal(stack.layer("head"), expected.layer("head"))


def test_dict_with_tensors_of_other_lengths_is_an_error():
    ids, _ = padded([3, 3])
    with pytest.raises(ValueError, match=r"\{'input_ids': 2, 'use_cache': None\}"):
        record_activations(Tokens(), {"input_ids": ids, "use_cache": False})


# -- what a user may write first ---------------------------------------------------


def whole_message(error):
    return "\n".join([str(error.value), *getattr(error.value, "__notes__", [])])


def test_images_with_labels_are_an_error_that_shows_the_line():
    loader = data.DataLoader(
        data.TensorDataset(some_images(), torch.arange(7)), batch_size=3
    )
    with pytest.raises(TypeError) as error:
        record_activations(ConvNet(), loader)
    line = "record_activations(model, (images for images, labels in loader))"
    assert line in whole_message(error)
    stack = record_activations(ConvNet(), (images for images, labels in loader))
    assert len(stack) == 7


def test_unknown_arguments_are_an_error_that_lists_them():
    ids, _ = padded([2, 2])
    with pytest.raises(TypeError) as error:
        record_activations(Tokens(), [{"input_ids": ids, "labels": ids}])
    assert "dict of ['input_ids', 'labels']" in whole_message(error)


def test_batches_of_objects_are_an_error_that_names_them():
    with pytest.raises(TypeError) as error:
        record_activations(ConvNet(), [object()])
    assert "Each batch is of type object" in whole_message(error)


@pytest.mark.parametrize("order", ["shuffle", "sampler"])
@pytest.mark.parametrize("tokenizer", [None, count_letters])
def test_a_loader_that_shuffles_is_an_error(order, tokenizer):
    arguments = {
        "shuffle": {"shuffle": True},
        "sampler": {"sampler": data.SubsetRandomSampler(range(5))},
    }
    loader = data.DataLoader(some_images(), **arguments[order])
    with pytest.raises(ValueError, match="DataLoader shuffles"):
        record_activations(ConvNet(), loader, tokenizer=tokenizer)


def test_a_dataset_is_an_error_that_shows_the_loader():
    dataset = data.TensorDataset(some_images())
    with pytest.raises(TypeError, match=r"DataLoader\(dataset, batch_size=32\)"):
        record_activations(ConvNet(), dataset)


@pytest.mark.parametrize("batches", [None, 3])
def test_what_is_no_iterable_is_an_error(batches):
    with pytest.raises(TypeError, match="must be an iterable of batches; got a"):
        record_activations(ConvNet(), batches)


def test_single_stimuli_are_an_error():
    with pytest.raises(ValueError, match=r"6 rows for 3 stimuli.*torch.stack"):
        record_activations(ConvNet(), list(some_images()), layers=["conv1"])
    with pytest.raises(ValueError, match=r"shape \(6,\).*torch.stack"):
        record_activations(
            torch.nn.Sequential(torch.nn.Linear(4, 6)), list(torch.ones(2, 4))
        )


# -- texts -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form",
    [
        lambda texts: texts,
        tuple,
        np.array,
        iter,
        lambda texts: [texts[:2], texts[2:]],
        lambda texts: data.DataLoader(texts, batch_size=2),
    ],
)
def test_texts_in_all_forms_give_the_same(form):
    model = Tokens()
    stack = record_activations(
        model, form(TEXTS), layers="embed", tokenizer=count_letters
    )
    assert stack.stimuli.tolist() == TEXTS
    np.testing.assert_allclose(
        stack.layers[0], mean_embeddings(model, TEXTS), atol=1e-6
    )


def test_series_of_texts_are_read_and_frames_are_an_error():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"text": TEXTS}, index=range(5, 0, -1))
    stack = record_activations(Tokens(), frame["text"], tokenizer=count_letters)
    assert stack.stimuli.tolist() == TEXTS
    with pytest.raises(TypeError, match=r"got a DataFrame. Give the texts"):
        record_activations(Tokens(), frame, tokenizer=count_letters)


def test_many_texts_are_put_into_batches():
    sizes = []

    def tokenizer(texts, **kwargs):
        sizes.append(len(texts))
        return count_letters(texts, **kwargs)

    stack = record_activations(Tokens(), TEXTS * 8, tokenizer=tokenizer)
    assert sizes == [32, 8]
    assert stack.stimuli.tolist() == TEXTS * 8


def test_stimuli_replace_the_texts_as_labels():
    stack = record_activations(
        Tokens(), TEXTS, tokenizer=count_letters, stimuli=range(5)
    )
    assert stack.stimuli.tolist() == list(range(5))
    with pytest.raises(ValueError, match="has 4 labels, but the batches have 5"):
        record_activations(Tokens(), TEXTS, tokenizer=count_letters, stimuli=range(4))


def test_positions_of_texts_have_the_text_as_label():
    stack = record_activations(
        Tokens(), TEXTS, tokenizer=count_letters, reduce="positions"
    )
    assert stack.stimuli.tolist() == [t for t in TEXTS for _ in t.split()]


@pytest.mark.parametrize(
    "batches", [TEXTS, [TEXTS], np.array(TEXTS), [np.array(TEXTS)]]
)
def test_texts_without_a_tokenizer_are_an_error(batches):
    with pytest.raises(TypeError, match=r"texts: give the tokenizer.*AutoTokenizer"):
        record_activations(Tokens(), batches)


def test_one_text_is_an_error():
    for tokenizer in (None, count_letters):
        with pytest.raises(TypeError, match=r"one string. Give a list of texts, `\[t"):
            record_activations(Tokens(), "a bb", tokenizer=tokenizer)


@pytest.mark.parametrize(
    "batches",
    [
        [(TEXTS, torch.arange(5))],
        [torch.ones(2, 3)],
        ["a", 3],
        [["a", 3]],
        {"input_ids": torch.ones(2, 3)},
    ],
)
def test_what_is_no_text_is_an_error_with_a_tokenizer(batches):
    with pytest.raises(TypeError, match="With a `tokenizer`, batches are texts or"):
        record_activations(Tokens(), batches, tokenizer=count_letters)


def test_texts_that_are_too_long_are_an_error_that_shows_the_line():
    tokenizer = functools.partial(count_letters)
    tokenizer.model_max_length = 2
    with pytest.raises(ValueError, match=r"has 3 tokens.*takes 2.*truncation=True"):
        record_activations(Tokens(), TEXTS, tokenizer=tokenizer)
    cut = functools.partial(tokenizer, truncation=True)
    stack = record_activations(Tokens(), TEXTS, tokenizer=cut, reduce="positions")
    assert len(stack) == 8

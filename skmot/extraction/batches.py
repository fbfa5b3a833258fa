"""Batches of stimuli: what the user gives, as arguments of the model."""

import inspect
from collections.abc import Mapping
from itertools import chain, islice

import numpy as np

# Stimuli of one batch if the user gives no batches: what most examples of the libraries
# use, and what fits into the memory of a small device with images of 224 pixels.
_BATCH_SIZE = 32

_TOKENIZE = (
    "give the tokenizer of the model, `tokenizer=AutoTokenizer.from_pretrained(...)`"
)


class Batches:
    """Iterable of batches in all forms that a user may give them.

    Parameters
    ----------
    given : iterable, tensor, array or dict
        The batches, see :func:`skmot.extraction.record_activations`.
    tokenizer : callable or None
        Tokenizer of texts.

    Attributes
    ----------
    n_stimuli : int or None
        Number of stimuli, or None if it is not known before the end.
    texts : list of str
        The texts of all batches so far.
    """

    def __init__(self, given, tokenizer):
        import torch

        self.n_stimuli, self.texts = None, []
        self._tokenizer = tokenizer
        if isinstance(given, str | bytes):
            raise TypeError(
                "`batches` is one string. Give a list of texts, `[text]`, and "
                f"{_TOKENIZE}."
            )
        _check_order(given)
        if tokenizer is not None:
            self._batches = self._tokenized(_texts_in_batches(given))
            if isinstance(given, list) and given and isinstance(given[0], str):
                self.n_stimuli = len(given)
        elif isinstance(given, Mapping):
            self.n_stimuli = _common_length(given)
            self._batches = (
                {key: value[rows] for key, value in given.items()}
                for rows in _slices(self.n_stimuli)
            )
        elif isinstance(given, torch.Tensor) or hasattr(given, "__array__"):
            if not isinstance(given, torch.Tensor):
                given = np.asarray(given)
            self.n_stimuli = len(given)
            self._batches = (given[rows] for rows in _slices(self.n_stimuli))
        else:
            _check_gives_batches(given)
            self._batches = given

    def __iter__(self):
        return iter(self._batches)

    def _tokenized(self, batches):
        for texts in batches:
            self.texts += texts
            batch = self._tokenizer(texts, padding=True, return_tensors="pt")
            longest = getattr(self._tokenizer, "model_max_length", None)
            n_tokens = max(value.shape[-1] for value in batch.values())
            if longest is not None and n_tokens > longest:
                raise ValueError(
                    f"A text has {n_tokens} tokens, and the tokenizer says that the "
                    f"model takes {longest}. To cut texts, write "
                    "`tokenizer=functools.partial(tokenizer, truncation=True)`."
                )
            yield batch


def _texts_in_batches(given):
    """Yield lists of texts from texts or lists of texts."""
    if isinstance(given, Mapping) or hasattr(given, "columns"):
        raise TypeError(
            "With a `tokenizer`, batches are texts or lists of texts; got a "
            f"{type(given).__name__}. Give the texts, such as `data['text']`; if the "
            "data are tokens, leave `tokenizer` out."
        )
    given = iter(given)
    for first in given:
        if isinstance(first, str):
            texts = [first, *islice(given, _BATCH_SIZE - 1)]
        else:
            texts = list(first) if isinstance(first, list | tuple) else [first]
        for text in texts:
            if not isinstance(text, str):
                raise TypeError(
                    "With a `tokenizer`, batches are texts or lists of texts; got a "
                    f"{type(text).__name__}. If batches are texts with labels, write "
                    "`(texts for texts, labels in loader)`; if they are tokens, leave "
                    "`tokenizer` out."
                )
        yield [str(text) for text in texts]


def _common_length(given):
    """Return the number of stimuli in a dict of all of them."""
    lengths = {
        key: len(value) if getattr(value, "ndim", 0) else None
        for key, value in given.items()
    }
    if len({*lengths.values()}) != 1 or None in lengths.values():
        raise ValueError(
            "A dict of all stimuli is split into batches, so it must hold tensors of "
            f"one length (`return_tensors='pt'`); got the lengths {lengths}. Give a "
            "list of batches instead, `[batch]`."
        )
    return next(iter(lengths.values()))


def _slices(n_stimuli):
    return (
        slice(start, start + _BATCH_SIZE) for start in range(0, n_stimuli, _BATCH_SIZE)
    )


def _check_gives_batches(given):
    """Raise for what gives no batches: single objects and data sets."""
    from torch.utils import data

    if not hasattr(given, "__iter__") and not hasattr(given, "__getitem__"):
        raise TypeError(
            f"`batches` must be an iterable of batches; got a {type(given).__name__}."
        )
    if isinstance(given, data.Dataset) and not isinstance(given, data.IterableDataset):
        raise TypeError(
            "`batches` is a Dataset, which gives single stimuli: write "
            "`DataLoader(dataset, batch_size=32)`."
        )


def _check_order(given):
    """Raise for a loader that shuffles."""
    from torch.utils import data

    random = data.RandomSampler, data.SubsetRandomSampler, data.WeightedRandomSampler
    if isinstance(given, data.DataLoader) and isinstance(given.sampler, random):
        raise ValueError(
            "The DataLoader shuffles, so rows would not correspond to those of another "
            "model or to the labels: write `DataLoader(dataset, batch_size=32)` "
            "without `shuffle=True`."
        )


# -- one batch ---------------------------------------------------------------------


def arguments_of(batch, model):
    """Return the arguments of a model for a batch, on its device and in its dtype.

    Parameters
    ----------
    batch : tensor, array, list, tuple or dict
        The batch.
    model : torch.nn.Module
        The model.

    Returns
    -------
    args : tuple
        Positional arguments.
    kwargs : dict
        Keyword arguments.
    """
    # Parameters that are loaded when they are used have the device "meta" before.
    tensors = [
        own
        for own in chain(model.parameters(), model.buffers())
        if own.device.type != "meta"
    ]
    device = next((own.device for own in tensors), None)
    dtype = next((own.dtype for own in tensors if own.is_floating_point()), None)
    if isinstance(batch, Mapping):
        return (), {key: _moved(value, device, dtype) for key, value in batch.items()}
    parts = batch if isinstance(batch, list | tuple) else (batch,)
    if any(isinstance(part, str) or _has_texts(part) for part in parts):
        raise TypeError(f"The batches are texts: {_TOKENIZE}.")
    return tuple(_moved(part, device, dtype) for part in parts), {}


def _has_texts(part):
    return isinstance(part, np.ndarray) and part.dtype.kind in "US"


def _moved(value, device, dtype):
    import torch

    if isinstance(value, np.ndarray):
        # A copy, because tensors cannot share arrays that are read only.
        value = torch.tensor(value)
    if not isinstance(value, torch.Tensor):
        return value
    return value.to(device, dtype if value.is_floating_point() else None)


def first_tensor(args, kwargs):
    """Return the first argument that is a tensor with an axis, or None."""
    import torch

    return next(
        (
            value
            for value in (*args, *kwargs.values())
            if isinstance(value, torch.Tensor) and value.ndim
        ),
        None,
    )


def attention_mask(model, args, kwargs):
    """Return the attention mask among the arguments of a model, or None."""
    if not args:
        return kwargs.get("attention_mask")
    try:
        bound = inspect.signature(model.forward).bind(*args)
    except (TypeError, ValueError):
        # The signature is not known, or the call is about to fail.
        return None
    return bound.arguments.get("attention_mask")

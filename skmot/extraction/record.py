"""The activations of a PyTorch model as a LayerStack."""

from contextlib import ExitStack, contextmanager

from skmot.extraction.batches import Batches, arguments_of, attention_mask
from skmot.extraction.choice import choose_layers
from skmot.extraction.recorder import Recorder
from skmot.extraction.reduction import Reduction
from skmot.extraction.storage import FolderStorage, MemoryStorage
from skmot.layers import LayerStack
from skmot.layers.labels import as_labels
from skmot.layers.positions import label_positions


def record_activations(
    model,
    batches,
    *,
    layers=None,
    reduce="mean",
    tokenizer=None,
    stimuli=None,
    out=None,
    unit_axis=None,
):
    """Record the activations of a PyTorch model as a stack of layers.

    The model runs over all batches in evaluation mode and without gradients. Forward
    hooks record the output of each chosen module. Only the reduced activations are
    kept. Afterwards, the hooks are gone and each submodule is in its previous mode,
    also after an error or an interrupt.

    Parameters
    ----------
    model : torch.nn.Module
        The model, for instance of Hugging Face transformers, timm or torchvision. It
        runs on its own device and in its own dtype; floating-point input is converted
        to both.
    batches : iterable, tensor, array or dict
        The stimuli, in one of these forms:

        - an iterable of batches, such as a list or a `DataLoader`. A batch is what the
          model takes: a tensor or array, `model(batch)`; a list or tuple of arguments,
          `model(*batch)`; or a dict (`BatchEncoding`) of arguments, `model(**batch)`;
        - one tensor, array or dict of all stimuli, which is split into batches of 32;
        - with a `tokenizer`, an iterable of texts, which are put into batches of 32, or
          an iterable of lists of texts, each of which is one batch.

        The first axis of all tensors is that of the stimuli.
    layers : str or iterable of str, default=None
        Names of modules as in `model.named_modules()`. None chooses

        - for a transformer of Hugging Face: "embeddings" (the input of the first
          block), each block, and "final_norm" (the output of the model without its
          head), unless this is the output of the last block. These two names can also
          be given;
        - for other models: the children of the model. `Sequential`, `ModuleList` and
          `ModuleDict` are replaced by their children. Dropout, `Identity` and `Flatten`
          are left out, because their output is that of the module before them, and so
          are modules that do not run.
    reduce : {"mean", "max", "last_token", "flatten", "positions"} or callable, \
default="mean"
        How activations at several positions (tokens, or pixels of a feature map)
        become one row per stimulus. Positions that the attention mask leaves out take
        no part.

        - "mean" and "max" are taken over positions. Sums are at least in float32;
        - "last_token" takes the last position that the attention mask leaves;
        - "flatten" takes each unit at each position as a unit;
        - "positions" takes each position of each stimulus as a row. The rows have the
          label of their stimulus, so that the splitters of
          :mod:`skmot.model_selection` keep them together;
        - a callable takes the tensor and the attention mask (or None), and returns a
          tensor of shape (n_stimuli, n_units), for instance
          `lambda tokens, mask: tokens[:, 0]` for the first token.

        Activations of shape (n_stimuli, n_units) are taken as they are, except by a
        callable.
    tokenizer : callable, default=None
        Tokenizer of Hugging Face, or another callable, that is called as
        `tokenizer(texts, padding=True, return_tensors="pt")`. For other arguments, use
        `functools.partial(tokenizer, truncation=True)`.
    stimuli : array-like of shape (n_stimuli,), default=None
        Labels of the stimuli. None takes the texts if there is a tokenizer, the numbers
        0, 1, 2, ... if `reduce="positions"`, and no labels otherwise.
    out : str or path, default=None
        Folder for the activations, which is made if it does not exist. Each layer is
        written to one `.npy` file, named by its number and name, and the stack reads
        rows from there. Files have temporary names until all are complete. None keeps
        the activations in memory.
    unit_axis : int or dict, default=None
        Axis of the units, or a dict of axes by the names of layers. None takes axis 1
        of feature maps (four or five axes, and the output of one-dimensional
        convolutions) and the last axis of tokens (three axes). Maps whose channels are
        last, as in Swin transformers of torchvision, need `unit_axis=-1`.

    Returns
    -------
    stack : LayerStack of shape (n_stimuli, n_units)
        The layers in the order in which the modules finished. A module that is used
        several times gives the layers "relu", "relu#1", "relu#2", ... Numbers are
        float64 if the model is, otherwise float32.

    Raises
    ------
    ImportError
        If PyTorch is not installed: `pip install 'skmot[extraction]'`.
    TypeError
        If the model is no `torch.nn.Module`, or the batches are not what it takes.
    ValueError
        If a layer is unknown (the message has the nearest names), did not run, ran in
        some batches only or belongs to a ScriptModule; if activations are not finite,
        as after an overflow of float16; if the axis of units or the positions to leave
        out are not known; if a `DataLoader` shuffles; or if the rows of layers, stimuli
        and labels differ in number.
    FileExistsError
        If the folder `out` has `.npy` files.

    Notes
    -----
    With `reduce="positions"`, "embeddings" and the blocks of a Hugging Face transformer
    equal its `hidden_states` bit for bit, except that `hidden_states[-1]` of language
    models is normed already. Here, the last block is what it gives, and the normed
    activations are "final_norm".

    Examples
    --------
    >>> import torch
    >>> from skmot.extraction import record_activations
    >>> model = torch.nn.Sequential(
    ...     torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(),
    ...     torch.nn.Linear(144, 10),
    ... )
    >>> images = torch.rand(5, 1, 8, 8)
    >>> record_activations(model, images)
    LayerStack(5 stimuli, 3 layers: 0 (4 units), 1 (4 units), 3 (10 units))
    >>> record_activations(model, images, layers=["1"], reduce="flatten")
    LayerStack(5 stimuli, 1 layer: 1 (144 units))
    """
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            "`record_activations` needs PyTorch: `pip install 'skmot[extraction]'`."
        ) from error
    if not isinstance(model, torch.nn.Module):
        raise TypeError(
            f"`model` must be a torch.nn.Module; got a {type(model).__name__}."
        )
    # A compiled model shares its modules with the original, and may skip their hooks.
    model = getattr(model, "_orig_mod", model)
    places = choose_layers(model, layers)
    reduction = Reduction(reduce, unit_axis, places)
    batches = Batches(batches, tokenizer)
    labels = None if stimuli is None else as_labels(stimuli)
    if batches.n_stimuli is not None:
        _check_n_labels(labels, batches.n_stimuli)
    storage = MemoryStorage() if out is None else FolderStorage(out)
    recorder = Recorder(places, reduction, storage, may_drop=layers is None)
    with ExitStack() as stack:
        # Inference mode would make buffers that the model creates on use, such as
        # caches of position embeddings, unusable in later training.
        stack.enter_context(torch.no_grad())
        stack.enter_context(_evaluation_mode(model))
        stack.enter_context(storage)
        stack.callback(recorder.detach)
        recorder.attach()
        for batch in batches:
            args, kwargs = arguments_of(batch, model)
            recorder.start_batch(args, kwargs, attention_mask(model, args, kwargs))
            _call(model, args, kwargs)
            recorder.end_batch()
            if labels is not None and recorder.n_stimuli > len(labels):
                _check_n_labels(labels, recorder.n_stimuli, " or more")
        if recorder.n_stimuli == 0:
            raise ValueError(
                "There are no stimuli in `batches`, so there is nothing to record."
            )
        _check_n_labels(labels, recorder.n_stimuli)
        arrays = storage.finish()
    if labels is None and tokenizer is not None:
        labels = as_labels(batches.texts)
    if isinstance(reduce, str) and reduce == "positions":
        labels = label_positions(labels, recorder.n_positions)
    return LayerStack(arrays, stimuli=labels)


@contextmanager
def _evaluation_mode(model):
    # Without `eval` and `train`, which models may override to change their weights, and
    # which would also thaw submodules that the user has frozen.
    modes = [(module, module.training) for module in model.modules()]
    try:
        for module, _ in modes:
            module.training = False
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _call(model, args, kwargs):
    import torch

    try:
        model(*args, **kwargs)
    except TypeError as error:
        if kwargs:
            error.add_note(
                f"Each batch is a dict of {list(kwargs)}, which are keyword arguments, "
                "`model(**batch)`. Give only what the model takes: `({'input_ids': "
                "batch['input_ids']} for batch in loader)`."
            )
        elif len(args) > 1:
            error.add_note(
                f"Each batch is a list of {len(args)}, which are arguments, "
                "`model(*batch)`. If batches are images with labels, write "
                "`record_activations(model, (images for images, labels in loader))`."
            )
        elif not isinstance(args[0], torch.Tensor):
            error.add_note(
                f"Each batch is of type {type(args[0]).__name__}. Make tensors of them "
                "first, for instance with the processor of the model."
            )
        raise


def _check_n_labels(labels, n_stimuli, or_more=""):
    if labels is not None and len(labels) != n_stimuli:
        raise ValueError(
            f"`stimuli` has {len(labels)} labels, but the batches have "
            f"{n_stimuli}{or_more} stimuli."
        )

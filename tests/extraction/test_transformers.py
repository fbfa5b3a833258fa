"""Architectures of Hugging Face, built small from their configurations."""

import numpy as np
import pytest

from skmot.extraction import record_activations
from tests.extraction.common import n_hooks, nn, padded, torch

transformers = pytest.importorskip("transformers")

DEPTH = 3
TEXT = {
    "vocab_size": 20,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
IMAGE = {key: TEXT[key] for key in list(TEXT)[1:5]} | {
    "image_size": 16,
    "patch_size": 8,
}


def gpt2(head=False):
    config = transformers.GPT2Config(
        vocab_size=20,
        n_embd=16,
        n_layer=DEPTH,
        n_head=2,
        n_positions=12,
        bos_token_id=1,
        eos_token_id=2,
    )
    return (transformers.GPT2LMHeadModel if head else transformers.GPT2Model)(config)


def llama(head=False):
    config = transformers.LlamaConfig(**TEXT)
    return (transformers.LlamaForCausalLM if head else transformers.LlamaModel)(config)


def gemma(head=False):
    config = transformers.GemmaConfig(**TEXT, num_key_value_heads=1, head_dim=8)
    return (transformers.GemmaForCausalLM if head else transformers.GemmaModel)(config)


def bert(head=False):
    config = transformers.BertConfig(**TEXT)
    return (transformers.BertForMaskedLM if head else transformers.BertModel)(config)


def vit(head=False):
    kind = transformers.ViTForImageClassification if head else transformers.ViTModel
    return kind(transformers.ViTConfig(**IMAGE))


MODELS = {"gpt2": gpt2, "llama": llama, "gemma": gemma, "bert": bert, "vit": vit}


def made(name, head=False):
    """Return a model whose norms do something, as in a trained one."""
    torch.manual_seed(0)
    model = MODELS[name](head)
    with torch.no_grad():
        for own, parameter in model.named_parameters():
            if "norm" in own.lower() or "ln_" in own:
                parameter += 0.3 * torch.randn_like(parameter)
    return model.eval()


def stimuli_for(name):
    if name == "vit":
        return {"pixel_values": torch.randn(5, 3, 16, 16)}
    return {"input_ids": padded([7] * 5)[0]}


def hidden_states(model, batch):
    with torch.no_grad():
        return model(**batch, output_hidden_states=True).hidden_states


def final_norm(model):
    """Return the module of the final norm, or None."""
    base = model.base_model
    names = ("ln_f", "norm", "layernorm")
    return next((getattr(base, name) for name in names if hasattr(base, name)), None)


@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_layers_equal_the_hidden_states_bit_for_bit(name, head):
    model, batch = made(name, head), stimuli_for(name)
    stack = record_activations(model, batch, reduce="positions")
    assert n_hooks(model) == 0
    states = [state.flatten(0, 1) for state in hidden_states(model, batch)]
    blocks = stack.names[1 : DEPTH + 1]
    assert stack.names[0] == "embeddings"
    for number, block in enumerate(blocks):
        assert block.endswith(f".{number}")
        assert block in dict(model.named_modules())
    for layer, state in zip(stack.layers[:DEPTH], states, strict=False):
        assert np.array_equal(layer, state)
    # The last of the hidden states is normed in language models.
    last = DEPTH if name == "vit" else -1
    assert np.array_equal(stack.layers[last], states[-1])
    with torch.no_grad():
        output = model.base_model(**batch).last_hidden_state
    assert np.array_equal(stack.layers[-1], output.flatten(0, 1))


@pytest.mark.parametrize("name", MODELS)
def test_the_raw_last_block_comes_before_the_final_norm(name):
    model, batch = made(name), stimuli_for(name)
    stack = record_activations(model, batch, reduce="positions")
    norm = final_norm(model)
    if norm is None:
        # The last block ends in a norm: there is nothing to add.
        assert name == "bert"
        assert len(stack.names) == DEPTH + 1
        return
    assert stack.names[DEPTH + 1 :] == ("final_norm",)
    raw = torch.tensor(stack.layers[DEPTH])
    assert not np.allclose(stack.layer("final_norm"), raw, atol=0.01)
    with torch.no_grad():
        np.testing.assert_allclose(stack.layer("final_norm"), norm(raw), atol=1e-5)


# GPT-2 and BERT number positions from the left, so padding there is another input.
@pytest.mark.parametrize(
    ("name", "side"),
    [("gpt2", "right"), ("bert", "right"), ("llama", "right"), ("llama", "left")],
)
@pytest.mark.parametrize("reduce", ["mean", "max", "last_token"])
def test_texts_with_padding_have_the_activations_of_single_texts(name, side, reduce):
    model = made(name)
    ids, mask = padded([6, 2, 9], side)
    stack = record_activations(
        model, {"input_ids": ids, "attention_mask": mask}, reduce=reduce
    )
    by_hand = {
        "mean": lambda tokens: tokens.mean(0),
        "max": lambda tokens: tokens.amax(0),
        "last_token": lambda tokens: tokens[-1],
    }[reduce]
    for row, (text, keep) in enumerate(zip(ids, mask, strict=True)):
        states = hidden_states(model, {"input_ids": text[keep.bool()][None]})
        for layer, state in zip(stack.layers[:DEPTH], states, strict=False):
            np.testing.assert_allclose(layer[row], by_hand(state[0]), atol=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma", "bert", "vit"])
def test_layers_can_be_chosen_by_the_names_of_the_stack(name):
    model, batch = made(name, head=True), stimuli_for(name)
    stack = record_activations(model, batch)
    names = [stack.names[0], stack.names[2], stack.names[-1]]
    chosen = record_activations(model, batch, layers=names)
    assert chosen.names == tuple(names)
    for own in names:
        assert np.array_equal(chosen.layer(own), stack.layer(own))
    with pytest.raises(ValueError, match=r"no layer 'final_nrm'.*\['final_norm'"):
        record_activations(model, batch, layers=["final_nrm"])


@pytest.mark.parametrize("name", MODELS)
def test_several_batches_have_the_layers_of_the_first(name):
    model, batch = made(name), stimuli_for(name)
    parts = [{key: value[rows] for key, value in batch.items()} for rows in ([0], [4])]
    whole, stack = (record_activations(model, given) for given in (batch, parts))
    assert stack.names == whole.names
    for own, expected in zip(stack.layers, whole[[0, 4]].layers, strict=True):
        np.testing.assert_allclose(own, expected, atol=1e-5)


def test_bfloat16_is_recorded_in_float32():
    model, batch = made("llama").bfloat16(), stimuli_for("llama")
    states = hidden_states(model, batch)
    stack = record_activations(model, batch, reduce="positions")
    assert stack.dtype == np.float32
    assert np.array_equal(stack.layers[1], states[1].flatten(0, 1).float())


def test_blocks_that_are_not_known_are_an_error_that_lists_them():
    config = transformers.T5Config(
        vocab_size=20, d_model=16, d_kv=8, d_ff=32, num_layers=DEPTH, num_heads=2
    )
    model = transformers.T5Model(config)
    ids, _ = padded([4, 4])
    batch = {"input_ids": ids, "decoder_input_ids": ids}
    with pytest.raises(ValueError, match=r"\['encoder.block', 'decoder.block'\]"):
        record_activations(model, batch)
    layers = [f"encoder.block.{k}" for k in range(DEPTH)]
    assert record_activations(model, batch, layers=layers).names == tuple(layers)


def test_a_block_that_is_used_several_times_gives_one_layer_a_use():
    config = transformers.AlbertConfig(**TEXT, embedding_size=8)
    torch.manual_seed(0)
    model = transformers.AlbertModel(config).eval()
    batch = stimuli_for("bert")
    group = "encoder.albert_layer_groups.0"
    stack = record_activations(model, batch, layers=group, reduce="positions")
    assert stack.names == (group, f"{group}#1", f"{group}#2")
    for layer, state in zip(stack.layers, hidden_states(model, batch)[1:], strict=True):
        assert np.array_equal(layer, state.flatten(0, 1))


def test_experts_within_a_block_are_not_taken_for_blocks():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.experts = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))

        def forward(self, hidden):
            return sum(expert(hidden) for expert in self.experts)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.config = transformers.PretrainedConfig(num_hidden_layers=2)
            self.layers = nn.ModuleList(Block() for _ in range(2))

        def forward(self, hidden):
            for layer in self.layers:
                hidden = layer(hidden)
            return hidden

    stack = record_activations(Model(), torch.randn(3, 5, 4))
    assert stack.names == ("embeddings", "layers.0", "layers.1")


def test_blocks_that_share_their_weights_have_one_layer_a_use():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.config = transformers.PretrainedConfig(num_hidden_layers=3)
            self.layers = nn.ModuleList([nn.Linear(4, 4)] * 3)

        def forward(self, hidden):
            for layer in self.layers:
                hidden = layer(hidden)
            return hidden

    values = torch.randn(6, 4)
    stack = record_activations(Model(), values)
    assert stack.names == ("embeddings", "layers.0", "layers.0#1", "layers.0#2")
    assert np.array_equal(stack.layer("embeddings"), values)

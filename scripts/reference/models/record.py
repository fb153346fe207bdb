"""Records tests/golden/models/*.safetensors: tiny random models of every architecture, run by transformers.

Each file holds a model (weights as float16, which are exactly the values that were used), its inputs, its outputs and
the gradients of a loss in some parameters. config.json, task and loss stand in the metadata.

    python scripts/reference/models/record.py
"""

import json
import os
import tempfile

import torch
import transformers as t
from safetensors.torch import load_file, save_file

OUT = os.path.join(os.path.dirname(__file__), "..", "..", "..", "tests", "golden", "models")
LENGTHS = (12, 9)
TEXT = dict(vocab_size=32, pad_token_id=0, bos_token_id=1, eos_token_id=2)
LLAMA = dict(
    **TEXT, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
    max_position_embeddings=32,
)
GPT2 = dict(**TEXT, n_embd=16, n_layer=2, n_head=4, n_positions=16)
BERT = dict(
    **TEXT, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=20,
)
VIT = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, image_size=8, patch_size=4)
THETA = dict(rope_theta=100.0)
CAUSAL = ["embed_tokens.weight", "layers.1.self_attn.q_proj.weight", "layers.0.self_attn.k_proj.weight",
          "layers.0.input_layernorm.weight", "layers.1.mlp.down_proj.weight"]
GPT = ["wte.weight", "wpe.weight", "h.0.ln_1.bias", "h.1.mlp.c_proj.weight"]
ENCODER = ["word_embeddings.weight", "position_embeddings.weight", "layer.0.attention.self.key.weight",
           "layer.1.output.LayerNorm.weight"]


def rope(kind, **settings):
    return dict(rope_parameters=dict(rope_type=kind, **THETA, **settings))


CASES = {
    "llama-default": (t.LlamaForCausalLM, t.LlamaConfig(**{**LLAMA, "num_key_value_heads": 4}, **rope("default")), CAUSAL + ["lm_head.weight"]),
    "llama-llama3-tied": (t.LlamaForCausalLM, t.LlamaConfig(**LLAMA, head_dim=8, tie_word_embeddings=True, **rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16)), CAUSAL),
    "llama-linear-biases": (t.LlamaForCausalLM, t.LlamaConfig(**LLAMA, attention_bias=True, mlp_bias=True, **rope("linear", factor=4.0)), ["layers.0.self_attn.o_proj.bias", "layers.1.mlp.up_proj.bias", "layers.1.self_attn.k_proj.bias"]),
    "llama-dynamic": (t.LlamaForCausalLM, t.LlamaConfig(**{**LLAMA, "max_position_embeddings": 6}, **rope("dynamic", factor=2.0)), CAUSAL[:2]),
    "llama-yarn": (t.LlamaForCausalLM, t.LlamaConfig(**LLAMA, head_dim=16, **rope("yarn", factor=4.0, original_max_position_embeddings=8)), CAUSAL[:2]),
    "llama-yarn-mscale": (t.LlamaForCausalLM, t.LlamaConfig(**LLAMA, head_dim=16, **rope("yarn", factor=4.0, original_max_position_embeddings=8, beta_fast=4.0, beta_slow=0.5, mscale=1.2, mscale_all_dim=0.6, truncate=False)), CAUSAL[:1]),
    "llama-classes": (t.LlamaForSequenceClassification, t.LlamaConfig(**LLAMA, num_labels=3, **rope("default")), ["score.weight"] + CAUSAL[:2]),
    "mistral-window": (t.MistralForCausalLM, t.MistralConfig(**LLAMA, sliding_window=4, **rope("default")), CAUSAL[:3]),
    "mistral-vectors": (t.MistralModel, t.MistralConfig(**LLAMA, sliding_window=None, **rope("default")), CAUSAL[:2]),
    "qwen2-window-tied": (t.Qwen2ForCausalLM, t.Qwen2Config(**LLAMA, tie_word_embeddings=True, use_sliding_window=True, sliding_window=4, max_window_layers=1, **rope("default")), ["layers.1.self_attn.q_proj.bias"] + CAUSAL[:2]),
    "qwen3-layer-types": (t.Qwen3ForCausalLM, t.Qwen3Config(**LLAMA, head_dim=8, use_sliding_window=True, sliding_window=5, layer_types=["sliding_attention", "full_attention"], **rope("default")), ["layers.0.self_attn.q_norm.weight", "layers.1.self_attn.k_norm.weight"] + CAUSAL[:2]),
    "qwen3-bias-yarn": (t.Qwen3ForCausalLM, t.Qwen3Config(**LLAMA, head_dim=8, attention_bias=True, tie_word_embeddings=True, **rope("yarn", factor=4.0, original_max_position_embeddings=8)), ["layers.0.self_attn.o_proj.bias"]),
    "gpt2-tied": (t.GPT2LMHeadModel, t.GPT2Config(**GPT2), GPT + ["h.0.attn.c_attn.weight"]),
    "gpt2-untied-scaled": (t.GPT2LMHeadModel, t.GPT2Config(**GPT2, n_inner=20, activation_function="relu", layer_norm_epsilon=1e-3, scale_attn_weights=False, scale_attn_by_inverse_layer_idx=True, tie_word_embeddings=False), GPT + ["lm_head.weight"]),
    "gpt2-classes": (t.GPT2ForSequenceClassification, t.GPT2Config(**GPT2, activation_function="gelu", num_labels=3), GPT + ["score.weight"]),
    "gpt-neo-local": (t.GPTNeoForCausalLM, t.GPTNeoConfig(**TEXT, hidden_size=16, num_layers=3, num_heads=4, intermediate_size=24, max_position_embeddings=16, window_size=4, attention_types=[[["local", "global"], 1], [["local"], 1]]), GPT + ["h.2.attn.attention.q_proj.weight", "h.0.attn.attention.out_proj.bias"]),
    "bert-classes": (t.BertForSequenceClassification, t.BertConfig(**BERT, num_labels=3), ENCODER + ["token_type_embeddings.weight", "pooler.dense.weight", "classifier.bias"]),
    "bert-vectors": (t.BertModel, t.BertConfig(**BERT, hidden_act="gelu_new"), ENCODER),
    "roberta-classes": (t.RobertaForSequenceClassification, t.RobertaConfig(**{**BERT, "pad_token_id": 1, "bos_token_id": 0}, type_vocab_size=1, num_labels=3), ENCODER + ["classifier.dense.weight", "classifier.out_proj.weight"]),
    "roberta-vectors": (t.RobertaModel, t.RobertaConfig(**{**BERT, "pad_token_id": 1, "bos_token_id": 0}, type_vocab_size=1), ENCODER[:1]),
    "vit-classes": (t.ViTForImageClassification, t.ViTConfig(**VIT, num_labels=3), ["cls_token", "position_embeddings", "patch_embeddings.projection.weight", "patch_embeddings.projection.bias", "classifier.weight"]),
    "vit-rectangle": (t.ViTForImageClassification, t.ViTConfig(**{**VIT, "image_size": [8, 12], "patch_size": [4, 2]}, num_channels=1, qkv_bias=False, layer_norm_eps=1e-6, num_labels=2), ["patch_embeddings.projection.weight"]),
}


def randomize(model):
    """Weights so large that every part of the model shows in its output; all of them float16 numbers."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            norm = "norm" in name.lower() or ".ln_" in name
            value = torch.randn_like(p) * 0.3 + (1 if norm and name.endswith("weight") else 0)
            p.copy_(value.half().float())


def text_inputs(config, name):
    pad = config.pad_token_id
    ids = torch.randint(3, config.vocab_size, (2, LENGTHS[0]))
    mask = torch.zeros_like(ids)
    for row, length in enumerate(LENGTHS):
        mask[row, :length] = 1
        ids[row, length:] = pad
    inputs = dict(input_ids=ids, attention_mask=mask)
    if name.startswith("bert"):
        inputs["token_type_ids"] = torch.where(torch.arange(LENGTHS[0]) > 5, 1, 0) * mask
    return inputs


def run(model, config, inputs):
    """Output tensor and loss; the loss is what the tests differentiate too."""
    if "pixel_values" in inputs or "SequenceClassification" in type(model).__name__:
        logits = model(**inputs).logits
        labels = torch.tensor([1, config.num_labels - 1])
        return logits, torch.nn.functional.cross_entropy(logits, labels), {"labels": labels}
    if "CausalLM" in type(model).__name__ or "LMHead" in type(model).__name__:
        labels = torch.where(inputs["attention_mask"] == 1, inputs["input_ids"], -100)
        output = model(**inputs, labels=labels)
        return output.logits, output.loss, {}
    mask = inputs["attention_mask"][..., None].float()
    hidden = model(**inputs).last_hidden_state
    vectors = (hidden * mask).sum(1) / mask.sum(1)
    direction = torch.randn_like(vectors)
    return vectors, (vectors * direction).sum(), {"direction": direction}


def record(name, cls, config, wanted):
    torch.manual_seed(sum(map(ord, name)))
    config._attn_implementation = "eager"
    model = cls(config).eval()
    randomize(model)
    if name.startswith("vit"):
        side = config.image_size if isinstance(config.image_size, (list, tuple)) else [config.image_size] * 2
        inputs = dict(pixel_values=torch.randn(2, config.num_channels, *side))
    else:
        inputs = text_inputs(config, name)
    output, loss, extra = run(model, config, inputs)
    loss.backward()
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        stored = load_file(os.path.join(folder, "model.safetensors"))
        with open(os.path.join(folder, "config.json")) as f:
            config_json = json.load(f)
        # Gradients go through the same renaming as weights: they are saved as if they were weights.
        gradients = {n: p.grad for n, p in model.named_parameters()}
        with torch.no_grad():
            for n, p in model.named_parameters():
                p.copy_(gradients[n] if gradients[n] is not None else torch.zeros_like(p))
        model.save_pretrained(folder)
        slopes = load_file(os.path.join(folder, "model.safetensors"))
    tensors = {f"weight/{n}": v.half().contiguous() for n, v in stored.items()}
    for ending in wanted:
        [match] = [n for n in slopes if n.endswith(ending)]
        tensors[f"gradient/{match}"] = slopes[match].float().contiguous()
    tensors |= {f"input/{n}": v for n, v in (inputs | extra).items()}
    tensors["output"] = output.detach().contiguous()
    tensors["loss"] = loss.detach().reshape(1)
    metadata = dict(config=json.dumps(config_json), transformers=t.__version__, torch=torch.__version__)
    save_file(tensors, os.path.join(OUT, f"{name}.safetensors"), metadata)


if __name__ == "__main__":
    os.makedirs(OUT, exist_ok=True)
    for name, case in CASES.items():
        record(name, *case)
        print(name)

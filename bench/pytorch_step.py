"""The same steps in PyTorch with transformers and PEFT, eager, float32: prints one JSON line.

    python bench/pytorch_step.py CASE [--steps N] [--threads N]
"""

import argparse
import json
import resource
import time

import torch
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

parser = argparse.ArgumentParser()
parser.add_argument("case")
parser.add_argument("--steps", type=int, default=8)
parser.add_argument("--threads", type=int, default=2)
args = parser.parse_args()
torch.set_num_threads(args.threads)
torch.manual_seed(0)

GPT2 = GPT2Config(embd_pdrop=0, attn_pdrop=0, resid_pdrop=0)
SMOLLM = LlamaConfig(
    vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
    num_key_value_heads=3, max_position_embeddings=2048, rms_norm_eps=1e-5, tie_word_embeddings=True,
)
SMALL = dict(
    vocab_size=512, hidden_size=256, intermediate_size=688, num_hidden_layers=4, num_attention_heads=8,
    num_key_value_heads=8, max_position_embeddings=512, rms_norm_eps=1e-6, tie_word_embeddings=False,
)
BASE = {**SMALL, "vocab_size": 2048, "num_hidden_layers": 5, "num_key_value_heads": 4, "tie_word_embeddings": True}
CASES = {
    "gpt2-lora": (GPT2, (4, 128), dict(r=8, lora_alpha=16, target_modules=["c_attn"], fan_in_fan_out=True)),
    "gpt2-full": (GPT2, (4, 128), None),
    "smollm-lora": (SMOLLM, (2, 256), dict(r=16, lora_alpha=32, target_modules="all-linear")),
    "small-full": (LlamaConfig(**SMALL), (16, 64), None),
    "quickstart-full": (LlamaConfig(**BASE), (16, 256), None),
    "quickstart-lora": (LlamaConfig(**BASE), (64, 48), dict(r=16, lora_alpha=32, target_modules="all-linear")),
}
config, (rows, length), lora = CASES[args.case]
model = AutoModelForCausalLM.from_config(config)
if lora:
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **lora))
model.train()
optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4, weight_decay=0)
ids = torch.randint(0, config.vocab_size, (rows, length))
times = []
for _ in range(args.steps):
    start = time.perf_counter()
    loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    times.append(1000 * (time.perf_counter() - start))
warm = sorted(times[2:])
median = warm[len(warm) // 2]
print(json.dumps({
    "case": args.case,
    "milliseconds": median,
    "tokensPerSecond": 1000 * rows * length / median,
    "peakMegabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
    "loss": loss.item(),
    "torch": torch.__version__,
}))

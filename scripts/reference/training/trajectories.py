"""Records 20 updates of tiny models by transformers and torch.optim.AdamW: tests/golden/training/trajectory-*.safetensors.

    python scripts/reference/training/trajectories.py

Every weight is trained; weight decay on matrices and embeddings alone, the norm of all gradients is clipped, the rate
warms up linearly and falls linearly. Each file holds the weights before the first update, the batches, the mean loss of
every update and the norm of its gradients before clipping.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

OUT = Path(__file__).parents[3] / "tests/golden/training"
VOCABULARY, ROWS, LENGTH, STEPS, WARMUP = 40, 3, 12, 20, 5
RATE, DECAY, CLIP = 2e-2, 0.1, 1.0

MODELS = {
    "llama": lambda: LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=64, tie_word_embeddings=False, initializer_range=0.2,
        )
    ),
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCABULARY, n_embd=16, n_layer=2, n_head=2, n_positions=64, resid_pdrop=0.0, embd_pdrop=0.0,
            attn_pdrop=0.0, initializer_range=0.2,
        )
    ),
}


def groups(model):
    decayed = [p for p in model.parameters() if p.dim() > 1]
    plain = [p for p in model.parameters() if p.dim() <= 1]
    return [{"params": decayed, "weight_decay": DECAY}, {"params": plain, "weight_decay": 0.0}]


def rate(step):
    return step / WARMUP if step < WARMUP else (STEPS - step) / (STEPS - WARMUP)


def record(name, make):
    torch.manual_seed(0)
    model = make().train()
    weights = {k: v.clone() for k, v in model.state_dict().items() if not (name == "gpt2" and k == "lm_head.weight")}
    ids = torch.randint(0, VOCABULARY, (STEPS, ROWS, LENGTH))
    labels = torch.where(torch.rand(ids.shape) < 0.3, -100, ids)
    optimizer = torch.optim.AdamW(groups(model), lr=RATE, betas=(0.9, 0.999), eps=1e-8)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    losses, norms = [], []
    for step in range(STEPS):
        loss = model(input_ids=ids[step], labels=labels[step]).loss
        optimizer.zero_grad()
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP))
        optimizer.step()
        schedule.step()
        losses.append(loss.detach())
    tensors = {f"weight/{k}": v for k, v in weights.items()}
    tensors |= {"ids": ids, "labels": labels, "losses": torch.stack(losses), "norms": torch.stack(norms)}
    settings = {"rate": RATE, "weightDecay": DECAY, "clip": CLIP, "warmup": WARMUP}
    metadata = {"config": json.dumps(model.config.to_dict()), "settings": json.dumps(settings)}
    save_file({k: v.contiguous() for k, v in tensors.items()}, OUT / f"trajectory-{name}.safetensors", metadata)


for model_name, maker in MODELS.items():
    record(model_name, maker)

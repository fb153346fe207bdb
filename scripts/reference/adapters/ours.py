"""Loads the adapters that ours.ts wrote into PEFT and compares the logits; fails above 1e-4.

    python scripts/reference/adapters/ours.py FOLDER
"""

import os
import sys

import peft
import torch
from record import GPT2, LLAMA, base_model
from safetensors.torch import load_file

folder = sys.argv[1]
worst = 0.0
for name in sorted(os.listdir(folder)):
    cls, config, base, _targets = LLAMA if name.endswith("llama-default") else GPT2
    model, ids, mask = base_model(cls, config, base)
    path = os.path.join(folder, name)
    adapted = peft.PeftModel.from_pretrained(model, path).eval()
    with torch.no_grad():
        logits = adapted(input_ids=ids, attention_mask=mask).logits
    expected = load_file(os.path.join(path, "expected.safetensors"))["logits"]
    error = ((logits - expected).abs() * mask[..., None]).max().item()
    with torch.no_grad():
        with adapted.disable_adapter():
            moved = ((adapted(input_ids=ids, attention_mask=mask).logits - logits).abs() * mask[..., None]).max().item()
    worst = max(worst, error)
    print(f"{name}: {error:.1e} (the adapter moves logits by {moved:.2f})")
sys.exit(worst > 1e-4)

"""Updates of all weights of a model with an optimizer of PyTorch's world: one for each line that is read, the update's number.

    python bench/pytorch_optimizer.py '{"model": {…}, "batch": [rows, length], "method": "galore", "rank": 128, "gap": 200}'

Prints the milliseconds of each. Optimizers count as the lines say, so that a later line brings on what comes every so
often.
"""

import json
import sys
import warnings

import torch
from pytorch_updates import answer_lines, random_model

RATE = 1e-4


def adamw(model, task):
    return torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0)


def adam_8bit(model, task):
    import bitsandbytes as bnb

    # As bitsandbytes advises, and as it is here: embeddings keep 32 bits.
    for module in model.modules():
        if isinstance(module, torch.nn.Embedding):
            bnb.optim.GlobalOptimManager.get_instance().register_module_override(module, "weight", {"optim_bits": 32})
    return bnb.optim.AdamW8bit(model.parameters(), lr=RATE, weight_decay=0)


def galore(model, task):
    from galore_torch import GaLoreAdamW

    warnings.simplefilter("ignore", FutureWarning)
    named = list(model.named_parameters())
    inside = {name for name, p in named if p.dim() == 2 and ("attn" in name or "mlp" in name)}
    projection = {"rank": task["rank"], "update_proj_gap": task["gap"], "scale": 1.0, "proj_type": "std"}
    groups = [
        {"params": [p for name, p in named if name not in inside]},
        {"params": [p for name, p in named if name in inside], **projection},
    ]
    return GaLoreAdamW(groups, lr=RATE)


def adafactor(model, task):
    from transformers import Adafactor

    return Adafactor(model.parameters(), lr=RATE, relative_step=False, scale_parameter=False, warmup_init=False)


def lion(model, task):
    import bitsandbytes as bnb

    return bnb.optim.Lion(model.parameters(), lr=RATE)


METHODS = {"adamw": adamw, "adam-8bit": adam_8bit, "galore": galore, "adafactor": adafactor, "lion": lion}

task = json.loads(sys.argv[1])
model = random_model(task["model"])
optimizer = METHODS[task["method"]](model, task)


def count(update):
    for state in optimizer.state.values():
        if isinstance(state.get("step"), int):
            state["step"] = update - 1


answer_lines(model, optimizer, task["batch"], before=count)

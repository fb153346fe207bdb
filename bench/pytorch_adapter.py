"""Updates of a Llama with a PEFT adapter on every linear layer: one for each line that is read, the update's number.

    python bench/pytorch_adapter.py '{"model": {…}, "batch": [rows, length], "adapter": {"config": …, "args": {…}}}'

Prints the milliseconds of each. AdaLoRA's allocation is part of its update.
"""

import json
import sys

import peft
import torch
from pytorch_updates import answer_lines, random_model

task = json.loads(sys.argv[1])
config = getattr(peft, task["adapter"]["config"])
model = peft.get_peft_model(
    random_model(task["model"]),
    config(task_type="CAUSAL_LM", target_modules="all-linear", **task["adapter"]["args"]),
)
optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4, weight_decay=0)


def allocate(update):
    if isinstance(config, type) and issubclass(config, peft.AdaLoraConfig):
        model.base_model.update_and_allocate(update - 1)


answer_lines(model, optimizer, task["batch"], after=allocate)

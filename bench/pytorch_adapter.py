"""Updates of a Llama with a PEFT adapter on every linear layer, eager, float32: one for each line that is read.

    python bench/pytorch_adapter.py '{"model": {…}, "batch": [rows, length], "adapter": {"config": …, "args": {…}}}'

Prints the milliseconds of each. AdaLoRA's allocation is part of its update.
"""

import json
import sys
import time

import peft
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

task = json.loads(sys.argv[1])
torch.set_num_threads(2)
torch.manual_seed(0)
rows, length = task["batch"]
config = getattr(peft, task["adapter"]["config"])
model = AutoModelForCausalLM.from_config(LlamaConfig(**task["model"]))
model = peft.get_peft_model(
    model, config(task_type="CAUSAL_LM", target_modules="all-linear", **task["adapter"]["args"])
).train()
parameters = [p for p in model.parameters() if p.requires_grad]
optimizer = torch.optim.AdamW(parameters, lr=1e-4, weight_decay=0)
ids = torch.randint(0, task["model"]["vocab_size"], (rows, length))
for step, _ in enumerate(sys.stdin):
    start = time.perf_counter()
    model(input_ids=ids, labels=ids).loss.backward()
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    if isinstance(config, type) and issubclass(config, peft.AdaLoraConfig):
        model.base_model.update_and_allocate(step)
    optimizer.zero_grad(set_to_none=True)
    print(1000 * (time.perf_counter() - start), flush=True)

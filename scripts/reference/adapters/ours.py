"""Records tests/golden/adapters/ours-*.safetensors: adapters trained here, and the logits that Python PEFT computes with them.

    npx tsx scripts/reference/adapters/ours.ts FOLDER && python scripts/reference/adapters/ours.py FOLDER
"""

import json
import os
import sys

import peft
import torch
from record import GOLDEN, GPT2, LLAMA, base_model, loss_of
from safetensors.torch import load_file, save_file

BASES = {name: (cls, config_cls) for cls, config_cls, name, _targets in (LLAMA, GPT2)}


def record(folder, name):
    path = os.path.join(folder, name)
    with open(os.path.join(path, "adapter_config.json")) as file:
        config = json.load(file)
    base = config["base_model_name_or_path"]
    model, ids, mask = base_model(*BASES[base], base)
    adapted = peft.PeftModel.from_pretrained(model, path).eval()
    with torch.no_grad():
        logits = loss_of(adapted, ids, mask)[1].contiguous()
    tensors = {f"adapter/{k}": v for k, v in load_file(os.path.join(path, "adapter_model.safetensors")).items()}
    metadata = dict(config=json.dumps(config), base=base, peft=peft.__version__)
    save_file(dict(tensors, logits=logits), os.path.join(GOLDEN, "adapters", f"ours-{name}.safetensors"), metadata=metadata)
    print(name, config["peft_type"], len(tensors))


if __name__ == "__main__":
    for case in sorted(os.listdir(sys.argv[1])):
        record(sys.argv[1], case)

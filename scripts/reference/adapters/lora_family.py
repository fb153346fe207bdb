"""Records tests/golden/adapters/trained-*.safetensors: adapters that PEFT trained on the tiny models of tests/golden/models.

Each file holds the factors that PEFT started from (`start/…`), the losses of ten AdamW steps without penalties, the adapter
as PEFT saved it afterwards (`adapter/…`, its configuration in the metadata) and the logits with it.

    python scripts/reference/adapters/lora_family.py
"""

import json
import os
import tempfile

import peft
import torch
from peft.utils import get_peft_model_state_dict
from record import GOLDEN, GPT2, LLAMA, base_model, loss_of
from safetensors.torch import load_file, save_file

STEPS = 10
RATE = 1e-2
COMMON = dict(r=4, lora_alpha=6)
PATTERNS = dict(
    r=4, lora_alpha=6, target_modules=r".*\.h\.\d+\.(attn\.c_attn|mlp\.c_fc|attn\.c_proj)", rank_pattern={"c_fc": 2, "h.0.attn.c_proj": 6},
    alpha_pattern={"h.1.attn.c_attn": 3}, bias="lora_only", modules_to_save=["ln_f"],
)
BUDGET = dict(init_r=4, target_r=2, lora_alpha=6, tinit=2, tfinal=3, deltaT=2, total_step=STEPS, beta1=0.6, beta2=0.7)

# name: (model, configuration class, its fields)
CASES = {
    "lora-llama": (LLAMA, peft.LoraConfig, COMMON),
    "lora-gpt2": (GPT2, peft.LoraConfig, COMMON),
    "rslora-llama": (LLAMA, peft.LoraConfig, dict(**COMMON, use_rslora=True)),
    "rslora-gpt2": (GPT2, peft.LoraConfig, dict(**COMMON, use_rslora=True)),
    "dora-llama": (LLAMA, peft.LoraConfig, dict(**COMMON, use_dora=True)),
    "dora-gpt2": (GPT2, peft.LoraConfig, dict(**COMMON, use_dora=True)),
    "pissa-llama": (LLAMA, peft.LoraConfig, dict(**COMMON, init_lora_weights="pissa")),
    "pissa-gpt2": (GPT2, peft.LoraConfig, dict(**COMMON, init_lora_weights="pissa")),
    "patterns-gpt2": (GPT2, peft.LoraConfig, PATTERNS),
    "head-llama": (LLAMA, peft.LoraConfig, dict(**COMMON, target_modules=["q_proj", "down_proj"], modules_to_save=["lm_head"])),
    "adalora-llama": (LLAMA, peft.AdaLoraConfig, BUDGET),
    "adalora-gpt2": (GPT2, peft.AdaLoraConfig, BUDGET),
    "balance-llama": (LLAMA, peft.MissConfig, dict(r=5, init_weights=True)),
    "bat-llama": (LLAMA, peft.MissConfig, dict(r=4, init_weights="bat")),
    "mini-llama": (LLAMA, peft.MissConfig, dict(r=4, init_weights="mini", mini_r=2)),
}


def tensors_of(adapted):
    return {k: v.detach().clone().contiguous() for k, v in get_peft_model_state_dict(adapted).items()}


def save(adapted, folder, config):
    """As PEFT writes it; PiSSA converted to a LoRA on the original weights, the form that is shared."""
    if config.get("init_lora_weights") == "pissa":
        adapted.save_pretrained(folder, path_initial_model_for_weight_conversion=os.path.join(folder, "start"))
    else:
        adapted.save_pretrained(folder)
    with open(os.path.join(folder, "adapter_config.json")) as file:
        return json.load(file), load_file(os.path.join(folder, "adapter_model.safetensors"))


def record(name, seed):
    (cls, config_cls, base, targets), kind, fields = CASES[name]
    torch.manual_seed(seed)
    model, ids, mask = base_model(cls, config_cls, base)
    # With the task PEFT adds AdaLoRA's penalty to the loss, without it not.
    config = dict(dict(target_modules=targets, task_type="CAUSAL_LM"), **fields)
    if cls is GPT2[0] and kind is not peft.MissConfig:
        config["fan_in_fan_out"] = True
    adapted = peft.get_peft_model(model, kind(**config)).eval()
    out = {f"start/{k}": v for k, v in tensors_of(adapted).items()}
    with tempfile.TemporaryDirectory() as folder:
        if fields.get("init_lora_weights") == "pissa":
            adapted.peft_config["default"].init_lora_weights = True
            adapted.save_pretrained(os.path.join(folder, "start"))
            adapted.peft_config["default"].init_lora_weights = "pissa"
        optimizer = torch.optim.AdamW([p for p in adapted.parameters() if p.requires_grad], lr=RATE, weight_decay=0)
        losses = []
        for step in range(STEPS):
            labels = ids.masked_fill(mask == 0, -100)
            adapted(input_ids=ids, attention_mask=mask, labels=labels).loss.backward()
            losses.append(loss_of(adapted, ids, mask)[0].item())
            optimizer.step()
            if kind is peft.AdaLoraConfig:
                adapted.base_model.update_and_allocate(step)
            optimizer.zero_grad()
        with torch.no_grad():
            out["logits"] = loss_of(adapted, ids, mask)[1].contiguous()
        saved, tensors = save(adapted, folder, fields)
    out.update({f"adapter/{k}": v.clone().contiguous() for k, v in tensors.items()})
    out["losses"] = torch.tensor(losses, dtype=torch.float32)
    metadata = dict(config=json.dumps(saved), base=base, rate=str(RATE), peft=peft.__version__)
    if fields.get("init_lora_weights") == "pissa":
        metadata["pissa"] = json.dumps(dict(rank=config["r"], alpha=config["lora_alpha"], targets=targets))
    path = os.path.join(GOLDEN, "adapters", f"trained-{name}.safetensors")
    save_file(out, path, metadata=metadata)
    print(name, os.path.getsize(path), [round(x, 4) for x in losses])


if __name__ == "__main__":
    for index, case in enumerate(CASES):
        record(case, index)

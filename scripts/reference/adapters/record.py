"""Records tests/golden/adapters/*.safetensors: PEFT's own adapters on the tiny models of tests/golden/models.

Each file holds an adapter as PEFT saves it (`adapter/…`, its configuration in the metadata) with random factors, the
model's logits with it, and the losses of ten steps of gradient descent on its trainable factors from there.

    python scripts/reference/adapters/record.py
"""

import json
import os

import peft
import torch
import transformers as t
from peft.utils import get_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import load_file, save_file

GOLDEN = os.path.join(os.path.dirname(__file__), "..", "..", "..", "tests", "golden")
LLAMA = (t.LlamaForCausalLM, t.LlamaConfig, "llama-default",
         ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"])
GPT2 = (t.GPT2LMHeadModel, t.GPT2Config, "gpt2-tied", ["c_attn", "c_proj", "c_fc"])
STEPS = 10

# name: (model, configuration, rate of gradient descent, standard deviation of the noise on the factors)
CASES = {
    "vera-llama": (LLAMA, lambda targets: peft.VeraConfig(r=6, target_modules=targets), 0.3, 0.3),
    "vera-gpt2": (GPT2, lambda targets: peft.VeraConfig(r=20, target_modules=targets, fan_in_fan_out=True), 0.3, 0.1),
    "randlora-llama": (LLAMA, lambda targets: peft.RandLoraConfig(r=5, randlora_alpha=5, target_modules=targets), 0.01, 0.05),
    "randlora-gpt2": (GPT2, lambda targets: peft.RandLoraConfig(r=6, randlora_alpha=6, target_modules=targets, fan_in_fan_out=True, sparse=True), 0.01, 0.05),
    "hira-llama": (LLAMA, lambda targets: peft.HiraConfig(r=3, target_modules=targets), 0.3, 0.3),
    "hira-gpt2": (GPT2, lambda targets: peft.HiraConfig(r=2, target_modules=targets, fan_in_fan_out=True), 0.3, 0.3),
}


def base_model(cls, config_cls, name):
    path = os.path.join(GOLDEN, "models", f"{name}.safetensors")
    with safe_open(path, "pt") as file:
        config = json.loads(file.metadata()["config"])
    tensors = load_file(path)
    model = cls(config_cls(**{k: v for k, v in config.items() if k not in ("architectures",)})).eval()
    weights = {k[len("weight/"):]: v.float() for k, v in tensors.items() if k.startswith("weight/")}
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert not unexpected and all("lm_head" in m or "rotary" in m or "attn.bias" in m for m in missing), (missing, unexpected)
    model.tie_weights()
    return model, tensors["input/input_ids"], tensors["input/attention_mask"]


def loss_of(model, ids, mask):
    logits = model(input_ids=ids, attention_mask=mask).logits
    losses = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    weights = mask[:, 1:].flatten().float()
    return (losses * weights).sum() / weights.sum(), logits


def record(name, seed):
    (cls, config_cls, base, targets), make, rate, noise = CASES[name]
    torch.manual_seed(seed)
    model, ids, mask = base_model(cls, config_cls, base)
    adapted = peft.get_peft_model(model, make(targets)).eval()
    parameters = [p for p in adapted.parameters() if p.requires_grad]
    with torch.no_grad():
        for p in parameters:
            p.add_(noise * torch.randn_like(p))
    out = {f"adapter/{k}": v.detach().clone().contiguous() for k, v in get_peft_model_state_dict(adapted).items()}
    with torch.no_grad():
        out["logits"] = loss_of(adapted, ids, mask)[1].contiguous()
    losses = []
    for _ in range(STEPS):
        adapted.zero_grad()
        loss, _logits = loss_of(adapted, ids, mask)
        loss.backward()
        losses.append(loss.item())
        with torch.no_grad():
            for p in parameters:
                p.sub_(rate * p.grad)
    out["losses"] = torch.tensor(losses, dtype=torch.float32)
    config = adapted.peft_config["default"].to_dict()
    config = {k: sorted(v) if isinstance(v, set) else v for k, v in config.items()}
    metadata = dict(config=json.dumps(config, default=str), base=base, rate=str(rate), peft=peft.__version__)
    path = os.path.join(GOLDEN, "adapters", f"{name}.safetensors")
    save_file(out, path, metadata=metadata)
    print(name, os.path.getsize(path), [round(x, 4) for x in losses])


if __name__ == "__main__":
    for index, case in enumerate(sorted(CASES)):
        record(case, index)

"""Records the golden files of src/formats: safetensors, torch pickles (one malicious) and PEFT adapters.

Run from the repository root with torch, transformers, peft and safetensors installed:
    PYTHONHASHSEED=0 python scripts/reference/formats.py

Equal runs give equal files, but for state-legacy.bin, which names its storages by their addresses.
"""

import json
import os
import shutil
import tempfile
import zipfile
from pathlib import Path

import torch
from peft import (
    AdaLoraConfig, HiraConfig, LoraConfig, MissConfig, PeftModel, RandLoraConfig, VeraConfig, get_peft_model,
)
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel

OUT = Path("tests/golden/formats")


def values(t):
    return t.detach().to(torch.float64).flatten().tolist()


def safetensors_files():
    g = torch.Generator().manual_seed(1)
    x = torch.randn(3, 4, generator=g)
    tensors = {
        "b.f32": x, "a.f64": x.double()[:1], "h": x.half(), "bf": x.bfloat16(), "i64": torch.tensor([-1, 2**40]),
        "i32": torch.tensor([[7], [-8]], dtype=torch.int32), "i16": torch.tensor([-300], dtype=torch.int16),
        "i8": torch.tensor([-3, 4], dtype=torch.int8), "u8": torch.tensor([255, 0, 9], dtype=torch.uint8),
        "flag": torch.tensor([True, False]), "scalar": torch.tensor(2.5), "empty": torch.zeros(0, 5),
        "é.weight": torch.ones(2),
    }
    save_file(tensors, OUT / "types.safetensors", {"format": "pt"})
    writable = {k: v for k, v in tensors.items() if k not in ("h", "bf", "i16", "i8")}
    save_file(writable, OUT / "writable.safetensors", {"format": "pt"})
    return {k: {"shape": list(v.shape), "values": values(v)} for k, v in tensors.items()}


def half_values():
    """Bit patterns that PyTorch gives for floats that are hard to round."""
    g = torch.Generator().manual_seed(2)
    hard = [0.0, -0.0, 1.0, 65504.0, 65519.99, 65520.0, 1e9, -1e9, 6e-8, 2.98e-8, 2.9802322e-8, 2.9802326e-8, 8.94e-8, 6.1e-5, 6.09e-5,
            1.00048828125, 1.00146484375, 1.0009765625, 3.3895314e38, 3.4e38, 1e-40, float("inf"), float("-inf")]
    x = torch.cat([torch.tensor(hard), torch.randn(40, generator=g), torch.randn(40, generator=g) * 1e-5,
                   torch.randn(40, generator=g) * 1e-7])
    bits = x.view(torch.int32).tolist()
    return {"bits": bits, "float16": (x.half().view(torch.int16).int() & 0xFFFF).tolist(),
            "bfloat16": (x.bfloat16().view(torch.int16).int() & 0xFFFF).tolist()}


class Evil:
    def __reduce__(self):
        return (os.system, ("echo owned",))


def as_zip64(source, target):
    """The same archive in the form that files beyond 4 GB have, forced by lowering the limit."""
    zipfile.ZIP64_LIMIT = 100
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            new.writestr(zipfile.ZipInfo(entry.filename), old.read(entry))


def torch_files():
    g = torch.Generator().manual_seed(3)
    base = torch.randn(4, 6, generator=g)
    state = {
        "plain": base, "transposed": base.t(), "slice": base[1:3, ::2], "expanded": base[0].expand(3, 6),
        "half": base.half(), "bfloat": base.bfloat16(), "ids": torch.arange(5), "scalar": torch.tensor(1.5),
        "empty": torch.zeros(0, 3), "parameter": torch.nn.Parameter(base[:2]), "double": base[:1].double(),
    }
    torch.save(state, OUT / "state.bin")
    torch.save(state, OUT / "state-legacy.bin", _use_new_zipfile_serialization=False)
    as_zip64(OUT / "state.bin", OUT / "state-zip64.bin")
    torch.manual_seed(3)
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2))
    torch.save({"epoch": 3, "state_dict": module.state_dict()}, OUT / "wrapped.bin")
    torch.save({"weight": base, "bad": Evil()}, OUT / "malicious.bin")
    torch.save({"weight": base, "config": torch.nn.Linear(2, 2)}, OUT / "whole-module.bin")
    wrapped = {k: {"shape": list(v.shape), "values": values(v)} for k, v in module.state_dict().items()}
    return {k: {"shape": list(v.shape), "values": values(v)} for k, v in state.items()}, wrapped


def tiny_gpt2():
    torch.manual_seed(4)
    config = GPT2Config(n_layer=2, n_embd=16, n_head=2, vocab_size=64, n_positions=32)
    return GPT2LMHeadModel(config)


def fill(model):
    """Random values everywhere: PEFT starts many tensors at zero, which would hide a mix-up."""
    g = torch.Generator().manual_seed(5)
    for p in model.parameters():
        if p.requires_grad:
            p.data = torch.randn(p.shape, generator=g) * 0.1


def adapters():
    common = dict(target_modules=["c_attn", "c_proj"], task_type="CAUSAL_LM", fan_in_fan_out=True)
    kinds = {
        "lora": LoraConfig(r=4, lora_alpha=8, lora_dropout=0.1, bias="lora_only", modules_to_save=["ln_f"], **common),
        "dora": LoraConfig(r=4, lora_alpha=8, use_dora=True, **common),
        "rslora-pattern": LoraConfig(r=4, lora_alpha=8, use_rslora=True, rank_pattern={r"h\.0\.attn\.c_attn": 2},
                                     alpha_pattern={r"h\.0\.attn\.c_attn": 3}, **common),
    }
    ids = torch.arange(10).unsqueeze(0)
    logits = {}
    for name, config in kinds.items():
        model = get_peft_model(tiny_gpt2(), config)
        fill(model)
        model.eval()
        folder = OUT / f"peft-{name}"
        model.save_pretrained(folder)
        (folder / "README.md").unlink(missing_ok=True)
        logits[name] = values(model(ids).logits[0, -1])
    return logits


def tensor_names():
    """The names on disk for PEFT types whose weight forms write their own tensors."""
    target = dict(target_modules=["c_fc"])
    linear = dict(target_modules=["q_proj"])
    from transformers import LlamaConfig, LlamaForCausalLM

    def llama():
        return LlamaForCausalLM(LlamaConfig(hidden_size=16, intermediate_size=32, num_hidden_layers=1, vocab_size=64,
                                            num_attention_heads=2, num_key_value_heads=2))

    kinds = {
        "LORA": LoraConfig(r=2, use_dora=True, lora_bias=False, target_modules=["q_proj", "embed_tokens"], bias="none"),
        "ADALORA": AdaLoraConfig(init_r=2, target_r=1, total_step=10, **linear),
        "MISS": MissConfig(r=2, **linear), "HIRA": HiraConfig(r=2, **linear),
        "RANDLORA": RandLoraConfig(r=2, **linear), "VERA": VeraConfig(r=2, **linear),
    }
    names = {}
    for kind, config in kinds.items():
        with tempfile.TemporaryDirectory() as folder:
            get_peft_model(llama(), config).save_pretrained(folder, save_embedding_layers=False)
            from safetensors import safe_open
            with safe_open(Path(folder) / "adapter_model.safetensors", "pt") as f:
                names[kind] = sorted(f.keys())
    return names


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    types = safetensors_files()
    state, wrapped = torch_files()
    golden = {"types": types, "half": half_values(), "state": state, "wrapped": wrapped,
              "logits": adapters(), "names": tensor_names()}
    tiny_gpt2().save_pretrained(OUT / "gpt2")
    (OUT / "golden.json").write_text(json.dumps(golden))


main()

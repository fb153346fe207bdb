"""Loads with PEFT and transformers what scripts/reference/formats-ours.ts wrote, and compares with the golden values.

    python scripts/reference/formats-check.py FOLDER
"""

import json
import sys
from pathlib import Path

import torch
from peft import PeftModel
from transformers import GPT2LMHeadModel, ViTForImageClassification

out = Path(sys.argv[1])
golden = Path("tests/golden/formats")
expected = json.loads((golden / "golden.json").read_text())["logits"]
ids = torch.arange(10).unsqueeze(0)

for kind, logits in expected.items():
    model = PeftModel.from_pretrained(GPT2LMHeadModel.from_pretrained(golden / "gpt2"), out / kind).eval()
    error = (model(ids).logits[0, -1].double() - torch.tensor(logits, dtype=torch.float64)).abs().max().item()
    print(f"{kind}: max error {error:.1e}")
    assert error < 1e-6

base = GPT2LMHeadModel.from_pretrained(golden / "gpt2").state_dict()
for name, tolerance in (("sharded", 0), ("half", 1e-3)):
    model, info = GPT2LMHeadModel.from_pretrained(out / name, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"], info
    error = max((model.state_dict()[k].float() - v).abs().max().item() for k, v in base.items())
    print(f"{name}: {model.dtype}, max error {error:.1e}")
    assert error <= tolerance

if (out / "vit").exists():
    model, info = ViTForImageClassification.from_pretrained(out / "vit", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"], info
    print("vit: loaded,", model(torch.zeros(1, 3, 224, 224)).logits.argmax().item())

"""Records tests/golden/adapters/derived-*.safetensors: ten or twenty AdamW steps of the methods that PEFT lacks, derived from the papers.

Each method is a layer of its own below, in float64, written from its paper's equations with torch's derivatives and torch's
AdamW. A file holds what training starts from (`start/<layer>#<factor>`, and `base/<layer>` where the frozen weight is
replaced), the random numbers that the method draws on the way (`random/<step>/<purpose>/<counter>`), and the losses.

    python scripts/reference/adapters/derived.py [CASE …]
"""

import json
import os
import sys

import torch
from record import GOLDEN, LLAMA, base_model, loss_of
from safetensors.torch import save_file

from derived_forms import FORMS

STEPS = 10
LONGER = dict.fromkeys(("sltrain", "sltrain-restart", "low-rank-restart", "relora-pruned"), 20)
RATE = 1e-2
TARGETS = ["q_proj", "gate_proj", "down_proj"]

# file: (class, our name of the form, its options)
CASES = {
    "lora-xs": ("LoraXs", "lora-xs", dict(rank=4, alpha=6)),
    "lora-sb": ("LoraSb", "lora-sb", dict(rank=4, scale=2, batches=1, firstRate=0.05)),
    "lora-ga": ("LoraGa", "lora-ga", dict(rank=3, alpha=4, gamma=16, batches=1)),
    "low-rank": ("LowRank", "low-rank", dict(rank=4, alpha=6)),
    "relora": ("ReLora", "relora", dict(rank=4, alpha=6, every=4, warmup=2)),
    "loldu": ("Loldu", "loldu", dict(rank=6, alpha=3, trainScale=True)),
    "salt": ("Salt", "salt", dict(rank=3, ratio=0.3, relu="all", penalty=0.01)),
    "hut-direct": ("HutDirect", "hut", dict(rank=3, mode="direct")),
    "nola": ("Nola", "nola", dict(rank=3, bases=5, alpha=4)),
    "flylora": ("FlyLora", "flylora", dict(rank=8, active=3, alpha=16, balanceRate=0.05)),
    "dylora-frozen": ("DyLora", "dylora", dict(rank=4, alpha=6)),
    "dylora-all": ("DyLora", "dylora", dict(rank=4, alpha=6, mode="all")),
    "increlora": ("IncreLora", "increlora", dict(rank=2, every=3, first=2, top=3, warmup=2, alpha=8)),
    "sst": ("Sst", "sst", dict(rank=5, every=3, iterations=2, warmup=1)),
    "sltrain": ("SlTrain", "sltrain", dict(rank=4, alpha=6, density=0.1)),
    "sltrain-restart": ("SlTrain", "sltrain", dict(rank=4, alpha=6, density=0.1, restart="both", cycle=6, recovery=3)),
    "low-rank-restart": ("LowRank", "low-rank", dict(rank=4, alpha=6, restart="both", cycle=6, recovery=3)),
    "relora-pruned": ("ReLora", "relora", dict(rank=4, alpha=6, every=15, warmup=2, reset="magnitude", pruned=0.9)),
}


class Run:
    """What a method sees of its run."""

    def __init__(self, options, generator):
        self.options, self.generator = options, generator
        self.drawn = {}

    def normal(self, *shape):
        return torch.randn(*shape, generator=self.generator, dtype=torch.float64)

    def uniform(self, *shape):
        return torch.rand(*shape, generator=self.generator, dtype=torch.float64)

    def draw(self, step, purpose, values, counter=0):
        """Hands numbers over to the implementation that is tested, as what its random source gives."""
        self.drawn[f"random/{step}/{purpose}/{counter}"] = values.flatten()


def rounded(x):
    """Starts are stored in single precision: the derivation starts from what is stored."""
    return x.detach().float().double()


def record(name, seed):
    kind, form, options = CASES[name]
    model, ids, mask = base_model(*LLAMA[:3])
    model = model.double()
    run = Run(options, torch.Generator().manual_seed(seed))
    linears = {n: m for n, m in model.named_modules() if n.split(".")[-1] in TARGETS}
    loss_of(model, ids, mask)[0].backward()
    gradients = {n: m.weight.grad.clone() for n, m in linears.items()}
    model.requires_grad_(False)
    out, layers = {}, {}
    for n, linear in linears.items():
        layer = FORMS[kind](linear.weight.detach().clone(), gradients[n], n, run)
        for key in layer.state:
            layer.state[key] = rounded(layer.state[key])
        layer.base = rounded(layer.base)
        layer.begin()
        out |= {f"start/{n}#{k}": v.float().contiguous() for k, v in layer.start().items()}
        if layer.replaces_base:
            out[f"base/{n}"] = layer.base.float().contiguous()
        layers[n] = layer
        parent, leaf = n.rsplit(".", 1)
        setattr(model.get_submodule(parent), leaf, layer)
    everything = list(layers.values())
    losses = []
    for step in range(LONGER.get(name, STEPS)):
        FORMS[kind].before(everything, step)
        loss = loss_of(model, ids, mask)[0]
        losses.append(loss.item())
        penalty = sum(layer.penalty(len(everything)) for layer in everything)
        (loss + penalty).backward()
        FORMS[kind].update(everything, step, RATE)
    out |= {k: v.double().contiguous() for k, v in run.drawn.items()}
    out["losses"] = torch.tensor(losses, dtype=torch.float64)
    settings = dict(base=LLAMA[2], form=form, rate=str(RATE), options=json.dumps(dict(options, targets=TARGETS)))
    path = os.path.join(GOLDEN, "adapters", f"derived-{name}.safetensors")
    save_file(out, path, metadata=settings)
    print(name, os.path.getsize(path), [round(x, 4) for x in losses])


if __name__ == "__main__":
    torch.set_num_threads(1)
    for index, case in enumerate(CASES):
        if not sys.argv[1:] or case in sys.argv[1:]:
            record(case, index)

"""Records 20 steps of Adafactor (transformers), APOLLO (apollo-torch) and BAdam for their tests in src/optimizers.

BAdam is torch.optim.AdamW made anew on one block at a time, as the paper says; its package begins with a turn that is a
step short. APOLLO's projections are those of its package; the test takes them in place of ours.
Run: PYTHONPATH=<apollo-torch> python scripts/reference/optimizers/memory.py > tests/golden/optimizers/memory.json
Needs transformers, and apollo-torch 1.0.3 (pip install --no-deps), without what it imports only for 8 bits.
"""

import importlib.util
import json
import pathlib
import sys
import types

import numpy as np
import torch
from transformers.optimization import Adafactor

package = types.ModuleType("apollo_torch")
package.__path__ = [str(pathlib.Path(importlib.util.find_spec("apollo_torch").origin).parent)]
sys.modules["apollo_torch"] = package
from apollo_torch.apollo import AdamW as Apollo  # noqa: E402

STEPS = 20
rng = np.random.default_rng(13)
shapes = {"tall": (6, 4), "wide": (4, 6), "line": (5,)}
start = {k: rng.standard_normal(s).astype(np.float32) for k, s in shapes.items()}
gradients = {k: rng.standard_normal((STEPS, *s)).astype(np.float32) for k, s in shapes.items()}
gradients["tall"][:, 0] *= 1e-4
rates = 0.05 * (1 - np.arange(STEPS) / STEPS)


def plain(a):
    return [float(f"{x:.9g}") for x in np.asarray(a, np.float64).ravel()]


def run(make, names, seen=lambda optimizer: None, scheduled=True):
    parameters = {k: torch.nn.Parameter(torch.tensor(start[k])) for k in names}
    optimizer = make(list(parameters.values()))
    for t in range(STEPS):
        if scheduled:
            optimizer.param_groups[0]["lr"] = float(rates[t])
        for k, p in parameters.items():
            p.grad = torch.tensor(gradients[k][t])
        optimizer.step()
        seen(optimizer)
    return {k: plain(p.detach().numpy()) for k, p in parameters.items()}


def adafactor(ours, **options):
    relative = options.get("relative_step", False)
    base = {"lr": None if relative else 1.0, "relative_step": False, "scale_parameter": False}
    weights = run(lambda p: Adafactor(p, **{**base, **options}), shapes, scheduled=not relative)
    return {"options": ours, "weights": weights}


def apollo(ours, scale_front=False, decay=0.0, **group):
    base = {"rank": 2, "update_proj_gap": 7, "scale": 1.0, "proj_type": "std", "proj": "random", "scale_type": "channel"}
    drawn = {"tall": [], "wide": []}

    def seen(optimizer):
        for name, p in zip(drawn, optimizer.param_groups[0]["params"]):
            basis = plain(optimizer.state[p]["projector"].ortho_matrix.numpy())
            if basis not in drawn[name]:
                drawn[name].append(basis)

    def make(parameters):
        return Apollo([{"params": parameters, **base, **group}], lr=1, weight_decay=decay, scale_front=scale_front)

    return {"options": ours, "weights": run(make, drawn, seen), "bases": drawn}


def badam(gap, decay):
    parameters = {k: torch.nn.Parameter(torch.tensor(w)) for k, w in start.items()}
    for t in range(STEPS):
        if t % gap == 0:
            name = list(shapes)[t // gap % len(shapes)]
            optimizer = torch.optim.AdamW([parameters[name]], lr=1, weight_decay=decay)
        optimizer.param_groups[0]["lr"] = float(rates[t])
        parameters[name].grad = torch.tensor(gradients[name][t])
        optimizer.step()
    weights = {k: plain(p.detach().numpy()) for k, p in parameters.items()}
    return {"options": {"gap": gap, "weightDecay": decay, "order": "ascending"}, "weights": weights}


print(
    json.dumps(
        {
            "shapes": shapes,
            "start": {k: plain(w) for k, w in start.items()},
            "gradients": {k: [plain(x) for x in g] for k, g in gradients.items()},
            "rates": plain(rates),
            "adafactor": [
                adafactor({}),
                adafactor({"beta1": 0.9}, beta1=0.9),
                adafactor({"weightDecay": 0.1, "clipThreshold": 0.5}, weight_decay=0.1, clip_threshold=0.5),
                adafactor({"scaleParameter": True, "decayRate": -0.5}, scale_parameter=True, decay_rate=-0.5),
                adafactor({"relativeStep": True, "scaleParameter": True}, relative_step=True, scale_parameter=True),
                adafactor(
                    {"relativeStep": True, "scaleParameter": True, "warmupInit": True, "beta1": 0.8},
                    relative_step=True,
                    scale_parameter=True,
                    warmup_init=True,
                    beta1=0.8,
                ),
            ],
            "apollo": [
                apollo({"rank": 2, "gap": 7}),
                apollo({"rank": 2, "gap": 5, "scale": 4, "weightDecay": 0.1}, decay=0.1, update_proj_gap=5, scale=4.0),
                apollo({"rank": 1, "gap": 7, "scale": 128, "scaling": "tensor"}, rank=1, scale=128.0, scale_type="tensor"),
            ],
            "badam": [badam(3, 0.0), badam(4, 0.1)],
        }
    )
)

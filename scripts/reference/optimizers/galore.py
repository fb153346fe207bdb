"""Records 20 steps of galore-torch's GaLoreAdamW for src/optimizers/galore.test.ts.

Run: python scripts/reference/optimizers/galore.py > tests/golden/optimizers/galore.json
Needs galore-torch 1.0 (pip install --no-deps galore-torch); its 8-bit optimizer is not imported, so no bitsandbytes.
"""

import importlib.util
import json
import pathlib
import sys
import types

import numpy as np
import torch

# The package's __init__ imports bitsandbytes, which only its 8-bit optimizer needs.
folder = pathlib.Path(importlib.util.find_spec("galore_torch").origin).parent
package = types.ModuleType("galore_torch")
package.__path__ = [str(folder)]
sys.modules["galore_torch"] = package
from galore_torch.adamw import AdamW  # noqa: E402

exact = torch.linalg.svd


def signed(*args, **options):
    """The SVD with our signs: moments outlive a basis, so that a trajectory depends on them."""
    u, s, vh = exact(*args, **options)
    k = s.numel()
    flip = torch.sign(u[u[:, :k].abs().argmax(0), torch.arange(k)])
    vh = vh.clone()
    u[:, :k] *= flip
    vh[:k] *= flip[:, None]
    return u, s, vh


torch.linalg.svd = signed

STEPS = 20
rng = np.random.default_rng(7)
shapes = {"tall": (6, 4), "wide": (4, 6), "square": (5, 5)}
start = {k: rng.standard_normal(s).astype(np.float32) for k, s in shapes.items()}
gradients = {k: rng.standard_normal((STEPS, *s)).astype(np.float32) for k, s in shapes.items()}
for g in gradients.values():
    g[4] = 0
rates = 0.05 * (1 - np.arange(STEPS) / STEPS)


def run(options, group):
    parameters = {k: torch.nn.Parameter(torch.tensor(w)) for k, w in start.items()}
    optimizer = AdamW(
        [{"params": list(parameters.values()), **group}], lr=1, no_deprecation_warning=True, **options
    )
    for t in range(STEPS):
        optimizer.param_groups[0]["lr"] = float(rates[t])
        for k, p in parameters.items():
            p.grad = torch.tensor(gradients[k][t])
        optimizer.step()
    return {k: plain(p.detach().numpy()) for k, p in parameters.items()}


def plain(a):
    return [float(f"{x:.9g}") for x in np.asarray(a, np.float64).ravel()]


def case(kind, rank=2, gap=7, scale=1.0, decay=0.0, eps=1e-6):
    group = {"rank": rank, "update_proj_gap": gap, "scale": scale, "proj_type": kind}
    ours = {"projection": kind, "rank": rank, "gap": gap, "scale": scale, "weightDecay": decay, "epsilon": eps}
    return {"options": ours, "weights": run({"weight_decay": decay, "eps": eps}, group)}


cases = [case(k) for k in ["std", "right", "left"]]
cases += [case("reverse_std", rank=3), case("std", scale=0.25, decay=0.1, gap=5)]
# Two-sided, R is diagonal at a refresh but for rounding, which Adam would blow up: epsilon keeps it small.
cases += [case("full", eps=1e-2)]
print(
    json.dumps(
        {
            "shapes": shapes,
            "start": {k: plain(w) for k, w in start.items()},
            "gradients": {k: [plain(x) for x in g] for k, g in gradients.items()},
            "rates": plain(rates),
            "cases": cases,
        }
    )
)

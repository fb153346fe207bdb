"""Records 20 steps of galore-torch's GaLoreAdamW and 19 of fira's FiraAdamW for galore.test.ts and fira.test.ts.

Run: python scripts/reference/optimizers/projected.py > tests/golden/optimizers/projected.json
Needs galore-torch 1.0 and fira 1.0.2 (pip install --no-deps); what they import only for 8 bits is not loaded.
"""

import importlib.util
import json
import pathlib
import sys
import types

import numpy as np
import torch



def bare(name):
    """The package without its __init__, which imports bitsandbytes for its 8-bit optimizer."""
    package = types.ModuleType(name)
    package.__path__ = [str(pathlib.Path(importlib.util.find_spec(name).origin).parent)]
    sys.modules[name] = package


bare("galore_torch")
bare("fira")
from fira.fira_adamw import AdamW as FiraAdamW  # noqa: E402
from galore_torch.adamw import AdamW as GaLoreAdamW  # noqa: E402

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


def run(optimizer_class, options, group, steps):
    parameters = {k: torch.nn.Parameter(torch.tensor(w)) for k, w in start.items()}
    optimizer = optimizer_class(
        [{"params": list(parameters.values()), **group}], lr=1, no_deprecation_warning=True, **options
    )
    for t in steps:
        optimizer.param_groups[0]["lr"] = float(rates[t])
        for k, p in parameters.items():
            p.grad = torch.tensor(gradients[k][t])
        optimizer.step()
    return {k: plain(p.detach().numpy()) for k, p in parameters.items()}


def plain(a):
    return [float(f"{x:.9g}") for x in np.asarray(a, np.float64).ravel()]


def galore(kind, rank=2, gap=7, scale=1.0, decay=0.0, eps=1e-6):
    group = {"rank": rank, "update_proj_gap": gap, "scale": scale, "proj_type": kind}
    ours = {"projection": kind, "rank": rank, "gap": gap, "scale": scale, "weightDecay": decay, "epsilon": eps}
    weights = run(GaLoreAdamW, {"weight_decay": decay, "eps": eps}, group, range(STEPS))
    return {"options": ours, "weights": weights}


def fira(kind, rank=2, gap=7, scale=1.0, decay=0.0):
    group = {"rank": rank, "update_proj_gap": gap, "alpha": scale, "proj_type": kind}
    ours = {"projection": kind, "rank": rank, "gap": gap, "scale": scale, "weightDecay": decay}
    # Step 4 has no gradient: it would store a norm of zero and hold the residual down ever after.
    steps = [t for t in range(STEPS) if t != 4]
    return {"options": ours, "weights": run(FiraAdamW, {"weight_decay": decay}, group, steps)}


galores = [galore(k) for k in ["std", "right", "left"]]
galores += [galore("reverse_std", rank=3), galore("std", scale=0.25, decay=0.1, gap=5)]
# Two-sided, R is diagonal at a refresh but for rounding, which Adam would blow up: epsilon keeps it small.
galores += [galore("full", eps=1e-2)]
firas = [fira("std"), fira("std", scale=0.25, gap=5), fira("std", rank=1, scale=0.25, decay=0.1)]
print(
    json.dumps(
        {
            "shapes": shapes,
            "start": {k: plain(w) for k, w in start.items()},
            "gradients": {k: [plain(x) for x in g] for k, g in gradients.items()},
            "rates": plain(rates),
            "galore": galores,
            "fira": firas,
        }
    )
)

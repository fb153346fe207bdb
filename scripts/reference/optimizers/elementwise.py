"""Records 20 steps of elementwise optimizers for src/optimizers/elementwise.test.ts.

AdamW (torch form) and SGD come from torch.optim; AdamW (hf form), Lion and signSGD from their formulas in NumPy float64.
Run: python scripts/reference/optimizers/elementwise.py > tests/golden/optimizers/elementwise.json
"""

import json

import numpy as np
import torch

STEPS = 20
rng = np.random.default_rng(3)
start = rng.standard_normal((3, 4)).astype(np.float32)
gradients = rng.standard_normal((STEPS, 3, 4)).astype(np.float32)
gradients[:, 0, :] *= 1e-7  # Where the place of epsilon shows.
gradients[:, 1, 0] = 0  # A weight that never sees a gradient.
gradients[[6, 7, 13]] = 0  # Steps without any.
rates = 0.1 * (1 - np.arange(STEPS) / STEPS)


def torch_run(make):
    p = torch.nn.Parameter(torch.tensor(start))
    optimizer = make(p)
    for g, rate in zip(gradients, rates):
        optimizer.param_groups[0]["lr"] = float(rate)
        p.grad = torch.tensor(g)
        optimizer.step()
    return p.detach().numpy()


def numpy_run(step):
    w, state = start.astype(np.float64), {}
    for t, (g, rate) in enumerate(zip(gradients.astype(np.float64), rates), 1):
        w = step(w, g, rate, t, state)
    return w


def hf_adamw(decay, b1=0.9, b2=0.999, eps=1e-6):
    def step(w, g, rate, t, s):
        s["m"] = b1 * s.get("m", 0) + (1 - b1) * g
        s["v"] = b2 * s.get("v", 0) + (1 - b2) * g * g
        w = w - rate * np.sqrt(1 - b2**t) / (1 - b1**t) * s["m"] / (np.sqrt(s["v"]) + eps)
        return w - rate * decay * w

    return step


def lion(decay, b1=0.9, b2=0.99):
    def step(w, g, rate, t, s):
        m = s.get("m", np.zeros_like(g))
        u = np.sign(b1 * m + (1 - b1) * g)
        s["m"] = b2 * m + (1 - b2) * g
        return w * (1 - rate * decay) - rate * u

    return step


def sign_sgd(decay):
    return lambda w, g, rate, t, s: w * (1 - rate * decay) - rate * np.sign(g)


def sgd(**o):
    return torch_run(lambda p: torch.optim.SGD([p], lr=1, **o))


def adamw(**o):
    return torch_run(lambda p: torch.optim.AdamW([p], lr=1, **o))


cases = [
    ("adamw", {}, adamw(weight_decay=0)),
    ("adamw", {"weightDecay": 0.1, "beta1": 0.8, "beta2": 0.95}, adamw(weight_decay=0.1, betas=(0.8, 0.95))),
    ("adamw", {"epsilon": 1e-3}, adamw(weight_decay=0, eps=1e-3)),
    ("adamw", {"form": "hf"}, numpy_run(hf_adamw(0))),
    ("adamw", {"form": "hf", "weightDecay": 0.1}, numpy_run(hf_adamw(0.1))),
    ("sgd", {"momentum": 0}, sgd()),
    ("sgd", {}, sgd(momentum=0.9)),
    ("sgd", {"nesterov": True}, sgd(momentum=0.9, nesterov=True)),
    ("sgd", {"dampening": 0.3}, sgd(momentum=0.9, dampening=0.3)),
    ("sgd", {"momentum": 0.5, "weightDecay": 0.1}, sgd(momentum=0.5, weight_decay=0.1)),
    ("lion", {}, numpy_run(lion(0))),
    ("lion", {"weightDecay": 0.1, "beta1": 0.8}, numpy_run(lion(0.1, b1=0.8))),
    ("sign-sgd", {}, numpy_run(sign_sgd(0))),
    ("sign-sgd", {"weightDecay": 0.1}, numpy_run(sign_sgd(0.1))),
]


def plain(a):
    return [float(f"{x:.9g}") for x in np.asarray(a, np.float64).ravel()]


print(
    json.dumps(
        {
            "versions": {"torch": torch.__version__.split("+")[0], "numpy": np.__version__},
            "shape": [3, 4],
            "start": plain(start),
            "gradients": [plain(g) for g in gradients],
            "rates": plain(rates),
            "cases": [{"method": m, "options": o, "weights": plain(w)} for m, o, w in cases],
        }
    )
)

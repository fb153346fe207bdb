"""Records learning-rate schedules of transformers (and ReLoRA's jagged cosine) for src/training/schedules.test.ts.

Run: python scripts/reference/training/schedules.py > tests/golden/training/schedules.json
"""

import json
import math

import torch
import transformers
from transformers import optimization as hf


def record(build, steps):
    """Multipliers of the peak at updates 0..steps, from the LambdaLR that transformers builds."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    rate = build(optimizer).lr_lambdas[0]
    return [float(rate(step)) for step in range(steps + 1)]


def relora(step, total, warmup, restart, rewarm, final):
    """The formula of ReLoRA's reference schedule for equal first and later warm-ups, where it is continuous."""
    assert warmup == rewarm
    if step < warmup:
        return step / warmup
    cosine = lambda progress: final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))
    since, start = step % restart, step // restart * restart
    if since < rewarm:
        return since / rewarm * cosine(start / (total - warmup))
    return cosine((step - warmup) / (total - warmup))


T = 60
cases = [
    ({"kind": "constant", "warmup": 6}, lambda o: hf.get_constant_schedule_with_warmup(o, 6)),
    ({"kind": "linear", "warmup": 6}, lambda o: hf.get_linear_schedule_with_warmup(o, 6, T)),
    ({"kind": "linear"}, lambda o: hf.get_linear_schedule_with_warmup(o, 0, T)),
    ({"kind": "cosine", "warmup": 6}, lambda o: hf.get_cosine_schedule_with_warmup(o, 6, T)),
    (
        {"kind": "cosine", "warmup": 6, "final": 0.1},
        lambda o: hf.get_cosine_with_min_lr_schedule_with_warmup(o, 6, T, min_lr_rate=0.1),
    ),
    ({"kind": "inverse-sqrt", "warmup": 6}, lambda o: hf.get_inverse_sqrt_schedule(o, 6)),
    ({"kind": "inverse-sqrt", "warmup": 6, "timescale": 20}, lambda o: hf.get_inverse_sqrt_schedule(o, 6, 20)),
    ({"kind": "inverse-sqrt"}, lambda o: hf.get_inverse_sqrt_schedule(o, 0)),
] + [
    (
        {"kind": "warmup-stable-decay", "warmup": warmup, "decay": 20, "shape": shape, "final": final},
        lambda o, shape=shape, final=final, warmup=warmup: hf.get_wsd_schedule(
            o, warmup, 20, num_training_steps=T, decay_type=shape, min_lr_ratio=final
        ),
    )
    # transformers starts its warm-up at the final rate, ours at 0: they are compared where both start at 0 or without one.
    for shape in ("linear", "cosine", "1-sqrt")
    for warmup, final in ((6, 0.0), (0, 0.1))
]

print(
    json.dumps(
        {
            "transformers": transformers.__version__,
            "total": T,
            "cases": [{"options": options, "rates": record(build, T)} for options, build in cases]
            + [
                {
                    "options": {"kind": "jagged-cosine", "warmup": 5, "restartEvery": 20, "restartWarmup": 5, "final": 0.1},
                    "rates": [relora(step, T, 5, 20, 5, 0.1) for step in range(T)],
                }
            ],
        }
    )
)

"""Records the 256 codes of bitsandbytes and 20 steps of its 8-bit arithmetic for src/optimizers/adam-8bit.test.ts.

The codes are those of bitsandbytes.functional.create_dynamic_map; the steps follow the formula in NumPy float32, because
the package's own 8-bit kernels need a GPU for AdamW.
Run: python scripts/reference/optimizers/eight_bit.py > tests/golden/optimizers/eight-bit.json
Needs bitsandbytes 0.50 (pip install --no-deps bitsandbytes).
"""

import json

import numpy as np
from bitsandbytes.functional import create_dynamic_map

STEPS, SHAPE, BLOCK = 20, (20, 30), 256  # Two full blocks and 88 values of a third.
rng = np.random.default_rng(11)
codes = {True: create_dynamic_map(signed=True).numpy(), False: create_dynamic_map(signed=False).numpy()}


def quantize(x, signed):
    blocks = [x[i : i + BLOCK] for i in range(0, x.size, BLOCK)]
    scales = [np.abs(b).max() for b in blocks]
    nearest = [np.abs((b / (s or 1))[:, None] - codes[signed]).argmin(1) for b, s in zip(blocks, scales)]
    return nearest, scales


def dequantize(state, signed):
    return np.concatenate([codes[signed][n] * s for n, s in zip(*state)]).astype(np.float32)


def run(w, gradients, rate, b1=0.9, b2=0.999, eps=1e-8, decay=0.1):
    m = v = None
    for t, g in enumerate(gradients, 1):
        first = b1 * (dequantize(m, True) if m else 0) + np.float32(1 - b1) * g
        second = b2 * (dequantize(v, False) if v else 0) + np.float32(1 - b2) * g * g
        w = w * (1 - rate * decay) - rate * (first / (1 - b1**t)) / (np.sqrt(second / (1 - b2**t)) + eps)
        m, v = quantize(first, True), quantize(second, False)
    return w


def plain(a, digits=6):
    return [float(f"{x:.{digits}g}") for x in np.asarray(a, np.float64).ravel()]


size = SHAPE[0] * SHAPE[1]
start = np.array(plain(rng.standard_normal(size)), np.float32)
gradients = [np.array(plain(0.1 * rng.standard_normal(size)), np.float32).round(4) for _ in range(STEPS)]
print(
    json.dumps(
        {
            "signed": [float(x) for x in codes[True]],
            "unsigned": [float(x) for x in codes[False]],
            "shape": SHAPE,
            "rate": 0.01,
            "start": plain(start),
            "gradients": [plain(g) for g in gradients],
            "weights": plain(run(start, gradients, 0.01), 9),
        }
    )
)

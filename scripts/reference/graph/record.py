"""Records PyTorch's value and gradients of every operator case in tests/golden/graph/operators.json.

A case is a name, its inputs and a function of them. Inputs are exact in float32 and never sit on a kink; the gradients
are those of sum(seed * y) in float64. src/graph/operator-cases.contract.ts builds the same cases under the same names.
"""

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

rng = np.random.default_rng(7)
cases = {}


def real(*shape, low=-2.0, high=2.0, offset=1):
    """Random multiples of 1/32 plus an odd offset: no zeros, and no ties between inputs of different offsets."""
    return torch.from_numpy(np.asarray(np.floor(rng.uniform(low, high, shape) * 32) / 32 + offset / 256))


def positive(*shape, **options):
    return real(*shape, low=0.25, high=2.5, **options)


def distinct(*shape):
    n = int(np.prod(shape))
    return torch.from_numpy((rng.permutation(n) - n / 2).reshape(shape) / 16 + 1 / 256)


def ids(high, *shape):
    return torch.from_numpy(rng.integers(0, high, shape))


def flags(*shape):
    return torch.from_numpy(rng.integers(0, 2, shape).astype(bool))


def rounded(t):
    return [float(f"{v:.13g}") for v in t.detach().double().reshape(-1).tolist()]


def stored(t):
    dtype = {torch.float64: "float32", torch.int64: "int64", torch.bool: "bool"}[t.dtype]
    return {"dtype": dtype, "shape": list(t.shape), "data": [float(v) for v in t.detach().reshape(-1).tolist()]}


def case(name, inputs, function):
    assert name not in cases, name
    leaves = {k: v.clone().requires_grad_(v.dtype == torch.float64) for k, v in inputs.items()}
    y = function(**leaves)
    seed = real(*y.shape, offset=3)
    if y.requires_grad:
        (y.double() * seed).sum().backward()
    gradients = {
        k: rounded(torch.zeros_like(v) if v.grad is None else v.grad) for k, v in leaves.items() if v.requires_grad
    }
    cases[name] = {
        "inputs": {k: stored(v) for k, v in inputs.items()},
        "value": {"shape": list(y.shape), "data": rounded(y)},
        "seed": rounded(seed),
        "gradients": gradients,
    }


UNARY = {
    "neg": torch.neg, "abs": torch.abs, "sign": torch.sign, "exp": torch.exp, "tanh": torch.tanh,
    "sigmoid": torch.sigmoid, "erf": torch.erf, "sin": torch.sin, "cos": torch.cos, "floor": torch.floor,
    "relu": torch.relu, "square": torch.square, "silu": F.silu, "gelu": F.gelu,
    "geluTanh": lambda x: F.gelu(x, approximate="tanh"),
}
for name, f in UNARY.items():
    case(name, {"x": real(3, 5, low=-4, high=4)}, lambda x, f=f: f(x))
for name in ("log", "sqrt"):
    case(name, {"x": positive(3, 5)}, lambda x, f=getattr(torch, name): f(x))
case("relu of zero", {"x": torch.tensor([-1.0, 0.0, 2.0]).double()}, lambda x: torch.relu(x))

SHAPES = {
    "same": ((2, 3, 4), (2, 3, 4)), "row": ((2, 3, 4), (4,)), "both": ((2, 1, 4), (3, 1)), "scalar": ((2, 3), ()),
    "left": ((4,), (2, 3, 4)),
}
BINARY = {
    "add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div, "pow": torch.pow,
    "maximum": torch.maximum, "minimum": torch.minimum,
}
for name, f in BINARY.items():
    for kind, (sa, sb) in SHAPES.items():
        a = positive(*sa) if name == "pow" else real(*sa)
        b = positive(*sb, offset=3) if name == "div" else real(*sb, offset=3)
        case(f"{name} {kind}", {"a": a, "b": b}, lambda a, b, f=f: f(a, b))
case("pow number", {"x": real(3, 4)}, lambda x: x**3)

COMPARE = {"equal": torch.eq, "greater": torch.gt, "less": torch.lt, "greaterEqual": torch.ge}
for name, f in COMPARE.items():
    case(
        f"where {name}",
        {"p": ids(3, 2, 3, 1), "q": ids(3, 3, 1), "a": real(2, 3, 4), "b": real(4, offset=3)},
        lambda p, q, a, b, f=f: torch.where(f(p, q), a, b),
    )
case(
    "logic", {"p": flags(3, 4), "q": flags(4), "x": real(3, 4)},
    lambda p, q, x: torch.where((p & ~q) | (x > 1), x * x, torch.zeros((), dtype=x.dtype)),
)
case("cast bool to float", {"p": flags(3, 4), "x": real(3, 4)}, lambda p, x: p.double() * x)
case("cast float to int", {"x": real(3, 4)}, lambda x: x.long().double())
case(
    "cast float to bool", {"x": torch.tensor([0.0, 0.25, -0.25, 256.0, 2.0]).double()},
    lambda x: x.bool().double(),
)

BATCHES = {
    "plain": ((), ()), "batch": ((2,), (2,)), "shared second": ((2, 3), ()), "shared first": ((), (2,)),
    "ones": ((1,), (3,)), "crossed": ((2, 1), (3,)),
}
for kind, (ba, bb) in BATCHES.items():
    for ta in (False, True):
        for tb in (False, True):
            a = real(*ba, *((4, 3) if ta else (3, 4)))
            b = real(*bb, *((2, 4) if tb else (4, 2)), offset=3)
            case(
                f"matmul {kind}{' transA' if ta else ''}{' transB' if tb else ''}", {"a": a, "b": b},
                lambda a, b, ta=ta, tb=tb: 0.5 * ((a.mT if ta else a) @ (b.mT if tb else b)),
            )
case("linear", {"x": real(2, 3, 4), "w": real(5, 4), "b": real(5)}, lambda x, w, b: F.linear(x, w, b))

case("sum all", {"x": real(2, 3, 4)}, lambda x: x.sum())
case("sum axis", {"x": real(2, 3, 4)}, lambda x: x.sum(1))
case("sum axes keep", {"x": real(2, 3, 4)}, lambda x: x.sum((0, 2), keepdim=True))
case("sum last", {"x": real(2, 3, 4)}, lambda x: x.sum(-1))
case("mean axes", {"x": real(2, 3, 4)}, lambda x: x.mean((1, 2)))
case("max all", {"x": distinct(2, 3, 4)}, lambda x: x.amax())
case("max axis keep", {"x": distinct(2, 3, 4)}, lambda x: x.amax(1, keepdim=True))
case("max ties", {"x": torch.tensor([[1.0, 3, 3, 2], [5, 5, 5, 5]]).double()}, lambda x: x.amax(1))

case("reshape", {"x": real(2, 3, 4)}, lambda x: x.reshape(4, -1))
case("transpose last", {"x": real(2, 3, 4)}, lambda x: x.mT)
case("transpose perm", {"x": real(2, 3, 4)}, lambda x: x.permute(2, 0, 1))
case("expand", {"x": real(3, 1)}, lambda x: x.expand(2, 3, 4))
case("slice", {"x": real(2, 5, 3)}, lambda x: x[:, 1:4])
case("split", {"x": real(2, 6)}, lambda x: x[:, 0:2] * x[:, 4:6])
case("concat", {"a": real(2, 3), "b": real(2, 2), "c": real(2, 1)}, lambda a, b, c: torch.cat([a, b, c], 1))
case("pad", {"x": real(2, 3)}, lambda x: F.pad(x, (1, 2)))
case("squeeze", {"x": real(2, 1, 3)}, lambda x: x.squeeze(1).unsqueeze(-1))

case("softmax", {"x": real(2, 3, 5)}, lambda x: x.softmax(-1))
case("logSoftmax", {"x": real(2, 3, 5, low=-30, high=30)}, lambda x: x.log_softmax(-1))
case(
    "layerNorm", {"x": real(2, 3, 5), "w": real(5), "b": real(5)},
    lambda x, w, b: F.layer_norm(x, (5,), w, b, 1e-5),
)
case("rmsNorm", {"x": real(2, 3, 5), "w": real(5)}, lambda x, w: F.rms_norm(x, (5,), w, 1e-5))
case("l2Normalize", {"x": real(3, 5)}, lambda x: x / (x.square().sum(-1, keepdim=True) + 1e-12).sqrt())

case("gather", {"x": real(5, 3), "i": ids(3, 2, 4)}, lambda x, i: x[i])
case("gather vector", {"x": real(5), "i": ids(3, 6)}, lambda x, i: x[i])
case("gather planes", {"x": real(4, 2, 3), "i": ids(3, 5)}, lambda x, i: x[i])
case("gatherElements first", {"x": real(4, 3), "i": ids(2, 5, 3)}, lambda x, i: x.gather(0, i))
case("gatherElements last", {"x": real(3, 4), "i": ids(2, 3, 6)}, lambda x, i: x.gather(1, i))
case(
    "scatterRows", {"u": real(2, 3, 4), "i": ids(3, 2, 3)},
    lambda u, i: torch.zeros(5, 4).double().index_add(0, i.reshape(-1), u.reshape(-1, 4)),
)
case(
    "scatterAdd first", {"x": real(4, 3), "i": ids(2, 5, 3), "u": real(5, 3)},
    lambda x, i, u: x.scatter_add(0, i, u),
)
case(
    "scatterAdd last", {"x": real(3, 4), "i": ids(2, 3, 6), "u": real(3, 6)},
    lambda x, i, u: x.scatter_add(1, i, u),
)
case("topK", {"x": distinct(3, 6)}, lambda x: x.topk(3).values)
case("topK indices", {"x": distinct(3, 6), "y": real(3, 6)}, lambda x, y: y.gather(1, x.topk(3).indices))

CONV = {
    "plain": ((5, 6), (3, 2), (1, 1), (0, 0), (1, 1)), "padded": ((4, 5), (3, 3), (1, 1), (1, 1), (1, 1)),
    "strided": ((6, 5), (3, 2), (2, 2), (0, 0), (1, 1)), "leftover": ((6, 8), (3, 3), (2, 3), (1, 1), (1, 1)),
    "dilated": ((6, 7), (2, 3), (1, 1), (1, 2), (2, 2)), "everything": ((8, 7), (2, 3), (2, 3), (1, 2), (3, 2)),
}
for kind, (image, kernel, stride, padding, dilation) in CONV.items():
    case(
        f"conv2d {kind}", {"x": real(2, 2, *image), "w": real(3, 2, *kernel), "b": real(3)},
        lambda x, w, b, s=stride, p=padding, d=dilation: F.conv2d(x, w, b, s, p, d),
    )
case("averagePool2d", {"x": real(2, 2, 4, 6)}, lambda x: F.avg_pool2d(x, (2, 3)))
case("averagePool2d padded", {"x": real(1, 2, 4, 5)}, lambda x: F.avg_pool2d(x, (3, 3), (1, 2), (1, 1)))
case("maxPool2d", {"x": distinct(2, 2, 4, 6)}, lambda x: F.max_pool2d(x, (2, 3)))
case("maxPool2d overlapping", {"x": distinct(2, 2, 4, 5)}, lambda x: F.max_pool2d(x, (3, 3), (1, 2), (1, 1)))
case("maxPool2d dilated", {"x": distinct(1, 2, 6, 6)}, lambda x: F.max_pool2d(x, (2, 2), (1, 1), (0, 0), (2, 2)))


def cross_entropy(logits, t, w):
    return (F.cross_entropy(logits, t, reduction="none") * w).sum()


def masked(n):
    weights = positive(n)
    weights[1] = 0
    return weights


case("crossEntropy", {"logits": real(4, 6), "t": ids(6, 4), "w": masked(4)}, cross_entropy)
for rows in (1, 2, 3, 5):
    for biased in (False, True):
        inputs = {"h": real(5, 3), "v": real(7, 3), "t": ids(7, 5), "w": masked(5)}
        if biased:
            inputs["b"] = real(7)
        case(
            f"linearCrossEntropy rows {rows}{' bias' if biased else ''}", inputs,
            lambda h, v, t, w, b=None: cross_entropy(F.linear(h, v, b), t, w),
        )
case("squaredError", {"a": real(3, 4), "b": real(3, 4, offset=3)}, lambda a, b: F.mse_loss(a, b))
case("detach", {"x": real(3, 4)}, lambda x: x * x.detach())
case("withGradient", {"x": real(3, 4)}, lambda x: x.exp() + (x.exp().floor() - x.exp()).detach())

out = Path(__file__).parents[3] / "tests/golden/graph/operators.json"
lines = ",\n".join(f"{json.dumps(k)}: {json.dumps(v, separators=(',', ':'))}" for k, v in cases.items())
out.write_text(f'{{"torch": "{torch.__version__}", "cases": {{\n{lines}\n}}}}\n')

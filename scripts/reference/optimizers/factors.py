"""Records 20 steps of LoRA-Pro, ALLoRA and GradNormLoRP for factors.test.ts, each derived from its paper in NumPy float64.

The optimizers see only what they may: the factors' gradients of a given full gradient. What is derived another way here:
inverses by numpy.linalg.inv, the Sylvester equation by scipy, row norms from the product itself, weight normalization
with V and g kept apart, gradients of the normalization by differentiating it with torch.
Run: python scripts/reference/optimizers/factors.py > tests/golden/optimizers/factors.json
"""

import json

import numpy as np
import torch
from scipy.linalg import solve_sylvester

STEPS, M, N, R = 20, 6, 5, 2
B1, B2 = 0.9, 0.999
rng = np.random.default_rng(23)


def rounded(x):
    return x.astype(np.float32).astype(np.float64)


A0, B0 = rounded(rng.standard_normal((R, N))), rounded(rng.standard_normal((M, R)))
W0 = rounded(rng.standard_normal((M, N)))
gradients = [rounded(rng.standard_normal((M, N))) for _ in range(STEPS)]
rates = rounded(0.05 * (1 - np.arange(STEPS) / STEPS))


class Adam:
    """ε outside (torch) or inside (hf) the bias correction."""

    def __init__(self, form="torch"):
        self.m, self.v, self.t, self.form = 0.0, 0.0, 0, form

    def __call__(self, g):
        self.t += 1
        self.m = B1 * self.m + (1 - B1) * g
        self.v = B2 * self.v + (1 - B2) * g * g
        c1, c2 = 1 - B1**self.t, 1 - B2**self.t
        if self.form == "torch":
            return self.m / c1 / (np.sqrt(self.v / c2) + 1e-8)
        return np.sqrt(c2) / c1 * self.m / (np.sqrt(self.v) + 1e-6)


def held(gram, ridge):
    if not gram.any():
        return gram  # The pseudo-inverse of zero.
    return np.linalg.inv(gram + ridge * np.trace(gram) / R * np.eye(R))


def nearest(A, B, s, gA, gB, ridge, with_x):
    iB, iA = held(B.T @ B, ridge), held(A @ A.T, ridge)
    X = np.zeros((R, R))
    if with_x:
        X = solve_sylvester(B.T @ B, A @ A.T, -iB @ gA @ A.T / s**2)
    hA = iB @ gA / s**2 + X @ A
    hB = (np.eye(M) - B @ iB @ B.T) @ gB @ iA / s**2 - B @ X
    return hA, hB


def lora_pro(moments, s, zero_b=False, ridge=1e-8, decay=0.0):
    A, B = A0, B0 * (not zero_b)
    full, forA, forB = Adam(), Adam(), Adam()
    for G, rate in zip(gradients, rates):
        gA, gB = s * B.T @ G, s * G @ A.T
        if moments == "full":
            hA, hB = nearest(A, B, s, gA, gB, ridge, False)
            reached = full(s * (B @ hA + hB @ A))
            hA, hB = nearest(A, B, s, s * B.T @ reached, s * reached @ A.T, ridge, True)
        else:
            hA, hB = nearest(A, B, s, gA, gB, ridge, True)
            if moments == "light":
                hA, hB = forA(hA), forB(hB)
        A, B = A - rate * (hA + decay * A), B - rate * (hB + decay * B)
    options = {"moments": moments, "ridge": ridge, "weightDecay": decay}
    return {"options": options, "scale": s, "zeroB": zero_b, "A": plain(A), "B": plain(B)}


def allora(cap, power, norm, moments="adam", squared=False, decay=0.0, zero_b=True):
    A, B = A0, B0 * (not zero_b)
    forA, forB = (Adam(), Adam()) if moments == "adam" else (lambda g: g, lambda g: g)
    for G, rate in zip(gradients, rates):
        of = {"delta-row": B @ A, "b-row": B, "matrix": (B @ A).reshape(1, -1)}[norm]
        length = np.linalg.norm(of, axis=1, keepdims=True)
        kappa = (length ** (2 if squared else 1) + cap ** (-1 / power)) ** -power
        dA, dB = forA(B.T @ G), forB(G @ A.T)
        A, B = A - rate * (kappa.mean() * dA + decay * A), B - rate * (kappa * dB + decay * B)
    options = {"cap": cap, "power": power, "norm": norm, "moments": moments, "squared": squared, "weightDecay": decay}
    return {"options": options, "zeroB": zero_b, "A": plain(A), "B": plain(B)}


class Galore:
    """The projection of the shorter side, with our signs of singular vectors; moments outlive a basis."""

    def __init__(self, rank, gap, scale):
        self.rank, self.gap, self.scale, self.adam, self.t = rank, gap, scale, Adam("hf"), 0

    def __call__(self, g):
        right = g.shape[0] >= g.shape[1]
        if self.t % self.gap == 0:
            u, _, vt = np.linalg.svd(g, full_matrices=False)
            signs = np.sign(u[np.abs(u).argmax(0), np.arange(u.shape[1])])
            self.basis = (vt * signs[:, None])[: self.rank] if right else (u * signs)[:, : self.rank]
        self.t += 1
        q = self.basis
        return self.scale * (self.adam(g @ q.T) @ q if right else q @ self.adam(q.T @ g))


def normalized_gradient(V, g, G):
    V, g = torch.tensor(V, requires_grad=True), torch.tensor(g, requires_grad=True)
    ((g * V / V.norm(dim=1, keepdim=True)) * torch.tensor(G)).sum().backward()
    return V.grad.numpy(), g.grad.numpy()


def matrix_form(rank, gap, scale, mode="corrected", decay=0.0, rate_g=1.0, wide=False):
    turn = (lambda x: x.T) if wide else (lambda x: x)
    V = turn(W0).copy()
    g = np.linalg.norm(V, axis=1, keepdims=True)
    galore, adam = Galore(rank, gap, scale), Adam("hf")
    for G, rate in zip(gradients, rates):
        if mode == "reference":
            g = np.linalg.norm(V, axis=1, keepdims=True)
        dV, dg = normalized_gradient(V, g, turn(G))
        V = V - rate * galore(turn(G) if mode == "reference" else dV)
        V = V - rate * decay * V
        g = g - rate_g * rate * adam(dg)
        g = g - rate_g * rate * decay * g
    W = g * V / np.linalg.norm(V, axis=1, keepdims=True)
    options = {"rank": rank, "gap": gap, "scale": scale, "mode": mode, "weightDecay": decay, "magnitudeRate": rate_g}
    return {"options": options, "wide": wide, "W": plain(W)}


def factor_form(rank, gap, scale):
    A, B, s = A0, B0, 2.0
    g = np.linalg.norm(W0, axis=1)
    forA, forB, forG = Galore(rank, gap, scale), Galore(rank, gap, scale), Adam("hf")
    for G, rate in zip(gradients, rates):
        # DoRA's gradients, the norm held.
        V = W0 + s * B @ A
        length = np.linalg.norm(V, axis=1)
        GV = (g / length)[:, None] * G
        dg = (G * V).sum(1) / length
        A, B, g = A - rate * forA(s * B.T @ GV), B - rate * forB(s * GV @ A.T), g - rate * forG(dg)
    return {"options": {"rank": rank, "gap": gap, "scale": scale}, "A": plain(A), "B": plain(B), "g": plain(g)}


def plain(a):
    return [float(f"{x:.9g}") for x in np.asarray(a, np.float64).ravel()]


print(
    json.dumps(
        {
            "A": plain(A0),
            "B": plain(B0),
            "W": plain(W0),
            "gradients": [plain(g) for g in gradients],
            "rates": plain(rates),
            "loraPro": [
                lora_pro("full", 2.0),
                lora_pro("full", 0.5, zero_b=True, ridge=1e-2),
                lora_pro("light", 2.0),
                lora_pro("light", 1.0, zero_b=True, decay=0.1),
                lora_pro("none", 3.0, ridge=1e-3),
                lora_pro("none", 1.0, decay=0.2),
            ],
            "allora": [
                allora(10.0, 0.5, "delta-row"),
                allora(4.0, 0.25, "b-row", decay=0.1),
                allora(4.0, 1.0, "matrix", squared=True),
                allora(10.0, 0.5, "delta-row", moments="none"),
                allora(2.0, 0.5, "delta-row", squared=True, zero_b=False),
            ],
            "matrices": [
                matrix_form(2, 7, 1.0),
                matrix_form(3, 5, 0.25, decay=0.1, wide=True),
                matrix_form(5, 50, 1.0, rate_g=0.5),
                matrix_form(2, 7, 1.0, mode="reference"),
            ],
            "factors": [factor_form(1, 7, 4.0), factor_form(2, 6, 1.0)],
        }
    )
)

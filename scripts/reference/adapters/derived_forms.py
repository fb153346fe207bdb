"""The methods of derived.py, each a linear layer without bias. Shapes: W m×n, A r×n, B m×r; y = x Wᵀ."""

import math

import numpy as np
import scipy.linalg
import torch

FORMS = {}


def adam(parameters, rate):
    return torch.optim.AdamW(parameters, lr=rate, weight_decay=0)


class Form(torch.nn.Module):
    """One layer. `state` holds what is drawn or computed once; `trained` names what Adam moves."""

    trained = ()
    replaces_base = False

    def __init_subclass__(cls):
        FORMS[cls.__name__] = cls

    def __init__(self, weight, gradient, name, run):
        super().__init__()
        self.base, self.name, self.run = weight, name, run
        self.o = run.options
        self.m, self.n = weight.shape
        self.r = self.o["rank"]
        self.state = {}
        self.optimizer = None
        self.init(weight, gradient)

    def __getattr__(self, key):
        state = self.__dict__.get("state", {})
        return state[key] if key in state else super().__getattr__(key)

    def begin(self):
        for key in self.trained:
            self.state[key].requires_grad_(True)

    def start(self):
        """Under the names of the implementation that is tested."""
        return {k: v.detach().clone() for k, v in self.state.items()}

    def forward(self, x):
        return x @ self.weight().T

    def penalty(self, layers):
        return 0.0

    def parameters_(self):
        return [self.state[k] for k in self.trained]

    @classmethod
    def before(cls, layers, step):
        pass

    @classmethod
    def update(cls, layers, step, rate):
        for layer in layers:
            layer.optimizer = layer.optimizer or adam(layer.parameters_(), rate)
            layer.optimizer.param_groups[0]["lr"] = rate
            layer.optimizer.step()
            layer.optimizer.zero_grad()


def kaiming(run, rows, columns):
    return (2 * run.uniform(rows, columns) - 1) / math.sqrt(columns)


class LoraXs(Form):
    """W₀ + (α/r) U_r R (S_r V_rᵀ); R from noise, here larger than the paper's so that it shows."""

    trained = ("R",)

    def init(self, w, g):
        u, s, vt = torch.linalg.svd(w, full_matrices=False)
        self.state = dict(B=u[:, : self.r], A=s[: self.r, None] * vt[: self.r], R=0.1 * self.run.normal(self.r, self.r))

    def weight(self):
        return self.base + self.o["alpha"] / self.r * self.B @ self.R @ self.A


class LoraSb(Form):
    """W₀ + s B R A from the truncated SVD of −η₁ sign(G); R₀ = diag(S)/s."""

    trained = ("R",)

    def init(self, w, g):
        u, s, vt = torch.linalg.svd(-self.o["firstRate"] * torch.sign(g), full_matrices=False)
        self.state = dict(B=u[:, : self.r], A=vt[: self.r], R=torch.diag(s[: self.r]) / self.o["scale"])

    def weight(self):
        return self.base + self.o["scale"] * self.B @ self.R @ self.A


class LoraGa(Form):
    """A: right singular vectors 1…r of G, B: left ones r+1…2r, both times m^¼/√γ; s = α/√r; base W₀ − s B₀ A₀."""

    trained = ("A", "B")
    replaces_base = True

    def init(self, w, g):
        u, _, vt = torch.linalg.svd(g, full_matrices=False)
        c = self.m**0.25 / math.sqrt(self.o["gamma"])
        A, B = c * vt[: self.r], c * u[:, self.r : 2 * self.r]
        self.s = self.o["alpha"] / math.sqrt(self.r)
        self.base = w - self.s * B @ A
        self.state = dict(A=A, B=B, A0=A.clone(), B0=B.clone())

    def weight(self):
        return self.base + self.s * self.B @ self.A


class Restarting(Form):
    """Every `cycle` steps B and A become U √Σ and √Σ Vᵀ of B A, Adam is new, and the rate rises over `recovery` steps."""

    @classmethod
    def before(cls, layers, step):
        o = layers[0].o
        if "restart" not in o or step == 0 or step % o["cycle"] != 0:
            return
        for layer in layers:
            with torch.no_grad():
                u, s, vt = torch.linalg.svd(layer.B @ layer.A, full_matrices=False)
                root = s[: layer.r].sqrt()
                layer.B.copy_(u[:, : layer.r] * root)
                layer.A.copy_(root[:, None] * vt[: layer.r])
            layer.optimizer = None

    @classmethod
    def update(cls, layers, step, rate):
        o = layers[0].o
        if "restart" in o and step >= o["cycle"] and step % o["cycle"] < o["recovery"]:
            rate *= 0.001 + 0.999 * (step % o["cycle"]) / (o["recovery"] - 1)
        super().update(layers, step, rate)


class LowRank(Restarting):
    """W = (α/r) B A and no base; both Kaiming-uniform."""

    trained = ("A", "B")

    def init(self, w, g):
        self.state = dict(A=kaiming(self.run, self.r, self.n), B=kaiming(self.run, self.m, self.r))

    def weight(self):
        return self.o["alpha"] / self.r * self.B @ self.A


class SlTrain(Restarting):
    """W = (α/r) B A + S, S with values of its own at ⌊δ m n⌋ random positions; B = 0, A and the values U(±1/√n)."""

    trained = ("A", "B", "values")

    def init(self, w, g):
        size = self.m * self.n
        k = math.floor(self.o["density"] * size)
        self.state = dict(A=kaiming(self.run, self.r, self.n), B=torch.zeros(self.m, self.r, dtype=w.dtype))
        self.state |= dict(values=(2 * self.run.uniform(k) - 1) / math.sqrt(self.n))
        self.support = torch.randperm(size, generator=self.run.generator)[:k].sort().values

    def start(self):
        return super().start() | dict(support=self.support)

    def weight(self):
        product = self.o["alpha"] / self.r * self.B @ self.A
        return product.flatten().index_add(0, self.support, self.values).reshape(self.m, self.n)


def prune(x, share):
    """Zeroes the entries up to a quantile of the magnitudes."""
    x.mul_(x.abs() > torch.quantile(x.abs().flatten(), share))


class ReLora(Form):
    """LoRA; every K steps W₀ += s B A, A anew, B = 0, fresh or pruned Adam, the rate from 0 over `warmup` updates."""

    trained = ("A", "B")

    def init(self, w, g):
        self.s = self.o["alpha"] / self.r
        self.state = dict(A=kaiming(self.run, self.r, self.n), B=torch.zeros(self.m, self.r, dtype=w.dtype))

    def weight(self):
        return self.base + self.s * self.B @ self.A

    @classmethod
    def before(cls, layers, step):
        for layer in layers:
            if step == 0 or step % layer.o["every"] != 0:
                continue
            uniform = layer.run.uniform(layer.r, layer.n).float().double()
            layer.run.draw(step, f"relora/{layer.name}", uniform)
            with torch.no_grad():
                layer.base += layer.s * layer.B @ layer.A
                layer.A.copy_((2 * uniform - 1) / math.sqrt(layer.n))
                layer.B.zero_()
            if layer.o.get("reset", "all") == "all":
                layer.optimizer = None
            else:
                for moments in layer.optimizer.state.values():
                    prune(moments["exp_avg"], layer.o["pruned"])
                    prune(moments["exp_avg_sq"], layer.o["pruned"])

    @classmethod
    def update(cls, layers, step, rate):
        o = layers[0].o
        share = 1.0 if step < o["every"] else min(1.0, (step % o["every"] + 1) / (o["warmup"] + 1))
        super().update(layers, step, rate * share)


class Loldu(Form):
    """W_res + σ P L diag(z) U over the first r pivots, W₀ = P L diag(d) U; z and σ trained."""

    trained = ("z", "sigma")
    replaces_base = True

    def init(self, w, g):
        p, l, u = scipy.linalg.lu(w.numpy())
        d = np.diag(u)[: self.r].copy()
        L, U = (p @ l)[:, : self.r], u[: self.r] / d[:, None]
        sigma = self.o["alpha"] / self.r
        L, d, U = (torch.from_numpy(np.ascontiguousarray(x)) for x in (L, d, U))
        self.base = w - sigma * L @ torch.diag(d) @ U
        self.state = dict(L=L, d=d, U=U, z=d.clone(), sigma=torch.tensor([sigma], dtype=w.dtype))

    def weight(self):
        return self.base + self.sigma * self.L @ torch.diag(self.z) @ self.U


class Salt(Form):
    """W = U ReLU(M) Vᵀ, M = diag(a ∘ S₁ + c) ⊕ (diag(S₂) + X Y); a starts at 1. Stored as a − 1."""

    trained = ("a", "c", "X", "Y")

    def init(self, w, g):
        u, s, vt = torch.linalg.svd(w, full_matrices=False)
        t = max(1, math.floor(self.o["ratio"] * len(s)))
        q = len(s) - t
        one = dict(dtype=w.dtype)
        self.state = dict(U=u, S=s, V=vt, a=torch.ones(t, **one), c=torch.zeros(t, **one))
        bound = math.sqrt(6 / self.r)
        self.state |= dict(X=(2 * self.run.uniform(q, self.r) - 1) * bound, Y=0.05 * self.run.normal(self.r, q))
        self.t = t

    def start(self):
        t, s = self.t, {k: v.detach().clone() for k, v in self.state.items()}
        return dict(stretch=s["a"] - 1, shift=s["c"], X=s["X"], Y=s["Y"], U1=s["U"][:, :t], S1=s["S"][:t], V1=s["V"][:t],
                    U2=s["U"][:, t:], S2=s["S"][t:], V2=s["V"][t:])  # fmt: skip

    def weight(self):
        top = torch.diag(self.a * self.S[: self.t] + self.c)
        rest = torch.diag(self.S[self.t :]) + self.X @ self.Y
        return self.U @ torch.relu(torch.block_diag(top, rest)) @ self.V

    def penalty(self, layers):
        change = self.a * self.S[: self.t] + self.c - self.S[: self.t]
        # ‖·‖ has the gradient 0 at 0, where it starts.
        first = torch.linalg.norm(change) if change.abs().max() > 0 else 0.0
        return self.o["penalty"] * (first + torch.linalg.norm(self.X @ self.Y))


class HutDirect(Form):
    """W = (B A) ∘ W₀, one rank constant at the start so that B A = 1."""

    trained = ("A", "B")

    def init(self, w, g):
        A, B = kaiming(self.run, self.r, self.n), torch.zeros(self.m, self.r, dtype=w.dtype)
        A[0], B[:, 0] = 1, 1
        self.state = dict(A=A, B=B)

    def weight(self):
        return (self.B @ self.A) * self.base


class Nola(Form):
    """A = A⁰ + Σ αᵢ Aᵢ, B = Σ βⱼ Bⱼ, s = α/r."""

    trained = ("alpha", "beta")

    def init(self, w, g):
        k = self.o["bases"]
        self.state = dict(
            alpha=torch.zeros(k, dtype=w.dtype),
            beta=torch.zeros(k, dtype=w.dtype),
            basesA=(2 * self.run.uniform(k, self.r, self.n) - 1) / math.sqrt(k),
            basesB=(2 * self.run.uniform(k, self.m, self.r) - 1) / math.sqrt(k),
            fixedA=kaiming(self.run, self.r, self.n),
        )

    def weight(self):
        A = self.fixedA + torch.einsum("k,krn->rn", self.alpha, self.basesA)
        B = torch.einsum("k,kmr->mr", self.beta, self.basesB)
        return self.base + self.o["alpha"] / self.r * B @ A


class FlyLora(Form):
    """y = base + (α/r) B (g ∘ A x), g the k largest of A x + d; d moves against use once an update."""

    trained = ("B",)

    def init(self, w, g):
        p = max(1, math.floor(self.n * self.o["active"] / self.r))
        A = torch.zeros(self.r, self.n, dtype=w.dtype)
        for row in A:
            row[torch.randperm(self.n, generator=self.run.generator)[:p]] = self.run.normal(p) / self.r
        self.state = dict(A=A, B=torch.zeros(self.m, self.r, dtype=w.dtype), bias=torch.zeros(self.r, dtype=w.dtype))

    def forward(self, x):
        u = x @ self.A.T
        self.mask = torch.zeros_like(u).scatter_(-1, (u + self.bias).topk(self.o["active"], dim=-1).indices, 1.0)
        self.branch = self.o["alpha"] / self.r * (self.mask * u) @ self.B.T
        self.branch.retain_grad()
        return x @ self.base.T + self.branch

    @classmethod
    def update(cls, layers, step, rate):
        for layer in layers:
            # Tokens that have no part in the loss, as padding, are not counted; 1e-6 is rounding.
            size = layer.branch.grad.abs().amax(-1, keepdim=True)
            used = (size > 1e-6 * size.max()).double()
            counts = (layer.mask * used).flatten(0, 1).sum(0)
            layer.bias += layer.o["balanceRate"] * torch.sign(counts.mean() - counts)
        super().update(layers, step, rate)


class DyLora(Form):
    """(α/b) B[:, :b] A[:b], b drawn for each step; `frozen`: only rank b has a gradient."""

    trained = ("A", "B")

    def init(self, w, g):
        self.state = dict(A=kaiming(self.run, self.r, self.n), B=torch.zeros(self.m, self.r, dtype=w.dtype))

    @classmethod
    def before(cls, layers, step):
        run, r = layers[0].run, layers[0].r
        b = int(torch.randint(1, r + 1, (1,), generator=run.generator))
        run.draw(step, "rank", torch.tensor([(b - 0.5) / r]))
        for layer in layers:
            layer.b = b

    def weight(self):
        A, B, b = self.A[: self.b], self.B[:, : self.b], self.b
        if self.o.get("mode", "frozen") == "frozen":
            A = torch.cat([A[: b - 1].detach(), A[b - 1 :]])
            B = torch.cat([B[:, : b - 1].detach(), B[:, b - 1 :]], 1)
        return self.base + self.o["alpha"] / b * B @ A


class IncreLora(Form):
    """ΔW = α/(ρ + 1e-5) B diag(e) A over live ranks and one in reserve; the layers of largest score gain their reserve."""

    RESERVE = 1e-5

    def init(self, w, g):
        draw = self.block()
        self.blocks = [dict(A=draw[0], B=draw[1], e=torch.zeros(1, dtype=w.dtype), live=True)]
        self.mean = self.spread = 0.0

    def block(self):
        shapes = ((1, self.n), (self.m, 1))
        numbers = [self.run.normal(*shape).float().double() for shape in shapes]
        self.numbers = numbers
        return [0.02 * x for x in numbers]

    def start(self):
        """Room for 4 · rank + 1 ranks, one a row, of which the first exists."""
        first = {k: x.detach() for k, x in self.blocks[0].items() if k != "live"}
        rows = dict(A=first["A"], Bt=first["B"].T, e=first["e"])
        return {k: torch.cat([x, x.new_zeros(4 * self.o["rank"], *x.shape[1:])]) for k, x in rows.items()}

    def begin(self):
        for k in "ABe":
            self.blocks[0][k] = self.blocks[0][k].float().double().requires_grad_(True)
        self.groups = [dict(of=[self.blocks[0][k] for k in "ABe"], born=None)]

    @property
    def live(self):
        return sum(b["live"] for b in self.blocks)

    def weight(self):
        join = lambda key, axis: torch.cat([b[key] for b in self.blocks], axis)
        self.delta = self.o["alpha"] / (self.live + 1e-5) * join("B", 1) @ torch.diag(join("e", 0)) @ join("A", 0)
        self.delta.retain_grad()
        return self.base + self.delta

    def penalty(self, layers):
        A, B = (torch.cat([b[k] for b in self.blocks], axis) for k, axis in (("A", 0), ("B", 1)))
        eye = torch.eye(len(A), dtype=A.dtype)
        return 0.1 * (torch.linalg.norm(A @ A.T - eye) + torch.linalg.norm(B.T @ B - eye)) / (2 * layers)

    def reserve(self, step):
        number = len(self.blocks)
        A, B = self.block()
        for counter, x in enumerate(self.numbers):
            self.run.draw(step, f"increlora/{self.name}/{number}", x, counter)
        A, B = (x.float().double().requires_grad_(True) for x in (A, B))
        e = torch.full((1,), self.RESERVE, dtype=A.dtype).float().double()
        self.blocks.append(dict(A=A, B=B, e=e, live=False))
        self.groups.append(dict(of=[A, B], born=step))

    def promote(self, step):
        last = self.blocks[-1]
        last["live"] = True
        last["e"].requires_grad_(True)
        self.groups.append(dict(of=[last["e"]], born=step))

    @classmethod
    def before(cls, layers, step):
        if step == 1:
            for layer in layers:
                layer.reserve(step)

    @classmethod
    def update(cls, layers, step, rate):
        o = layers[0].o
        budget, total = o["rank"] * len(layers), sum(layer.live for layer in layers)
        for layer in layers:
            if total < budget:
                now = (layer.delta * layer.delta.grad).abs().sum().item() / math.sqrt(layer.m * layer.n)
                layer.mean = 0.85 * layer.mean + 0.15 * now
                layer.spread = 0.85 * layer.spread + 0.15 * abs(now - layer.mean)
            for group in layer.groups:
                group["adam"] = group.get("adam") or adam(group["of"], rate)
                age = math.inf if group["born"] is None else step - group["born"]
                group["adam"].param_groups[0]["lr"] = rate * min(1.0, age / o["warmup"])
                group["adam"].step()
                group["adam"].zero_grad()
        if total >= budget or step <= o["first"] or step % o["every"] != 0:
            return
        chosen = sorted(layers, key=lambda layer: -layer.mean * layer.spread)[: min(o["top"], budget - total)]
        for layer in chosen:
            layer.promote(step)
        full = total + len(chosen) >= budget
        for layer in layers:
            if full:
                layer.blocks = [b for b in layer.blocks if b["live"]]
            elif layer in chosen:
                layer.reserve(step)


class Sst(Form):
    """W = U diag(σ) Vᵀ; all σ and r sampled columns train, the columns by gradients without σ."""

    def init(self, w, g):
        self.decompose(w)
        self.sample(None)
        self.sigma_adam = None

    def decompose(self, w):
        u, s, vt = torch.linalg.svd(w, full_matrices=False)
        self.u, self.sigma, self.v = u.float().double(), s.float().double(), vt.T.float().double()

    def sample(self, step):
        p = len(self.sigma)
        chance = 0.5 * (1 / p + self.sigma / self.sigma.sum())
        self.chosen = torch.multinomial(chance, self.r, generator=self.run.generator).sort().values
        if step is not None:
            # Numbers by which a Gumbel draw of any spectrum would choose the same.
            numbers = torch.full((p,), 1e-3, dtype=torch.float64)
            numbers[self.chosen] = 1 - 1e-9
            self.run.draw(step, f"sst/{self.name}", numbers)
        self.vectors_adam = None

    def begin(self):
        self.sigma = self.sigma.requires_grad_(True)

    def start(self):
        left, right, i = self.u.T.clone(), self.v.T.clone(), self.chosen
        S = torch.zeros(self.r, len(self.sigma))
        S[torch.arange(self.r), i] = 1
        U, V = left[i].clone(), right[i].clone()
        left[i], right[i] = 0, 0
        return dict(left=left, right=right, S=S, U=U, V=V, sigma=self.sigma.detach().clone())

    def weight(self):
        self.dense = self.u @ torch.diag(self.sigma) @ self.v.T
        self.dense.retain_grad()
        return self.dense

    @classmethod
    def before(cls, layers, step):
        for layer in layers:
            o = layer.o
            if step == 0 or step % o["every"] != 0:
                continue
            if (step // o["every"]) % o["iterations"] == 0:
                layer.decompose((layer.u @ torch.diag(layer.sigma.detach()) @ layer.v.T).detach())
                layer.sigma.requires_grad_(True)
                layer.sigma_adam = None
            layer.sample(step)

    @classmethod
    def update(cls, layers, step, rate):
        o = layers[0].o
        share = min(1.0, (step % o["every"] + 1) / (o["warmup"] + 1))
        for layer in layers:
            g, i = layer.dense.grad, layer.chosen
            if layer.vectors_adam is None:
                layer.rows = [layer.u[:, i].clone().requires_grad_(True), layer.v[:, i].clone().requires_grad_(True)]
                layer.vectors_adam = adam(layer.rows, rate)
            layer.sigma_adam = layer.sigma_adam or adam([layer.sigma], rate)
            layer.rows[0].grad, layer.rows[1].grad = g @ layer.v[:, i], g.T @ layer.u[:, i]
            layer.vectors_adam.param_groups[0]["lr"] = rate * share
            layer.vectors_adam.step()
            layer.sigma_adam.step()
            layer.sigma_adam.zero_grad()
            with torch.no_grad():
                layer.sigma.clamp_(min=0)
                for row, whole in zip(layer.rows, (layer.u, layer.v)):
                    row /= row.norm(dim=0, keepdim=True)
                    whole[:, i] = row

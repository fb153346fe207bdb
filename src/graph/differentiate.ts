import { RankineError } from '../errors.ts';
import { fill } from './constant.ts';
import { add } from './elementwise.ts';
import { apply, type Op, size, type Tensor, topological } from './tensor.ts';

/** Stops gradients: the value of x, constant to differentiation. */
export function detach(x: Tensor): Tensor {
  return apply(detachOp, [x])[0];
}

const identityLike = (name: string): Pick<Op, 'name' | 'infer' | 'lower' | 'evaluate'> => ({
  name,
  infer: ([x]) => [{ shape: x.shape, dtype: x.dtype }],
  lower: (node, builder) => builder.bind(node.outputs[0], builder.name(node.inputs[0])),
  evaluate: (_node, [x]) => [x],
});

const detachOp: Op = { ...identityLike('detach'), gradient: () => [undefined] };

type GradientRule = (gradient: Tensor, needed: readonly boolean[]) => (Tensor | undefined)[];

const rules = new WeakMap<object, GradientRule>();

const customOp: Op = {
  ...identityLike('withGradient'),
  gradient: (node, [g], needed) => (g ? [undefined, ...rules.get(node.attributes)!(g, needed.slice(1))] : []),
};

/**
 * The value of `y` with a gradient of our own for `inputs`, used instead of differentiating through y's trace:
 * where a derived gradient would hold more, recompute more, or must differ (straight-through estimators). The rule
 * learns which of the inputs' gradients will be used; it may leave the others undefined.
 */
export function withGradient(y: Tensor, inputs: readonly Tensor[], rule: GradientRule): Tensor {
  const attributes = {};
  rules.set(attributes, rule);
  return apply(customOp, [y, ...inputs], attributes)[0];
}

/**
 * Reverse-mode derivatives of a scalar with respect to `wrt`. Tensors that the loss does not depend on get zeros.
 * `seed` replaces the initial 1 and lets y be any shape: the result is then seedᵀ ∂y/∂wrt.
 */
export function gradients(y: Tensor, wrt: readonly Tensor[], seed?: Tensor): Tensor[] {
  if (!seed && size(y) !== 1)
    throw new RankineError(
      'graph/not-scalar',
      `Gradients start from one number, but the output is [${y.shape}].`,
      'Reduce it, or pass a seed of its shape.',
    );
  const needed = reaching([y], wrt);
  const adjoints = new Map<Tensor, Tensor>();
  adjoints.set(y, seed ?? fill(y.shape, 1, y.dtype));
  for (const node of topological([y]).reverse()) {
    const outputs = node.outputs.map((t) => adjoints.get(t));
    if (node.inputs.length === 0 || !needed.has(node) || outputs.every((g) => g === undefined)) continue;
    if (!node.op.gradient)
      throw new RankineError(
        'graph/no-gradient',
        `The operator ${node.op.name} has no gradient.`,
        'Detach its input.',
      );
    const wanted = node.inputs.map((t) => needed.has(t.node));
    node.op.gradient(node, outputs, wanted).forEach((g, i) => {
      const x = node.inputs[i];
      if (!g || !wanted[i]) return;
      const sofar = adjoints.get(x);
      adjoints.set(x, sofar ? add(sofar, g) : g);
    });
  }
  return wrt.map((x) => adjoints.get(x) ?? fill(x.shape, 0, x.dtype));
}

/** Nodes on a path from `wrt` to the outputs: the others need no gradient. */
function reaching(outputs: readonly Tensor[], wrt: readonly Tensor[]) {
  const result = new Set(wrt.map((t) => t.node));
  for (const node of topological(outputs)) if (node.inputs.some((t) => result.has(t.node))) result.add(node);
  return result;
}

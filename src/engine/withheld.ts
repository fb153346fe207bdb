import type { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-common';
import { add, array, input, program, toOnnx } from '../graph/index.ts';

/**
 * Name of an output, the first of a program, that onnxruntime-node cannot hand over. Its binding copies all outputs into
 * new memory after a run, also those that the run has just written into the caller's arrays: of a model's gradients as
 * much again as they are, and V8 collects garbage all the while, because so much comes and goes. At an output that is no
 * tensor the binding stops, before the copies and after the run.
 */
export const WITHHELD = 'withheld';

/** Runs a program that begins with the output {@link WITHHELD} and has an array for every other. */
export async function runWithheld(
  session: InferenceSession,
  feeds: Readonly<Record<string, OrtTensor>>,
  fetches: Readonly<Record<string, OrtTensor>>,
): Promise<void> {
  try {
    await session.run(feeds, { [WITHHELD]: null, ...fetches } as InferenceSession.FetchesType);
  } catch (error) {
    if (!isWithheld(error)) throw error;
  }
}

function isWithheld(error: unknown): boolean {
  return error instanceof Error && error.message.includes('Non tensor type');
}

/** Whether outputs can be withheld: tries it, as another release may refuse such a program before it has run. */
export async function canWithhold(
  createSession: (model: Uint8Array) => Promise<InferenceSession>,
  tensor: (of: ReturnType<typeof array>) => OrtTensor,
): Promise<boolean> {
  const { bytes, inputs, outputs } = toOnnx(program({ y: add(input('x', [1]), 1) }), { sequence: WITHHELD });
  const session = await createSession(bytes);
  const y = array([0], [1]);
  await runWithheld(session, { [inputs[0].onnx]: tensor(array([1], [1])) }, { [outputs[0].onnx]: tensor(y) });
  await session.release();
  return y.data[0] === 2;
}

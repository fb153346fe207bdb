import { RankineError } from '../errors.ts';

/** One place of a frame: a special token, or the first (A) or second (B) text. */
export interface FramePart {
  readonly text?: 'A' | 'B';
  readonly id?: number;
  readonly type: number;
}

/** The special tokens around one text and around a pair, as the post-processor of `tokenizer.json` places them. */
export interface SpecialFrame {
  readonly single: readonly FramePart[];
  readonly pair: readonly FramePart[];
}

const BARE: SpecialFrame = {
  single: [{ text: 'A', type: 0 }],
  pair: [
    { text: 'A', type: 0 },
    { text: 'B', type: 0 },
  ],
};

/**
 * Reads the post-processor: TemplateProcessing, BertProcessing, RobertaProcessing, ByteLevel, Sequence or none.
 * We place the special tokens ourselves because truncation has to happen before, and because the JavaScript
 * library drops the second text for ByteLevel and gives RoBERTa a second token type that the model lacks.
 */
export function specialFrame(processor: unknown): SpecialFrame {
  if (processor === null || processor === undefined) return BARE;
  const p = processor as Record<string, never>;
  switch (p.type as string) {
    case 'ByteLevel':
      return BARE;
    case 'TemplateProcessing':
      return { single: template(p.single, p.special_tokens), pair: template(p.pair, p.special_tokens) };
    case 'BertProcessing':
      return sandwich(p.cls, [p.sep], 1);
    case 'RobertaProcessing':
      return sandwich(p.cls, [p.sep, p.sep], 0);
    case 'Sequence':
      return sequence(p.processors);
    default:
      throw new RankineError(
        'data/tokenizer-part',
        `tokenizer.json has the post-processor ${p.type}, which is unknown.`,
        'Known are TemplateProcessing, BertProcessing, RobertaProcessing, ByteLevel and Sequence.',
      );
  }
}

/** At most one member of a sequence adds tokens in every published tokenizer; that one counts. */
function sequence(processors: unknown[]): SpecialFrame {
  const frames = processors.map(specialFrame).filter((frame) => frame !== BARE);
  if (frames.length > 1)
    throw new RankineError(
      'data/tokenizer-part',
      'tokenizer.json adds special tokens in two post-processors.',
    );
  return frames[0] ?? BARE;
}

type TemplateItem =
  | { SpecialToken: { id: string; type_id: number } }
  | { Sequence: { id: 'A' | 'B'; type_id: number } };

function template(items: TemplateItem[], specials: Record<string, { ids: number[] }>): FramePart[] {
  return items.flatMap((item): FramePart[] => {
    if ('Sequence' in item) return [{ text: item.Sequence.id, type: item.Sequence.type_id }];
    return specials[item.SpecialToken.id].ids.map((id) => ({ id, type: item.SpecialToken.type_id }));
  });
}

type NamedId = readonly [token: string, id: number];

function sandwich(cls: NamedId, middle: readonly NamedId[], second: number): SpecialFrame {
  const separator = middle[0][1];
  const single: FramePart[] = [
    { id: cls[1], type: 0 },
    { text: 'A', type: 0 },
    { id: separator, type: 0 },
  ];
  const more = middle.slice(1).map(([, id]) => ({ id, type: 0 }));
  return { single, pair: [...single, ...more, { text: 'B', type: second }, { id: separator, type: second }] };
}

/** Number of special tokens that a frame adds. */
export function frameCost(parts: readonly FramePart[]): number {
  return parts.filter((part) => part.id !== undefined).length;
}

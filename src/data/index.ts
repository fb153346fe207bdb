export { alpacaPrompt } from './alpaca.ts';
export * from './batches.ts';
export type { LastBatch, Packing } from './bins.ts';
export * from './chat.ts';
export { type DataFormat, type DatasetResolver, filesOfSplit, formatOf } from './data-files.ts';
export {
  concatenate,
  type Dataset,
  fromRecords,
  fromRows,
  mapRows,
  type Row,
  renameColumns,
  select,
  slice,
} from './dataset.ts';
export * from './examples.ts';
export { checkImages, classesIn, imageExamples, openImageDataset } from './image-dataset.ts';
export * from './image-decode.ts';
export { centerCrop, type Filter, resize } from './image-resize.ts';
export * from './images.ts';
export * from './labelled.ts';
export type { Lengths } from './lengths.ts';
export * from './open-dataset.ts';
export { epochOrder, type OrderOptions, type Position, START } from './order.ts';
export * from './shapes.ts';
export * from './sources.ts';
export * from './splits.ts';
export type { TextUnit } from './text-rows.ts';
export * from './tokenizer.ts';
export { readTokenizerFiles, type TokenizerFiles } from './tokenizer-files.ts';

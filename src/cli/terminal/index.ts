export { bar } from './bar.ts';
export { type DisplayOptions, type Logged, openDisplay, type RunDisplay } from './display.ts';
export * from './format.ts';
export { type FrameOptions, renderFrame } from './frame.ts';
export type { Evaluation, RunView } from './run-view.ts';
export { canRedraw, PLAIN, type Style, styleFor } from './style.ts';
export { type TableOptions, table } from './table.ts';
export { fitWidth, printable, truncate, widthOf } from './text.ts';

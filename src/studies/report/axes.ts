import { type Html, html } from './html.ts';
import { px, type Scale } from './scale.ts';

/** The drawing area inside a picture, in its own units. */
export interface Frame {
  readonly width: number;
  readonly height: number;
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
  /** Where the upright axis's title begins; default: at the left edge. */
  readonly indent?: number;
}

export interface AxisText {
  /** Text of a tick. */
  readonly tick: (value: number) => string;
  readonly title: string;
}

/** Horizontal rules with their values at the left, and the axis's title above them. */
export function verticalAxis(frame: Frame, scale: Scale, { tick, title }: AxisText): Html {
  const rules = scale.ticks.map((value) => {
    const y = px(scale.at(value));
    return html`<path class="rule" d="M${px(frame.left)} ${y}H${px(frame.width - frame.right)}"/><text x="${px(frame.left - 8)}" y="${y}" dy="0.32em" text-anchor="end">${tick(value)}</text>`;
  });
  return html`<g class="axis">${rules}<text class="axis-title" x="${px(frame.indent ?? 2)}" y="${px(frame.top - 14)}">${title}</text></g>`;
}

/** Values below the drawing area, and the axis's title at its right end. */
export function horizontalAxis(frame: Frame, scale: Scale, { tick, title }: AxisText): Html {
  const base = frame.height - frame.bottom;
  const ticks = scale.ticks.map((value) => {
    const x = px(scale.at(value));
    return html`<path class="tick" d="M${x} ${px(base)}v5"/><text x="${x}" y="${px(base + 18)}" text-anchor="middle">${tick(value)}</text>`;
  });
  const right = px(frame.width - frame.right);
  return html`<g class="axis"><path class="base" d="M${px(frame.left)} ${px(base)}H${right}"/>${ticks}<text class="axis-title" x="${right}" y="${px(base + 38)}" text-anchor="end">${title}</text></g>`;
}

/** A line through points; nothing for points without a value. */
export function linePath(points: readonly (readonly [x: number, y: number])[]): string {
  return points.map(([x, y], i) => `${i === 0 ? 'M' : 'L'}${px(x)} ${px(y)}`).join('');
}

/** Quantile 0.975 of the standard normal distribution. */
const Z = 1.959963984540054;

/**
 * 95 % interval of a share from `hits` in `total` trials (Wilson 1927): unlike the normal approximation it stays within
 * [0, 1] and is not empty at 0 or at all.
 */
export function wilsonInterval(hits: number, total: number): [low: number, high: number] {
  const p = hits / total;
  const spread = Z * Math.sqrt((p * (1 - p)) / total + (Z / (2 * total)) ** 2);
  const scale = 1 + Z ** 2 / total;
  const centre = p + Z ** 2 / (2 * total);
  // At the ends rounding must not leave a crumb.
  return [hits === 0 ? 0 : (centre - spread) / scale, hits === total ? 1 : (centre + spread) / scale];
}

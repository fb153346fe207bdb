import { accessSync } from 'node:fs';
import { type Browser, chromium } from 'playwright-core';

const PLACES = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

/** Where the machine has a Chromium (`RANKINE_CHROMIUM`, else Debian's); undefined: tests of pages skip. */
export const browserPath: string | undefined = [process.env.RANKINE_CHROMIUM, ...PLACES].find((path) => {
  try {
    accessSync(path ?? '');
    return path !== undefined;
  } catch {
    return false;
  }
});

export const noBrowser = 'no Chromium here: apt-get install chromium, or set RANKINE_CHROMIUM';

/** A headless browser that asks the network for nothing of its own. */
export function launchBrowser(): Promise<Browser> {
  const quiet = ['--disable-background-networking', '--disable-component-update', '--disable-sync'];
  return chromium.launch({
    executablePath: browserPath,
    // A test may run as root, where Chromium's sandbox cannot.
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', ...quiet],
  });
}

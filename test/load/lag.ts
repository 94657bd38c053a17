import { nowUs } from './clock.js';
import { LineLog } from './lines.js';

/**
 * A process that wakes up every 10 ms and writes down how late it was: `node lag.js FILE`. A stall that all processes
 * of the machine had in common shows here. One line a second with the longest gap, and one for each gap over 30 ms.
 */
const PERIOD_US = 10_000;
const LONG_US = 30_000;

function main(): void {
  const log = new LineLog(process.argv[2] ?? '/dev/stdout');
  let last = nowUs();
  let longest = 0;
  let reportAt = last + 1e6;
  const timer = setInterval(() => {
    const now = nowUs();
    const gap = Math.max(0, now - last - PERIOD_US);
    last = now;
    longest = Math.max(longest, gap);
    if (gap > LONG_US) log.write({ k: 'gap', at: now, gapUs: gap });
    if (now < reportAt) return;
    log.write({ k: 'lag', at: now, gapUs: longest });
    longest = 0;
    reportAt = now + 1e6;
  }, PERIOD_US / 1000);
  let stopped = false;
  const stop = (): void => {
    if (stopped) return;
    stopped = true;
    clearInterval(timer);
    log.close();
    if (process.connected) process.disconnect();
  };
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
  process.once('disconnect', stop);
}

main();

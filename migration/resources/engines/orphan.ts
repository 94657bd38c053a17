import { connect } from 'node:net';

const CHECK_MS = 3000;
const CONNECT_MS = 2000;
const MISSES = 2;

let watching = false;

/**
 * Ends this provider process when its engine is gone: one that was killed closes nothing, and its provider would stay
 * for ever. The engine's address is the process's last argument. Work that was begun goes on where it lives, in agents
 * and the coordinator.
 */
export function endWithEngine(): void {
  const address = /^(.+):(\d+)$/.exec(process.argv.at(-1) ?? '');
  if (watching || address?.[1] === undefined || !(process.argv[1] ?? '').includes('dynamic-provider')) return;
  watching = true;
  const host = address[1];
  const port = Number(address[2]);
  let missed = 0;
  setInterval(() => {
    const socket = connect({ host, port, timeout: CONNECT_MS });
    socket.once('connect', () => {
      missed = 0;
      socket.destroy();
    });
    socket.once('timeout', () => socket.destroy());
    socket.once('error', (e: NodeJS.ErrnoException) => {
      if (e.code === 'ECONNREFUSED' && ++missed >= MISSES) process.exit(1);
    });
  }, CHECK_MS).unref();
}

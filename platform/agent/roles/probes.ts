import { connect } from 'node:net';
import { NxnwError } from '../../errors.js';
import type { Endpoint } from '../spec.js';
import type { Probe } from '../plan.js';

const MAX_ANSWER_BYTES = 64 << 10;

/**
 * Sends `question` on a new connection and collects the answer until `complete` says it is whole. Throws UNAVAILABLE
 * if the connection ends before, or at the signal's abort.
 */
export function ask(
  at: Endpoint,
  question: string | Buffer,
  complete: (answer: Buffer) => boolean,
  signal: AbortSignal,
): Promise<Buffer> {
  return new Promise((ok, fail) => {
    const socket = connect({ host: at.host, port: at.port });
    let answer = Buffer.alloc(0);
    const end = (why: string | null): void => {
      signal.removeEventListener('abort', late);
      socket.destroy();
      if (why === null) ok(answer);
      else fail(new NxnwError('UNAVAILABLE', `${at.host}:${at.port}: ${why}`));
    };
    const late = (): void => end('no answer in time');
    signal.addEventListener('abort', late, { once: true });
    socket.on('connect', () => socket.write(question));
    socket.on('data', (d) => {
      answer = Buffer.concat([answer, d]);
      if (complete(answer)) end(null);
      else if (answer.length > MAX_ANSWER_BYTES) end('an answer that is too long');
    });
    socket.on('error', (e) => end(e.message));
    socket.on('close', () => end('the connection was closed'));
  });
}

/** GET `path`: healthy on status 200. */
export async function probeHttp(at: Endpoint, path: string, signal: AbortSignal): Promise<Probe> {
  const response = await fetch(`http://${at.host}:${at.port}${path}`, { signal, redirect: 'manual' });
  await response.arrayBuffer();
  return { ok: response.status === 200, detail: `GET ${path} answers ${response.status}` };
}

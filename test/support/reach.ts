import { connect } from 'node:net';

/**
 * Whether a TCP port takes a connection. Without `withinMs` the kernel's own answer is awaited; with it a port that
 * says nothing (a security group or filter drops what comes) counts as closed after so many milliseconds.
 */
export function answers(host: string, port: number, withinMs = 0): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect({ host, port });
    const end = (is: boolean): void => {
      socket.destroy();
      done(is);
    };
    socket.setTimeout(withinMs, () => end(false));
    socket.once('connect', () => end(true)).once('error', () => end(false));
  });
}

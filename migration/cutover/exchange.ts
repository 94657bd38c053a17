import { connect } from 'node:net';
import { NxnwError } from '@nxnw/platform/errors';

export interface DnsServer {
  readonly host: string;
  readonly port: number;
}

export function showServer(s: DnsServer): string {
  return `${s.host}:${s.port}`;
}

/**
 * Sends a DNS message over TCP (no truncation, nothing forged) and answers the server's. DNS_UNREACHABLE when there is
 * no whole answer by the deadline (milliseconds since 1970); whether the message was carried out is then unknown.
 */
export function exchange(server: DnsServer, message: Buffer, deadlineMs: number): Promise<Buffer> {
  return new Promise((ok, fail) => {
    let got = Buffer.alloc(0);
    const socket = connect({ host: server.host, port: server.port, noDelay: true });
    const lost = (why: string, cause?: unknown) => {
      clearTimeout(timer);
      socket.destroy();
      const what = `DNS server ${showServer(server)}: ${why}. Check that it runs, listens there, and allows this machine.`;
      fail(new NxnwError('DNS_UNREACHABLE', what, { server: showServer(server) }, cause));
    };
    const timer = setTimeout(() => lost('no answer in time'), Math.max(1, deadlineMs - Date.now()));
    socket.on('error', (e) => lost(e.message, e));
    socket.on('close', () => lost('closed the connection before its answer was whole'));
    socket.on('data', (bytes: Buffer) => {
      got = Buffer.concat([got, bytes]);
      if (got.length < 2 || got.length < 2 + got.readUInt16BE(0)) return;
      clearTimeout(timer);
      socket.removeAllListeners('close');
      socket.destroy();
      const answer = got.subarray(2, 2 + got.readUInt16BE(0));
      if (answer.length < 12 || answer.readUInt16BE(0) !== message.readUInt16BE(0)) lost('a broken answer');
      else ok(answer);
    });
    const length = Buffer.alloc(2);
    length.writeUInt16BE(message.length);
    socket.write(Buffer.concat([length, message]));
  });
}

import { constants } from 'node:http2';
import type { Http2Session, Http2Stream, IncomingHttpHeaders } from 'node:http2';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { NxnwError } from '../errors.js';

/**
 * What both ends of the join port share. Between two platforms there are HTTP/2 sessions that N2 opens, and on them
 * streams of the method CONNECT that each carry one TCP connection. `:authority` says where to:
 *   host:port       an endpoint of N1
 *   reverse         no connection: N1's asks for connections to N2 come on it, lines of JSON `{"id": n}`
 *   reverse:n       the connection that N1 asked for with that id
 */
export const REVERSE = 'reverse';

/** Common name of the certificate in a join bundle: the only one that the join port serves. */
export const JOIN_SUBJECT = 'coordinator-join';

/** Header of a refusal: a stable code and a message. */
export const ERROR_CODE = 'nxnw-error';
export const ERROR_TEXT = 'nxnw-message';
/** Header of a stream `reverse`: the target of N2 that its platform serves. */
export const TARGET = 'nxnw-target';

/** Connections in one session. */
export const MOST_STREAMS = 1000;
/**
 * Unread bytes on the way, of one connection and of a session. Node's HTTP/2 does not read while a write of its own has
 * not gone out: two ends that both wait so wait for ever. So what N2 may send unread (`N1_*`) fits into the kernel's
 * buffers of a new connection, and N2's writes always go out; the bulk of a migration goes the other way.
 */
const N1_STREAM_BYTES = 16 << 10;
const N2_STREAM_BYTES = 512 << 10;
export const N2_SESSION_BYTES = 16 << 20;
const SETTINGS = { enablePush: false, maxConcurrentStreams: MOST_STREAMS };
/** N1 keeps the session's window that HTTP/2 begins with, 64 KiB. */
export const N1_SETTINGS = { ...SETTINGS, initialWindowSize: N1_STREAM_BYTES };
export const N2_SETTINGS = { ...SETTINGS, initialWindowSize: N2_STREAM_BYTES };

/**
 * After so many pieces in a row that nobody asked for, the other side is taken for a listener (memcached's `watch`): what
 * comes then is gathered for a moment, because each piece costs both ends of the join port a read and a write.
 */
const UNASKED = 32;
const GATHER_MS = 25;
const GATHER_BYTES = 4096;

export const CONNECT_MS = 3000;
const PING_MS = 1000;
/** Pings that may be late: a process that stood still itself has not waited that long. */
const LATE_PINGS = 4;

/** Logs are events with fields; never a secret. */
export type WireLog = (event: string, fields: Readonly<Record<string, unknown>>) => void;

/**
 * Trailer of a stream whose connection has ended: how many bytes it sent. Where it or some of them are missing the
 * connection was cut off: a stream that is destroyed says `end` too.
 */
const ENDED = 'nxnw-ended';
/** For `request` and `respond` of a stream that is spliced. */
export const WITH_END = { waitForTrailers: true };
const sentOn = new WeakMap<Http2Stream, number>();

/** Notes that the other side's connection ended: to be called as soon as there is a stream, `splice` comes later. */
export function hearEnd(stream: Http2Stream): void {
  stream.on('trailers', (t: IncomingHttpHeaders) => {
    if (t[ENDED] !== undefined) sentOn.set(stream, Number(t[ENDED]));
  });
}

/**
 * Joins a TCP connection and a stream: each side's end of sending is passed on, a slow reader slows the other side's
 * sender, and an abort of one is an abort of the other, never a clean end.
 */
export function splice(socket: Socket, stream: Http2Stream): void {
  let ended = false;
  let got = 0;
  stream.on('wantTrailers', () => {
    // a session that is closed ends its streams too
    if (socket.readableEnded) stream.sendTrailers({ [ENDED]: String(socket.bytesRead) });
    else abortStream(stream);
  });
  const heardAll = (): void => {
    ended = sentOn.get(stream) === got;
    if (ended) socket.end();
    else socket.resetAndDestroy();
  };
  stream.on('end', heardAll);
  socket.on('error', () => abortStream(stream));
  stream.on('error', () => socket.resetAndDestroy());
  socket.on('close', () => {
    if (!socket.readableEnded || !socket.writableFinished) abortStream(stream);
  });
  stream.on('close', () => {
    if (!ended || !stream.writableFinished) socket.resetAndDestroy();
  });
  if (stream.destroyed) return void socket.resetAndDestroy();
  if (socket.destroyed) return abortStream(stream);
  socket.pipe(stream);
  stream.pipe(socket, { end: false });
  stream.on('data', (d: Buffer) => (got += d.length));
  gatherUnasked(socket, stream);
  // one that sent nothing may have said so already
  if (stream.readableEnded) heardAll();
}

/** Holds back what `socket`, which is piped into `stream`, says in small pieces that nothing on `stream` asks for. */
export function gatherUnasked(socket: Duplex, stream: Duplex): void {
  let unasked = 0;
  let held: NodeJS.Timeout | undefined;
  const letGo = (): void => {
    if (held === undefined) return;
    clearTimeout(held);
    held = undefined;
    stream.uncork();
  };
  socket.on('data', () => {
    if (++unasked <= UNASKED) return;
    if (stream.writableLength >= GATHER_BYTES) return letGo();
    if (held !== undefined || stream.writableNeedDrain) return;
    stream.cork();
    held = setTimeout(letGo, GATHER_MS);
  });
  stream.on('data', () => {
    unasked = 0;
    letGo();
  });
  stream.once('close', () => clearTimeout(held));
}

/** The other side sees an abort, not an end: `close` would send an end first. */
export function abortStream(stream: Http2Stream): void {
  if (!stream.destroyed) stream.destroy(new Error('the connection that the stream carries was aborted'));
}

/** Ends a session at once, and its streams by an abort. */
export function cutSession(session: Http2Session): void {
  session.destroy(undefined, constants.NGHTTP2_CANCEL);
}

/** Asks the other side every second whether it is there; a session that does not answer for about 5 s is destroyed. */
export function keepAlive(session: Http2Session): void {
  let late = 0;
  let heardBytes = 0;
  const timer = setInterval(() => {
    // bytes on the way before the answer are a sign of life too
    if (session.destroyed) return;
    const { bytesRead = 0 } = session.socket;
    if (bytesRead !== heardBytes) late = Math.min(late, 1);
    heardBytes = bytesRead;
    if (late > LATE_PINGS) return void cutSession(session);
    if (late++ === 0) session.ping(() => (late = 0));
  }, PING_MS);
  session.once('close', () => clearInterval(timer));
}

/** As header values: no line ends, nothing beyond ASCII. */
export function refusal(e: NxnwError): Record<string, string | number> {
  return { [ERROR_CODE]: e.code, [ERROR_TEXT]: e.message.replace(/[^\x20-\x7e]/g, '?').slice(0, 500) };
}

import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import type { ServerHttp2Stream } from 'node:http2';
import { NxnwError } from '../errors.js';
import type { Endpoint } from '../agent/spec.js';
import { WITH_END, abortStream, splice, type WireLog } from './gateway-stream.js';

/** Connections that wait for N2 to fetch them. */
const MOST_WAITING = 256;
/** For N2 to fetch one; where N2 is gone the session ends sooner. */
const FETCH_MS = 10_000;

interface Door {
  readonly server: Server;
  /** On which N2 is asked. */
  control: ServerHttp2Stream;
}

interface Waiting {
  readonly socket: Socket;
  readonly control: ServerHttp2Stream;
  readonly timer: NodeJS.Timeout;
}

/**
 * Doors on N1's side that lead to N2: plain TCP, for N1's own machines. A door is open only while N2 serves its target,
 * so that otherwise its clients are refused at once and take another.
 */
export class ReverseDoors {
  private readonly open = new Map<string, Door>();
  private readonly waiting = new Map<number, Waiting>();
  private next = 1;

  /** @param places where the door of each target listens */
  constructor(
    private readonly places: ReadonlyMap<string, Endpoint>,
    private readonly log: WireLog,
  ) {}

  /** N2 serves `target` and is asked on `control`; of two that say so the later one is believed. */
  async register(target: string, control: ServerHttp2Stream): Promise<void> {
    const place = this.places.get(target);
    if (place === undefined)
      throw new NxnwError(
        'JOIN_REFUSED',
        `this platform keeps no door for "${target}"; it has ${[...this.places.keys()].join(', ') || 'none'}`,
        { target },
      );
    const known = this.open.get(target);
    if (known) {
      const old = known.control;
      known.control = control;
      abortStream(old);
    } else {
      const server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true }, (socket) =>
        this.ask(target, socket),
      );
      this.open.set(target, { server, control });
      await listen(server, place).catch((e: unknown) => {
        this.open.delete(target);
        throw e;
      });
      this.log('join.reverse.open', { target, at: `${place.host}:${place.port}` });
    }
    const gone = () => this.shut(target, control);
    control.on('close', gone);
    control.on('end', () => abortStream(control));
    control.resume();
    if (control.destroyed) gone();
  }

  private shut(target: string, control: ServerHttp2Stream): void {
    // nobody fetches them any more, also where another control has taken over
    for (const [id, w] of this.waiting) if (w.control === control) this.take(id, control)?.resetAndDestroy();
    const door = this.open.get(target);
    if (door?.control !== control) return;
    this.open.delete(target);
    door.server.close();
    this.log('join.reverse.shut', { target });
  }

  private ask(target: string, socket: Socket): void {
    const control = this.open.get(target)?.control;
    if (!control || control.destroyed || this.waiting.size >= MOST_WAITING) return void socket.resetAndDestroy();
    const id = this.next++;
    const timer = setTimeout(() => this.take(id, control)?.resetAndDestroy(), FETCH_MS);
    this.waiting.set(id, { socket, control, timer });
    const dropped = () => this.take(id, control)?.destroy();
    socket.on('error', dropped);
    control.write(JSON.stringify({ id }) + '\n');
  }

  private take(id: number, control: ServerHttp2Stream): Socket | undefined {
    const found = this.waiting.get(id);
    if (found === undefined || found.control.session !== control.session) return undefined;
    this.waiting.delete(id);
    clearTimeout(found.timer);
    return found.socket;
  }

  /** N2 fetches the connection with this id by `stream`. Only the session that was asked may. */
  fetch(id: number, stream: ServerHttp2Stream): void {
    const socket = this.take(id, stream);
    if (!socket) return abortStream(stream);
    stream.respond({ ':status': 200 }, WITH_END);
    splice(socket, stream);
  }

  close(): void {
    for (const d of this.open.values()) d.server.close();
    for (const w of this.waiting.values()) {
      clearTimeout(w.timer);
      w.socket.resetAndDestroy();
    }
    this.open.clear();
    this.waiting.clear();
  }
}

/** Listens, or throws ADDRESS_IN_USE. Answers the port. */
export function listen(server: Server, at: Endpoint): Promise<number> {
  return new Promise((ok, fail) => {
    const bad = (e: Error) =>
      fail(new NxnwError('ADDRESS_IN_USE', `cannot listen on ${at.host}:${at.port}: ${e.message}`, { ...at }, e));
    server.once('error', bad);
    server.listen(at.port, at.host, () => {
      server.off('error', bad);
      const address = server.address();
      ok(typeof address === 'object' && address !== null ? address.port : at.port);
    });
  });
}

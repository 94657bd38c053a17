import { NxnwError, asError, hasCode } from '../errors.js';
import { Waiters, onAbort } from '../waiting.js';
import type { RpcClient, RpcServer } from './rpc.js';

/** A call on a stream that carries many. */
export interface Ask {
  readonly id: number;
  readonly path: string;
  readonly body: unknown;
  readonly deadlineMs: number;
}

export type Reply =
  | { readonly id: number; readonly answer: unknown }
  | {
      readonly id: number;
      readonly error: {
        readonly code: string;
        readonly message: string;
        readonly fields: Readonly<Record<string, unknown>>;
      };
    };

interface Waiting {
  readonly ok: (v: unknown) => void;
  readonly fail: (e: Error) => void;
  readonly timer: NodeJS.Timeout;
}

const MAX_WAITING = 10_000;

/** The asking end of a stream: calls that are to be sent, and those that wait for their answer. */
export class Calls {
  private readonly queue: Ask[] = [];
  private readonly waiting = new Map<number, Waiting>();
  private readonly more = new Waiters();
  private next = 1;
  private closed: Error | null = null;

  constructor(readonly endpoint: string) {}

  /** @throws DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, what the callee throws, or what the stream ended with */
  call(path: string, body: unknown, deadlineMs: number): Promise<unknown> {
    if (this.closed) return Promise.reject(this.closed);
    if (this.waiting.size >= MAX_WAITING)
      return Promise.reject(
        new NxnwError(
          'RESOURCE_EXHAUSTED',
          `${this.waiting.size} calls to ${this.endpoint} wait for an answer; nothing was sent`,
        ),
      );
    const id = this.next++;
    return new Promise((ok, fail) => {
      const late = () => {
        this.waiting.delete(id);
        fail(new NxnwError('DEADLINE_EXCEEDED', `${this.endpoint}: no answer to ${path} within the deadline`));
      };
      this.waiting.set(id, { ok, fail, timer: setTimeout(late, Math.max(0, deadlineMs - Date.now())) });
      this.queue.push({ id, path, body, deadlineMs });
      this.more.wake();
    });
  }

  /** What is to be sent: all that has come since the last one was taken. */
  async *asks(signal: AbortSignal): AsyncIterable<Ask[]> {
    const off = onAbort(signal, () => this.more.wake());
    try {
      while (!signal.aborted && !this.closed) {
        if (this.queue.length > 0) yield this.queue.splice(0);
        else await this.more.next();
      }
    } finally {
      off();
    }
  }

  settle(r: Reply): void {
    const w = this.waiting.get(r.id);
    if (!w) return;
    this.waiting.delete(r.id);
    clearTimeout(w.timer);
    if ('answer' in r) w.ok(r.answer);
    else w.fail(new NxnwError(r.error.code, r.error.message, r.error.fields));
  }

  close(why: NxnwError): void {
    this.closed = why;
    this.more.wake();
    for (const w of this.waiting.values()) {
      clearTimeout(w.timer);
      w.fail(why);
    }
    this.waiting.clear();
  }
}

/** The answering end's reply to one call. */
export async function reply(ask: Ask, serve: (path: string, body: unknown) => Promise<unknown>): Promise<Reply> {
  try {
    return { id: ask.id, answer: (await serve(ask.path, ask.body)) ?? {} };
  } catch (e) {
    const err = asError(e);
    const known = e instanceof NxnwError && hasCode(e, e.code);
    return {
      id: ask.id,
      error: { code: known ? e.code : 'INTERNAL', message: err.message, fields: known ? { ...e.fields } : {} },
    };
  }
}

const SERVICE = 'calls';
const METHOD = 'many';

/** Answers what comes by CallStreams: the same as unary calls, at a fraction of what one of those costs both sides. */
export function addCalls(server: RpcServer, serve: (path: string, body: unknown) => Promise<unknown>): void {
  const answer = async function* (asks: AsyncIterable<Ask[]>, signal: AbortSignal): AsyncIterable<Reply[]> {
    const done: Reply[] = [];
    const more = new Waiters();
    let running = 0;
    let ended = false;
    const read = (async () => {
      for await (const batch of asks)
        for (const ask of batch) {
          running++;
          void reply(ask, serve).then((r) => {
            running--;
            done.push(r);
            more.wake();
          });
        }
    })();
    const end = (): void => {
      ended = true;
      more.wake();
    };
    // a stream that broke: the asking end has noticed too, and nobody is left to be told
    read.then(end, end);
    const offs = [onAbort(signal, () => more.wake()), onAbort(server.closing, end)];
    try {
      while (!signal.aborted && !(ended && running === 0 && done.length === 0)) {
        if (done.length > 0) yield done.splice(0);
        else await more.next();
      }
    } finally {
      for (const off of offs) off();
    }
  };
  server.add(SERVICE, {
    unary: {},
    // both ends are ours: the shape is the caller's promise
    streams: { [METHOD]: (incoming, caller) => answer(incoming as AsyncIterable<Ask[]>, caller.signal) },
  });
}

/** Calls to one process on one stream, opened by the first of them and anew after it broke. */
export class CallStream {
  private current: Calls | null = null;
  private readonly stop = new AbortController();
  /** What the stream ended with where the process is of an earlier version, which answers unary calls only. */
  private tooOld: Error | null = null;

  constructor(private readonly client: RpcClient) {}

  /** As RpcClient.call. A stream that breaks fails the calls on it with UNAVAILABLE: whether they were done is not known. */
  async call<T>(path: string, body: unknown, deadlineMs: number): Promise<T> {
    if (this.tooOld === null) {
      try {
        return (await (this.current ?? this.open()).call(path, body, deadlineMs)) as T;
      } catch (e) {
        // the stream's own end, and not what a callee says of a feature: nothing was done
        if (e !== this.tooOld) throw e;
      }
    }
    return this.client.call<T>(path, body, { deadlineMs });
  }

  private open(): Calls {
    const calls = new Calls(this.client.target);
    this.current = calls;
    const end = new AbortController();
    const off = onAbort(this.stop.signal, () => end.abort());
    const stream = this.client.open<Ask[], Reply[]>(`${SERVICE}.${METHOD}`, end.signal);
    const over = (e: unknown): void => {
      if (this.current === calls) this.current = null;
      const why = e instanceof NxnwError ? e : new NxnwError('UNAVAILABLE', asError(e).message);
      if (why.code === 'UNIMPLEMENTED') this.tooOld = why;
      calls.close(why);
      off();
      end.abort();
    };
    const send = async (): Promise<void> => {
      for await (const batch of calls.asks(end.signal)) await stream.send(batch);
    };
    const hear = async (): Promise<void> => {
      for await (const batch of stream.answers) for (const r of batch) calls.settle(r);
      throw new NxnwError('UNAVAILABLE', `${this.client.target}: the stream of calls ended`);
    };
    send().catch(over);
    hear().catch(over);
    return calls;
  }

  close(): void {
    this.stop.abort();
  }
}

import { Agent, request } from 'node:http';
import type { Resolver } from './resolver.js';

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** The body as JSON; null when it is not. */
  readonly body: unknown;
  /** Address that was asked. */
  readonly address: string;
}

/** A kept connection is given up long before a server would: one that closes just as it is used loses a request. */
const IDLE_MS = 20_000;

/** A request that got no answer in time. */
export class NoAnswer extends Error {
  constructor(
    readonly why: string,
    readonly address: string,
    /** Whether the server may have begun to work on it. */
    readonly began = false,
  ) {
    super(`no answer from ${address}: ${why}`);
  }
}

/**
 * HTTP with kept connections and a deadline. The name is resolved anew whenever its TTL is over. Where it has several
 * addresses, one that accepts no connection is passed over, and what is cut off and may be repeated (a GET, or a write with
 * an Idempotency-Key) goes to the next one; nothing else is tried again.
 */
export class HttpClient {
  private readonly agent: Agent;
  private turn = 0;

  constructor(
    private readonly target: { readonly host: string; readonly port: number; readonly maxSockets: number },
    private readonly resolver: Resolver,
  ) {
    const { maxSockets } = target;
    this.agent = new Agent({ keepAlive: true, maxSockets, scheduling: 'lifo', timeout: IDLE_MS });
  }

  /**
   * @param timeoutMs from now to the end of the answer; throws NoAnswer
   * @param key by which the application knows a repeated write; null = it must not be repeated
   */
  async send(
    method: string,
    path: string,
    body: object | null,
    timeoutMs: number,
    key: string | null = null,
  ): Promise<Answer> {
    const until = Date.now() + timeoutMs;
    const addresses = await this.resolver.addresses().catch((e: unknown) => {
      throw new NoAnswer(String(e), 'dns');
    });
    const first = this.turn++;
    for (let i = 0; ; i++) {
      const address = addresses[(first + i) % addresses.length] ?? '';
      try {
        return await this.sendTo(address, method, path, body, Math.max(1, until - Date.now()), key);
      } catch (e) {
        const again = e instanceof NoAnswer && (!e.began || ((method === 'GET' || key !== null) && Date.now() < until));
        if (!again || i + 1 >= addresses.length) throw e;
      }
    }
  }

  private sendTo(
    address: string,
    method: string,
    path: string,
    body: object | null,
    timeoutMs: number,
    key: string | null,
  ): Promise<Answer> {
    const text = body === null ? null : JSON.stringify(body);
    return new Promise<Answer>((ok, fail) => {
      const lost = (why: string, began = true): void => {
        clearTimeout(timer);
        fail(new NoAnswer(why, address, began));
      };
      const headers: Record<string, string | number> = { host: this.target.host };
      if (key !== null) headers['idempotency-key'] = key;
      if (text !== null) {
        headers['content-type'] = 'application/json';
        headers['content-length'] = Buffer.byteLength(text);
      }
      const r = request(
        { host: address, port: this.target.port, method, path, headers, agent: this.agent },
        (response) => {
          const parts: Buffer[] = [];
          response.on('data', (b: Buffer) => parts.push(b));
          response.on('error', (e) => lost(e.message));
          response.on('end', () => {
            clearTimeout(timer);
            const { statusCode = 0, headers: got } = response;
            ok({ status: statusCode, headers: got, body: json(Buffer.concat(parts).toString()), address });
          });
        },
      );
      const timer = setTimeout(() => {
        lost(`${timeoutMs} ms are over`);
        r.destroy();
      }, timeoutMs);
      r.on('error', (e) => lost(e.message, !('code' in e && e.code === 'ECONNREFUSED')));
      r.end(text ?? undefined);
    });
  }

  close(): void {
    this.agent.destroy();
  }
}

function json(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

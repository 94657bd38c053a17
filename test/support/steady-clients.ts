import { setTimeout as delay } from 'node:timers/promises';
import { asError } from '@nxnw/platform/errors';
import { through } from './agents.js';

const PAUSE_MS = 100;
/** Longer than an edge needs to find another machine; no limit of what is tested. */
const WAIT_MS = 30_000;

/** Clients of an application that ask one after another, for as long as a test has them: what failed, what took longest. */
export class SteadyClients {
  answered = 0;
  longestMs = 0;
  readonly failures: string[] = [];
  private ending = false;
  private readonly work: Promise<void>;
  private turn: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly address: string,
    private readonly port: number,
    private readonly host: string,
  ) {
    this.work = this.ask();
  }

  private async ask(): Promise<void> {
    while (!this.ending) {
      await this.between(() => this.once());
      await delay(PAUSE_MS);
    }
  }

  private async once(): Promise<void> {
    const began = Date.now();
    try {
      const { status } = await through(this.address, this.port, this.host, '/', WAIT_MS);
      if (status === 200) this.answered++;
      else this.failures.push(`status ${String(status)}`);
    } catch (e) {
      this.failures.push(asError(e).message);
    }
    this.longestMs = Math.max(this.longestMs, Date.now() - began);
  }

  /** Does something while no request is under way; the next one follows at once. */
  between<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.turn.then(work, work);
    this.turn = mine.catch(() => undefined);
    return mine;
  }

  async end(): Promise<void> {
    this.ending = true;
    await this.work;
  }
}

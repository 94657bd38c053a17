import type { OpName } from '../oracle/record.js';
import type { Keys, Known } from './keys.js';

/** One request to send, and what may be answered. */
export interface Draft {
  readonly op: OpName;
  readonly method: string;
  readonly path: string;
  readonly body: object | null;
  readonly groups: readonly number[];
  readonly note?: string;
  readonly amount?: number;
  /** Statuses that are no failure. */
  readonly expected: readonly number[];
  /** Error codes that are no failure either, with their status: `409 ABORTED` on contended places. */
  readonly refusals: readonly string[];
  /** Ends the claims on places and notes. */
  done(outcome: 'ok' | 'none' | 'unknown', error: string): void;
}

const NOTES = 40;
const MAX_DELETED = 60;
const TEXT = 'Greetings from a traveller who was here and liked it. ';

/** Share of each operation in a hundred; 33 of them write. */
const MIX: readonly (readonly [number, (m: Mix, nonce: string) => Draft | null])[] = [
  [55, (m) => m.get()],
  [2, (m) => m.book()],
  [2, (m) => m.byCountry()],
  [1, (m) => m.byPopulation()],
  [7, (m) => m.noteGet()],
  [10, (m, n) => m.sign(n)],
  [3, (m, n) => m.signShared(n)],
  [8, (m, n) => m.edit(n)],
  [3, (m, n) => m.removeOrCreate(n)],
  [1, (m, n) => m.move(n)],
  [2, (m, n) => m.moveShared(n)],
  [3, (m, n) => m.notePut(n)],
  [1, (m, n) => m.noteRemove(n)],
  [1, (m) => m.ids()],
  [1, (m) => m.sequence()],
];
const TOTAL = MIX.reduce((sum, [share]) => sum + share, 0);

/** Draws requests at random in fixed shares. */
export class Mix {
  private readonly noteState = new Map<string, 'busy' | 'free' | 'retired'>();
  private readonly noteSerial = new Map<string, number>();
  private cursor: { readonly country: string; readonly value: string } | null = null;
  private notesMade = 0;

  constructor(
    private readonly keys: Keys,
    private readonly client: string,
    private readonly countries: readonly string[],
  ) {}

  next(nonce: string): Draft {
    let at = this.keys.chance() * TOTAL;
    for (const [share, make] of MIX) {
      at -= share;
      if (at < 0) return make(this, nonce) ?? this.get();
    }
    return this.get();
  }

  private reading(op: OpName, path: string, groups: readonly number[] = []): Draft {
    return { op, method: 'GET', path, body: null, groups, expected: [200, 404], refusals: [], done: () => undefined };
  }

  get(): Draft {
    const id = this.keys.toRead();
    return this.reading('get', `/places/${id}${this.keys.chance() < 0.1 ? '?fresh' : ''}`, [id]);
  }

  book(): Draft {
    const id = this.keys.toRead();
    return this.reading('book', `/places/${id}/book?limit=100`, [id]);
  }

  byCountry(): Draft {
    const from = this.cursor;
    this.cursor = null;
    if (from !== null && this.keys.chance() < 0.5)
      return this.reading(
        'search',
        `/places?country=${from.country}&limit=10&cursor=${encodeURIComponent(from.value)}`,
      );
    return this.reading('search', `/places?country=${this.keys.pick(this.countries)}&limit=10`);
  }

  byPopulation(): Draft {
    const least = Math.floor(10 ** (5 + this.keys.chance() * 2));
    return this.reading('search', `/places?minPopulation=${least}&maxPopulation=${least * 2}&limit=10`);
  }

  /** Keeps a query's cursor for a later page of the same query. */
  page(path: string, cursor: string | null): void {
    const country = /country=(\w+)/.exec(path)?.[1];
    if (country !== undefined && cursor !== null) this.cursor = { country, value: cursor };
  }

  private own(make: (id: number) => Omit<Draft, 'expected' | 'refusals' | 'done' | 'groups'>): Draft | null {
    const id = this.keys.claimOwn();
    if (id === null) return null;
    const draft = make(id);
    const then: Known = draft.op === 'remove' ? 'deleted' : 'there';
    // An earlier run of this client may have deleted the place.
    const refusals = this.keys.isSure(id) ? [] : ['NO_SUCH_PLACE'];
    return {
      ...draft,
      groups: [id],
      expected: [200],
      refusals,
      done: (outcome, error) => this.keys.release(id, this.after(then, outcome, error)),
    };
  }

  private after(then: Known, outcome: 'ok' | 'none' | 'unknown', error: string): Known {
    if (outcome !== 'none') return outcome === 'ok' ? then : 'unknown';
    return error === 'NO_SUCH_PLACE' ? 'deleted' : 'there';
  }

  sign(nonce: string): Draft | null {
    return this.own((id) => ({ op: 'sign', method: 'POST', path: `/places/${id}/sign`, body: { nonce, text: TEXT } }));
  }

  edit(nonce: string): Draft | null {
    return this.own((id) => ({
      op: 'edit',
      method: 'PATCH',
      path: `/places/${id}`,
      body: { nonce, note: `edited by ${nonce}`, population: Math.floor(this.keys.chance() * 1e6) },
    }));
  }

  removeOrCreate(nonce: string): Draft | null {
    const again = this.keys.deletedCount > this.keys.chance() * MAX_DELETED ? this.keys.claimDeleted() : null;
    if (again === null)
      return this.own((id) => ({ op: 'remove', method: 'DELETE', path: `/places/${id}`, body: { nonce } }));
    const id = again;
    const place = { name: `New ${id}`, country: this.keys.pick(this.countries), featureCode: 'PPL' };
    return {
      op: 'create',
      method: 'PUT',
      path: `/places/${id}`,
      body: { nonce, ...place, population: Math.floor(this.keys.chance() * 1e6), lat: 1.5, lon: 2.5 },
      groups: [id],
      expected: [200],
      refusals: [],
      done: (outcome) => this.keys.release(id, outcome === 'ok' ? 'there' : outcome === 'none' ? 'deleted' : 'unknown'),
    };
  }

  move(nonce: string): Draft | null {
    const from = this.keys.claimOwn();
    const to = this.keys.claimOwn();
    if (from === null || to === null) {
      for (const id of [from, to]) if (id !== null) this.keys.release(id, 'there');
      return null;
    }
    const sure = this.keys.isSure(from) && this.keys.isSure(to);
    return this.moving(nonce, from, to, sure ? [] : ['NO_SUCH_PLACE'], (outcome, error) => {
      // Which of the two is missing the answer does not say: neither is written again.
      const then: Known = outcome === 'unknown' || error === 'NO_SUCH_PLACE' ? 'unknown' : 'there';
      for (const id of [from, to]) this.keys.release(id, then);
    });
  }

  /** Contended: any two clients may want the same two places. */
  moveShared(nonce: string): Draft | null {
    const from = this.keys.shared();
    const to = this.keys.shared();
    return from === to ? null : this.moving(nonce, from, to, ['ABORTED'], () => undefined);
  }

  private moving(nonce: string, from: number, to: number, refusals: readonly string[], done: Draft['done']): Draft {
    const amount = 1 + Math.floor(this.keys.chance() * 5);
    const body = { nonce, from, to, amount };
    return {
      op: 'move',
      method: 'POST',
      path: '/move',
      body,
      groups: [from, to],
      amount,
      expected: [200],
      refusals,
      done,
    };
  }

  signShared(nonce: string): Draft {
    const id = this.keys.shared();
    return {
      op: 'sign',
      method: 'POST',
      path: `/places/${id}/sign`,
      body: { nonce, text: TEXT },
      groups: [id],
      expected: [200],
      refusals: ['ABORTED'],
      done: () => undefined,
    };
  }

  private freeNote(): string | null {
    const free = [...this.noteState].filter(([, s]) => s === 'free').map(([n]) => n);
    if (free.length > NOTES || (free.length > 0 && this.keys.chance() < 0.8)) return this.keys.pick(free);
    return null;
  }

  private writingNote(note: string, rest: Pick<Draft, 'op' | 'method' | 'body'>): Draft {
    this.noteState.set(note, 'busy');
    return {
      ...rest,
      path: `/notes/${note}`,
      note,
      groups: [],
      expected: [200],
      refusals: [],
      done: (outcome) => this.noteState.set(note, outcome === 'unknown' ? 'retired' : 'free'),
    };
  }

  notePut(nonce: string): Draft {
    const note = this.freeNote() ?? `${this.client}-${this.notesMade++}`;
    const serial = (this.noteSerial.get(note) ?? 0) + 1;
    this.noteSerial.set(note, serial);
    return this.writingNote(note, { op: 'note.put', method: 'PUT', body: { nonce, serial, text: TEXT.repeat(4) } });
  }

  noteRemove(nonce: string): Draft | null {
    const note = this.freeNote();
    return note === null ? null : this.writingNote(note, { op: 'note.remove', method: 'DELETE', body: { nonce } });
  }

  noteGet(): Draft | null {
    const all = [...this.noteState.keys()];
    if (all.length === 0) return null;
    const note = this.keys.pick(all);
    return { ...this.reading('note.get', `/notes/${note}`), note };
  }

  ids(): Draft {
    const body = { count: 3 };
    return {
      op: 'ids',
      method: 'POST',
      path: '/ids',
      body,
      groups: [],
      expected: [200],
      refusals: [],
      done: () => undefined,
    };
  }

  sequence(): Draft {
    const rest = { body: {}, groups: [], expected: [200], refusals: [], done: () => undefined };
    return { op: 'sequence', method: 'POST', path: '/sequence', ...rest };
  }
}

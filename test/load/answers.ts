import { z } from 'zod';
import type { EndRecord, OpName } from '../oracle/record.js';
import { observe, observePlace, placeSchema, viewSchema } from './content.js';
import type { Answer } from './http.js';

/** What an answer tells the oracle. */
export type Told = Omit<EndRecord, 'k' | 'nonce' | 'at'>;

export const noAnswer: Told = told('unknown', 0);

function told(outcome: EndRecord['outcome'], status: number, more: Partial<Told> = {}): Told {
  return { outcome, status, made: [], saw: [], ids: [], loaded: [], authority: [], ...more };
}

const refusal = z.looseObject({
  error: z.string(),
  outcome: z.enum(['none', 'unknown']).default('unknown'),
  view: viewSchema.optional(),
});

const written = z.looseObject({
  groups: z.array(viewSchema),
  versions: z.array(z.union([z.string(), z.number()])).default([]),
  entryId: z.union([z.string(), z.number()]).optional(),
});

const book = z.looseObject({
  view: viewSchema,
  complete: z.boolean(),
  entries: z.array(z.looseObject({ id: z.union([z.string(), z.number()]), nonce: z.string(), serial: z.int() })),
});

const found = z.looseObject({ places: z.array(placeSchema.extend({ id: z.int() })), cursor: z.string().nullable() });

/** The error's code of a refusal, '' otherwise. */
export function errorOf(answer: Answer): string {
  const r = refusal.safeParse(answer.body);
  return answer.status >= 400 && r.success ? r.data.error : '';
}

export function cursorOf(answer: Answer): string | null {
  const r = found.safeParse(answer.body);
  return r.success ? r.data.cursor : null;
}

/** Reads an answer. One that is not of the application (an edge's 503) leaves the outcome open. */
export function read(op: OpName, answer: Answer): Told {
  const { status, body } = answer;
  const from = answer.headers['x-cache'] === 'hit' ? 'cache' : 'store';
  if (op === 'note.get' && (status === 200 || status === 404)) {
    const r = z.looseObject({ note: z.looseObject({ nonce: z.string() }).nullable() }).safeParse(body);
    return r.success ? told('ok', status, { note: r.data.note?.nonce ?? null }) : told('unknown', status);
  }
  if (op === 'get' && (status === 200 || status === 404)) {
    const r = z.looseObject({ view: viewSchema }).safeParse(body);
    if (r.success) return told('ok', status, { saw: [observe(r.data.view, { from, recent: 'drop' })] });
  }
  if (op === 'book' && (status === 200 || status === 404)) {
    const r = book.safeParse(body);
    if (r.success) return told('ok', status, readBook(r.data));
  }
  if (status !== 200) {
    const r = refusal.safeParse(body);
    if (!r.success) return told('unknown', status);
    const saw = r.data.view === undefined ? [] : [observe(r.data.view, { from: 'store', recent: 'keep' })];
    return told(r.data.outcome, status, { saw });
  }
  switch (op) {
    case 'sign':
    case 'edit':
    case 'create':
    case 'remove':
    case 'move':
      return readWritten(status, body);
    case 'search': {
      const r = found.safeParse(body);
      return r.success
        ? told('ok', status, { saw: r.data.places.map((p) => observePlace(p.id, p)) })
        : told('unknown', status);
    }
    case 'ids': {
      const r = z.looseObject({ ids: z.array(z.union([z.string(), z.number()])) }).safeParse(body);
      return r.success ? told('ok', status, { ids: r.data.ids.map(String) }) : told('unknown', status);
    }
    case 'sequence': {
      const r = z.looseObject({ number: z.int() }).safeParse(body);
      return r.success ? told('ok', status, { sequence: r.data.number }) : told('unknown', status);
    }
    default:
      return told('ok', status);
  }
}

function readWritten(status: number, body: unknown): Told {
  const r = written.safeParse(body);
  if (!r.success) return told('unknown', status);
  const version = Math.max(0, ...r.data.versions.map(Number));
  const made = r.data.groups.map((g) => ({
    ...observe(g, { from: 'store', recent: 'drop' }),
    ...(version > 0 ? { version } : {}),
  }));
  const ids = r.data.entryId === undefined ? [] : [String(r.data.entryId)];
  return told('ok', status, { made, ids });
}

function readBook(b: z.infer<typeof book>): Partial<Told> {
  return {
    saw: [observe(b.view, { from: 'store', recent: 'keep' })],
    book: {
      id: b.view.id,
      serial: b.view.serial,
      complete: b.complete,
      entries: b.entries.map((e) => [String(e.id), e.nonce, e.serial]),
    },
  };
}

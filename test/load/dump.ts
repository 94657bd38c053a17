import { createWriteStream } from 'node:fs';
import { once } from 'node:events';
import { Datastore } from '@google-cloud/datastore';
import { z } from 'zod';
import type { DumpRecord } from '../oracle/record.js';
import { placeSchema, sumOf } from './content.js';

/**
 * `node dump.js PROJECT FILE`, with DATASTORE_EMULATOR_HOST: writes every entity of the gazetteer as the public API
 * answers it, when no operation runs, for the oracle. Prints its progress as JSON lines.
 */
const PAGE = 500;

const id = z.union([z.string(), z.number()]).transform(Number);
const path = z.array(z.union([z.string(), z.number()]));
const ledgerSchema = z.looseObject({
  serial: z.int(),
  nonce: z.string(),
  prev: z.string().nullable(),
  deleted: z.boolean(),
  recent: z.array(z.string()),
});
const entrySchema = z.looseObject({ nonce: z.string(), serial: z.int() });

/** What the dump keeps of an entity of each kind; `p` is the path of its key. */
const KINDS: Readonly<Record<string, (entity: unknown, p: readonly (string | number)[]) => DumpRecord>> = {
  Place(entity, p) {
    const e = placeSchema.parse(entity);
    const { serial, nonce, signatures, tokens } = e;
    return { k: 'place', id: id.parse(p[1]), serial, nonce, sum: sumOf(e) ?? '', signatures, tokens };
  },
  Ledger(entity, p) {
    const { serial, nonce, prev, deleted, recent } = ledgerSchema.parse(entity);
    return { k: 'ledger', id: id.parse(p[1]), serial, nonce, prev, deleted, recent };
  },
  Entry(entity, p) {
    const e = entrySchema.parse(entity);
    return { k: 'entry', id: id.parse(p[1]), entry: [String(p[3]), e.nonce, e.serial] };
  },
  Note(entity, p) {
    return { k: 'note', name: String(p[1]), nonce: entrySchema.parse(entity).nonce };
  },
};

async function main(): Promise<void> {
  const [projectId, file] = process.argv.slice(2);
  if (projectId === undefined || file === undefined || !process.env['DATASTORE_EMULATOR_HOST']) {
    process.stderr.write('usage: DATASTORE_EMULATOR_HOST=host:port node dump.js PROJECT FILE\n');
    process.exit(2);
  }
  const datastore = new Datastore({ projectId });
  const out = createWriteStream(file);
  let done = 0;
  for (const [kind, toRecord] of Object.entries(KINDS)) {
    let cursor: string | undefined;
    for (let more = true; more;) {
      let query = datastore.createQuery(kind).limit(PAGE);
      if (cursor !== undefined) query = query.start(cursor);
      const [entities, info] = await datastore.runQuery(query);
      for (const entity of entities) {
        const record = toRecord(entity, path.parse(entity[datastore.KEY].path));
        if (!out.write(`${JSON.stringify(record)}\n`)) await once(out, 'drain');
      }
      done += entities.length;
      process.stdout.write(`${JSON.stringify({ kind, done })}\n`);
      more = entities.length === PAGE && info.endCursor !== undefined && info.endCursor !== cursor;
      cursor = info.endCursor;
    }
  }
  out.end();
  await once(out, 'close');
}

void main();

import { z } from 'zod';
import { LmdbEnv } from '@nxnw/platform/stores/lmdb-env';
import { layout, level } from '@nxnw/platform/stores/lmdb-keys';
import { indexPuts } from '@nxnw/platform/stores/lmdb-values';

/**
 * A process of its own that damages an LMDB store behind its platform's back: it flips a byte of a row, deletes
 * another one, adds an index row and removes one. Arguments: one JSON document; keys are hex.
 */
/** The byte that is flipped: within a text that the entity ends with. */
const FROM_END = 20;
const hex = z.string().transform((s) => Buffer.from(s, 'hex'));
const damage = z.object({
  path: z.string(),
  generation: z.number(),
  flip: z.array(hex),
  remove: z.array(hex),
  index: z.array(z.object({ part: hex, key: hex, version: z.number() })),
  unindex: z.array(z.object({ part: hex, key: hex })),
});
export type Damage = z.input<typeof damage>;

async function harm(given: string): Promise<void> {
  const d = damage.parse(JSON.parse(given));
  const env = LmdbEnv.open(d.path, 5000);
  const rows = level('rows', d.generation);
  const held = (key: Buffer): { leaf: Buffer; value: Buffer } => {
    const { leaf } = layout(rows, key);
    const value = env.get(leaf);
    if (value === null) throw new Error(`there is no row ${key.toString('hex')}`);
    return { leaf, value };
  };
  const flipped = d.flip.map((key) => {
    const { leaf, value } = held(key);
    const bytes = Buffer.from(value);
    const at = bytes.length - FROM_END;
    bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
    return { leaf, bytes };
  });
  const removed = d.remove.map((key) => held(key).leaf);
  const gone = d.unindex.map((i) => ({ ...i, version: 0, present: false }));
  await env.write((txn) => {
    for (const { leaf, bytes } of flipped) txn.put(leaf, bytes);
    for (const leaf of removed) txn.remove(leaf);
    for (const put of indexPuts(d.generation, d.index.map((i) => ({ ...i, present: true })))) txn.put(put.key, put.value); // prettier-ignore
    for (const { key } of indexPuts(d.generation, gone)) txn.remove(key);
  });
  await env.close();
}

if (require.main === module)
  harm(process.argv[2] ?? '').catch((e: unknown) => {
    process.stderr.write(String(e));
    process.exitCode = 1;
  });

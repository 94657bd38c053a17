import { createReadStream, statSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { NxnwError } from '@nxnw/platform/errors';

/** Where records come from; it can be read several times. */
export interface Source {
  readonly name: string;
  readonly bytes: number;
  read(): AsyncIterable<unknown>;
}

/** A file of JSON lines. An unfinished last line, as a killed writer leaves it, is passed over. */
export function fileSource(file: string): Source {
  return { name: file, bytes: statSync(file).size, read: () => lines(file) };
}

async function* lines(file: string): AsyncIterable<unknown> {
  const input = createInterface({ input: createReadStream(file), crlfDelay: Infinity });
  let held: string | null = null;
  let number = 0;
  for await (const line of input) {
    if (held !== null) yield parse(held, file, number);
    number++;
    held = line;
  }
  if (held?.endsWith('}')) yield parse(held, file, number);
}

function parse(line: string, file: string, number: number): unknown {
  try {
    return JSON.parse(line);
  } catch (e) {
    throw new NxnwError(
      'ORACLE_LOG_BROKEN',
      `${file}:${number} is not JSON: ${line.slice(0, 80)}`,
      { file, number },
      e,
    );
  }
}

/** Records in memory. */
export function listSource(name: string, records: readonly unknown[]): Source {
  return {
    name,
    bytes: 0,
    async *read() {
      yield* records;
    },
  };
}

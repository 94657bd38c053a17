import { check } from './check.js';
import { fileSource } from './source.js';

/** `node main.js DUMP|- LOG…` prints what the oracle finds; exit code 1 if it finds anything. */
async function main(): Promise<void> {
  const [dump, ...files] = process.argv.slice(2);
  if (dump === undefined || files.length === 0) {
    process.stderr.write('usage: oracle DUMP|- LOG…   (DUMP `-` = no dump)\n');
    process.exit(2);
  }
  const logs = files.map(fileSource);
  const { findings, ...counts } = await check(dump === '-' ? { logs } : { logs, dump: fileSource(dump) });
  process.stdout.write(`${JSON.stringify({ ...counts, found: findings.counts }, null, 2)}\n`);
  for (const f of findings.kept) process.stdout.write(`${f.kind} ${f.key} ${f.nonces.join(' ')}: ${f.text}\n`);
  process.exitCode = findings.total === 0 ? 0 : 1;
}

void main();

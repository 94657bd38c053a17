import { closeSync, existsSync, openSync, readFileSync, readSync, rmSync, writeFileSync } from 'node:fs';

const HEAD = '#!/bin/sh\nexec ';

/** Whether set-up wrote this file, as `writeStarter` does. */
export function isStarter(path: string): boolean {
  if (!existsSync(path)) return false;
  const start = Buffer.alloc(HEAD.length);
  const file = openSync(path, 'r'); // not all of it: other programs have hundreds of megabytes
  try {
    readSync(file, start);
  } finally {
    closeSync(file);
  }
  return start.toString('latin1') === HEAD;
}

/**
 * Writes a script at `path` that becomes the program (`exec`), so that a signal for one is for the other.
 * @param command the program and its first arguments; those of the script follow
 */
export function writeStarter(path: string, command: readonly string[]): void {
  const quoted = command.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(' ');
  const text = `${HEAD}${quoted} "$@"\n`;
  if (isStarter(path) && readFileSync(path, 'utf8') === text) return;
  rmSync(path, { force: true });
  writeFileSync(path, text, { mode: 0o755 });
}

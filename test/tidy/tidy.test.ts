import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { repoRoot } from '@nxnw/tools';

const LONGEST_FILE_LINES = 400;

/** Files of the repository: tracked, and new ones that git would not ignore. */
const files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], {
  cwd: repoRoot,
  encoding: 'utf8',
})
  .split('\n')
  .filter((f) => f !== '' && existsSync(join(repoRoot, f)));
const code = files.filter((f) => /\.(ts|mjs|cjs|js|py)$/.test(f));
const docs = files.filter((f) => f.endsWith('.md'));
const read = (f: string) => readFileSync(join(repoRoot, f), 'utf8');

/** `file:line text` of each line that matches, for messages. */
function hits(among: readonly string[], pattern: RegExp): string[] {
  return among.flatMap((f) =>
    read(f)
      .split('\n')
      .flatMap((line, i) => (pattern.test(line) ? [`${f}:${String(i + 1)} ${line.trim().slice(0, 120)}`] : [])),
  );
}

describe('the repository is tidy', () => {
  it('no file carries a stray note about work to be done', () => {
    assert.deepEqual(hits([...code, ...docs], new RegExp('\\b(TO' + 'DO|FIX' + 'ME)\\b')), []);
  });

  it('no test is skipped or runs alone', () => {
    assert.deepEqual(hits(code, /\b(describe|it)\.(only|skip)\(/), []);
  });

  it(`no source file is longer than ${String(LONGEST_FILE_LINES)} lines`, () => {
    const long = code
      .map((f) => [f, read(f).split('\n').length - 1] as const)
      .filter(([, n]) => n > LONGEST_FILE_LINES);
    assert.deepEqual(long, []);
  });

  it('no file names a path of the machine it was written on', () => {
    const text = files.filter(
      (f) => /\.(ts|mjs|cjs|js|py|json|ya?ml|md|sh|xml|mod)$/.test(f) && f !== 'package-lock.json',
    );
    assert.deepEqual(hits(text, /(^|[\s"'`(=])\/(work|root|home\/[a-z]+)\//), []);
  });

  it('every error code is documented in docs/errors.md', () => {
    const page = 'docs/errors.md';
    const documented = existsSync(join(repoRoot, page)) ? read(page) : '';
    const thrown = new Map<string, string>();
    for (const f of code.filter((f) => !f.startsWith('test/') && !f.startsWith('bench/')))
      for (const m of read(f).matchAll(/new NxnwError\(\s*'([A-Z][A-Z0-9_]+)'/g))
        if (m[1] !== undefined) thrown.set(m[1], f);
    const missing = [...thrown].filter(([c]) => !documented.includes(`\`${c}\``)).map(([c, f]) => `${c} (${f})`);
    assert.deepEqual(missing, [], `add these to ${page}`);
  });

  it('documents name only npm scripts that exist', () => {
    const scripts = Object.keys((JSON.parse(read('package.json')) as { scripts: Record<string, string> }).scripts);
    const known = new Set([...scripts, 'ci', 'install', 'start']);
    const named = docs.flatMap((f) =>
      [...read(f).matchAll(/npm (?:run )?([a-z][a-z0-9:-]*)/g)]
        .filter((m) => m[0].startsWith('npm run ') || m[1] === 'test')
        .map((m) => [f, m[1] ?? ''] as const),
    );
    assert.deepEqual(
      named.filter(([, s]) => !known.has(s)),
      [],
    );
  });

  it('documents name only nxnw commands that exist', () => {
    const help = execFileSync(process.execPath, [join(repoRoot, 'cli', 'dist', 'index.js'), '--help'], {
      encoding: 'utf8',
    });
    const commands = new Set([...help.matchAll(/^ {2}([a-z][a-z-]+)/gm)].map((m) => m[1]));
    const named = docs.flatMap((f) => [...read(f).matchAll(/`nxnw ([a-z][a-z-]+)/g)].map((m) => [f, m[1]] as const));
    assert.deepEqual(
      named.filter(([, c]) => !commands.has(c)),
      [],
    );
  });
});

/**
 * All checks and tests:  node tools/test.mjs [SUITE…]   (without a name: lint, types, format and every suite)
 * Sets up what is missing, runs, and ends with `N passed, N failed`; exit code 0 only if something ran and nothing
 * failed.
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadTools, prepare, root } from './start.mjs';
import { SUITES } from './suites.mjs';

const bin = (...parts) => join(root, 'node_modules', ...parts);
const seconds = (ms) => `${(ms / 1000).toFixed(1)} s`;

/** After its last test a suite has this long to end; then something is left open, and that is a failure. */
const ENDING_MS = 30_000;

/**
 * Runs node to its end, at most limitMs, and at most ENDING_MS beyond the moment at which `doneFile` is there; kills its
 * whole process group after that. Answers the exit code.
 */
function node(args, env, limitMs, doneFile) {
  return new Promise((done) => {
    const child = spawn(process.execPath, args, {
      cwd: root,
      env: { ...process.env, ...env },
      stdio: ['ignore', 'inherit', 'inherit'],
      detached: true,
    });
    const kill = () => {
      try {
        process.kill(-child.pid, 'SIGKILL');
      } catch (e) {
        if (e.code !== 'ESRCH') throw e;
      }
    };
    const late = setTimeout(() => {
      process.stdout.write(`\nnot done after ${seconds(limitMs)}: killed\n`);
      kill();
    }, limitMs);
    let doneMs = 0;
    const ending = setInterval(() => {
      if (doneMs === 0 && doneFile !== undefined && existsSync(doneFile)) doneMs = Date.now();
      if (doneMs === 0 || Date.now() < doneMs + ENDING_MS) return;
      clearInterval(ending);
      process.stdout.write(`\nall tests are over, and ${seconds(ENDING_MS)} later something is still open: killed\n`);
      kill();
    }, 500);
    const stop = () => {
      kill();
      process.exit(130);
    };
    process.once('SIGINT', stop).once('SIGTERM', stop);
    child.once('close', (code) => {
      clearTimeout(late);
      clearInterval(ending);
      process.removeListener('SIGINT', stop).removeListener('SIGTERM', stop);
      done(code ?? 1);
    });
  });
}

function testFiles(suite) {
  const dir = join(root, 'test', suite);
  if (!existsSync(dir)) return [];
  return readdirSync(dir, { recursive: true })
    .filter((f) => f.endsWith('.test.ts'))
    .sort()
    .map((f) => join('test', 'dist', suite, f.replace(/\.ts$/, '.js')));
}

async function runSuite(suite) {
  const files = testFiles(suite.name);
  if (files.length === 0) return { name: suite.name, passes: 0, failures: 0, pending: 0, ms: 0 };
  process.stdout.write(`\n== ${suite.name} (${files.length} files)\n`);
  const dir = mkdtempSync(join(tmpdir(), 'nxnw-test-'));
  const stats = join(dir, 'stats.json');
  const began = Date.now();
  const code = await node(
    [
      '--enable-source-maps',
      bin('mocha', 'bin', 'mocha.js'),
      ...['--reporter', join(root, 'tools', 'mocha-reporter.cjs'), '--timeout', String(suite.timeoutMs)],
      ...files,
    ],
    { NXNW_TEST_STATS: stats },
    suite.limitMs,
    stats,
  );
  const result = existsSync(stats) ? JSON.parse(readFileSync(stats, 'utf8')) : { passes: 0, failures: 0, pending: 0 };
  rmSync(dir, { recursive: true, force: true });
  // A suite that broke down outside its tests (a file that does not load, killed at its limit) is one failure.
  if (code !== 0 && result.failures === 0) result.failures = 1;
  return { name: suite.name, ...result, ms: Date.now() - began };
}

async function check(name, args, limitMs) {
  process.stdout.write(`\n== ${name}\n`);
  const began = Date.now();
  const code = await node(args, {}, limitMs);
  return { name, passes: code === 0 ? 1 : 0, failures: code === 0 ? 0 : 1, pending: 0, ms: Date.now() - began };
}

async function main(wanted) {
  const known = ['lint', ...SUITES.map((s) => s.name)];
  const unknown = wanted.filter((w) => !known.includes(w));
  if (unknown.length > 0) throw new Error(`unknown suites: ${unknown.join(', ')}; there are: ${known.join(', ')}`);
  const runs = (name) => wanted.length === 0 || wanted.includes(name);

  const began = Date.now();
  const typed = await prepare({ strict: false });
  const { ensureTools, TOOL_NAMES } = await loadTools();
  const suites = SUITES.filter((s) => runs(s.name) && testFiles(s.name).length > 0);
  const tools = new Set(suites.flatMap((s) => (s.tools.includes('all') ? TOOL_NAMES : s.tools)));
  await ensureTools([...tools]);
  const results = [{ name: 'types', passes: typed ? 1 : 0, failures: typed ? 0 : 1, pending: 0, ms: 0 }];
  if (runs('lint')) {
    results.push(await check('lint', [bin('eslint', 'bin', 'eslint.js'), '--max-warnings', '0', '.'], 10 * 60_000));
    results.push(await check('format', [bin('prettier', 'bin', 'prettier.cjs'), '--check', '.'], 5 * 60_000));
  }
  for (const suite of suites) results.push(await runSuite(suite));

  process.stdout.write('\n');
  for (const r of results)
    process.stdout.write(
      `${r.name.padEnd(12)} ${String(r.passes).padStart(5)} passed ${String(r.failures).padStart(4)} failed ${seconds(r.ms).padStart(9)}${r.pending > 0 ? `  (${r.pending} pending)` : ''}\n`,
    );
  const sum = (k) => results.reduce((n, r) => n + r[k], 0);
  const tests = results.filter((r) => SUITES.some((s) => s.name === r.name)).reduce((n, r) => n + r.passes, 0);
  if (tests === 0 && suites.length > 0) process.stdout.write('no test passed\n');
  process.stdout.write(`took ${seconds(Date.now() - began)}\n${sum('passes')} passed, ${sum('failures')} failed\n`);
  return sum('failures') === 0 && (tests > 0 || wanted.includes('lint')) ? 0 : 1;
}

main(process.argv.slice(2)).then(
  (code) => process.exit(code),
  (e) => {
    process.stdout.write(`${e.code ? `${e.code}: ` : ''}${e.message}\n0 passed, 1 failed\n`);
    process.exit(1);
  },
);

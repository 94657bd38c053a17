/**
 * All checks and tests:  node tools/test.mjs [SUITE…]   (without a name: lint, types, format and every suite
 * that is not on demand)
 * Sets up what is missing, runs, and ends with `N passed, N failed`; exit code 0 only if something ran and nothing
 * failed.
 */
import { spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { endLeftOver } from './leftover.mjs';
import { loadTools, prepare, root } from './start.mjs';
import { SUITES } from './suites.mjs';

const bin = (...parts) => join(root, 'node_modules', ...parts);
const seconds = (ms) => `${(ms / 1000).toFixed(1)} s`;

/** After its last test a suite has this long to end; then something is left open, and that is a failure. */
const ENDING_MS = 30_000;
/** What ends by itself behind its suite (a killed engine's provider) has this long. */
const GRACE_MS = 15_000;

/** Leaders of the process groups that run now, and the suites' folders; a signal to this program ends all of both. */
const children = new Set();
const folders = new Set();
for (const signal of ['SIGINT', 'SIGTERM'])
  process.once(signal, async () => {
    children.forEach(kill);
    for (const dir of folders) {
      await endLeftOver(dir, { graceMs: 0 });
      rmSync(dir, { recursive: true, force: true });
    }
    process.exit(130);
  });

function kill(child) {
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch (e) {
    if (e.code !== 'ESRCH') throw e;
  }
}

/**
 * Runs node to its end, at most limitMs, and at most ENDING_MS beyond the moment at which `doneFile` is there; kills its
 * whole process group after that. Answers the exit code.
 * @param {{env?: object, limitMs: number, doneFile?: string, out?: {text: string}}} o out: takes the output, which is
 * shown as it comes without it
 */
function node(args, { env = {}, limitMs, doneFile, out }) {
  const write = (text) => (out ? (out.text += text) : process.stdout.write(text));
  return new Promise((done) => {
    const how = out ? 'pipe' : 'inherit';
    const child = spawn(process.execPath, args, {
      cwd: root,
      env: { ...process.env, ...env },
      stdio: ['ignore', how, how],
      detached: true,
    });
    children.add(child);
    if (out) for (const s of [child.stdout, child.stderr]) s.setEncoding('utf8').on('data', write);
    const late = setTimeout(() => {
      write(`\nnot done after ${seconds(limitMs)}: killed\n`);
      kill(child);
    }, limitMs);
    let doneMs = 0;
    const ending = setInterval(() => {
      if (doneMs === 0 && doneFile !== undefined && existsSync(doneFile)) doneMs = Date.now();
      if (doneMs === 0 || Date.now() < doneMs + ENDING_MS) return;
      clearInterval(ending);
      write(`\nall tests are over, and ${seconds(ENDING_MS)} later something is still open: killed\n`);
      kill(child);
    }, 500);
    child.once('close', (code) => {
      clearTimeout(late);
      clearInterval(ending);
      children.delete(child);
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

/** Runs a suite in a temporary folder of its own, which also tells what belongs to it: nothing of it may stay. */
async function runSuite(suite, out) {
  const write = (text) => (out ? (out.text += text) : process.stdout.write(text));
  const files = testFiles(suite.name);
  write(`\n== ${suite.name} (${files.length} files)\n`);
  const dir = mkdtempSync(join(tmpdir(), 'nxnw-test-'));
  folders.add(dir);
  chmodSync(dir, 0o755); // some servers give up root
  const stats = join(dir, 'stats.json');
  const began = Date.now();
  const code = await node(
    [
      '--enable-source-maps',
      bin('mocha', 'bin', 'mocha.js'),
      ...['--reporter', join(root, 'tools', 'mocha-reporter.cjs'), '--timeout', String(suite.timeoutMs)],
      ...files,
    ],
    { env: { NXNW_TEST_STATS: stats, TMPDIR: dir }, limitMs: suite.limitMs, doneFile: stats, out },
  );
  const result = existsSync(stats) ? JSON.parse(readFileSync(stats, 'utf8')) : { passes: 0, failures: 0, pending: 0 };
  // A suite that broke down outside its tests (a file that does not load, killed at its limit) is one failure.
  if (code !== 0 && result.failures === 0) result.failures = 1;
  const left = await endLeftOver(dir, { graceMs: GRACE_MS });
  if (left.length > 0) {
    result.failures++;
    write(`\nleft running by ${suite.name}, killed:\n${left.map((p) => `  ${p}\n`).join('')}`);
  }
  rmSync(dir, { recursive: true, force: true });
  folders.delete(dir);
  return { name: suite.name, ...result, ms: Date.now() - began };
}

/** Runs it with its output held back until `show`, so that something else can run beside it. */
function held(run) {
  const out = { text: '' };
  const result = run(out);
  return async () => {
    const r = await result;
    process.stdout.write(out.text);
    return r;
  };
}

async function check(name, args, limitMs) {
  process.stdout.write(`\n== ${name}\n`);
  const began = Date.now();
  const code = await node(args, { limitMs });
  return { name, passes: code === 0 ? 1 : 0, failures: code === 0 ? 0 : 1, pending: 0, ms: Date.now() - began };
}

async function main(wanted) {
  const known = ['lint', ...SUITES.map((s) => s.name)];
  const unknown = wanted.filter((w) => !known.includes(w));
  if (unknown.length > 0) throw new Error(`unknown suites: ${unknown.join(', ')}; there are: ${known.join(', ')}`);
  const runs = (name) => wanted.length === 0 || wanted.includes(name);

  const began = Date.now();
  const typed = await prepare({ strict: false });
  const { ensureTools, toolsOf } = await loadTools();
  const asked = (s) => (s.onDemand === true ? wanted.includes(s.name) : runs(s.name));
  const suites = SUITES.filter((s) => asked(s) && testFiles(s.name).length > 0);
  await ensureTools(toolsOf(suites.flatMap((s) => s.tools)));
  const results = [{ name: 'types', passes: typed ? 1 : 0, failures: typed ? 0 : 1, pending: 0, ms: 0 }];
  const beside = suites.filter((s) => s.beside).map((s) => held((out) => runSuite(s, out)));
  if (runs('lint')) {
    results.push(await check('lint', [bin('eslint', 'bin', 'eslint.js'), '--max-warnings', '0', '.'], 10 * 60_000));
    results.push(await check('format', [bin('prettier', 'bin', 'prettier.cjs'), '--check', '.'], 5 * 60_000));
  }
  for (const suite of suites.filter((s) => s.alone !== true && s.beside !== true)) results.push(await runSuite(suite));
  for (const show of beside) results.push(await show());
  for (const suite of suites.filter((s) => s.alone === true)) results.push(await runSuite(suite));

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

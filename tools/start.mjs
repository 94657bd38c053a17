/**
 * What must happen before anything of this repository can run, in plain Node without packages:
 *   node tools/start.mjs [--tools zookeeper,ab,…|demo|all] [FILE ARGS…]
 *   node tools/start.mjs --setup [zookeeper ab … demo providers]     (without a name: all)
 * installs node_modules when they differ from the lock file, compiles, brings the tools, runs FILE.
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';

export const root = resolve(fileURLToPath(new URL('..', import.meta.url)));
const OLDEST_NODE = [20, 19];
const LOCK_WAIT_MS = 15 * 60_000;

const say = (line) => process.stderr.write(`setup: ${line}\n`);

/** Runs a program with our output; answers its exit code. */
function runHere(command, args) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] });
  if (error) throw new Error(`cannot start ${command}: ${error.message}`);
  return status ?? 1;
}

function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major > OLDEST_NODE[0] || (major === OLDEST_NODE[0] && minor >= OLDEST_NODE[1])) return;
  throw new Error(`Node ${process.versions.node} is too old: nxnw needs Node >= ${OLDEST_NODE.join('.')}`);
}

/** One set-up at a time in this checkout; a lock left by a dead process is taken over. */
async function locked(work) {
  const dir = join(root, '.tools', 'stamps');
  const lock = join(dir, 'start.lock');
  mkdirSync(dir, { recursive: true });
  const until = Date.now() + LOCK_WAIT_MS;
  for (let waits = 0; ; waits++) {
    try {
      writeFileSync(lock, String(process.pid), { flag: 'wx' });
      break;
    } catch {
      const holder = existsSync(lock) ? Number(readFileSync(lock, 'utf8')) : 0;
      if (waits === 8) say(`waiting for process ${holder}, which sets up this checkout`);
      if (holder > 0 && !isAlive(holder)) rmSync(lock, { force: true });
      else if (Date.now() > until) throw new Error(`process ${holder} holds ${lock}; end it or delete that file`);
      else await sleep(250);
    }
  }
  try {
    return await work();
  } finally {
    rmSync(lock, { force: true });
  }
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (e) {
    return e.code === 'EPERM';
  }
}

/** `npm ci` when node_modules is not what the lock file says. */
function installPackages() {
  if (asLocked()) return;
  say('installing packages (npm ci)');
  // No install scripts: the native packages bring prebuilt binaries, and `prepare` is the compile step below.
  const ci = (...more) =>
    runHere('npm', ['ci', '--ignore-scripts', ...more, '--no-audit', '--no-fund', '--loglevel=error']);
  // The lock file names no host, so npm would ask for each package's index; a cache that is too old for it is passed over.
  let code = ci('--prefer-offline');
  if (code !== 0) {
    say("npm's cache does not do for the lock file: asking the registry");
    code = ci();
  }
  if (code !== 0) throw new Error(`npm ci ended with ${code}: is the npm registry reachable (npm ping)?`);
}

/** npm keeps a copy of the lock file in node_modules, written when an installation is complete. */
function asLocked() {
  const copy = join(root, 'node_modules', '.package-lock.json');
  if (!existsSync(copy)) return false;
  const have = JSON.parse(readFileSync(copy, 'utf8')).packages;
  const wanted = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')).packages;
  return Object.entries(wanted).every(
    ([path, p]) => !path.startsWith('node_modules/') || p.optional || have[path]?.version === p.version,
  );
}

/** Compiles all workspaces; answers whether the types are right (what compiles is there in any case). */
export function compile() {
  return runHere(process.execPath, [join(root, 'node_modules', 'typescript', 'bin', 'tsc'), '-b']) === 0;
}

/**
 * Packages and compiled code; answers whether the types are right.
 * @param {{strict: boolean}} o strict: wrong types end it
 */
export async function prepare({ strict }) {
  checkNode();
  return locked(() => {
    installPackages();
    const typed = compile();
    if (!typed && strict) throw new Error('the code does not compile; see above');
    return typed;
  });
}

/** The compiled tools workspace. */
export function loadTools() {
  return import(pathToFileURL(join(root, 'tools', 'dist', 'index.js')).href);
}

async function main(argv) {
  const args = [...argv];
  let wanted = [];
  if (args[0] === '--tools') {
    args.shift();
    wanted = (args.shift() ?? '').split(',').filter((n) => n !== '');
  } else if (args[0] === '--setup') {
    wanted = args.length > 1 ? args.slice(1) : ['all'];
    args.length = 0;
  }
  await prepare({ strict: false });
  const { ensureTools, toolsOf } = await loadTools();
  await ensureTools(toolsOf(wanted));
  if (args.length === 0) return say('all there');
  const child = spawn(process.execPath, ['--enable-source-maps', ...args], { cwd: root, stdio: 'inherit' });
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal));
  child.once('exit', (code, signal) => process.exit(code ?? (signal === 'SIGINT' ? 130 : 1)));
}

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url))
  main(process.argv.slice(2)).catch((e) => {
    process.stderr.write(`setup: ${e.code ? `${e.code}: ` : ''}${e.message}\n`);
    process.exit(1);
  });

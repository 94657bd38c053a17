import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import * as pulumi from '@pulumi/pulumi';
import type { RegisterResourceRequest, RegisterResourceResponse } from '@pulumi/pulumi/proto/resource_pb';

/** A resource as it is asked of the engine, with the options that Pulumi's mocks do not show. */
export interface Recorded {
  readonly type: string;
  readonly name: string;
  readonly inputs: Readonly<Record<string, unknown>>;
  /** Names of the inputs that are secret. */
  readonly secrets: readonly string[];
  readonly custom: boolean;
  /** Logical names. */
  readonly parent: string;
  readonly dependencies: readonly string[];
  /** Logical name of the provider that was given, '' for the default one. */
  readonly provider: string;
  readonly protect: boolean;
  readonly retainOnDelete: boolean;
  readonly deleteBeforeReplace: boolean;
  readonly ignoreChanges: readonly string[];
  readonly replaceOnChanges: readonly string[];
}

/** A look-up (`getAmi`) with what it asked for. */
export interface Call {
  readonly token: string;
  readonly inputs: Readonly<Record<string, unknown>>;
}

/** What the cloud would answer: outputs beyond the inputs of a resource, and results of look-ups. */
export interface Answers {
  readonly outputs: (type: string, name: string) => Record<string, unknown>;
  readonly call: (token: string) => Record<string, unknown>;
}

export interface Recording<T> {
  readonly result: T;
  /** By type and name; Pulumi asks for them in an order that differs from run to run. */
  readonly made: readonly Recorded[];
  readonly calls: readonly Call[];
  /** The resource of that logical name; fails where there is none. */
  readonly named: (name: string) => Recorded;
  /** All of a type, given by its last part: `Instance`. */
  readonly ofType: (type: string) => readonly Recorded[];
}

/** The mark of a secret in inputs as the engine receives them. */
const SECRET = '4dabf18193072939515e22adb298388d';

const order = new Intl.Collator('en', { numeric: true });

/** The last part of a resource's type: `Instance`. */
export function kindOf(r: Recorded): string {
  return r.type.split(':').at(-1) ?? r.type;
}

/** Runs a program against Pulumi's mocks and answers what it asked for, once all of it is registered. */
export async function record<T>(program: () => T, answers: Answers): Promise<Recording<T>> {
  const made: Recorded[] = [];
  const calls: Call[] = [];
  await pulumi.runtime.setMocks({
    call: (a) => {
      calls.push({ token: a.token, inputs: a.inputs });
      return answers.call(a.token);
    },
    newResource: (a) => ({
      id: `${a.name}-id`,
      state: { ...a.inputs, ...answers.outputs(a.type, a.name) },
    }),
  });
  watch(made);
  const result = program();
  await pulumi.runtime.disconnect();
  made.sort((a, b) => order.compare(kindOf(a), kindOf(b)) || order.compare(a.name, b.name));
  return {
    result,
    made,
    calls,
    named: (name) => {
      const found = made.find((m) => m.name === name);
      assert.ok(found !== undefined, `no resource ${name} among ${made.map((m) => m.name).join(', ')}`);
      return found;
    },
    ofType: (type) => made.filter((m) => kindOf(m) === type),
  };
}

type Callback = (error: Error | null, response: RegisterResourceResponse) => void;

/** Looks at each request before the mocks answer it. */
function watch(made: Recorded[]): void {
  const monitor = pulumi.runtime.getMonitor();
  assert.ok(monitor !== undefined);
  const answer = monitor.registerResource.bind(monitor);
  Object.defineProperty(monitor, 'registerResource', {
    value: (request: RegisterResourceRequest, callback: Callback) => {
      made.push(recorded(request));
      return answer(request, callback);
    },
  });
}

function recorded(r: RegisterResourceRequest): Recorded {
  const object = r.getObject()?.toJavaScript() ?? {};
  return {
    type: r.getType(),
    name: r.getName(),
    inputs: Object.fromEntries(Object.entries(object).map(([k, v]) => [k, opened(v)])),
    secrets: Object.entries(object).flatMap(([k, v]) => (isSecret(v) ? [k] : [])),
    custom: r.getCustom(),
    parent: nameOf(r.getParent()),
    dependencies: r.getDependenciesList().map(nameOf).sort(),
    // URN::ID
    provider: r.getProvider() === '' ? '' : nameOf(r.getProvider().slice(0, r.getProvider().lastIndexOf('::'))),
    protect: r.getProtect() ?? false,
    retainOnDelete: r.getRetainondelete() ?? false,
    deleteBeforeReplace: r.getDeletebeforereplace(),
    ignoreChanges: r.getIgnorechangesList(),
    replaceOnChanges: r.getReplaceonchangesList(),
  };
}

const nameOf = (urn: string) => urn.split('::').at(-1) ?? '';
const isSecret = (v: unknown): v is { value: unknown } => typeof v === 'object' && v !== null && SECRET in v;
const opened = (v: unknown): unknown => (isSecret(v) && 'value' in v ? v.value : v);

/** The value of an output, once it is known. */
export function valueOf<T>(output: pulumi.Output<T>): Promise<T> {
  return new Promise((ok) => {
    output.apply(ok);
  });
}

/** Plans that a reviewer can read; beside the tests' sources. */
const SNAPSHOTS = join(__dirname, '..', '..', 'component', 'snapshots');

/**
 * Compares the planned resources, a line for each, with the file NAME.txt. NXNW_UPDATE_SNAPSHOTS=1 writes the file;
 * its change is then to be reviewed like code.
 */
export function matchesSnapshot(name: string, made: readonly Recorded[]): void {
  const text = `${made.map(line).join('\n')}\n`;
  const path = join(SNAPSHOTS, `${name}.txt`);
  if (process.env['NXNW_UPDATE_SNAPSHOTS'] === '1') {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }
  assert.ok(existsSync(path), `${path} is missing; write it with NXNW_UPDATE_SNAPSHOTS=1`);
  assert.equal(text, readFileSync(path, 'utf8'), `the plan is not that of ${path}`);
}

/** Type, name, inputs, options; tags are checked by tests and would only make the lines long. */
function line(r: Recorded): string {
  const inputs = Object.entries(r.inputs)
    .filter(([k, v]) => k !== 'tags' && v !== undefined && v !== null)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([k, v]) => `${k}=${r.secrets.includes(k) ? 'SECRET' : shown(v)}`);
  const list = (what: string, names: readonly string[]) => (names.length === 0 ? [] : [`${what} ${names.join(',')}`]);
  const options = [
    ...(r.protect ? ['protected'] : []),
    ...(r.deleteBeforeReplace ? ['deleted before replaced'] : []),
    ...list('ignores', r.ignoreChanges),
    ...list('replaced by', r.replaceOnChanges),
  ];
  return [`${kindOf(r)} ${r.name}`, ...inputs, ...(options.length === 0 ? [] : [`[${options.join('; ')}]`])].join(' ');
}

function shown(v: unknown): string {
  if (typeof v === 'string') return v;
  return JSON.stringify(v, (k, x: unknown) => (k === 'tags' ? undefined : x));
}

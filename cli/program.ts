import { writeFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { AgentClient } from '@nxnw/platform/agent/api';
import { NxnwError, asError, hasCode } from '@nxnw/platform/errors';
import { CoordinatorClient } from '@nxnw/migration/coordinator/api';
import { EXIT, exitCodeOf } from '@nxnw/migration/coordinator/codes';
import { readAccess } from '@nxnw/migration/resources/engines/access';
import { accessOf, print, projectDir, stackOf } from './context.js';
import type { Shared } from './context.js';
import { addMigrationCommands } from './migrate.js';
import type { Act } from './migrate.js';
import { pulumi, stackOutput } from './pulumi.js';

/** Passed to `pulumi` as they are. */
const PULUMI_COMMANDS: readonly (readonly [string, string])[] = [
  ['up', 'make the stack so: stand the platform up, and lead the migration to nxnw:stage'],
  ['preview', 'what `up` would do'],
  ['destroy', 'take the platform down; a migration is aborted before its switch, refused after it'],
  ['refresh', 'bring the state in line with what is there'],
  ['cancel', "clear the stack's lock, when its process is gone"],
  ['config', 'read and set the configuration'],
];

/** Runs the command line; answers the exit code: 0 done, 1 failed, 2 usage, 3 not yet, 4 refused by a gate or a latch. */
export async function main(argv: readonly string[]): Promise<number> {
  let code: number = EXIT.done;
  const act: Act =
    (f) =>
    async (...args) => {
      const answer = await f(...args);
      code = typeof answer === 'number' ? answer : EXIT.done;
    };
  const program = new Command('nxnw')
    .description('stands up private App-Engine-style platforms, and moves a running one, live')
    .exitOverride()
    .configureHelp({ sortSubcommands: false });
  const add = (name: string, what: string): Command =>
    program
      .command(name)
      .description(what)
      .option('-s, --stack <name>', 'the stack (or NXNW_STACK)')
      .option('--json', 'the result as JSON')
      .exitOverride();
  addPulumiCommands(add, act);
  addMigrationCommands(add, act);
  addPlatformCommands(add, act);
  try {
    await program.parseAsync([...argv]);
    return code;
  } catch (e) {
    return failed(e, argv.includes('--json'));
  }
}

/** Tells the failure and answers its exit code. */
function failed(e: unknown, json: boolean): number {
  // Commander has said it already; help and version end with 0.
  if (e instanceof CommanderError) return e.exitCode === 0 ? EXIT.done : EXIT.usage;
  const error = asError(e);
  const code = e instanceof NxnwError ? e.code : 'INTERNAL';
  if (json) process.stdout.write(`${JSON.stringify({ error: { code, message: error.message } })}\n`);
  process.stderr.write(`nxnw: ${code}: ${error.message}\n`);
  if (!(e instanceof NxnwError)) process.stderr.write(`${error.stack ?? ''}\n`);
  return exitCodeOf(code);
}

function addPulumiCommands(add: (name: string, what: string) => Command, act: Act): void {
  for (const [name, what] of PULUMI_COMMANDS)
    add(name, `${what} (pulumi ${name}; its own options may follow)`)
      .allowUnknownOption()
      .allowExcessArguments()
      .argument('[args...]')
      .action(
        act(async (args: string[], o: Shared) => {
          const stack = stackOf(o);
          if (name === 'destroy') await refuseAfterSwitch(stack);
          return pulumi(name, stack, [...(o.json === true ? ['--json'] : []), ...args]);
        }),
      );
}

/** Asked before Pulumi takes anything apart; an unreachable coordinator leaves the decision to the resources. */
async function refuseAfterSwitch(stack: string): Promise<void> {
  try {
    const access = readAccess(projectDir(), stack);
    if (access.coordinator === null) return;
    const client = new CoordinatorClient(access.coordinator, access.operator);
    try {
      const s = await client.status(3000);
      if (s.stage.reached === 'finalized' || s.apps.every((a) => a.serving === 'source')) return;
      throw new NxnwError(
        'SWITCHED',
        `destroy is refused: ${s.target} serves ${s.apps.map((a) => a.app).join(', ')}; go back first (\`nxnw back --stack ${stack} --reason …\`), or finalise (stage finalized)`,
      );
    } finally {
      client.close();
    }
  } catch (e) {
    if (!hasCode(e, 'NO_ACCESS', 'NO_MIGRATION', 'NO_JOIN', 'UNAVAILABLE', 'DEADLINE_EXCEEDED')) throw e;
  }
}

function addPlatformCommands(add: (name: string, what: string) => Command, act: Act): void {
  add('join', 'the join bundle of a running platform, for a stack that cannot read this one; a secret')
    .option('-o, --out <file>', 'write it there (mode 0600) instead of showing it')
    .action(
      act(async (o: Shared & { out?: string }) => {
        const text = await stackOutput(stackOf(o), 'join');
        if (o.out === undefined) process.stdout.write(`${text}\n`);
        else writeFileSync(o.out, `${text}\n`, { mode: 0o600 });
      }),
    );
  add('logs', "the last lines of the roles' logs")
    .option('-m, --machine <name>', 'only this machine')
    .option('-r, --role <id>', 'only this role')
    .option('-n, --lines <n>', 'of each role', '50')
    .action(
      act(async (o: Shared & { machine?: string; role?: string; lines: string }) => {
        const access = accessOf(o);
        const found: { machine: string; role: string; lines: readonly string[] }[] = [];
        for (const a of access.agents.filter((x) => o.machine === undefined || x.machine === o.machine)) {
          const client = new AgentClient(a.endpoint, access.operator);
          try {
            const roles = (await client.status()).roles.map((r) => r.id);
            for (const role of roles.filter((r) => o.role === undefined || r === o.role))
              found.push({ machine: a.machine, role, lines: await client.logs(role, Number(o.lines)) });
          } finally {
            client.close();
          }
        }
        if (found.length === 0)
          throw new NxnwError('USAGE', `no such role; machines: ${access.agents.map((a) => a.machine).join(', ')}`);
        print(o, found, (all) => all.map((f) => `== ${f.machine} ${f.role}\n${f.lines.join('\n')}`).join('\n'));
      }),
    );
}

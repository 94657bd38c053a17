/** What the resources of `@pulumi/command` take, as far as this plugin serves it. */
import { z } from 'zod';
import { hasUnknown, isArchive, isAsset, plainFields, type Properties } from './wire.js';

const endpoint = {
  host: z.string().min(1),
  port: z.number().int().min(1).max(65535).default(22),
  user: z.string().min(1).default('root'),
  privateKey: z.string().optional(),
  privateKeyPassword: z.string().optional(),
  password: z.string().optional(),
  agentSocketPath: z.string().optional(),
  /** `TYPE BASE64` as in known_hosts, or the base64 alone. */
  hostKey: z.string().optional(),
  /** Attempts; -1 for no limit. */
  dialErrorLimit: z.number().int().min(-1).default(10),
  /** Seconds of one attempt; 0 for no limit. */
  perDialTimeout: z.number().min(0).default(15),
};
const proxy = z.strictObject(endpoint);
const connection = z.strictObject({ ...endpoint, proxy: proxy.optional() });

const step = {
  create: z.string().optional(),
  update: z.string().optional(),
  delete: z.string().optional(),
  stdin: z.string().optional(),
  // The names go into a shell's line (remote.ts).
  environment: z.record(z.string().regex(/^[A-Za-z_]\w*$/, 'not a name of an environment variable'), z.string()).optional(), // prettier-ignore
  addPreviousOutputInEnv: z.boolean().default(true),
  logging: z.enum(['stdout', 'stderr', 'stdoutAndStderr', 'none']).default('stdoutAndStderr'),
  triggers: z.array(z.unknown()).optional(),
};

const source = z
  .custom((v) => isAsset(v) || isArchive(v), 'neither an asset nor an archive')
  .pipe(z.object({ path: z.string().optional(), text: z.string().optional() }))
  .refine((s) => s.path !== undefined || s.text !== undefined, 'not a FileAsset, StringAsset or FileArchive');

const localCommand = z.strictObject({
  ...step,
  dir: z.string().optional(),
  interpreter: z.array(z.string()).optional(),
});
const remoteCommand = z.strictObject({ ...step, connection });
const copyToRemote = z.strictObject({
  connection,
  source,
  remotePath: z.string().min(1),
  triggers: step.triggers,
});

export type Endpoint = z.output<typeof proxy>;
export type Connection = z.output<typeof connection>;
export type LocalCommand = z.output<typeof localCommand>;
export type RemoteCommand = z.output<typeof remoteCommand>;
export type CopyToRemote = z.output<typeof copyToRemote>;

const schemas = {
  'command:local:Command': localCommand,
  'command:remote:Command': remoteCommand,
  'command:remote:CopyToRemote': copyToRemote,
} as const;
export type ResourceType = keyof typeof schemas;

/** `urn:pulumi:STACK::PROJECT::PARENT$TYPE::NAME` -> TYPE. @throws for a type that is not served */
export function typeOf(urn: string): ResourceType {
  const type = urn.split('::')[2]?.split('$').pop();
  for (const known of ['command:local:Command', 'command:remote:Command', 'command:remote:CopyToRemote'] as const)
    if (known === type) return known;
  throw new Error(`${String(type)} is not served here; there are: ${Object.keys(schemas).join(', ')}`);
}

/** Names of a type's inputs. */
export function inputNames(type: ResourceType): readonly string[] {
  return Object.keys(schemas[type].shape);
}

/** What is wrong with the inputs, by property; what a preview does not know yet is not looked at. */
export function faults(type: ResourceType, inputs: Properties): { property: string; reason: string }[] {
  const given = plainFields(inputs);
  const result = schemas[type].safeParse(given);
  if (result.success) return [];
  return result.error.issues.flatMap(({ path, message }) => {
    const property = String(path[0] ?? '');
    if (hasUnknown(given[property])) return [];
    return [{ property, reason: path.length > 1 ? `${path.join('.')}: ${message}` : message }];
  });
}

export const parse = {
  localCommand: (p: Properties): LocalCommand => localCommand.parse(p),
  remoteCommand: (p: Properties): RemoteCommand => remoteCommand.parse(p),
  copyToRemote: (p: Properties): CopyToRemote => copyToRemote.parse(p),
};

import * as pulumi from '@pulumi/pulumi';
import { commonProtocol, parseJoin, PROTOCOLS, type JoinBundle } from '@nxnw/migration/coordinator/join';
import { NxnwError } from '@nxnw/platform/errors';

/** The text of the join bundle that `migrateFrom` names: a bundle itself, or a stack that has one as output. */
async function joinText(migrateFrom: string): Promise<string> {
  if (migrateFrom.trimStart().startsWith('{')) return migrateFrom;
  const full = migrateFrom.includes('/')
    ? migrateFrom
    : `${pulumi.getOrganization()}/${pulumi.getProject()}/${migrateFrom}`;
  const reference = new pulumi.StackReference(full);
  const details = await reference.getOutputDetails('join');
  const value: unknown = details.secretValue ?? details.value;
  if (typeof value !== 'string')
    throw new NxnwError(
      'BAD_JOIN',
      `nxnw:migrateFrom names the stack ${full}, which has no output "join": it is not up, or not a platform; run \`nxnw up --stack ${migrateFrom}\` first, or give a bundle made by \`nxnw join\``,
    );
  return value;
}

export interface Source {
  readonly bundle: JoinBundle;
  /** The same as text, for the coordinator; a secret. */
  readonly text: string;
}

/** @throws BAD_JOIN, JOIN_EXPIRED, NO_COMMON_PROTOCOL */
export async function readSource(migrateFrom: string): Promise<Source | undefined> {
  if (migrateFrom === '') return undefined;
  const text = await joinText(migrateFrom);
  const bundle = parseJoin(text, Date.now());
  commonProtocol(bundle, { platformId: 'this platform', protocols: PROTOCOLS });
  return { bundle, text };
}

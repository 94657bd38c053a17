import * as pulumi from '@pulumi/pulumi';
import { getImage } from '@pulumi/openstack/images/getImage';
import { getNetwork } from '@pulumi/openstack/networking/getNetwork';
import { markedMessage } from '@nxnw/migration/coordinator/codes';
import { NxnwError, asError } from '@nxnw/platform/errors';
import type { Scope } from './openstack-scope.js';
import type { OpenstackSettings } from './settings.js';

/** What is looked up: `the image "nxnw"`, and the key of the configuration that names it. */
export interface Sought {
  readonly what: string;
  readonly key: string;
  /** Command that lists what there is. */
  readonly list: string;
}

/** What the cloud is called in messages: its entry of clouds.yaml, or its address. */
export function cloudName(settings: Pick<OpenstackSettings, 'cloud'>, authUrl = process.env['OS_AUTH_URL']): string {
  if (settings.cloud !== '') return `OpenStack (entry "${settings.cloud}" of clouds.yaml)`;
  return authUrl === undefined || authUrl === '' ? 'OpenStack (no OS_AUTH_URL is set)' : `OpenStack at ${authUrl}`;
}

/**
 * What the plugin's words about a failed look-up mean, and what to do next.
 * @returns CLOUD_DENIED, CLOUD_UNREACHABLE, NOT_IN_CLOUD, or CLOUD_FAILED for what is not known here
 */
export function explained(cloud: string, { what, key, list }: Sought, said: string): NxnwError {
  const details = { cloud, what, said };
  const error = (code: string, why: string): NxnwError => new NxnwError(code, `${cloud}: ${why}`, details);
  const account = 'OS_USERNAME, OS_PASSWORD, OS_PROJECT_NAME and the domains (or the entry of clouds.yaml)';
  if (/authentication failed|unauthorized|\b401\b/i.test(said))
    return error('CLOUD_DENIED', `it does not accept the account that looks for ${what}; check ${account}, try \`openstack token issue\`, and run \`nxnw up\` again`); // prettier-ignore
  if (/connection refused|no such host|timeout|timed out|no route to host|unreachable|deadline exceeded/i.test(said))
    return error('CLOUD_UNREACHABLE', `it does not answer, so ${what} cannot be found (${lastOf(said)}); check OS_AUTH_URL (or the entry of clouds.yaml) and the way there, and run \`nxnw up\` again`); // prettier-ignore
  if (/no results|not found|\b404\b/i.test(said))
    return error('NOT_IN_CLOUD', `there is no ${what.replace(/^the /, '')} in this project; \`${list}\` shows what there is: set ${key}, or put it there, and run \`nxnw up\` again`); // prettier-ignore
  return error('CLOUD_FAILED', `${what} cannot be looked up: ${lastOf(said)}; run \`${list}\` to see whether the cloud works, and \`nxnw up\` again`); // prettier-ignore
}

/** The innermost of nested messages. */
function lastOf(said: string): string {
  return said.trim().split('\n').at(-1)?.trim() ?? '';
}

async function found<T>(settings: OpenstackSettings, sought: Sought, asked: Promise<T>): Promise<T> {
  try {
    return await asked;
  } catch (e) {
    // shown without a stack trace: it is about the configuration, not about the program
    throw new pulumi.RunError(markedMessage(explained(cloudName(settings), sought, asError(e).message)));
  }
}

/** The id of the newest image of a name. */
export function imageId(scope: Scope, settings: OpenstackSettings): pulumi.Output<string> {
  const sought = { what: `the image "${settings.image}"`, key: 'nxnw:cloud.openstack.image', list: 'openstack image list' }; // prettier-ignore
  const asked = getImage({ name: settings.image, mostRecent: true }, scope.options);
  return pulumi.output(found(settings, sought, asked)).id;
}

/** The id of the network that floating addresses come from. */
export function externalNetworkId(scope: Scope, settings: OpenstackSettings): pulumi.Output<string> {
  const name = settings.externalNetwork;
  const sought = { what: `the external network "${name}"`, key: 'nxnw:cloud.openstack.externalNetwork', list: 'openstack network list --external' }; // prettier-ignore
  return pulumi.output(found(settings, sought, getNetwork({ name, external: true }, scope.options))).id;
}

import type * as pulumi from '@pulumi/pulumi';
import type { Ec2Dialect } from './ec2-dialect.js';
import type { Ec2Settings, MachineGroup } from './settings.js';

/** What all parts of one cloud share. */
export interface Ec2Scope {
  /** Logical names of all resources begin with it. */
  readonly name: string;
  readonly platformId: string;
  readonly settings: Ec2Settings;
  readonly dialect: Ec2Dialect;
  /** Parent and provider of every resource and look-up. */
  readonly options: { readonly parent: pulumi.Resource; readonly provider?: pulumi.ProviderResource };
}

/** The tags of everything that can have tags; `of` says which machine it belongs to, or which group. */
export function tagsOf(
  scope: Ec2Scope,
  what: string,
  of: { readonly machine?: string; readonly group?: MachineGroup } = {},
): Record<string, string> {
  return {
    Name: `${scope.platformId}-${what}`,
    'nxnw:platform': scope.platformId,
    ...(of.machine === undefined ? {} : { 'nxnw:machine': of.machine }),
    ...(of.group === undefined ? {} : { 'nxnw:group': of.group }),
  };
}

import type * as pulumi from '@pulumi/pulumi';

/** Where the parts of a cloud stand: in a component, under its name, with its provider. */
export interface Scope {
  /** Begins every logical name. */
  readonly label: string;
  /** Begins every name in the project. */
  readonly platformId: string;
  /** Parent, and the provider where it is not the default one; for resources and for look-ups. */
  readonly options: { readonly parent: pulumi.Resource; readonly provider?: pulumi.ProviderResource };
}

/** The tags by which the network's parts are found again. */
export function tagsOf(scope: Scope): string[] {
  return [`nxnw_platform=${scope.platformId}`];
}

import type * as pulumi from '@pulumi/pulumi';

/** PEM texts of a certificate, its authority and its key, as inputs of resources. */
export type TlsInput = pulumi.Input<{
  readonly ca: pulumi.Input<string>;
  readonly cert: pulumi.Input<string>;
  readonly key: pulumi.Input<string>;
}>;

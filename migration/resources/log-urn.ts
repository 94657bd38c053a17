import * as pulumi from '@pulumi/pulumi';

/**
 * URN of the resource `name` of type `nxnw:KIND` below `parent`, for the engine's log. Taken out of the output by a
 * promise: an input that depends on the parent component would wait for all its children, the resource itself included.
 */
export function logUrn(name: string, kind: string, parent: pulumi.Resource | undefined): pulumi.Output<string> {
  const type = `pulumi-nodejs:dynamic/nxnw:${kind}`;
  if (parent === undefined) return pulumi.createUrn(name, type);
  return pulumi.output(
    new Promise<string>((ok) => {
      pulumi.createUrn(name, type, parent).apply(ok);
    }),
  );
}

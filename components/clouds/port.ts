import type * as pulumi from '@pulumi/pulumi';
import type { Machine } from '../plan/machines.js';
import type { Flow } from '../plan/traffic.js';

/** What a cloud is asked for. `settings` is the block of its kind. */
export interface CloudArgs<S> {
  readonly platformId: string;
  readonly settings: S;
  /** With the address that each shall have. */
  readonly machines: readonly Machine[];
  /** Who speaks with whom, and on which ports; everything else stays closed. */
  readonly flows: readonly Flow[];
  /** Whether machines and disks that hold data are protected from `destroy`. */
  readonly protect: boolean;
  /** What a machine is started with: cloud-init user data, a secret; it differs for each machine. */
  readonly userData: (machine: Machine) => pulumi.Output<string>;
  /** The enrolment file alone, for machines that are reached another way; a secret. */
  readonly enrolment: (machine: Machine) => pulumi.Output<string>;
  /** What must serve before a machine is made or replaced: its `dependsOn`. @default nothing */
  readonly before?: (machine: Machine) => readonly pulumi.Input<pulumi.Resource>[];
}

/** A machine of the plan as its cloud has made it. Its agent enrols by itself. */
export interface Server {
  /** Id that changes when the machine is replaced. */
  readonly serverId: pulumi.Output<string>;
  /** Address at which the operator reaches the agent. */
  readonly reach: pulumi.Output<string>;
  /** Command that shows what the machine said while it started. */
  readonly console: pulumi.Output<string>;
  /** What must be there before the agent can answer: disks attached, rules in force. */
  readonly ready: readonly pulumi.Resource[];
}

/**
 * A cloud: a component that stands up machines which differ from those of other clouds only in how they came to be.
 * Data machines keep image and user data that they were made with, whatever changes (`ignoreChanges`), unless
 * `settings.replace` names them; their disks are resources of their own and outlive them.
 */
export interface Cloud extends pulumi.ComponentResource {
  /** By the machine's name. */
  readonly servers: ReadonlyMap<string, Server>;
  /** Addresses that the clients' DNS name leads to. */
  readonly edgeAddresses: pulumi.Output<string[]>;
}

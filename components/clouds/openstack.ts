import * as pulumi from '@pulumi/pulumi';
import { Provider } from '@pulumi/openstack/provider';
import { checkOpenstack } from './openstack-check.js';
import { fencesOf } from './openstack-fence.js';
import { machinesIn } from './openstack-machines.js';
import { networkOf } from './openstack-network.js';
import type { Scope } from './openstack-scope.js';
import type { Cloud, CloudArgs, Server } from './port.js';
import type { OpenstackSettings } from './settings.js';

/**
 * Machines in a project of OpenStack (Nova, Neutron, Cinder, Glance). Names in the project are `PLATFORM-ID-MACHINE`.
 * What stays when something changes:
 * - a changed image or user data replaces app and edge machines, and data machines only where `settings.replace` names
 *   them; a changed flavour resizes in place;
 * - disks grow in place and are never replaced with their machine;
 * - addresses, ports and floating addresses outlive the machines.
 * @throws BAD_CONFIG with every fault of the settings
 */
export class OpenstackCloud extends pulumi.ComponentResource implements Cloud {
  readonly servers: ReadonlyMap<string, Server>;
  readonly edgeAddresses: pulumi.Output<string[]>;

  constructor(name: string, args: CloudArgs<OpenstackSettings>, opts: pulumi.ComponentResourceOptions = {}) {
    checkOpenstack(args);
    super('nxnw:index:OpenstackCloud', name, {}, opts);
    const { settings, platformId, machines } = args;
    const scope: Scope = {
      label: name,
      platformId,
      options: {
        parent: this,
        // without an entry of clouds.yaml it is the stack's own provider, which reads OS_* and openstack:*
        ...(settings.cloud === ''
          ? {}
          : { provider: new Provider(`${name}-provider`, { cloud: settings.cloud }, { parent: this }) }),
      },
    };
    const network = networkOf(scope, settings);
    const fences = fencesOf(scope, args.flows, settings.access);
    const made = machinesIn(scope, args, network, fences);
    this.servers = made;
    const edges = machines.filter((m) => m.group === 'edge');
    this.edgeAddresses = pulumi.all(edges.flatMap((m) => made.get(m.name)?.reach ?? []));
    this.registerOutputs({ edgeAddresses: this.edgeAddresses });
  }
}

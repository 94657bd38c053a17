import * as pulumi from '@pulumi/pulumi';
import { logUrn } from './log-urn.js';

type Networks = typeof import('./engines/libvirt/networks.js');
type Filters = typeof import('./engines/libvirt/filters.js');
type Volumes = typeof import('./engines/libvirt/volumes.js');
type Machines = typeof import('./engines/libvirt/machines.js');
type EngineLog = typeof import('./engines/engine-log.js');
type Targets = typeof import('./engines/targets.js');

const networks: pulumi.dynamic.ResourceProvider = {
  async create(inputs) {
    const engine: Networks = require('@nxnw/migration/resources/engines/libvirt/networks');
    const { guarded }: Targets = require('@nxnw/migration/resources/engines/targets');
    return guarded(async () => ({ id: `network/${inputs.name}`, outs: await engine.makeNetwork(inputs) }));
  },
  async read(id, props) {
    const engine: Networks = require('@nxnw/migration/resources/engines/libvirt/networks');
    const { guarded, asFound }: Targets = require('@nxnw/migration/resources/engines/targets');
    return guarded(async () => asFound(id, props, await engine.readNetwork(props)));
  },
  async diff(_id, olds, news) {
    const engine: Networks = require('@nxnw/migration/resources/engines/libvirt/networks');
    return { ...engine.networkDiffers(olds, news), deleteBeforeReplace: true };
  },
  async update(_id, _olds, news) {
    const engine: Networks = require('@nxnw/migration/resources/engines/libvirt/networks');
    const { guarded }: Targets = require('@nxnw/migration/resources/engines/targets');
    return guarded(async () => ({ outs: await engine.makeNetwork(news) }));
  },
  async delete(_id, props) {
    const engine: Networks = require('@nxnw/migration/resources/engines/libvirt/networks');
    const { guarded }: Targets = require('@nxnw/migration/resources/engines/targets');
    return guarded(() => engine.removeNetwork(props));
  },
};

const filters: pulumi.dynamic.ResourceProvider = {
  async create(inputs) {
    const engine: Filters = require('@nxnw/migration/resources/engines/libvirt/filters');
    const { guarded }: Targets = require('@nxnw/migration/resources/engines/targets');
    return guarded(async () => ({ id: `filter/${inputs.name}`, outs: await engine.makeFilter(inputs) }));
  },
  async read(id, props) {
    const engine: Filters = require('@nxnw/migration/resources/engines/libvirt/filters');
    const { guarded, asFound }: Targets = require('@nxnw/migration/resources/engines/targets');
    return guarded(async () => asFound(id, props, await engine.readFilter(props)));
  },
  async diff(_id, olds, news) {
    const engine: Filters = require('@nxnw/migration/resources/engines/libvirt/filters');
    return { ...engine.filterDiffers(olds, news), deleteBeforeReplace: true };
  },
  async update(_id, _olds, news) {
    const engine: Filters = require('@nxnw/migration/resources/engines/libvirt/filters');
    const { guarded }: Targets = require('@nxnw/migration/resources/engines/targets');
    return guarded(async () => ({ outs: await engine.makeFilter(news) }));
  },
  async delete(_id, props) {
    const engine: Filters = require('@nxnw/migration/resources/engines/libvirt/filters');
    const { guarded }: Targets = require('@nxnw/migration/resources/engines/targets');
    return guarded(() => engine.removeFilter(props));
  },
};

const volumes: pulumi.dynamic.ResourceProvider = {
  async create(inputs) {
    const engine: Volumes = require('@nxnw/migration/resources/engines/libvirt/volumes');
    const { guarded }: Targets = require('@nxnw/migration/resources/engines/targets');
    return guarded(async () => ({
      id: `volume/${inputs.pool}/${inputs.name}`,
      outs: await engine.makeVolume(inputs),
    }));
  },
  async read(id, props) {
    const engine: Volumes = require('@nxnw/migration/resources/engines/libvirt/volumes');
    const { guarded, asFound }: Targets = require('@nxnw/migration/resources/engines/targets');
    return guarded(async () => asFound(id, props, await engine.readVolume(props)));
  },
  async diff(_id, olds, news) {
    const engine: Volumes = require('@nxnw/migration/resources/engines/libvirt/volumes');
    return { ...engine.volumeDiffers(olds, news), deleteBeforeReplace: true };
  },
  async update(_id, _olds, news) {
    const engine: Volumes = require('@nxnw/migration/resources/engines/libvirt/volumes');
    const { guarded }: Targets = require('@nxnw/migration/resources/engines/targets');
    return guarded(async () => ({ outs: await engine.makeVolume(news) }));
  },
  async delete(_id, props) {
    const engine: Volumes = require('@nxnw/migration/resources/engines/libvirt/volumes');
    const { guarded }: Targets = require('@nxnw/migration/resources/engines/targets');
    return guarded(() => engine.removeVolume(props));
  },
};

const domains: pulumi.dynamic.ResourceProvider = {
  async create(inputs) {
    const engine: Machines = require('@nxnw/migration/resources/engines/libvirt/machines');
    const { engineLog }: EngineLog = require('@nxnw/migration/resources/engines/engine-log');
    const { guarded }: Targets = require('@nxnw/migration/resources/engines/targets');
    return guarded(async () => ({
      id: `domain/${inputs.platformId}/${inputs.machine}`,
      outs: await engine.makeMachine(inputs, engineLog(inputs.logUrn)),
    }));
  },
  async read(id, props) {
    const engine: Machines = require('@nxnw/migration/resources/engines/libvirt/machines');
    const { guarded, asFound }: Targets = require('@nxnw/migration/resources/engines/targets');
    return guarded(async () => asFound(id, props, await engine.readMachine(props)));
  },
  async diff(_id, olds, news) {
    const engine: Machines = require('@nxnw/migration/resources/engines/libvirt/machines');
    return { ...engine.machineDiffers(olds, news), deleteBeforeReplace: true };
  },
  async update(_id, olds, news) {
    const engine: Machines = require('@nxnw/migration/resources/engines/libvirt/machines');
    const { engineLog }: EngineLog = require('@nxnw/migration/resources/engines/engine-log');
    const { guarded }: Targets = require('@nxnw/migration/resources/engines/targets');
    // what needs a restart must outlast the progress on the screen
    return guarded(async () => ({
      outs: await engine.updateMachine(olds, news, engineLog(news.logUrn, 'warning')),
    }));
  },
  async delete(_id, props) {
    const engine: Machines = require('@nxnw/migration/resources/engines/libvirt/machines');
    const { guarded }: Targets = require('@nxnw/migration/resources/engines/targets');
    return guarded(() => engine.removeMachine(props));
  },
};

/** Arguments as resources take them: each may be an output. */
type Inputs<T> = { readonly [K in keyof T]: pulumi.Input<T[K]> };
type NetworkInputs = import('./engines/libvirt/networks.js').NetworkInputs;
type FilterInputs = import('./engines/libvirt/filters.js').FilterInputs;
type VolumeInputs = import('./engines/libvirt/volumes.js').VolumeInputs;
type DomainInputs = import('./engines/libvirt/machines.js').DomainInputs;

/** A platform's network on one host. */
export class LibvirtNetwork extends pulumi.dynamic.Resource {
  constructor(name: string, args: Inputs<Omit<NetworkInputs, 'active'>>, opts: pulumi.CustomResourceOptions = {}) {
    super(networks, name, { ...args, active: true }, opts, 'nxnw', 'LibvirtNetwork');
  }
}

/** What is let in to the machines of one group on one host. */
export class LibvirtFilter extends pulumi.dynamic.Resource {
  constructor(name: string, args: Inputs<FilterInputs>, opts: pulumi.CustomResourceOptions = {}) {
    super(filters, name, { ...args }, opts, 'nxnw', 'LibvirtFilter');
  }
}

/** A disk for data, which outlives the machine that has it. */
export class LibvirtVolume extends pulumi.dynamic.Resource {
  /** On the host. */
  declare readonly path: pulumi.Output<string>;

  constructor(name: string, args: Inputs<VolumeInputs>, opts: pulumi.CustomResourceOptions = {}) {
    super(volumes, name, { ...args, path: undefined }, opts, 'nxnw', 'LibvirtVolume');
  }
}

/** A machine as a domain of libvirt. */
export class LibvirtDomain extends pulumi.dynamic.Resource {
  /** libvirt's id of it, another one when it is replaced. */
  declare readonly uuid: pulumi.Output<string>;

  constructor(name: string, args: Inputs<Omit<DomainInputs, 'running'>>, opts: pulumi.CustomResourceOptions = {}) {
    super(
      domains,
      name,
      {
        ...args,
        userData: pulumi.secret(args.userData),
        running: true,
        uuid: undefined,
        logUrn: logUrn(name, 'LibvirtDomain', opts.parent),
      },
      opts,
      'nxnw',
      'LibvirtDomain',
    );
  }
}

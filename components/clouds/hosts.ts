import * as pulumi from '@pulumi/pulumi';
import { remote, type types } from '@pulumi/command';
import type { Machine } from '../plan/machines.js';
import { folderScript, hostFolder, installScript, removeScript, unitOf, type HostScript } from './hosts-script.js';
import type { Cloud, CloudArgs, Server } from './port.js';
import type { HostSettings, HostsSettings } from './settings.js';

const CONNECT_TRIES = 5;
const CONNECT_SECONDS = 10;

/** The release that is installed on machines: an archive, and its digest. */
export interface ReleaseFile {
  readonly path: string;
  readonly sha256: string;
}

export interface HostsCloudArgs extends CloudArgs<HostsSettings> {
  readonly release: ReleaseFile;
}

/**
 * Machines that are there already, reached by ssh: the release is copied to each, installed, and its agent started.
 * The machines stay when the platform goes; what was installed for it is removed, but for Debian's packages.
 */
export class HostsCloud extends pulumi.ComponentResource implements Cloud {
  readonly servers: ReadonlyMap<string, Server>;
  readonly edgeAddresses: pulumi.Output<string[]>;

  constructor(name: string, args: HostsCloudArgs, opts: pulumi.ComponentResourceOptions = {}) {
    super('nxnw:index:HostsCloud', name, {}, opts);
    this.servers = new Map(args.machines.map((m) => [m.name, this.server(name, m, args)]));
    this.edgeAddresses = pulumi.output(args.machines.filter((m) => m.group === 'edge').map((m) => m.host));
    this.registerOutputs({});
  }

  private server(name: string, m: Machine, args: HostsCloudArgs): Server {
    const { settings, release, platformId } = args;
    const host = settings.hosts[m.site];
    if (host === undefined) throw new Error(`the plan knows the host of ${m.name}`);
    const connection = connectionOf(settings, host);
    const directory = hostFolder(settings, platformId);
    const script: HostScript = {
      platformId,
      machine: m.name,
      group: m.group,
      host: host.ssh ?? host.address,
      directory: `${directory}/${m.name}`,
      needs: settings.needs[m.group],
      releases: `${directory}/releases/${m.name}`,
      sha256: release.sha256,
    };
    const options = { parent: this };
    const stdin = args.enrolment(m);
    // a machine that was lost gets another enrolment file, and has lost its release too
    const triggers = [release.sha256, stdin];
    const folder = new remote.Command(
      `${name}-${m.name}-folder`,
      { connection, create: folderScript(script), triggers },
      options,
    );
    const copied = new remote.CopyToRemote(
      `${name}-${m.name}-release`,
      {
        connection,
        source: new pulumi.asset.FileAsset(release.path),
        remotePath: `${script.releases}/${release.sha256}.tar.gz`,
        triggers,
      },
      { ...options, dependsOn: [folder] },
    );
    const installed = new remote.Command(
      `${name}-${m.name}`,
      {
        connection,
        create: installScript(script),
        update: installScript(script),
        delete: removeScript(script),
        stdin,
        logging: remote.Logging.Stderr,
      },
      {
        ...options,
        dependsOn: [copied, ...(args.before?.(m) ?? [])],
        protect: args.protect && m.group === 'data',
        additionalSecretOutputs: ['stdin'],
      },
    );
    return {
      serverId: pulumi.output(`host/${host.address}/${m.name}`),
      reach: pulumi.output(m.host),
      console: pulumi.output(
        `ssh -p ${String(settings.port)} ${settings.user}@${host.ssh ?? host.address} journalctl -u ${unitOf(script)}`,
      ),
      ready: [installed],
    };
  }
}

function connectionOf(s: HostsSettings, h: HostSettings): types.input.remote.ConnectionArgs {
  return {
    host: h.ssh ?? h.address,
    port: s.port,
    user: s.user,
    privateKey: pulumi.secret(s.privateKey),
    dialErrorLimit: CONNECT_TRIES,
    perDialTimeout: CONNECT_SECONDS,
  };
}

import { resolve } from 'node:path';
import { AgentClient } from '@nxnw/platform/agent/api';
import { packBundle } from '@nxnw/platform/apps/bundle';
import { homeDir } from '@nxnw/platform/agent/home';
import { NxnwError, asError } from '@nxnw/platform/errors';
import { canonical } from './canonical.js';
import type { Log } from './engine-log.js';
import type { Tls } from './targets.js';
import { throughGateways, type Gateways } from './through.js';

export interface BundleInputs {
  readonly app: string;
  readonly digest: string;
  /** Folder of the program; '' when the bundle comes from `from`. */
  readonly directory: string;
  /** The running platform's join ports, its agents that hold the bundle, host:port, and what they accept. */
  readonly from: { readonly gateways: readonly Gateways[]; readonly agents: readonly string[]; readonly tls: Tls } | null; // prettier-ignore
  /** Agents of the machines that run the application, host:port. */
  readonly to: readonly string[];
  /** One for each of them; changes when the machine is made anew. */
  readonly members: readonly string[];
  readonly operator: Tls;
  readonly logUrn: string;
}

/** Uploads the application to each of its machines, checked by digest; a machine that has it takes nothing. */
export async function uploadBundle(inputs: BundleInputs, log: Log): Promise<BundleInputs> {
  const archive = await fetchArchive(inputs, log);
  for (const [i, agent] of inputs.to.entries()) {
    log(`uploading ${String(archive.length)} bytes to machine ${String(i + 1)} of ${String(inputs.to.length)}`);
    const client = new AgentClient(agent, inputs.operator);
    try {
      await client.upload(inputs.digest, archive);
    } finally {
      client.close();
    }
  }
  return inputs;
}

async function fetchArchive(inputs: BundleInputs, log: Log): Promise<Buffer> {
  if (inputs.from === null) {
    const packed = packBundle(resolve(homeDir(), inputs.directory));
    if (packed.digest !== inputs.digest)
      throw new NxnwError(
        'BUNDLE_CHANGED',
        `the files of application ${inputs.app} in ${inputs.directory} changed during the run; run it again`,
      );
    return packed.archive;
  }
  const { gateways, agents, tls } = inputs.from;
  return throughGateways({ gateways, tls, endpoints: agents }, async (at, status) => {
    const failures: string[] = [];
    for (const agent of agents) {
      log(`fetching the bundle from the running platform (${agent})`);
      const client = new AgentClient(at(agent), tls);
      try {
        return await client.download(inputs.digest);
      } catch (e) {
        failures.push(`${agent}: ${asError(e).message}`);
      } finally {
        client.close();
      }
    }
    throw new NxnwError(
      'BUNDLE_UNAVAILABLE',
      `no machine of the running platform gave the bundle of application ${inputs.app}: ${failures.join('; ')}; its join port: ${status()}`,
    );
  });
}

/** Where the bundle comes from is no difference: its digest is what it is. */
export function bundleDiffers(old: BundleInputs, wanted: BundleInputs): boolean {
  return (
    canonical([old.app, old.digest, old.to, old.members]) !==
    canonical([wanted.app, wanted.digest, wanted.to, wanted.members])
  );
}

import { resolve } from 'node:path';
import { AgentClient } from '@nxnw/platform/agent/api';
import { packBundle } from '@nxnw/platform/apps/bundle';
import { homeDir } from '@nxnw/platform/agent/home';
import { NxnwError } from '@nxnw/platform/errors';
import { canonical } from './canonical.js';
import type { Log } from './engine-log.js';
import type { Tls } from './targets.js';

export interface BundleInputs {
  readonly app: string;
  readonly digest: string;
  /** Folder of the program; '' when the bundle comes from `from`. */
  readonly directory: string;
  /** Agents of the running platform that hold the bundle, host:port, and what they accept. */
  readonly from: { readonly agents: readonly string[]; readonly tls: Tls } | null;
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
  const failures: string[] = [];
  for (const agent of inputs.from.agents) {
    log(`fetching the bundle from the running platform (${agent})`);
    const client = new AgentClient(agent, inputs.from.tls);
    try {
      return await client.download(inputs.digest);
    } catch (e) {
      failures.push(`${agent}: ${e instanceof Error ? e.message : String(e)}`);
    } finally {
      client.close();
    }
  }
  throw new NxnwError(
    'BUNDLE_UNAVAILABLE',
    `no machine of the running platform gave the bundle of application ${inputs.app}: ${failures.join('; ')}`,
  );
}

/** Where the bundle comes from is no difference: its digest is what it is. */
export function bundleDiffers(old: BundleInputs, wanted: BundleInputs): boolean {
  return (
    canonical([old.app, old.digest, old.to, old.members]) !==
    canonical([wanted.app, wanted.digest, wanted.to, wanted.members])
  );
}

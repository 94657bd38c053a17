import { z } from 'zod';
import { readFile, rename, open, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { NxnwError } from '@nxnw/platform/errors';
import type { DnsDriver } from './dns.js';
import { DnsHandoff } from './handoff.js';
import type { NoteStore } from './handoff.js';
import type { SideAddresses } from './decide.js';
import { Rfc2136Driver } from './rfc2136.js';
import { Route53Driver } from './route53.js';

const common = {
  zone: z.string().min(1),
  name: z.string().min(1),
  ttlSeconds: z.int().min(1).max(86_400),
  restoreTtlSeconds: z.int().min(1).max(604_800),
};

/** `nxnw:dns` as the stacks hand it on: the block of the chosen driver is required, the other one ignored. */
const DnsSettings = z.discriminatedUnion('driver', [
  z.object({
    driver: z.literal('rfc2136'),
    ...common,
    rfc2136: z.object({
      server: z.string().regex(/^.+:\d{1,5}$/, 'must be host:port'),
      keyName: z.string().min(1),
      keySecret: z.string().min(1),
    }),
  }),
  z.object({
    driver: z.literal('route53'),
    ...common,
    route53: z.object({
      hostedZoneId: z.string().min(1),
      region: z.string().default('us-east-1'),
      endpoint: z.url().optional(),
      credentials: z.object({ accessKeyId: z.string(), secretAccessKey: z.string() }).optional(),
    }),
  }),
]);
export type DnsSettings = z.output<typeof DnsSettings>;

/** Checks the settings; DNS_CONFIG names every fault with its path, never a value. */
export function parseDnsSettings(given: unknown): DnsSettings {
  const parsed = DnsSettings.safeParse(given);
  const faults = parsed.success
    ? outside(parsed.data)
    : parsed.error.issues.map((i) => `dns.${i.path.join('.')}: ${i.message}`);
  if (faults.length > 0 || !parsed.success)
    throw new NxnwError('DNS_CONFIG', `the DNS settings are wrong: ${faults.join('; ')}. Correct nxnw:dns.`, {
      faults,
    });
  return parsed.data;
}

function outside(s: DnsSettings): string[] {
  const inside = s.name === s.zone || s.name.endsWith(`.${s.zone}`);
  return inside ? [] : [`dns.name: ${s.name} is not in the zone ${s.zone}`];
}

export function openDnsDriver(s: DnsSettings): DnsDriver {
  if (s.driver === 'rfc2136') {
    const colon = s.rfc2136.server.lastIndexOf(':');
    return new Rfc2136Driver({
      zone: s.zone,
      server: { host: s.rfc2136.server.slice(0, colon), port: Number(s.rfc2136.server.slice(colon + 1)) },
      keyName: s.rfc2136.keyName,
      keySecret: s.rfc2136.keySecret,
    });
  }
  const { hostedZoneId, region, endpoint, credentials } = s.route53;
  return new Route53Driver({
    hostedZoneId,
    region,
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(credentials === undefined ? {} : { credentials }),
  });
}

/** The hand-over that the settings describe. `noteFile`: a file of the coordinator's own, see NoteStore. */
export function openDnsHandoff(settings: unknown, addresses: SideAddresses, noteFile: string): DnsHandoff {
  const s = parseDnsSettings(settings);
  const { name, ttlSeconds, restoreTtlSeconds } = s;
  const notes = fileNotes(noteFile);
  return new DnsHandoff({ driver: openDnsDriver(s), name, ttlSeconds, restoreTtlSeconds, addresses, notes });
}

const Note = z.object({ name: z.string(), oldTtlS: z.number(), loweredAtMs: z.number().nullable() });

export function fileNotes(path: string): NoteStore {
  return {
    async load() {
      const text = await readFile(path, 'utf8').catch((e: unknown) => {
        if (e instanceof Error && 'code' in e && e.code === 'ENOENT') return null;
        throw e;
      });
      return text === null ? null : Note.parse(JSON.parse(text));
    },
    async save(note) {
      if (note === null) return rm(path, { force: true });
      const file = await open(`${path}.new`, 'w');
      try {
        await file.writeFile(JSON.stringify(note));
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(`${path}.new`, path);
      const folder = await open(dirname(path), 'r');
      await folder.sync().finally(() => folder.close());
    },
  };
}

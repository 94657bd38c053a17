import { z } from 'zod';

/** What one client process is told, as JSON. */
export const clientConfig = z.strictObject({
  /** Name in the logs and in nonces; unique in the run. */
  client: z.string().regex(/^[a-z0-9]+$/),
  /** Position among the clients: own keys are every `of`-th. */
  index: z.int().min(0),
  of: z.int().min(1),
  /** Unique for each start, so that nonces are unique for ever. */
  run: z.string(),
  seed: z.int(),
  /** Requests a second of this client. */
  ratePerS: z.number().positive(),
  target: z.strictObject({ host: z.string(), port: z.int(), dns: z.strictObject({ host: z.string(), port: z.int() }) }),
  log: z.string(),
  /** Ids of loaded places, largest first. */
  placesFile: z.string(),
  /** Answers after this many milliseconds from the scheduled time are failures. */
  deadlineMs: z.int().default(5000),
  /** Whether writes carry an Idempotency-Key, by which edges and client may send them again. */
  repeatable: z.boolean().default(false),
});
export type ClientConfig = z.infer<typeof clientConfig>;

/** What a client process tells its parent each second. */
export interface ClientStats {
  readonly client: string;
  readonly sent: number;
  readonly answered: number;
  readonly failed: number;
  readonly writes: number;
  readonly conflicts: number;
  readonly outstanding: number;
  /** Longest latency of the last second, milliseconds. */
  readonly maxMs: number;
  /** Where the requests of the last second were answered: instance → count. */
  readonly instances: Readonly<Record<string, number>>;
}

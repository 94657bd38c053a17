import { z } from 'zod';
import { endpointSchema } from '../agent/spec.js';
import { tlsPathsSchema } from '../agent/datastore-config.js';

/** The file that the agent writes for a gateway (`node platform/dist/wire/gateway-main.js --config FILE`). */
export const gatewayConfigSchema = z.strictObject({
  listen: endpointSchema,
  /** Where it serves `health.check` to its agent. */
  status: endpointSchema,
  tls: tlsPathsSchema,
  allow: z.array(z.string()),
  reverse: z.array(z.strictObject({ target: z.string(), listen: endpointSchema })),
});

/** The same for the joining side (`gateway-client-main.js`). */
export const gatewayClientConfigSchema = z.strictObject({
  status: endpointSchema,
  /** The machine's own, for `status`. */
  tls: tlsPathsSchema,
  gateways: z.array(z.strictObject({ machine: z.string(), endpoint: endpointSchema })).min(1),
  /** The join bundle's. */
  join: tlsPathsSchema,
  forwards: z.array(z.strictObject({ listen: endpointSchema, to: z.string() })),
  reverse: z.strictObject({ target: z.string(), to: endpointSchema }).nullable(),
});

import { z } from 'zod';
import { configSchema } from './schema.js';

/** JSON Schema of the configuration, for editors; the values as they are written, before defaults. */
export function jsonSchema(): string {
  const schema = z.toJSONSchema(configSchema, { io: 'input', target: 'draft-7' });
  return `${JSON.stringify({ title: 'Configuration of nxnw (keys of the namespace nxnw:)', ...schema }, null, 2)}\n`;
}

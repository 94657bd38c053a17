import { Client, credentials } from '@grpc/grpc-js';
import type { ServiceError } from '@grpc/grpc-js';
import { createDoor } from '@nxnw/platform/datastore/door';
import type { Door, DoorOptions } from '@nxnw/platform/datastore/door';
import { requestCodec } from '@nxnw/platform/datastore/proto';
import { NxnwError } from '@nxnw/platform/errors';
import { PROJECT } from './datastore-values.js';
import { MemoryShards } from './memory-shards.js';

export const wallClock = { nowUs: (): number => Math.floor((performance.timeOrigin + performance.now()) * 1000) };

/** Errors that a door logs: a test that does not expect any asserts that there are none. */
export class DoorErrors {
  readonly events: { readonly event: string; readonly fields: object }[] = [];
  readonly warn = (): void => undefined;
  readonly error = (fields: object, event: string): void => void this.events.push({ event, fields });
}

export interface OpenDoor {
  readonly door: Door;
  readonly endpoint: string;
  readonly shards: MemoryShards;
  readonly errors: DoorErrors;
  /** Calls a method with a plain request; the decoded answer. */
  call<T>(method: string, request: object): Promise<T>;
  close(): Promise<void>;
}

/** A door of project `shop` on any port of `host`, over shards in memory. */
export async function openDoor(
  host: string,
  over: Partial<DoorOptions> & { shards?: MemoryShards } = {},
): Promise<OpenDoor> {
  const { shards = new MemoryShards(8, wallClock.nowUs, [PROJECT]), ...options } = over;
  const errors = new DoorErrors();
  const door = createDoor({
    projectId: PROJECT,
    client: shards,
    forwarder: { forward: () => Promise.reject(new NxnwError('HOME_GONE', 'there is one door only')) },
    platform: 'n1',
    processId: 'ds-1',
    clock: wallClock,
    logger: errors,
    ...options,
  });
  const endpoint = `${host}:${await door.listen(`${host}:0`)}`;
  const raw = callDoor(endpoint);
  return {
    door,
    endpoint,
    shards,
    errors,
    call: (method, request) => raw.call(method, request),
    close: async () => {
      raw.close();
      await door.close();
    },
  };
}

export interface DoorCalls {
  /** Calls a method with a plain request; the decoded answer. */
  call<T>(method: string, request: object): Promise<T>;
  close(): void;
}

/** Calls of the API, of project `shop`, at a door wherever it is. */
export function callDoor(endpoint: string): DoorCalls {
  const raw = new Client(endpoint, credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1 });
  return { call: (method, request) => unary(raw, method, request), close: () => raw.close() };
}

function unary<T>(client: Client, method: string, request: object): Promise<T> {
  const answers = requestCodec<T>(`${method}Response`);
  const requests = requestCodec<object>(`${method}Request`);
  return new Promise((ok, fail) => {
    client.makeUnaryRequest(
      `/google.datastore.v1.Datastore/${method}`,
      (r: object) => requests.encode({ projectId: PROJECT, ...r }),
      (b: Buffer) => answers.decode(b),
      request,
      { deadline: Date.now() + 20_000 },
      (e: ServiceError | null, answer?: T) => {
        if (e) fail(e);
        else if (answer === undefined) fail(new Error(`no answer to ${method}`));
        else ok(answer);
      },
    );
  });
}

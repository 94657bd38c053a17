import { setTimeout as delay } from 'node:timers/promises';
import { NxnwError } from '@nxnw/platform/errors';
import type { ClientConfig } from './config.js';
import { HttpClient } from './http.js';
import { Resolver } from './resolver.js';

type Target = ClientConfig['target'];

const PATH = '/places/1?fresh';
const ANSWER_MS = 5000;
const AGAIN_MS = 200;

function client(target: Target): HttpClient {
  const resolver = new Resolver(target.host, target.dns, { answer: () => undefined, failure: () => undefined });
  return new HttpClient({ host: target.host, port: target.port, maxSockets: 4 }, resolver);
}

/** Waits until the gazetteer answers through its name, and answers the instance. @throws NOT_SERVING */
export async function untilServing(target: Target, limitMs: number, signal?: AbortSignal): Promise<string> {
  const http = client(target);
  const until = Date.now() + limitMs;
  try {
    for (let last = ''; ;) {
      const answer = await http.send('GET', PATH, null, ANSWER_MS).catch((e: unknown) => {
        last = String(e);
        return null;
      });
      if (answer !== null && (answer.status === 200 || answer.status === 404))
        return String(answer.headers['x-instance']);
      if (answer !== null) last = `status ${answer.status} ${JSON.stringify(answer.body)}`;
      signal?.throwIfAborted();
      if (Date.now() > until)
        throw new NxnwError('NOT_SERVING', `${target.host} does not serve within ${limitMs} ms: ${last}`);
      await delay(AGAIN_MS);
    }
  } finally {
    http.close();
  }
}

/** Sends `count` requests, one after the other: how many each instance has answered. */
export async function askInstances(target: Target, count: number, answerMs = ANSWER_MS): Promise<Map<string, number>> {
  const http = client(target);
  const counts = new Map<string, number>();
  try {
    for (let i = 0; i < count; i++) {
      const answer = await http.send('GET', PATH, null, answerMs);
      const instance = String(answer.headers['x-instance']);
      counts.set(instance, (counts.get(instance) ?? 0) + 1);
    }
  } finally {
    http.close();
  }
  return counts;
}

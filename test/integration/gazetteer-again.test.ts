import assert from 'node:assert/strict';
import { z } from 'zod';
import { HttpClient } from '../load/http.js';
import type { Answer } from '../load/http.js';
import { startLab } from '../load/lab.js';
import type { Lab } from '../load/lab.js';
import { Resolver } from '../load/resolver.js';

const LIMIT_MS = 10_000;
const place = { name: 'A', country: 'XX', featureCode: 'PPL', population: 1, lat: 1, lon: 2 };
const shown = z.looseObject({ view: z.looseObject({ serial: z.int(), deleted: z.boolean(), place: z.unknown() }) });
const book = z.looseObject({ entries: z.array(z.unknown()) });

/** What the application owes to edges and clients that send a write again, and to a platform that loses a machine. */
describe('the gazetteer when a machine is lost', function () {
  this.timeout(240_000);
  let lab: Lab;
  let http: HttpClient;
  const ends: (() => unknown)[] = [];

  before(async () => {
    lab = await startLab('127.62.20');
    ends.push(() => lab.stop());
    const quiet = { answer: () => undefined, failure: () => undefined };
    http = new HttpClient({ ...lab.target, maxSockets: 4 }, new Resolver(lab.target.host, lab.target.dns, quiet));
    ends.push(() => http.close());
  });
  after(async () => {
    for (const end of ends.reverse()) await end();
  });

  async function send(method: string, path: string, body: object | null = null): Promise<Answer> {
    const answer = await http.send(method, path, body, LIMIT_MS);
    assert.equal(answer.status, 200, JSON.stringify(answer.body));
    return answer;
  }

  const serial = async (id: number) => shown.parse((await send('GET', `/places/${id}?fresh`)).body).view.serial;

  it('does a write once that is sent twice with the same nonce', async () => {
    for (let i = 0; i < 2; i++) {
      await send('PUT', '/places/1', { nonce: 'create-1', ...place });
      await send('PUT', '/places/2', { nonce: 'create-2', ...place });
    }
    for (let i = 0; i < 2; i++) await send('POST', '/places/1/sign', { nonce: 'sign', text: 'here' });
    for (let i = 0; i < 2; i++) await send('PATCH', '/places/1', { nonce: 'edit', note: 'seen' });
    for (let i = 0; i < 2; i++) await send('POST', '/move', { nonce: 'move', from: 1, to: 2, amount: 3 });
    assert.deepEqual([await serial(1), await serial(2)], [4, 2]);
    const { entries } = book.parse((await send('GET', '/places/1/book')).body);
    assert.equal(entries.length, 1);
    for (let i = 0; i < 2; i++) await send('DELETE', '/places/2', { nonce: 'remove' });
  });

  it('acknowledges writes, and reads, while its cache is gone', async () => {
    await send('GET', '/places/1');
    await lab.endCache();
    for (let i = 0; i < 5; i++) {
      await send('PATCH', '/places/1', { nonce: `without-${String(i)}`, note: String(i) });
      const { view } = shown.parse((await send('GET', '/places/1')).body);
      assert.equal(z.looseObject({ note: z.string() }).parse(view.place).note, String(i));
    }
  });
});

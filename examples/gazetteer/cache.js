'use strict';
/**
 * Cache-aside that never serves a value older than an acknowledged write.
 *
 * A plain "delete after write" is not enough: a reader that missed may hold an old value and store it after the delete.
 * So a value lies under a *generation*: `g:ID` names it, `v:ID:GENERATION` holds the value. A writer sets a new random
 * generation after its commit and before its answer; whatever a late reader stores goes under a generation that nobody
 * reads any more. A generation that was evicted is simply drawn anew.
 */
const memjs = require('memjs');
const { randomBytes } = require('node:crypto');
const { HttpError } = require('./calls.js');

const TTL_S = 600;
const CALL_MS = 400;
const INVALIDATE_ATTEMPTS = 3;

const newGeneration = () => randomBytes(9).toString('base64url');

class Cache {
  /** @param servers `host:port,host:port` */
  constructor(servers, metrics) {
    this.metrics = metrics;
    // One try a call: a late second try of a client library could bring an old generation back.
    this.client = memjs.Client.create(servers, { retries: 1, timeout: CALL_MS / 1000, logger: { log() {} } });
  }

  /** memjs forgets calls whose connection the server closed: each call has a deadline of its own. */
  bounded(promise) {
    let timer;
    const late = new Promise((_, fail) => {
      timer = setTimeout(() => fail(new Error('memcached did not answer')), CALL_MS);
    });
    return Promise.race([promise, late]).finally(() => clearTimeout(timer));
  }

  async generation(id) {
    const found = await this.bounded(this.client.get(`g:${id}`));
    if (found.value) return found.value.toString();
    const drawn = newGeneration();
    if (await this.bounded(this.client.add(`g:${id}`, drawn, { expires: TTL_S }))) return drawn;
    const other = await this.bounded(this.client.get(`g:${id}`));
    if (!other.value) throw new Error('the generation vanished');
    return other.value.toString();
  }

  /** The cached value, or what `load` answers, stored for the next reader. A cache that fails costs a load only. */
  async get(id, trace, load) {
    let key;
    try {
      key = `v:${id}:${await this.generation(id)}`;
      const hit = await this.bounded(this.client.get(key));
      if (hit.value) {
        trace.cache = 'hit';
        this.metrics.add('gazetteer_cache_hits_total');
        return JSON.parse(hit.value.toString());
      }
      trace.cache = 'miss';
      this.metrics.add('gazetteer_cache_misses_total');
    } catch {
      trace.cache = 'error';
      this.metrics.add('gazetteer_cache_errors_total');
      return load();
    }
    const value = await load();
    this.bounded(this.client.set(key, JSON.stringify(value), { expires: TTL_S })).then(
      () => this.metrics.add('gazetteer_cache_sets_total'),
      () => this.metrics.add('gazetteer_cache_errors_total'),
    );
    return value;
  }

  /** After a commit (or an unknown one) and before its answer. Each try draws its own generation. */
  async invalidate(ids) {
    await Promise.all(ids.map((id) => this.invalidateOne(id)));
  }

  async invalidateOne(id) {
    for (let attempt = 1; ; attempt++) {
      try {
        await this.bounded(this.client.set(`g:${id}`, newGeneration(), { expires: TTL_S }));
        this.metrics.add('gazetteer_cache_invalidations_total');
        return;
      } catch (error) {
        // Nobody listens there: the process is gone with all that it held, and one that comes in its place is empty.
        if (error.code === 'ECONNREFUSED') return;
        this.metrics.add('gazetteer_cache_errors_total');
        if (attempt === INVALIDATE_ATTEMPTS)
          throw new HttpError(503, 'CACHE_UNAVAILABLE', `cannot invalidate place ${id}: ${error.message}`, {
            outcome: 'unknown',
          });
      }
    }
  }

  close() {
    this.client.close();
  }
}

module.exports = { Cache };

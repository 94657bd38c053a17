'use strict';
/**
 * A gazetteer of the world's places: HTTP in front, Google's Datastore client, memcached and ZooKeeper behind. It knows
 * nothing of the platform but its environment: PORT, DATASTORE_EMULATOR_HOST, DATASTORE_PROJECT_ID, MEMCACHE_SERVERS,
 * ZOOKEEPER_SERVERS, and optionally HOST (@default 127.0.0.1) and NXNW_SERVING (a file that says whether this side
 * serves; background work, here the registration in ZooKeeper, runs only then).
 */
// The platform is no Google machine: the client library need not look for Google's metadata server.
process.env.METADATA_SERVER_DETECTION ??= 'none';
const http = require('node:http');
const { readFile } = require('node:fs/promises');
const { HttpError, newTrace } = require('./calls.js');
const { Cache } = require('./cache.js');
const { Gate } = require('./gate.js');
const { Metrics } = require('./metrics.js');
const { Places } = require('./places.js');
const { Tree } = require('./tree.js');
const { warmUp, stayWarm } = require('./warm.js');
const { makeRoutes, bad } = require('./routes.js');

const MAX_BODY_BYTES = 1 << 20;
const RUNNING = 64;
const WAITING = 512;
const SERVING_POLL_MS = 500;
const RETRY_WARM_MS = 500;
const DRAIN_MS = 3000;

function setting(name) {
  const value = process.env[name];
  if (!value) {
    console.error(
      `gazetteer: ${name} is not set; it needs PORT, DATASTORE_EMULATOR_HOST, DATASTORE_PROJECT_ID, MEMCACHE_SERVERS and ZOOKEEPER_SERVERS`,
    );
    process.exit(2);
  }
  return value;
}

async function bodyOf(request) {
  const parts = [];
  let size = 0;
  for await (const part of request) {
    size += part.length;
    if (size > MAX_BODY_BYTES)
      throw new HttpError(413, 'TOO_LARGE', `a body has at most ${MAX_BODY_BYTES} bytes`, { outcome: 'none' });
    parts.push(part);
  }
  if (size === 0) return {};
  try {
    const value = JSON.parse(Buffer.concat(parts).toString());
    if (typeof value === 'object' && value !== null) return value;
  } catch {
    // answered below
  }
  throw bad('the body is a JSON object');
}

function main() {
  const port = Number(setting('PORT'));
  const host = process.env.HOST ?? '127.0.0.1';
  const instance = `${host}:${port}`;
  setting('DATASTORE_EMULATOR_HOST');

  const metrics = new Metrics();
  const gate = new Gate(RUNNING, WAITING);
  metrics.gauge('gazetteer_requests_running', () => gate.running);
  metrics.gauge('gazetteer_requests_waiting', () => gate.queue.length);
  const places = new Places(setting('DATASTORE_PROJECT_ID'));
  const cache = new Cache(setting('MEMCACHE_SERVERS'), metrics);
  const tree = new Tree(setting('ZOOKEEPER_SERVERS'), instance, metrics);
  const routes = makeRoutes({ places, cache, tree });

  let warm = false;
  let stopping = false;
  async function getWarm() {
    while (!warm && !stopping) {
      try {
        await warmUp(host, port, places);
        warm = true;
      } catch (error) {
        console.error(`gazetteer: not warm yet: ${error.message}`);
        await new Promise((ok) => setTimeout(ok, RETRY_WARM_MS));
      }
    }
    await stayWarm(host, port, places, () => stopping || tree.wanted);
  }

  async function answer(request, trace) {
    const url = new URL(request.url, 'http://gazetteer');
    if (url.pathname === '/healthz')
      return { status: warm ? 200 : 503, body: { ok: warm, instance, registered: tree.registered } };
    if (url.pathname === '/metrics') return { status: 200, text: metrics.text() };
    for (const [method, pattern, run] of routes) {
      const match = request.method === method && pattern.exec(url.pathname);
      if (!match) continue;
      const body = await bodyOf(request);
      await gate.enter();
      try {
        return await run({ trace, params: match.slice(1), query: url.searchParams, body });
      } finally {
        gate.leave();
      }
    }
    throw new HttpError(404, 'NO_ROUTE', `no route ${request.method} ${url.pathname}`, { outcome: 'none' });
  }

  const server = http.createServer((request, response) => {
    const trace = newTrace();
    answer(request, trace)
      .catch((error) => {
        const known =
          error instanceof HttpError ? error : new HttpError(500, 'INTERNAL', error.message, { outcome: 'unknown' });
        if (known.status === 500) console.error(error);
        return { status: known.status, body: { error: known.code, message: known.message, ...known.fields } };
      })
      .then(({ status, body, text }) => {
        if (request.headers['x-warm']) metrics.add('gazetteer_warm_requests_total');
        else metrics.add('gazetteer_requests_total', `method="${request.method}",status="${status}"`);
        if (trace.retries > 0) metrics.add('gazetteer_retries_total', '', trace.retries);
        for (const code of trace.errors) metrics.add('gazetteer_datastore_errors_total', `code="${code}"`);
        response.writeHead(status, {
          'content-type': text === undefined ? 'application/json' : 'text/plain; version=0.0.4',
          'x-instance': instance,
          'x-cache': trace.cache,
          'x-retries': String(trace.retries),
          'x-datastore-errors': trace.errors.join(','),
        });
        response.end(text ?? JSON.stringify(body));
      });
  });
  server.keepAliveTimeout = 65_000;
  server.listen(port, host, () => {
    console.log(`gazetteer listens on ${instance}`);
    void getWarm();
  });

  async function registerWhenServing() {
    const file = process.env.NXNW_SERVING;
    const serving = !file || (await readFile(file, 'utf8').catch(() => '')).trim() === 'serving';
    if (serving) await tree.register();
    return serving;
  }
  const poll = setInterval(() => {
    if (tree.wanted) return clearInterval(poll);
    registerWhenServing().catch((error) => {
      metrics.add('gazetteer_tree_errors_total');
      console.error(`gazetteer: cannot register: ${error.message}`);
    });
  }, SERVING_POLL_MS);

  const stop = () => {
    if (stopping) return;
    stopping = true;
    clearInterval(poll);
    const late = setTimeout(() => process.exit(0), DRAIN_MS);
    server.close(() => {
      clearTimeout(late);
      tree.close();
      cache.close();
      places.close().finally(() => process.exit(0));
    });
    server.closeIdleConnections();
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
}

main();

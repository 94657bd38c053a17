'use strict';
/**
 * A process that has just started is slow: no connection is open and no code is compiled. So each instance first asks
 * itself, over HTTP and for reading only, and says that it is healthy when that is done.
 */
const http = require('node:http');

const ROUNDS = 120;
const PARALLEL = 4;
const PATHS = [
  '/places/1?fresh',
  '/places/1',
  '/places/1/book',
  '/places?country=AD&limit=5',
  '/places?minPopulation=9000000&limit=5',
  '/notes/warm',
];
const REQUEST_MS = 5000;

function ask(host, port, path, agent) {
  return new Promise((ok, fail) => {
    const request = http.get(
      { host, port, path, agent, timeout: REQUEST_MS, headers: { 'x-warm': '1' } },
      (response) => {
        response.resume();
        response.on('end', () =>
          response.statusCode < 500 ? ok() : fail(new Error(`${path} answers ${response.statusCode}`)),
        );
      },
    );
    request.on('timeout', () => request.destroy(new Error(`${path} is not answered`)));
    request.on('error', fail);
  });
}

/** Throws when the instance cannot read; it may be called again. */
async function warmUp(host, port) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: PARALLEL });
  try {
    // One alone first: without a datastore it fails, and there is no use in the others.
    await ask(host, port, PATHS[0], agent);
    let next = 0;
    const work = async () => {
      while (next < ROUNDS) await ask(host, port, PATHS[next++ % PATHS.length], agent);
    };
    await Promise.all(Array.from({ length: PARALLEL }, work));
  } finally {
    agent.destroy();
  }
}

module.exports = { warmUp };

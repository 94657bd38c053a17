'use strict';
/**
 * A process that has just started is slow: no connection is open and no code is compiled. So each instance first asks
 * itself over HTTP, makes a few writes that leave nothing behind, and says that it is healthy when that is done. Where it
 * then stands by for a switch, it goes on, slowly, so that the first requests after the switch find compiled code.
 */
const http = require('node:http');
const { newTrace } = require('./calls.js');

const ROUNDS = 120;
const WRITES = 40;
/** Rounds of an instance that stands by; after each it rests this many times as long as that took. */
const STANDBY_ROUNDS = 2000;
const REST = 3;
const PARALLEL = 4;
const PATHS = [
  '/places/1?fresh',
  '/places/1',
  '/places/1/book',
  '/places?country=AD&limit=5',
  '/places?minPopulation=9000000&limit=5',
  '/notes/warm',
];
/** A write that every side refuses: there is no such place. */
const REFUSED = { method: 'PATCH', path: `/places/${Number.MAX_SAFE_INTEGER}`, body: { nonce: 'warm' } };
const REQUEST_MS = 5000;

function ask(host, port, agent, { method = 'GET', path, body = {} }) {
  return new Promise((ok, fail) => {
    const headers = { 'x-warm': '1' };
    const request = http.request({ host, port, path, method, agent, timeout: REQUEST_MS, headers }, (response) => {
      response.resume();
      response.on('end', () =>
        response.statusCode < 500 ? ok() : fail(new Error(`${path} answers ${response.statusCode}`)),
      );
    });
    request.on('timeout', () => request.destroy(new Error(`${path} is not answered`)));
    request.on('error', fail);
    request.end(method === 'GET' ? undefined : JSON.stringify(body));
  });
}

/** Runs `act` for 0 to `count` - 1, some at a time. */
async function repeat(count, act) {
  let next = 0;
  const work = async (lane) => {
    while (next < count) await act(next++, lane);
  };
  await Promise.all(Array.from({ length: PARALLEL }, (_, lane) => work(lane)));
}

/** A platform that does not serve the application yet refuses writes; the code for them has run all the same. */
function standby(error) {
  if (error.code !== 'FAILED_PRECONDITION') throw error;
}

/** Throws when the instance cannot read or write; it may be called again. */
async function warmUp(host, port, places) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: PARALLEL });
  try {
    // One alone first: without a datastore it fails, and there is no use in the others.
    await ask(host, port, agent, { path: PATHS[0] });
    await repeat(ROUNDS, (n) => ask(host, port, agent, { path: PATHS[n % PATHS.length] }));
    await repeat(WRITES, (_, lane) => places.rehearse(newTrace(), `${host}:${port}/${lane}`).catch(standby));
  } finally {
    agent.destroy();
  }
}

/** Goes on until `serving` answers true or enough is done; takes a small share of a core, less where there is none. */
async function stayWarm(host, port, places, serving) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  const round = (n) => {
    if (n % 3 === 0) return ask(host, port, agent, { path: PATHS[(n / 3) % PATHS.length] });
    if (n % 3 === 1) return ask(host, port, agent, REFUSED);
    return places.rehearse(newTrace(), `${host}:${port}`).catch(standby);
  };
  try {
    for (let n = 0; n < STANDBY_ROUNDS && !serving(); n++) {
      const began = performance.now();
      await round(n).catch((error) => console.error(`gazetteer: a round of staying warm failed: ${error.message}`));
      const rest = REST * (performance.now() - began);
      await new Promise((ok) => setTimeout(ok, rest));
    }
  } finally {
    agent.destroy();
  }
}

module.exports = { warmUp, stayWarm };

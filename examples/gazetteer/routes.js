'use strict';
/** What each HTTP route does. A route gets the parsed request and answers `{status, body}`. */
const { HttpError } = require('./calls.js');

const MAX_LOAD = 500;
const MAX_LIMIT = 1000;

const bad = (message) => new HttpError(400, 'BAD_REQUEST', message, { outcome: 'none' });

function placeId(text) {
  const id = Number(text);
  if (!Number.isSafeInteger(id) || id <= 0) throw bad(`a place's id is a whole number above 0, not ${text}`);
  return id;
}

function number(text, name, max) {
  if (text === null || text === undefined) return undefined;
  const n = Number(text);
  if (!Number.isSafeInteger(n) || n < 0 || n > max)
    throw bad(`${name} is a whole number from 0 to ${max}, not ${text}`);
  return n;
}

function nonceOf(body) {
  if (typeof body.nonce !== 'string' || body.nonce === '') throw bad('a write names its nonce');
  return body.nonce;
}

/** Fields of a place that a client may set. */
function fieldsOf(body) {
  const fields = {};
  for (const f of ['name', 'altName', 'country', 'featureCode', 'adminCode', 'note'])
    if (body[f] !== undefined) {
      if (typeof body[f] !== 'string' || body[f].length > 1000) throw bad(`${f} is a text of at most 1000 characters`);
      fields[f] = body[f];
    }
  for (const f of ['population', 'lat', 'lon'])
    if (body[f] !== undefined) {
      if (typeof body[f] !== 'number') throw bad(`${f} is a number`);
      fields[f] = body[f];
    }
  return fields;
}

function wholePlace(body) {
  const fields = fieldsOf(body);
  for (const f of ['name', 'country', 'featureCode', 'population', 'lat', 'lon'])
    if (fields[f] === undefined) throw bad(`a place needs ${f}`);
  return fields;
}

/** @param services `{places, cache, tree}` */
function makeRoutes({ places, cache, tree }) {
  /** Runs a write, then invalidates; also when the outcome is unknown. */
  const writing = async (ids, write) => {
    let answer;
    try {
      answer = await write();
    } catch (error) {
      if (error.fields?.outcome !== 'none') await cache.invalidate(ids);
      throw error;
    }
    await cache.invalidate(ids);
    return { status: 200, body: answer };
  };

  return [
    ['GET', /^\/places\/(\d+)$/, async ({ trace, params, query }) => {
      const id = placeId(params[0]);
      const view = query.has('fresh')
        ? await places.get(trace, id)
        : await cache.get(id, trace, () => places.get(trace, id));
      return { status: view.place ? 200 : 404, body: { view } };
    }],
    ['GET', /^\/places\/(\d+)\/book$/, async ({ trace, params, query }) => {
      const book = await places.guestBook(trace, placeId(params[0]), number(query.get('limit'), 'limit', MAX_LIMIT) ?? 200);
      return { status: book.view.place ? 200 : 404, body: book };
    }],
    ['GET', /^\/places$/, async ({ trace, query }) => ({
      status: 200,
      body: await places.search(trace, {
        country: query.get('country') ?? undefined,
        featureCode: query.get('featureCode') ?? undefined,
        minPopulation: number(query.get('minPopulation'), 'minPopulation', 1e12),
        maxPopulation: number(query.get('maxPopulation'), 'maxPopulation', 1e12),
        limit: number(query.get('limit'), 'limit', MAX_LIMIT) ?? 20,
        cursor: query.get('cursor') ?? undefined,
      }),
    })],
    ['POST', /^\/places\/(\d+)\/sign$/, ({ trace, params, body }) => {
      const id = placeId(params[0]);
      if (typeof body.text !== 'string' || body.text.length > 1000) throw bad('text is at most 1000 characters');
      return writing([id], () => places.sign(trace, id, nonceOf(body), body.text));
    }],
    ['PATCH', /^\/places\/(\d+)$/, ({ trace, params, body }) => {
      const id = placeId(params[0]);
      return writing([id], () => places.edit(trace, id, nonceOf(body), fieldsOf(body)));
    }],
    ['PUT', /^\/places\/(\d+)$/, ({ trace, params, body }) => {
      const id = placeId(params[0]);
      return writing([id], () => places.create(trace, id, nonceOf(body), wholePlace(body)));
    }],
    ['DELETE', /^\/places\/(\d+)$/, ({ trace, params, body }) => {
      const id = placeId(params[0]);
      return writing([id], () => places.remove(trace, id, nonceOf(body)));
    }],
    ['POST', /^\/move$/, ({ trace, body }) => {
      const from = placeId(body.from);
      const to = placeId(body.to);
      if (from === to) throw bad('from and to are two places');
      if (!Number.isSafeInteger(body.amount)) throw bad('amount is a whole number');
      return writing([from, to], () => places.move(trace, from, to, nonceOf(body), body.amount));
    }],
    ['PUT', /^\/notes\/([\w.-]{1,100})$/, async ({ trace, params, body }) => {
      if (!Number.isSafeInteger(body.serial)) throw bad('serial is a whole number');
      const note = { serial: body.serial, nonce: nonceOf(body), text: String(body.text ?? '').slice(0, 100_000) };
      return { status: 200, body: await places.putNote(trace, params[0], note) };
    }],
    ['GET', /^\/notes\/([\w.-]{1,100})$/, async ({ trace, params }) => {
      const note = await places.getNote(trace, params[0]);
      return { status: note ? 200 : 404, body: { note } };
    }],
    ['DELETE', /^\/notes\/([\w.-]{1,100})$/, async ({ trace, params }) => ({
      status: 200,
      body: await places.removeNote(trace, params[0]),
    })],
    ['POST', /^\/load$/, async ({ trace, body }) => {
      if (!Array.isArray(body.places) || body.places.length === 0 || body.places.length > MAX_LOAD)
        throw bad(`places is a list of 1 to ${MAX_LOAD} places`);
      const list = body.places.map((p) => ({ id: placeId(p.id), ...wholePlace(p) }));
      return { status: 200, body: await places.load(trace, nonceOf(body), list) };
    }],
    ['POST', /^\/ids$/, async ({ trace, body }) => {
      const count = number(body.count, 'count', 100);
      if (!count) throw bad('count is a whole number from 1 to 100');
      return { status: 200, body: { ids: await places.allocateIds(trace, count) } };
    }],
    ['POST', /^\/sequence$/, async () => ({ status: 200, body: { number: await tree.draw() } })],
    ['GET', /^\/instances$/, async () => ({ status: 200, body: { instances: await tree.instances() } })],
  ]; // prettier-ignore
}

module.exports = { makeRoutes, bad };

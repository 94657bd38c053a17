'use strict';
/**
 * Places and their guest books. A place is an entity group: the root `Place`, its guest book's `Entry` entities and one
 * `Ledger`, which survives the place's deletion. Every commit to a group writes the same nonce and the next serial
 * number into all that it touches, so a reader can tell a whole state from a torn one and order the states it has seen.
 */
const { Datastore, PropertyFilter } = require('@google-cloud/datastore');
const { CALL_OPTIONS, HttpError, readCall, commitCall } = require('./calls.js');

const UNINDEXED = ['altName', 'adminCode', 'lat', 'lon', 'signatures', 'tokens', 'note', 'serial', 'nonce'];
const LEDGER_UNINDEXED = ['serial', 'nonce', 'prev', 'deleted', 'recent'];
const RECENT = 12;
const MAX_ENTRIES_OF_A_DELETE = 400;
const FIRST_TOKENS = 100;

const FIELDS = [
  'name',
  'altName',
  'country',
  'featureCode',
  'adminCode',
  'population',
  'lat',
  'lon',
  'signatures',
  'tokens',
  'note',
  'serial',
  'nonce',
];

class Places {
  constructor(projectId) {
    this.ds = new Datastore({ projectId });
  }

  close() {
    const client = this.ds.clients_?.get('DatastoreClient');
    return client ? client.close() : Promise.resolve();
  }

  placeKey(id) {
    return this.ds.key(['Place', this.ds.int(id)]);
  }

  ledgerKey(id) {
    return this.ds.key(['Place', this.ds.int(id), 'Ledger', 'l']);
  }

  entryKey(id) {
    return this.ds.key(['Place', this.ds.int(id), 'Entry']);
  }

  /** One group's state as read by one lookup. */
  view(id, place, ledger) {
    return {
      id,
      place: place ? Object.fromEntries(FIELDS.map((f) => [f, place[f]])) : null,
      serial: ledger ? ledger.serial : 0,
      nonce: ledger ? ledger.nonce : place ? place.nonce : null,
      prev: ledger ? ledger.prev : null,
      deleted: ledger ? ledger.deleted : !place,
      recent: ledger ? ledger.recent : [],
    };
  }

  /** Looks groups up through `reader` (the datastore or a transaction). */
  async lookup(reader, trace, ids) {
    const keys = ids.flatMap((id) => [this.placeKey(id), this.ledgerKey(id)]);
    const [found] = await readCall(trace, (gaxOptions) => reader.get(keys, { gaxOptions }));
    const byKey = new Map(found.map((e) => [e[this.ds.KEY].path.join('/'), e]));
    return ids.map((id) => this.view(id, byKey.get(`Place/${id}`), byKey.get(`Place/${id}/Ledger/l`)));
  }

  async get(trace, id) {
    return (await this.lookup(this.ds, trace, [id]))[0];
  }

  /**
   * Runs `body` in a transaction and commits; `body` answers what the client gets. The transaction begins with its
   * first look-up, which saves a call.
   */
  async transact(trace, body, options = {}) {
    const tx = this.ds.transaction(options);
    let answer;
    try {
      answer = await body(tx);
    } catch (error) {
      await tx.rollback(CALL_OPTIONS).catch(() => trace.errors.push('ROLLBACK_FAILED'));
      throw error;
    }
    const [response] = await commitCall(trace, (gaxOptions) => tx.commit(gaxOptions));
    return { ...answer, versions: (response?.mutationResults ?? []).map((m) => m.version) };
  }

  /** Adds the writes that make `next` the group's state after `before`. */
  write(tx, before, nonce, next) {
    const serial = before.serial + 1;
    const place = next && { ...next, serial, nonce };
    if (place) tx.save({ key: this.placeKey(before.id), excludeFromIndexes: UNINDEXED, data: place });
    else tx.delete(this.placeKey(before.id));
    const recent = [`${serial}:${nonce}`, ...before.recent].slice(0, RECENT);
    const ledger = { serial, nonce, prev: before.nonce, deleted: !place, recent };
    tx.save({ key: this.ledgerKey(before.id), excludeFromIndexes: LEDGER_UNINDEXED, data: ledger });
    return { id: before.id, place, serial, nonce, prev: before.nonce, deleted: !place };
  }

  /** Whether the write `nonce` has happened already: it is sent again where it got no answer. */
  happened(view, nonce) {
    return view.recent.some((r) => r.slice(r.indexOf(':') + 1) === nonce);
  }

  /** The answer to such a write: what it made, as far as that is still the group's state. */
  again(views, nonce) {
    return { groups: views.filter((v) => v.nonce === nonce) };
  }

  present(view) {
    if (!view.place)
      throw new HttpError(404, 'NO_SUCH_PLACE', `there is no place ${view.id}`, { outcome: 'none', view });
    return view.place;
  }

  /** Entity-group transaction: counter, ledger and a new guest book entry. */
  sign(trace, id, nonce, text) {
    const key = this.entryKey(id);
    return this.transact(trace, async (tx) => {
      const [before] = await this.lookup(tx, trace, [id]);
      if (this.happened(before, nonce)) return this.again([before], nonce);
      const place = this.present(before);
      const state = this.write(tx, before, nonce, { ...place, signatures: place.signatures + 1 });
      tx.save({ key, excludeFromIndexes: ['text', 'nonce', 'serial'], data: { text, nonce, serial: state.serial } });
      return { groups: [state] };
    }).then((answer) => ({ ...answer, entryId: key.id }));
  }

  edit(trace, id, nonce, fields) {
    return this.transact(trace, async (tx) => {
      const [before] = await this.lookup(tx, trace, [id]);
      if (this.happened(before, nonce)) return this.again([before], nonce);
      return { groups: [this.write(tx, before, nonce, { ...this.present(before), ...fields })] };
    });
  }

  /** Creates a place, also one that was deleted before. */
  create(trace, id, nonce, fields) {
    return this.transact(trace, async (tx) => {
      const [before] = await this.lookup(tx, trace, [id]);
      if (this.happened(before, nonce)) return this.again([before], nonce);
      if (before.place) throw new HttpError(409, 'EXISTS', `place ${id} exists`, { outcome: 'none', view: before });
      return { groups: [this.write(tx, before, nonce, newPlace(fields))] };
    });
  }

  /** Deletes a place with its guest book. */
  remove(trace, id, nonce) {
    return this.transact(trace, async (tx) => {
      const [before] = await this.lookup(tx, trace, [id]);
      if (this.happened(before, nonce)) return this.again([before], nonce);
      this.present(before);
      const entries = await this.entriesOf(tx, trace, id, MAX_ENTRIES_OF_A_DELETE + 1, true);
      if (entries.length > MAX_ENTRIES_OF_A_DELETE)
        throw new HttpError(409, 'TOO_MANY_ENTRIES', `place ${id} has more than ${MAX_ENTRIES_OF_A_DELETE} entries`, {
          outcome: 'none',
        });
      for (const e of entries) tx.delete(e[this.ds.KEY]);
      return { groups: [this.write(tx, before, nonce, null)], entriesDeleted: entries.length };
    });
  }

  /** Cross-group transaction: moves `amount` tokens from one place's counter to another's. */
  move(trace, from, to, nonce, amount) {
    return this.transact(trace, async (tx) => {
      const [a, b] = await this.lookup(tx, trace, [from, to]);
      if (this.happened(a, nonce)) return this.again([a, b], nonce);
      const giver = this.present(a);
      const taker = this.present(b);
      return {
        groups: [
          this.write(tx, a, nonce, { ...giver, tokens: giver.tokens - amount }),
          this.write(tx, b, nonce, { ...taker, tokens: taker.tokens + amount }),
        ],
      };
    });
  }

  async entriesOf(reader, trace, id, limit, keysOnly) {
    let query = reader.createQuery('Entry').hasAncestor(this.placeKey(id)).limit(limit);
    if (keysOnly) query = query.select('__key__');
    const [found] = await readCall(trace, (gaxOptions) => reader.runQuery(query, { gaxOptions }));
    return found;
  }

  /** A place and its guest book at one moment: a read-only transaction. */
  async guestBook(trace, id, limit) {
    return this.transact(
      trace,
      async (tx) => {
        const [view] = await this.lookup(tx, trace, [id]);
        const entries = await this.entriesOf(tx, trace, id, limit + 1, false);
        return {
          view,
          complete: entries.length <= limit,
          entries: entries
            .slice(0, limit)
            .map((e) => ({ id: e[this.ds.KEY].id, nonce: e.nonce, serial: e.serial, text: e.text })),
        };
      },
      { readOnly: true },
    );
  }

  /** By country, or by population (largest first); pages by cursor. */
  async search(trace, { country, minPopulation, maxPopulation, featureCode, limit, cursor }) {
    let query = this.ds.createQuery('Place').limit(limit);
    if (country !== undefined) query = query.filter(new PropertyFilter('country', '=', country));
    if (featureCode !== undefined) query = query.filter(new PropertyFilter('featureCode', '=', featureCode));
    if (minPopulation !== undefined) query = query.filter(new PropertyFilter('population', '>=', minPopulation));
    if (maxPopulation !== undefined) query = query.filter(new PropertyFilter('population', '<=', maxPopulation));
    if (minPopulation !== undefined || maxPopulation !== undefined)
      query = query.order('population', { descending: true });
    if (cursor !== undefined) query = query.start(cursor);
    const [found, info] = await readCall(trace, (gaxOptions) => this.ds.runQuery(query, { gaxOptions }));
    return {
      places: found.map((e) => ({
        id: Number(e[this.ds.KEY].id),
        ...Object.fromEntries(FIELDS.map((f) => [f, e[f]])),
      })),
      cursor: info.endCursor ?? null,
      more: info.moreResults !== 'NO_MORE_RESULTS',
    };
  }

  /** Loads places without a transaction; every one gets the batch's nonce. */
  async load(trace, nonce, places) {
    const rows = places.map((p) => ({
      key: this.placeKey(p.id),
      method: 'upsert',
      excludeFromIndexes: UNINDEXED,
      data: { ...newPlace(p), serial: 0, nonce },
    }));
    await commitCall(trace, (gaxOptions) => this.ds.save(rows, gaxOptions));
    return { loaded: rows.length };
  }

  /** A note is a root entity that is written blindly, without a transaction. */
  async putNote(trace, name, data) {
    const row = { key: this.ds.key(['Note', name]), excludeFromIndexes: ['text', 'nonce', 'serial'], data };
    const [response] = await commitCall(trace, (gaxOptions) => this.ds.save(row, gaxOptions));
    return { versions: (response?.mutationResults ?? []).map((m) => m.version) };
  }

  async removeNote(trace, name) {
    const [response] = await commitCall(trace, (gaxOptions) => this.ds.delete(this.ds.key(['Note', name]), gaxOptions));
    return { versions: (response?.mutationResults ?? []).map((m) => m.version) };
  }

  async getNote(trace, name) {
    const [note] = await readCall(trace, (gaxOptions) => this.ds.get(this.ds.key(['Note', name]), { gaxOptions }));
    return note ? { serial: note.serial, nonce: note.nonce, text: note.text } : null;
  }

  /** The calls of a write, on an entity of a kind of its own, which is gone afterwards. */
  async rehearse(trace, name) {
    const key = this.ds.key(['Rehearsal', name]);
    await this.transact(trace, async (tx) => {
      const [[before]] = await readCall(trace, (gaxOptions) => tx.get([key], { gaxOptions }));
      const data = {
        ...newPlace({ name, country: 'XX', population: 1 }),
        serial: (before?.serial ?? 0) + 1,
        nonce: name,
      };
      tx.save({ key, excludeFromIndexes: UNINDEXED, data });
      return {};
    });
    await commitCall(trace, (gaxOptions) => this.ds.delete(key, gaxOptions));
  }

  async allocateIds(trace, count) {
    const [keys] = await commitCall(trace, (gaxOptions) =>
      this.ds.allocateIds(this.ds.key(['Place']), { allocations: count, gaxOptions }),
    );
    return keys.map((k) => k.id);
  }
}

function newPlace(p) {
  return {
    name: p.name,
    altName: p.altName ?? '',
    country: p.country,
    featureCode: p.featureCode,
    adminCode: p.adminCode ?? '',
    population: p.population,
    lat: p.lat,
    lon: p.lon,
    signatures: 0,
    tokens: FIRST_TOKENS,
    note: '',
  };
}

module.exports = { Places };

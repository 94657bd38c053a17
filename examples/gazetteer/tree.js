'use strict';
/**
 * The application's ZooKeeper tree (the platform gives a chroot): one ephemeral per running instance under `/instances`
 * and sequence numbers drawn under `/sequence`. The session is opened anew when it expires.
 */
const zookeeper = require('node-zookeeper-client');
const { HttpError } = require('./calls.js');

const CALL_MS = 3000;
const SESSION_MS = 10_000;
const OPEN = zookeeper.ACL.OPEN_ACL_UNSAFE;
const { PERSISTENT, PERSISTENT_SEQUENTIAL, EPHEMERAL } = zookeeper.CreateMode;

class Tree {
  /** @param servers `host:port,…[/chroot]` @param name of this instance's ephemeral */
  constructor(servers, name, metrics) {
    this.servers = servers;
    this.name = name;
    this.metrics = metrics;
    this.registered = false;
    this.wanted = false;
    this.closed = false;
    this.open();
  }

  open() {
    this.client = zookeeper.createClient(this.servers, { sessionTimeout: SESSION_MS, spinDelay: 200, retries: 0 });
    this.client.on(
      'connected',
      () => this.wanted && this.register().catch(() => this.metrics.add('gazetteer_tree_errors_total')),
    );
    this.client.on('expired', () => {
      this.registered = false;
      if (!this.closed) this.open();
    });
    this.client.connect();
  }

  /** One call with a deadline: this client waits for ever for a server that does not answer. */
  call(what, ...args) {
    return new Promise((ok, fail) => {
      const timer = setTimeout(
        () => fail(new HttpError(503, 'TREE_UNAVAILABLE', `ZooKeeper did not answer ${what}`, { outcome: 'unknown' })),
        CALL_MS,
      );
      this.client[what](...args, (error, value) => {
        clearTimeout(timer);
        if (error) fail(error);
        else ok(value);
      });
    });
  }

  async ensure(path) {
    await this.call('create', path, null, OPEN, PERSISTENT).catch((error) => {
      if (error.getCode?.() !== zookeeper.Exception.NODE_EXISTS) throw error;
    });
  }

  /** Registers this instance; again after each new session. */
  async register() {
    this.wanted = true;
    await this.ensure('/instances');
    await this.call('create', `/instances/${this.name}`, Buffer.from(String(process.pid)), OPEN, EPHEMERAL).catch(
      (error) => {
        if (error.getCode?.() !== zookeeper.Exception.NODE_EXISTS) throw error;
      },
    );
    this.registered = true;
  }

  /** The next sequence number. The node is removed again; the parent's counter goes on. */
  async draw() {
    try {
      return await this.drawOnce();
    } catch (error) {
      if (error.getCode?.() !== zookeeper.Exception.NO_NODE) throw this.toHttp(error);
      await this.ensure('/sequence');
      return this.drawOnce();
    }
  }

  async drawOnce() {
    const path = await this.call('create', '/sequence/n-', null, OPEN, PERSISTENT_SEQUENTIAL);
    this.client.remove(path, -1, (error) => error && this.metrics.add('gazetteer_tree_errors_total'));
    return Number(path.slice(path.lastIndexOf('-') + 1));
  }

  async instances() {
    return this.call('getChildren', '/instances').catch((error) => {
      throw this.toHttp(error);
    });
  }

  toHttp(error) {
    return error instanceof HttpError
      ? error
      : new HttpError(503, 'TREE_UNAVAILABLE', String(error), { outcome: 'unknown' });
  }

  close() {
    this.closed = true;
    this.client.close();
  }
}

module.exports = { Tree };

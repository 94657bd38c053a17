'use strict';
const { HttpError } = require('./calls.js');

/** Lets `running` requests work at a time and `waiting` more wait; refuses the rest at once. */
class Gate {
  constructor(running, waiting) {
    this.limit = running;
    this.maxWaiting = waiting;
    this.running = 0;
    this.queue = [];
  }

  async enter() {
    if (this.running < this.limit) {
      this.running++;
      return;
    }
    if (this.queue.length >= this.maxWaiting)
      throw new HttpError(503, 'OVERLOADED', `${this.running} requests run and ${this.queue.length} wait; try later`, {
        outcome: 'none',
      });
    await new Promise((ok) => this.queue.push(ok));
  }

  leave() {
    const next = this.queue.shift();
    if (next) next();
    else this.running--;
  }
}

module.exports = { Gate };

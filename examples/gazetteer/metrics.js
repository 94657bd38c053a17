'use strict';
/** Counters and gauges in Prometheus' text format. */
class Metrics {
  constructor() {
    this.counters = new Map();
    this.gauges = new Map();
  }

  /** @param labels for instance `route="places",status="200"` */
  add(name, labels = '', by = 1) {
    const key = labels === '' ? name : `${name}{${labels}}`;
    this.counters.set(key, (this.counters.get(key) ?? 0) + by);
  }

  /** @param read answers the present value */
  gauge(name, read) {
    this.gauges.set(name, read);
  }

  text() {
    const lines = [...this.counters].sort().map(([key, value]) => `${key} ${value}`);
    for (const [name, read] of this.gauges) lines.push(`${name} ${read()}`);
    return `${lines.join('\n')}\n`;
  }
}

module.exports = { Metrics };

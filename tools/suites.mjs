/**
 * The test suites in the order they run, cheapest first. `timeoutMs` is for one test, `limitMs` for the whole suite:
 * a suite that does not end (a handle left open) is a failure, not a hang. `tools` are brought before it runs.
 */
const SECOND = 1000;
const MINUTE = 60 * SECOND;

export const SUITES = [
  { name: 'tidy', timeoutMs: 20 * SECOND, limitMs: 2 * MINUTE, tools: [] },
  { name: 'unit', timeoutMs: 10 * SECOND, limitMs: 5 * MINUTE, tools: [] },
  { name: 'model', timeoutMs: 2 * MINUTE, limitMs: 5 * MINUTE, tools: [] },
  { name: 'component', timeoutMs: 30 * SECOND, limitMs: 5 * MINUTE, tools: [] },
  { name: 'contract', timeoutMs: 2 * MINUTE, limitMs: 15 * MINUTE, tools: ['zookeeper', 'cassandra', 'memcached'] },
  { name: 'integration', timeoutMs: 3 * MINUTE, limitMs: 30 * MINUTE, tools: ['all'] },
  { name: 'provider', timeoutMs: 5 * MINUTE, limitMs: 30 * MINUTE, tools: ['all'] },
  { name: 'fault', timeoutMs: 5 * MINUTE, limitMs: 30 * MINUTE, tools: ['all'] },
  { name: 'migration', timeoutMs: 15 * MINUTE, limitMs: 40 * MINUTE, tools: ['all'] },
];

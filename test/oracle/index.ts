export { check } from './check.js';
export type { OracleInput, OracleReport } from './check.js';
export { KINDS } from './findings.js';
export type { Finding, Kind } from './findings.js';
export { fileSource, listSource } from './source.js';
export type { Source } from './source.js';

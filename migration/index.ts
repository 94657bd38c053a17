/** What the Pulumi resources and the command need of the migration; the engines themselves run in the coordinator. */
export * from './coordinator/api.js';
export * from './coordinator/codes.js';
export * from './coordinator/join.js';

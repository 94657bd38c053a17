/** Microseconds of the machine's monotonic clock: comparable between the processes of one machine. */
export function nowUs(): number {
  return Number(process.hrtime.bigint() / 1000n);
}

import { closeSync, openSync, writeSync } from 'node:fs';

/**
 * An append-only file of JSON lines. Each line is handed to the kernel at once, so a killed client has told of every
 * request that it sent.
 */
export class LineLog {
  private readonly fd: number;

  constructor(readonly file: string) {
    this.fd = openSync(file, 'a');
  }

  write(value: object): void {
    writeSync(this.fd, `${JSON.stringify(value)}\n`);
  }

  close(): void {
    closeSync(this.fd);
  }
}

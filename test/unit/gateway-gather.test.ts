import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Duplex, PassThrough } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import { gatherUnasked } from '@nxnw/platform/wire/gateway-stream';

const UNASKED = 32;

/** Keeps what is written to it, by write; what it reads is given by `push`. */
class Carrier extends Duplex {
  readonly writes: string[] = [];

  override _read(): void {
    // given by push
  }

  override _writev(chunks: { chunk: Buffer }[], done: () => void): void {
    this.took(Buffer.concat(chunks.map((c) => c.chunk)));
    done();
  }

  override _write(chunk: Buffer, _: BufferEncoding, done: () => void): void {
    this.took(chunk);
    done();
  }

  private took(bytes: Buffer): void {
    this.writes.push(bytes.toString());
    this.emit('took');
  }
}

function pair() {
  const socket = new PassThrough();
  const stream = new Carrier();
  socket.pipe(stream);
  gatherUnasked(socket, stream);
  const say = async (text: string) => {
    socket.write(text);
    await turn();
  };
  return { socket, stream, say };
}

describe('what comes through the join port unasked', () => {
  it('is gathered once many pieces came', async () => {
    const { socket, stream, say } = pair();
    for (let n = 0; n <= UNASKED; n++) await say('.');
    assert.equal(stream.writes.length, UNASKED + 1);
    for (let n = 0; n < 100; n++) socket.write('a');
    while (stream.writes.join('').length < UNASKED + 101) await once(stream, 'took');
    // the first, or none, before what was gathered
    assert.ok(stream.writes.length <= UNASKED + 3, `${String(stream.writes.length)} writes`);
  });

  it('goes at once when something is asked meanwhile', async () => {
    const { stream, say } = pair();
    for (let n = 0; n <= UNASKED; n++) await say('.');
    await say('a');
    stream.push('?');
    await turn();
    await say('answer');
    assert.deepEqual(stream.writes.slice(UNASKED + 1), ['a', 'answer']);
  });

  it('goes at once when it has become much, and at the end', async () => {
    const { socket, stream, say } = pair();
    for (let n = 0; n <= UNASKED; n++) await say('.');
    await say('x'.repeat(4096));
    assert.equal(stream.writes.at(-1)?.length, 4096);
    await say('y');
    await say('z');
    socket.end();
    await once(stream, 'finish');
    assert.match(stream.writes.join(''), /x+yz$/);
  });
});

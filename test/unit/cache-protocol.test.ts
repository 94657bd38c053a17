import assert from 'node:assert/strict';
import { decodeUriKey, keyToken, parseDumpLine, parseLogLine, ttlToken } from '@nxnw/migration/cache/protocol';

describe('memcached texts', () => {
  it('a plain key stands as it is, one with spaces or control characters in base64', () => {
    assert.deepEqual(keyToken('user:1'), { token: 'user:1', base64: false });
    assert.deepEqual(keyToken('ü'), { token: 'ü', base64: false });
    assert.deepEqual(keyToken('a b'), { token: 'YSBi', base64: true });
    assert.deepEqual(keyToken('\0'), { token: 'AA==', base64: true });
  });

  it('a key that no text command can name is said to be one', () => {
    assert.equal(keyToken(''), null);
    assert.equal(keyToken('x'.repeat(251)), null);
    assert.equal(keyToken(' '.repeat(187)), null);
    assert.equal(keyToken(' '.repeat(186))?.token.length, 248);
  });

  it('log lines of a write, a read and lost lines are told apart', () => {
    const store =
      'ts=1795502894.31751 gid=8 type=item_store key=a%20b status=stored cmd=set ttl=100 clsid=1 cfd=25 size=2';
    assert.deepEqual(parseLogLine(store), { type: 'stored', key: 'a b', cfd: 25 });
    const get = 'ts=1795502893.731085 gid=2 type=item_get key=a status=not_found clsid=0 cfd=7 size=0';
    assert.deepEqual(parseLogLine(get), { type: 'fetched', key: 'a', cfd: 7 });
    assert.deepEqual(parseLogLine('skipped=1178'), { type: 'lost', lines: 1178 });
    assert.deepEqual(parseLogLine('OK'), { type: 'other' });
  });

  it('a key that looks like a field of the log does not confuse it', () => {
    const line = 'ts=1.2 gid=2 type=item_get key=cfd=9 status=found clsid=0 cfd=7 size=0';
    assert.deepEqual(parseLogLine(line), { type: 'fetched', key: 'cfd=9', cfd: 7 });
  });

  it('encoded keys come back as their bytes', () => {
    assert.equal(decodeUriKey('h%C3%A9%25'), 'h\xc3\xa9%');
    assert.deepEqual(parseDumpLine('key=a%20b exp=-1 la=1795502893 cas=12 fetch=no cls=1 size=68'), {
      uriKey: 'a%20b',
      cas: 12,
    });
    assert.equal(parseDumpLine('BUSY currently processing crawler request'), null);
  });

  it('a time to live is relative up to 30 days and absolute above, and nothing left is never "for ever"', () => {
    assert.equal(ttlToken(null, 1_000_000), 0);
    assert.equal(ttlToken(0, 1_000_000), null);
    assert.equal(ttlToken(-3, 1_000_000), null);
    assert.equal(ttlToken(2_592_000, 1_795_000_000.7), 2_592_000);
    assert.equal(ttlToken(2_592_001, 1_795_000_000.7), 1_797_592_001);
  });
});

import assert from 'node:assert/strict';
import { edgeSpecSchema } from '@nxnw/platform/agent/spec';
import type { EdgeSpec } from '@nxnw/platform/agent/spec';
import { haproxyConfig, hostsMap, slotsOf } from '@nxnw/platform/edge/config';

function spec(change: Partial<EdgeSpec> = {}): EdgeSpec {
  const input = {
    kind: 'edge',
    id: 'edge',
    http: { host: '127.0.0.1', port: 8080 },
    apps: [
      { app: 'shop', domains: ['shop.test', 'www.shop.test'], servers: [{ host: '127.0.0.1', port: 9001 }] },
      { app: 'blog', domains: ['blog.test'], servers: [], health: '/up' },
    ],
  };
  return { ...edgeSpecSchema.parse(input), ...change };
}

describe('the edge configuration', () => {
  it('maps each domain to its application', () => {
    assert.equal(hostsMap(spec()), 'shop.test shop\nwww.shop.test shop\nblog.test blog\n');
  });

  it('has the same structure whichever instances and peers there are, so that they change without a reload', () => {
    const other = spec({ peer: [{ host: '10.0.0.1', port: 80 }] });
    const structure = (s: EdgeSpec): string => haproxyConfig(s, { withServers: false });
    assert.equal(structure(other), structure(spec()));
    assert.notEqual(haproxyConfig(other, { withServers: true }), haproxyConfig(spec(), { withServers: true }));
    assert.notEqual(structure(spec({ http: { host: '127.0.0.1', port: 8081 } })), structure(spec()));
  });

  it('fills the places in order and leaves the others empty', () => {
    const slots = slotsOf(spec());
    assert.deepEqual(slots[0], { backend: 'app_shop', server: 's1', at: { host: '127.0.0.1', port: 9001 } });
    assert.equal(slots.filter((s) => s.at !== null).length, 1);
    assert.equal(slots.length, 2 * (16 + 4));
  });

  it('repeats a request that changes something, or that goes to the peer, only when the connection failed', () => {
    const text = haproxyConfig(spec(), { withServers: true });
    assert.match(
      text,
      /^ {2}http-request disable-l7-retry unless METH_GET \|\| \{ req.hdr\(Idempotency-Key\) -m found \}$/m,
    );
    for (const [backend = ''] of text.matchAll(/^backend peer_.*\n( {2}.*\n)*/gm))
      assert.match(backend, /^ {2}retry-on conn-failure$/m);
    assert.doesNotMatch(text, /response-timeout|all-retryable-errors/);
  });

  it('never sends back to the peer what came from there', () => {
    assert.match(
      haproxyConfig(spec(), { withServers: true }),
      /use_backend peer_\S+ if .*!\{ req.hdr\(X-Nxnw-Hop\) -m found \}/,
    );
  });

  it('speaks TLS to the peer only when it is given the authority', () => {
    const peer = [{ host: '10.0.0.1', port: 443 }];
    assert.doesNotMatch(haproxyConfig(spec({ peer }), { withServers: true }), /verify required/);
    const text = haproxyConfig(spec({ peer, peerCaPem: 'PEM' }), { withServers: true });
    assert.match(text, /server s1 10.0.0.1:443 .* ssl verify required ca-file peer-ca.pem/);
  });
});

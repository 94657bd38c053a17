import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { Enroller } from '@nxnw/platform/agent/enrol';
import { hasCode } from '@nxnw/platform/errors';
import { createAuthority, issueCertificate, newRequest, selfSigned, signRequest } from '@nxnw/platform/wire/ca';
import type { Authority } from '@nxnw/platform/wire/ca';
import { checkIdentity, commonName, hostsOf, isIssuedBy } from '@nxnw/platform/wire/certificates';
import { agentProof, canonicalBytes, digestOfCertificate, newNonce, newToken, operatorProof, sameProof } from '@nxnw/platform/wire/enrolment'; // prettier-ignore
import type { Attempt } from '@nxnw/platform/wire/enrolment';
import type { TlsMaterial } from '@nxnw/platform/wire/rpc';
// After the platform's own module, which brings what it needs loaded first.
import * as x509 from '@peculiar/x509';
import { enrolmentDiffers } from '@nxnw/migration/resources/engines/enrolment';
import type { EnrolmentState } from '@nxnw/migration/resources/engines/enrolment';
import { makeToken, tokenDiffers } from '@nxnw/migration/resources/engines/enrolment-token';

const DAY_MS = 86_400_000;

describe('what enrolment proves', () => {
  const token = Buffer.alloc(32, 7).toString('base64url');
  const attempt: Attempt = {
    platformId: 'blue',
    machine: 'data-1',
    operatorNonce: Buffer.alloc(32, 1).toString('base64url'),
    agentNonce: Buffer.alloc(32, 2).toString('base64url'),
    csr: 'request',
    tlsDigest: 'ab'.repeat(32),
  };

  it('is encoded with lengths, so that no two lists of parts have the same bytes', () => {
    assert.deepEqual(canonicalBytes(['ab', '', 'é']).toString('hex'), '000000026162' + '00000000' + '00000002c3a9');
    assert.notDeepEqual(canonicalBytes(['ab', 'c']), canonicalBytes(['a', 'bc']));
    assert.notDeepEqual(canonicalBytes(['a', '']), canonicalBytes(['a']));
  });

  // Computed by another program, from docs/enrolment.md.
  it('is the same for the same facts for ever: agents and operators may be of different releases', () => {
    assert.equal(agentProof(token, attempt), '13354c8a9cb8418ea91f96d5f4eb2db607c442211437f2253fb6999c6cc3620f');
    assert.equal(
      operatorProof(token, attempt, { cert: 'c', ca: 'a' }),
      'e498ac6123495fce82b9d680dafd02a51b11c7570117885cb214b964226cc4d0',
    );
  });

  it('is another one for every fact that is another', () => {
    const given = { cert: 'cert', ca: 'ca' };
    const proofs = new Set([agentProof(token, attempt), operatorProof(token, attempt, given)]);
    const changed: Attempt[] = (Object.keys(attempt) as (keyof Attempt)[]).map((k) => ({ ...attempt, [k]: 'other' }));
    const swapped = { ...attempt, operatorNonce: attempt.agentNonce, agentNonce: attempt.operatorNonce };
    for (const a of [...changed, swapped]) proofs.add(agentProof(token, a)).add(operatorProof(token, a, given));
    for (const g of [
      { ...given, cert: 'other' },
      { ...given, ca: 'other' },
      { cert: 'ca', ca: 'cert' },
    ])
      proofs.add(operatorProof(token, attempt, g));
    proofs.add(agentProof(newToken(), attempt));
    assert.equal(proofs.size, 2 + 2 * 7 + 3 + 1);
  });

  it('is compared whole', () => {
    assert.equal(sameProof('abcd', 'abcd'), true);
    assert.equal(sameProof('abcd', 'abce'), false);
    assert.equal(sameProof('abcd', 'abc'), false);
    assert.equal(sameProof('', 'a'), false);
  });
});

describe('a certificate request', () => {
  let authority: Authority;
  before(async () => {
    authority = await createAuthority('blue');
  });

  it('is signed for the names that the operator gives, whatever names and extensions it asks for', async () => {
    const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
    const keys = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
    const asked = await x509.Pkcs10CertificateRequestGenerator.create({
      name: 'CN=operator',
      keys,
      signingAlgorithm: algorithm,
      extensions: [
        new x509.BasicConstraintsExtension(true, 3, true),
        new x509.SubjectAlternativeNameExtension([{ type: 'dns', value: 'bank.test' }]),
      ],
    });
    const subject = { name: 'data-1', hosts: ['10.0.0.5', 'data-1.test'] };
    const cert = new X509Certificate(await signRequest(authority, asked.toString('pem'), subject, 10));
    assert.equal(commonName(cert), 'data-1');
    assert.deepEqual(hostsOf(cert), ['10.0.0.5', 'data-1.test']);
    assert.equal(cert.ca, false);
    assert.equal(isIssuedBy(cert, new X509Certificate(authority.cert)), true);
    const left = (Date.parse(cert.validTo) - Date.now()) / DAY_MS;
    assert.ok(left > 9.9 && left <= 10, String(left));
    assert.deepEqual(cert.publicKey.export({ type: 'spki', format: 'der' }), Buffer.from(asked.publicKey.rawData));
  });

  it('is refused when it is none, when another key has signed it, and when its key is of another kind', async () => {
    const refused = (csr: string) =>
      assert.rejects(signRequest(authority, csr, { name: 'm', hosts: [] }), (e) => hasCode(e, 'CSR_REFUSED'));
    await refused('nonsense');
    const { csr } = await newRequest('m');
    const der = Buffer.from(x509.PemConverter.decodeFirst(csr));
    const at = der.length - 4;
    der[at] = (der[at] ?? 0) ^ 1; // in its signature
    await refused(x509.PemConverter.encode(der, 'CERTIFICATE REQUEST'));
    const p384 = { name: 'ECDSA', namedCurve: 'P-384', hash: 'SHA-256' };
    const keys = await crypto.subtle.generateKey(p384, true, ['sign', 'verify']);
    const other = await x509.Pkcs10CertificateRequestGenerator.create({ name: 'CN=m', keys, signingAlgorithm: p384 });
    await refused(other.toString('pem'));
  });
});

describe('what a machine is given', () => {
  let authority: Authority;
  let tls: TlsMaterial;
  before(async () => {
    authority = await createAuthority('blue');
    tls = await issueCertificate(authority, { name: 'data-1', hosts: [] }, 10);
  });
  const refuses = (given: TlsMaterial, why: RegExp, nowMs = Date.now(), name = 'data-1') =>
    assert.throws(
      () => checkIdentity(given, name, nowMs),
      (e) => hasCode(e, 'CERTIFICATE_REFUSED') && why.test(e.message),
    );

  it('is taken when all of it fits', () => {
    checkIdentity(tls, 'data-1', Date.now());
  });

  it('is refused for another key, another name, another authority, and before and after its time', async () => {
    const other = await issueCertificate(authority, { name: 'data-1', hosts: [] });
    refuses({ ...tls, key: other.key }, /it is for another key/);
    refuses(tls, /it is for "data-1"/, Date.now(), 'data-2');
    refuses({ ...tls, ca: (await createAuthority('blue')).cert }, /not signed by the platform's authority/);
    refuses({ ...tls, ca: other.cert }, /not signed by the platform's authority/);
    refuses(tls, /it has expired at/, Date.now() + 11 * DAY_MS);
    refuses(tls, /it is valid from .* only/, Date.now() - 2 * DAY_MS);
    refuses(await selfSigned('data-1', 1), /not signed by the platform's authority/);
    refuses({ ...tls, cert: 'nonsense' }, /cannot be read/);
  });
});

describe('an agent that waits to be enrolled', () => {
  const token = newToken();
  let authority: Authority;
  let tlsDigest: string;
  let own: { key: string; csr: string };
  let nowMs = 0;
  let taken: TlsMaterial[] = [];
  let enroller: Enroller;

  before(async () => {
    authority = await createAuthority('blue');
    tlsDigest = digestOfCertificate((await selfSigned('x', 1)).cert);
    own = await newRequest('data-1');
  });

  beforeEach(() => {
    nowMs = Date.now();
    taken = [];
    const file = { platformId: 'blue', machine: 'data-1', host: 'h', port: 1, token, ca: authority.cert };
    const take = (tls: TlsMaterial) => Promise.resolve(void taken.push(tls));
    enroller = new Enroller(file, { ...own, tlsDigest }, take, () => nowMs);
  });

  /** What an operator with `by` sends for an answer of `hello`. */
  async function acceptance(by = token, signer = authority) {
    const operatorNonce = newNonce();
    const { agentNonce, csr, platformId, machine } = enroller.hello({ operatorNonce });
    const given = { cert: await signRequest(signer, csr, { name: 'data-1', hosts: [] }), ca: signer.cert };
    const attempt = { platformId, machine, operatorNonce, agentNonce, csr, tlsDigest };
    return { agentNonce, ...given, proof: operatorProof(by, attempt, given) };
  }
  const code = (c: string) => (e: unknown) => hasCode(e, c);

  it('takes a certificate once', async () => {
    const [first, second] = [await acceptance(), await acceptance()];
    await enroller.accept(first);
    await assert.rejects(enroller.accept(second), code('BUSY'));
    assert.deepEqual(taken, [{ ca: first.ca, cert: first.cert, key: own.key }]);
  });

  it('takes each nonce once, even when the first use was wrong', async () => {
    const right = await acceptance();
    await assert.rejects(enroller.accept({ ...right, proof: '0'.repeat(64) }), code('ENROLMENT_REFUSED'));
    await assert.rejects(enroller.accept(right), code('ENROLMENT_REFUSED'));
    await assert.rejects(enroller.accept({ ...right, agentNonce: newNonce() }), code('ENROLMENT_REFUSED'));
    assert.equal(taken.length, 0);
  });

  it('takes no answer that comes after its minute', async () => {
    const late = await acceptance();
    nowMs += 61_000;
    await assert.rejects(enroller.accept(late), /too late/);
  });

  it('takes no other authority than that of its user data, not even from somebody who knows the token', async () => {
    const thief = await acceptance(token, await createAuthority('blue'));
    await assert.rejects(enroller.accept(thief), code('CERTIFICATE_REFUSED'));
    assert.equal(taken.length, 0);
  });

  it('listens to nobody after ten wrong proofs within a minute, and then again', async () => {
    for (let i = 0; i < 10; i++) {
      nowMs += 1000;
      await assert.rejects(enroller.accept(await acceptance(newToken())), code('ENROLMENT_REFUSED'));
    }
    await assert.rejects(enroller.accept(await acceptance()), code('RESOURCE_EXHAUSTED'));
    nowMs += 52_000;
    await enroller.accept(await acceptance());
    assert.equal(taken.length, 1);
  });

  it('can be given it again when it could not be written', async () => {
    const file = { platformId: 'blue', machine: 'data-1', host: 'h', port: 1, token, ca: authority.cert };
    let full = true;
    const take = () => (full ? Promise.reject(new Error('no space left')) : Promise.resolve());
    enroller = new Enroller(file, { ...own, tlsDigest }, take, () => nowMs);
    await assert.rejects(enroller.accept(await acceptance()), /no space left/);
    full = false;
    await enroller.accept(await acceptance());
  });
});

describe('the difference of an enrolment', () => {
  const now = 1_000_000 * DAY_MS;
  const operator = { ca: 'a', cert: 'b', key: 'c' };
  const old: EnrolmentState = {
    ...{ authorityCert: 'ca', authorityKey: 'k', platformId: 'blue', machine: 'data-1', hosts: ['10.0.0.5'] },
    ...{ agent: '10.0.0.5:7400', serverId: 'i-1', token: 't', operator, days: 100, waitMinutes: 15, logUrn: 'u' },
    ...{ cloud: 'kvm', console: 'virsh console data-1' },
    ...{ fingerprint: 'f', expiresAtMs: now + 50 * DAY_MS, usedToken: 'd' },
  };

  it('is none for another operator certificate or another wait, and one for what the machine is', () => {
    const same = { ...old, operator: { ...operator, cert: 'new' }, waitMinutes: 1, authorityKey: 'other' };
    assert.equal(enrolmentDiffers(old, same, now), false);
    for (const change of [{ serverId: 'i-2' }, { token: 'u' }, { hosts: [] }, { days: 50 }, { agent: '10.0.0.6:7400' }])
      assert.equal(enrolmentDiffers(old, { ...old, ...change }, now), true, JSON.stringify(change));
  });

  it('is one in the last fifth of the certificate', () => {
    assert.equal(enrolmentDiffers(old, old, now + 29 * DAY_MS), false);
    assert.equal(enrolmentDiffers(old, old, now + 31 * DAY_MS), true);
  });

  it('is a fresh token for a machine that was lost, or another generation, only', () => {
    const inputs = {
      platformId: 'blue',
      machine: 'data-1',
      generation: 0,
      agent: 'a:1',
      authorityCert: 'c',
      live: true,
    };
    const made = makeToken(inputs);
    assert.match(made.token, /^[A-Za-z0-9_-]{43}$/);
    assert.equal(tokenDiffers(made, inputs), false);
    assert.equal(tokenDiffers({ ...made, live: false }, inputs), true);
    assert.equal(tokenDiffers(made, { ...inputs, generation: 1 }), true);
  });
});

import { once } from 'node:events';
import type { X509Certificate } from 'node:crypto';
import { connect } from 'node:tls';
import { NxnwError, asError } from '../errors.js';
import { commonName, isIssuedBy, parseCertificate } from '../wire/certificates.js';
import { agentProof, digestOfCertificate, helloAnswerSchema, newNonce, operatorProof, sameProof } from '../wire/enrolment.js'; // prettier-ignore
import type { Accept, Attempt, Hello } from '../wire/enrolment.js';
import { RpcClient } from '../wire/rpc.js';

const CALL_MS = 10_000;

/** What is found at an agent's address, by its TLS certificate alone: */
export type Met =
  /** nothing that speaks TLS; `why` is for a person */
  | { readonly kind: 'silent'; readonly why: string }
  /** the machine, enrolled: it has a certificate of the authority for its name, and the key to it */
  | { readonly kind: 'member'; readonly cert: X509Certificate }
  /** the machine, with a certificate that is not valid now */
  | { readonly kind: 'expired'; readonly cert: X509Certificate }
  /** a machine of the platform, but another one */
  | { readonly kind: 'other'; readonly name: string }
  /** something that the authority does not vouch for: an agent that waits to be enrolled, or anything else */
  | { readonly kind: 'stranger'; readonly certPem: string };

/** Looks who is at `target` (`host:port`). Shows no certificate and sends nothing. */
export async function meet(
  target: string,
  expected: { readonly ca: string; readonly machine: string },
  ms: number,
): Promise<Met> {
  const [host = '', port = ''] = target.split(/:(?=\d+$)/);
  // The authority is checked below: an agent that waits to be enrolled has a certificate that nobody vouches for.
  const socket = connect({ host, port: Number(port), rejectUnauthorized: false, ALPNProtocols: ['h2'] });
  let cert: X509Certificate | undefined;
  try {
    await once(socket, 'secureConnect', { signal: AbortSignal.timeout(ms) });
    cert = socket.getPeerX509Certificate();
  } catch (e) {
    const late = asError(e).name === 'AbortError';
    return { kind: 'silent', why: late ? `no answer within ${String(ms / 1000)} s` : asError(e).message };
  } finally {
    socket.on('error', () => undefined); // of a connection that is given up
    socket.destroy();
  }
  if (cert === undefined) return { kind: 'silent', why: 'it shows no certificate' };
  if (!isIssuedBy(cert, parseCertificate(expected.ca))) return { kind: 'stranger', certPem: cert.toString() };
  if (commonName(cert) !== expected.machine) return { kind: 'other', name: commonName(cert) };
  const nowMs = Date.now();
  const valid = Date.parse(cert.validFrom) <= nowMs && nowMs < Date.parse(cert.validTo);
  return { kind: valid ? 'member' : 'expired', cert };
}

/** The machine that is to be enrolled, and what it must know. */
export interface Expected {
  readonly platformId: string;
  readonly machine: string;
  readonly token: string;
}

/** The operator's side of enrolment. Every connection is to the one TLS certificate that it was made for. */
export class EnrolmentClient {
  private readonly rpc: RpcClient;
  private readonly tlsDigest: string;

  /** `certPem`: the certificate that `meet` has seen at `target`. */
  constructor(
    private readonly target: string,
    certPem: string,
    private readonly expected: Expected,
  ) {
    this.rpc = new RpcClient(target, { ca: certPem });
    this.tlsDigest = digestOfCertificate(certPem);
  }

  /** Asks for the machine's request and checks its proof. Throws ENROLMENT_REFUSED; UNAVAILABLE when it is gone. */
  async hello(): Promise<Attempt> {
    const { platformId, machine, token } = this.expected;
    const hello: Hello = { operatorNonce: newNonce() };
    const answer = await this.rpc.call<unknown>('enrol.hello', hello, { deadlineMs: Date.now() + CALL_MS });
    const parsed = helloAnswerSchema.safeParse(answer);
    if (!parsed.success) throw this.refused('its answer is not that of an agent');
    const a = parsed.data;
    if (a.platformId !== platformId || a.machine !== machine)
      throw this.refused(`there waits machine ${a.machine} of platform ${a.platformId}`);
    const { agentNonce, csr } = a;
    const { operatorNonce } = hello;
    const attempt: Attempt = { platformId, machine, operatorNonce, agentNonce, csr, tlsDigest: this.tlsDigest };
    if (!sameProof(agentProof(token, attempt), a.proof))
      throw this.refused(
        'what answers does not prove the token that this machine was made with: it was made with another one, or somebody stands between',
      );
    return attempt;
  }

  /** Gives the machine its certificate. When this answers, the token is burned and the machine starts as enrolled. */
  async accept(attempt: Attempt, given: { readonly cert: string; readonly ca: string }): Promise<void> {
    const { agentNonce } = attempt;
    const accept: Accept = { agentNonce, ...given, proof: operatorProof(this.expected.token, attempt, given) };
    await this.rpc.call('enrol.accept', accept, { deadlineMs: Date.now() + CALL_MS });
  }

  close(): void {
    this.rpc.close();
  }

  private refused(why: string): NxnwError {
    const { machine, platformId } = this.expected;
    return new NxnwError(
      'ENROLMENT_REFUSED',
      `${this.target} is not enrolled as machine ${machine} of platform ${platformId}: ${why}. Nothing was signed. Check that the address is this machine's, then run \`nxnw refresh\` and \`nxnw up\`, which make it anew with a fresh token`,
      { target: this.target, machine },
    );
  }
}

import { NxnwError } from '../errors.js';
import { newRequest, selfSigned } from '../wire/ca.js';
import { checkIdentity } from '../wire/certificates.js';
import { acceptSchema, agentProof, digestOfCertificate, helloSchema, newNonce, operatorProof, sameProof } from '../wire/enrolment.js'; // prettier-ignore
import type { Accept, Attempt, Hello, HelloAnswer } from '../wire/enrolment.js';
import type { RpcServer, TlsMaterial } from '../wire/rpc.js';
import type { EnrolFile } from './identity.js';
import { method } from './method.js';

/** An operator has this long between `hello` and `accept`. */
const ATTEMPT_MS = 60_000;
/** Attempts under way; with one more the oldest is forgotten. */
const MOST_ATTEMPTS = 256;
/** Wrong proofs in FAILURES_MS; then nobody is listened to until the oldest is past. */
const MOST_FAILURES = 10;
const FAILURES_MS = 60_000;
/** A machine that nobody enrols in this time has to be started again. */
const THROW_AWAY_DAYS = 3650;

/** What an operator answered for, when all of it was right. */
export type TakeIdentity = (tls: TlsMaterial) => Promise<void>;

/**
 * The agent's side of enrolment: knows the token, trusts nobody until an operator proves to know it too, and takes only
 * a certificate of the authority that its user data named.
 */
export class Enroller {
  private readonly attempts = new Map<string, Attempt & { readonly untilMs: number }>();
  private failuresMs: number[] = [];
  private taken = false;

  constructor(
    private readonly file: EnrolFile,
    private readonly own: { readonly key: string; readonly csr: string; readonly tlsDigest: string },
    private readonly take: TakeIdentity,
    private readonly nowMs: () => number,
  ) {}

  hello(request: Hello): HelloAnswer {
    const { platformId, machine, token } = this.file;
    const { csr, tlsDigest } = this.own;
    const agentNonce = newNonce();
    const attempt = { platformId, machine, operatorNonce: request.operatorNonce, agentNonce, csr, tlsDigest };
    const oldest = this.attempts.keys().next().value;
    if (this.attempts.size >= MOST_ATTEMPTS && oldest !== undefined) this.attempts.delete(oldest);
    this.attempts.set(agentNonce, { ...attempt, untilMs: this.nowMs() + ATTEMPT_MS });
    return { platformId, machine, agentNonce, csr, proof: agentProof(token, attempt) };
  }

  /** @throws ENROLMENT_REFUSED, RESOURCE_EXHAUSTED, BUSY, CERTIFICATE_REFUSED; the machine goes on waiting then */
  async accept(request: Accept): Promise<Record<string, never>> {
    const { machine, token, ca } = this.file;
    if (this.taken) throw new NxnwError('BUSY', `machine ${machine} is being enrolled`, { machine });
    const nowMs = this.nowMs();
    this.failuresMs = this.failuresMs.filter((ms) => ms > nowMs - FAILURES_MS);
    if (this.failuresMs.length >= MOST_FAILURES)
      throw new NxnwError(
        'RESOURCE_EXHAUSTED',
        `machine ${machine} was given ${String(MOST_FAILURES)} wrong proofs within a minute and listens to nobody until that is past; find out who sends them`,
        { machine },
      );
    const attempt = this.attempts.get(request.agentNonce);
    this.attempts.delete(request.agentNonce); // a nonce serves once, whatever comes of it
    const right = attempt !== undefined && sameProof(operatorProof(token, attempt, request), request.proof);
    if (!right || attempt.untilMs < nowMs) {
      this.failuresMs.push(nowMs);
      throw new NxnwError(
        'ENROLMENT_REFUSED',
        `machine ${machine} refuses: ${right ? 'the answer came too late' : 'the proof is not by its token, or for another attempt'}`,
        { machine },
      );
    }
    if (request.ca !== ca)
      throw new NxnwError(
        'CERTIFICATE_REFUSED',
        `machine ${machine} was told another authority by its user data than the one it is given now; make the machine anew`,
        { machine },
      );
    const tls = { ca, cert: request.cert, key: this.own.key };
    checkIdentity(tls, machine, nowMs);
    this.taken = true;
    try {
      await this.take(tls);
    } catch (e) {
      this.taken = false; // all of it can be written again
      throw e;
    }
    return {};
  }
}

/** Adds `enrol.*` to a server that nothing else is on, and listens with a certificate that nobody vouches for. */
export async function serveEnrolment(server: RpcServer, file: EnrolFile, take: TakeIdentity): Promise<void> {
  const tls = await selfSigned(`nxnw enrolling ${file.machine}`, THROW_AWAY_DAYS);
  const own = { ...(await newRequest(file.machine)), tlsDigest: digestOfCertificate(tls.cert) };
  const enroller = new Enroller(file, own, take, Date.now);
  server.add('enrol', {
    unary: {
      hello: method(helloSchema, (r) => Promise.resolve(enroller.hello(r))),
      accept: method(acceptSchema, (r) => enroller.accept(r)),
    },
  });
  await server.listen(`${file.host}:${String(file.port)}`, tls, 'anyone');
}

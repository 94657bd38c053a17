import { createSocket } from 'node:dgram';
import { decode, encode } from 'dns-packet';

/** moto tells its services apart by the signature's scope; it does not check the signature. */
const SIGNED = {
  authorization:
    'AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/route53/aws4_request, SignedHeaders=host, Signature=0',
};

export interface NameServer {
  stop(): void;
}

/** A name server (UDP) of a zone of Route 53: answers A with what the service has at that moment, else an empty answer. */
export async function serveZone(o: {
  readonly host: string;
  readonly port: number;
  readonly endpoint: string;
  readonly hostedZoneId: string;
}): Promise<NameServer> {
  const url = `${o.endpoint}/2013-04-01/hostedzone/${o.hostedZoneId}/rrset`;
  const socket = createSocket('udp4');
  socket.on('message', (message, peer) => {
    const query = decode(message);
    void answersOf(url, query.questions?.[0]?.name ?? '').then((answers) => {
      const reply = encode({ type: 'response', id: query.id ?? 0, flags: 0x0400, questions: query.questions ?? [], answers }); // prettier-ignore
      socket.send(reply, peer.port, peer.address);
    });
  });
  await new Promise<void>((ok) => socket.bind(o.port, o.host, ok));
  return { stop: () => void socket.close() };
}

async function answersOf(url: string, name: string): Promise<{ type: 'A'; name: string; ttl: number; data: string }[]> {
  const xml = await (await fetch(url, { headers: SIGNED })).text();
  const sets = [...xml.matchAll(/<ResourceRecordSet>(.*?)<\/ResourceRecordSet>/gs)].map(([, t = '']) => t);
  const set = sets.find((t) => t.includes(`<Name>${name.toLowerCase()}.</Name>`) && t.includes('<Type>A</Type>'));
  if (set === undefined) return [];
  const ttl = Number(/<TTL>(\d+)<\/TTL>/.exec(set)?.[1] ?? 0);
  return [...set.matchAll(/<Value>([^<]*)<\/Value>/g)].map(([, data = '']) => ({ type: 'A', name, ttl, data }));
}

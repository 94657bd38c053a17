/** The part of dns-packet (which has no types of its own) that the RFC 2136 driver uses. */
declare module 'dns-packet' {
  export interface Answer {
    readonly name: string;
    readonly type: string;
    readonly ttl: number;
    readonly data: unknown;
  }
  export interface Message {
    readonly id: number;
    readonly rcode: string;
    readonly flag_aa: boolean;
    readonly answers: readonly Answer[];
    readonly additionals: readonly Answer[];
  }
  export function encode(m: {
    type: 'query';
    id: number;
    flags: number;
    questions: readonly { name: string; type: string }[];
  }): Buffer;
  export function decode(message: Buffer): Message;
  export const name: { encode(name: string): Buffer };
  /** A record's data with its length in front, two bytes. */
  export function record(type: string): { encode(data: string): Buffer };
}

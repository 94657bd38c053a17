/** The part of memjs (which has no types of its own) that the cache tests use. */
declare module 'memjs' {
  export interface Client {
    get(key: string): Promise<{ value: Buffer | null; flags: Buffer | null }>;
    set(key: string, value: Buffer | string, options: { expires?: number }): Promise<boolean>;
    add(key: string, value: Buffer | string, options: { expires?: number }): Promise<boolean>;
    replace(key: string, value: Buffer | string, options: { expires?: number }): Promise<boolean>;
    delete(key: string): Promise<boolean>;
    increment(
      key: string,
      amount: number,
      options: { initial?: number; expires?: number },
    ): Promise<{ success: boolean; value: number | null }>;
    touch(key: string, expires: number): Promise<boolean>;
    flush(): Promise<unknown>;
    close(): void;
  }
  export interface Serializer {
    serialize(
      opcode: number,
      value: Buffer | string,
      extras: Buffer | string,
    ): { value: Buffer | string; extras: Buffer | string };
    deserialize(opcode: number, value: Buffer, extras: Buffer): { value: Buffer; extras: Buffer };
  }
  export const Client: {
    create(
      servers: string,
      options?: {
        serializer?: Serializer;
        retries?: number;
        timeout?: number;
        logger?: { log(...m: unknown[]): void };
      },
    ): Client;
  };
}

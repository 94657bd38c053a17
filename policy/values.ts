/** A resource as the rules see it: its properties are whatever the program gave, so they are read with care. */
export interface Seen {
  readonly type: string;
  readonly name: string;
  readonly props: unknown;
  readonly protect: boolean;
}

export function isKind(r: Seen, kind: string): boolean {
  return r.type === `pulumi-nodejs:dynamic/nxnw:${kind}`;
}

/** A property of an object; undefined of anything else. */
export function at(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined;
}

/** The elements of an array. The engine's arrays are proxies whose own methods do not run: only its elements are read. */
export function list(value: unknown): readonly unknown[] {
  if (!Array.isArray(value)) return [];
  const given: readonly unknown[] = value;
  return Array.from({ length: given.length }, (_, i) => given[i]);
}

export function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

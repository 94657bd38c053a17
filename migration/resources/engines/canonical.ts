/** JSON with sorted keys; undefined and the key that Pulumi adds to dynamic resources are left out. */
export function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, v: unknown) => {
    if (typeof v !== 'object' || v === null || Array.isArray(v)) return v;
    return Object.fromEntries(
      Object.entries(v)
        .filter(([k]) => k !== '__provider')
        .sort(([a], [b]) => (a < b ? -1 : 1)),
    );
  });
}

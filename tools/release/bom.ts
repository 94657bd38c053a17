import { createHash } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { ReleasePackage } from './closure.js';

interface BomComponent {
  readonly type: 'library' | 'application' | 'platform';
  readonly name: string;
  readonly version: string;
  readonly purl?: string;
  readonly licenses?: readonly { readonly license: { readonly name: string } }[];
  readonly hashes?: readonly { readonly alg: 'SHA-256'; readonly content: string }[];
}

const JAR = /^(.+?)-(\d[^/]*)\.jar$/;

/** The jars of a folder, with their digests. */
function jarsOf(dir: string): BomComponent[] {
  return readdirSync(dir)
    .filter((f) => f.endsWith('.jar'))
    .sort()
    .map((file) => {
      const [, name = file, version = ''] = JAR.exec(file) ?? [];
      const content = createHash('sha256')
        .update(readFileSync(join(dir, file)))
        .digest('hex');
      return { type: 'library', name, version, hashes: [{ alg: 'SHA-256', content }] };
    });
}

export interface BomInput {
  readonly version: string;
  readonly packages: readonly ReleasePackage[];
  readonly jarDirs: readonly string[];
  /** Of Node, without a leading v. */
  readonly nodeVersion: string;
}

/** The bill of materials of a release, CycloneDX 1.5 as JSON text. The same input gives the same text. */
export function billOfMaterials(o: BomInput): string {
  const components: BomComponent[] = [
    { type: 'platform', name: 'node', version: o.nodeVersion, purl: `pkg:generic/node@${o.nodeVersion}` },
    ...o.packages.map((p): BomComponent => ({
      type: 'library',
      name: p.name,
      version: p.version,
      purl: `pkg:npm/${p.name.replace('@', '%40')}@${p.version}`,
      licenses: [{ license: { name: p.license } }],
    })),
    ...o.jarDirs.flatMap(jarsOf),
  ];
  const bom = {
    bomFormat: 'CycloneDX',
    specVersion: '1.5',
    version: 1,
    metadata: { component: { type: 'application', name: 'nxnw', version: o.version } },
    components,
  };
  return JSON.stringify(bom, null, 2) + '\n';
}

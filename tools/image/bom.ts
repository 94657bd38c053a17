import { z } from 'zod';
import { DISTRO } from './packages.js';
import type { InstalledPackage } from './packages.js';

const releaseBom = z.looseObject({ components: z.array(z.looseObject({ name: z.string(), version: z.string() })) });

export interface ImageBomInput {
  readonly version: string;
  /** What of Debian is in the image. */
  readonly packages: readonly InstalledPackage[];
  /** Text of the release's bill of materials. */
  readonly release: string;
}

/** The bill of materials of an image, CycloneDX 1.5 as JSON text: Debian's packages, then all of the release's. */
export function imageBom(o: ImageBomInput): string {
  const debian = o.packages.map(({ name, version, arch }) => ({
    type: 'library',
    name,
    version,
    purl: `pkg:deb/debian/${encodeURIComponent(name)}@${encodeURIComponent(version)}?arch=${arch}&distro=${DISTRO}`,
  }));
  const bom = {
    bomFormat: 'CycloneDX',
    specVersion: '1.5',
    version: 1,
    metadata: { component: { type: 'operating-system', name: 'nxnw-image', version: o.version } },
    components: [...debian, ...releaseBom.parse(JSON.parse(o.release)).components],
  };
  return JSON.stringify(bom, null, 2) + '\n';
}

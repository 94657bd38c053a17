import { el, type XmlElement } from './xml.js';

export type ImageFormat = 'raw' | 'qcow2';

export interface VolumeShape {
  readonly name: string;
  readonly bytes: number;
  readonly format: ImageFormat;
  /** Image under a copy-on-write overlay, which is then qcow2. */
  readonly backing?: { readonly path: string; readonly format: ImageFormat };
}

/** Readable by root and the hypervisor only: disks hold data, and a seed holds a token. */
const MODE = '0600';

export function volumeXml(v: VolumeShape): XmlElement {
  return el(
    'volume',
    {},
    el('name', {}, v.name),
    el('capacity', { unit: 'bytes' }, v.bytes),
    // raw volumes are sparse: what is not written takes no room
    v.format === 'raw' && el('allocation', { unit: 'bytes' }, 0),
    el('target', {}, el('format', { type: v.format }), el('permissions', {}, el('mode', {}, MODE))),
    v.backing !== undefined &&
      el('backingStore', {}, el('path', {}, v.backing.path), el('format', { type: v.backing.format })),
  );
}

/** A pool of files in a folder of the host. */
export function poolXml(name: string, folder: string): XmlElement {
  return el('pool', { type: 'dir' }, el('name', {}, name), el('target', {}, el('path', {}, folder)));
}

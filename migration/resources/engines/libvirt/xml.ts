/** An XML element as libvirt reads and writes them: attributes, children and text; no mixed order of text and children. */
export interface XmlElement {
  readonly name: string;
  readonly attributes: Readonly<Record<string, string>>;
  readonly children: readonly XmlElement[];
  readonly text: string;
}

type Value = string | number;
/** What may stand inside an element; `null` and `false` are left out. */
export type Content = XmlElement | Value | null | false | readonly Content[];

/** `el('target', { dev: 'vda' })`; undefined attributes are left out. */
export function el(
  name: string,
  attributes: Readonly<Record<string, Value | undefined>> = {},
  ...content: Content[]
): XmlElement {
  const children: XmlElement[] = [];
  let text = '';
  const add = (c: Content): void => {
    if (c === null || c === false) return;
    if (typeof c === 'string' || typeof c === 'number') text += String(c);
    else if ('name' in c) children.push(c);
    else c.forEach(add);
  };
  content.forEach(add);
  const given = Object.entries(attributes).flatMap(([k, v]) => (v === undefined ? [] : [[k, String(v)] as const]));
  return { name, attributes: Object.fromEntries(given), children, text };
}

const ESCAPES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&apos;',
};
/** Characters that XML 1.0 cannot hold, however they are written. */
const IMPOSSIBLE = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g;

function escape(value: string): string {
  return value
    .replace(IMPOSSIBLE, '')
    .replace(/[&<>"']/g, (c) => ESCAPES[c] ?? c)
    .replace(/[\t\n\r]/g, (c) => `&#${String(c.charCodeAt(0))};`);
}

/** The element as text, two spaces a level, with a newline at the end. */
export function renderXml(e: XmlElement, indent = ''): string {
  const attributes = Object.entries(e.attributes).map(([k, v]) => ` ${k}="${escape(v)}"`);
  const head = `${indent}<${e.name}${attributes.join('')}`;
  if (e.children.length === 0 && e.text === '') return `${head}/>\n`;
  if (e.children.length === 0) return `${head}>${escape(e.text)}</${e.name}>\n`;
  const inside = e.children.map((c) => renderXml(c, `${indent}  `)).join('');
  return `${head}>${escape(e.text)}\n${inside}${indent}</${e.name}>\n`;
}

const NAMED: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };

function unescape(value: string): string {
  return value.replace(/&(#x?[0-9a-fA-F]+|[a-z]+);/g, (whole, ref: string) => {
    if (ref.startsWith('#x')) return String.fromCodePoint(parseInt(ref.slice(2), 16));
    return ref.startsWith('#') ? String.fromCodePoint(Number(ref.slice(1))) : (NAMED[ref] ?? whole);
  });
}

/** Comments, declarations and processing instructions; a tag; or text up to the next tag. */
const TOKEN =
  /<!--[\s\S]*?-->|<[?!][^>]*>|<(\/?)([^\s/>]+)((?:\s+[^\s=]+\s*=\s*(?:"[^"]*"|'[^']*'))*)\s*(\/?)>|([^<]+)/g;
const ATTRIBUTE = /([^\s=]+)\s*=\s*(?:"([^"]*)"|'([^']*)')/g;

interface Open {
  readonly name: string;
  readonly attributes: Record<string, string>;
  readonly children: XmlElement[];
  text: string;
}

/** Reads what libvirt writes: no DTD, no CDATA. Throws an Error for text that is no single element. */
export function parseXml(text: string): XmlElement {
  const root: Open = { name: '', attributes: {}, children: [], text: '' };
  const stack = [root];
  let read = 0;
  for (const m of text.matchAll(TOKEN)) {
    if (m.index !== read) break;
    read += m[0].length;
    const top = stack.at(-1) ?? root;
    const [, closing, name, attributes, empty, words] = m;
    if (words !== undefined) top.text += unescape(words);
    else if (name === undefined) continue;
    else if (closing === '/') {
      if (top.name !== name || stack.length === 1) throw new Error(`XML: </${name}> closes <${top.name}>`);
      stack.pop();
      stack.at(-1)?.children.push({ ...top, text: top.text.trim() });
    } else {
      const pairs = [...(attributes ?? '').matchAll(ATTRIBUTE)];
      const open = {
        name,
        attributes: Object.fromEntries(pairs.map((a) => [a[1] ?? '', unescape(a[2] ?? a[3] ?? '')])),
        children: [],
        text: '',
      };
      if (empty === '/') top.children.push(open);
      else stack.push(open);
    }
  }
  const [only] = root.children;
  if (read !== text.length || stack.length !== 1 || root.children.length !== 1 || only === undefined)
    throw new Error(`XML: not one whole element: ${text.slice(0, 200)}`);
  return only;
}

/** Descendants at a path of element names: `allAt(domain, 'devices', 'disk')`. */
export function allAt(e: XmlElement, ...path: string[]): XmlElement[] {
  return path.reduce<XmlElement[]>(
    (found, name) => found.flatMap((f) => f.children.filter((c) => c.name === name)),
    [e],
  );
}

/** The first of them, if any. */
export function at(e: XmlElement, ...path: string[]): XmlElement | undefined {
  return allAt(e, ...path)[0];
}

import { hasCode } from '@nxnw/platform/errors';
import { canonical } from '../canonical.js';
import type { Difference } from '../machines.js';
import { checkRules, filterXml, rulesOf, type FilterRule } from './filter-xml.js';
import { at, parseXml, renderXml, type XmlElement } from './xml.js';
import { inTurn, virsh, virshWithFile, type Target } from './virsh.js';

/** What is let through to the machines of one group on one host. */
export interface FilterInputs {
  /** libvirt URI of the host. */
  readonly uri: string;
  readonly name: string;
  readonly rules: readonly FilterRule[];
}

const targetOf = (f: FilterInputs, signal?: AbortSignal): Target => ({
  uri: f.uri,
  resource: `filter ${f.name}`,
  ...(signal === undefined ? {} : { signal }),
});

async function find(target: Target, name: string): Promise<XmlElement | null> {
  try {
    return parseXml(await virsh(target, ['nwfilter-dumpxml', name]));
  } catch (e) {
    if (hasCode(e, 'LIBVIRT_NOT_FOUND')) return null;
    throw e;
  }
}

/** Makes the filter, or brings the one of this name to these rules; running machines take them at once. */
export async function makeFilter(inputs: FilterInputs, signal?: AbortSignal): Promise<FilterInputs> {
  const target = targetOf(inputs, signal);
  checkRules(inputs.name, inputs.rules);
  return inTurn(inputs.uri, `filter ${inputs.name}`, async () => {
    const found = await find(target, inputs.name);
    const uuid = found === null ? undefined : at(found, 'uuid')?.text;
    await virshWithFile(target, renderXml(filterXml(inputs.name, inputs.rules, uuid)), ['nwfilter-define', 'FILE']);
    return inputs;
  });
}

/** The filter as it is; null where it is gone. */
export async function readFilter(state: FilterInputs, signal?: AbortSignal): Promise<FilterInputs | null> {
  const found = await find(targetOf(state, signal), state.name);
  if (found === null) return null;
  const rules = rulesOf(found);
  return sameRules(rules, state.rules) ? state : { ...state, rules };
}

export async function removeFilter(state: FilterInputs, signal?: AbortSignal): Promise<void> {
  const target = targetOf(state, signal);
  if ((await find(target, state.name)) !== null) await virsh(target, ['nwfilter-undefine', state.name]);
}

/** Whether the same is let through; libvirt keeps rules in an order of its own. */
function sameRules(a: readonly FilterRule[], b: readonly FilterRule[]): boolean {
  const shown = (rules: readonly FilterRule[]) =>
    rules.map((r) => canonical({ ...r, source: /[-/]/.test(r.source) ? r.source : `${r.source}/32` })).sort();
  return canonical(shown(a)) === canonical(shown(b));
}

export function filterDiffers(old: FilterInputs, wanted: FilterInputs): Difference {
  const replaces = (['uri', 'name'] as const).filter((k) => old[k] !== wanted[k]);
  return { changes: replaces.length > 0 || !sameRules(old.rules, wanted.rules), replaces };
}

import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { z } from 'zod';

const properties = z.record(z.string(), z.object({ type: z.string().optional() }).loose()).default({});
const typed = z.object({ properties, inputProperties: properties, requiredInputs: z.array(z.string()).default([]) });

/** What this reads of a Pulumi schema (`pulumi package get-schema`). */
export const schemaOf = (text: string) =>
  z
    .object({
      provider: typed,
      resources: z.record(z.string(), typed),
      functions: z.record(z.string(), z.object({ inputs: z.object({ properties }).optional() })),
      types: z.record(z.string(), z.object({ properties })),
    })
    .parse(JSON.parse(text));
export type Schema = ReturnType<typeof schemaOf>;
type Properties = z.output<typeof properties>;

/** `aws:ec2/vpc:Vpc` -> the folder and file of the package, and the class. */
function placeOf(token: string): { module: string; file: string; name: string } {
  const [, place = '', name = ''] = token.split(':');
  const [module = '', file = ''] = place.split('/');
  return { module, file, name };
}

const matches = (text: string, pattern: RegExp): string[] => [...text.matchAll(pattern)].flatMap((m) => m[1] ?? []);
const without = (all: Iterable<string>, there: object): string[] => [...new Set(all)].filter((n) => !(n in there));

/** Text between `begin` and the line that closes it at the given depth; undefined where there is no `begin`. */
function block(text: string, begin: string, close: string): string | undefined {
  const at = text.indexOf(begin);
  return at < 0 ? undefined : text.slice(at, text.indexOf(`\n${close}`, at));
}

/** `name: type;` lines of an interface. */
function fields(body: string): Map<string, { readonly list: boolean; readonly optional: boolean }> {
  return new Map(
    [...body.matchAll(/\n\s+(?:readonly )?(\w+)(\??): (.*);/g)].map((m) => [
      m[1] ?? '',
      { optional: m[2] === '?', list: (m[3] ?? '').includes('[]') },
    ]),
  );
}

/** Fields that are a list on one side only. */
function listsUnlike(where: string, npm: ReturnType<typeof fields>, plugin: Properties): string[] {
  return Object.entries(plugin).flatMap(([name, p]) => {
    const field = npm.get(name);
    return field === undefined || field.list === (p.type === 'array') ? [] : [`${where}.${name}: a list on one side`];
  });
}

/**
 * Where a plugin's schema does not fit the npm package whose programs it must serve: a class, an input, an output or a
 * function that the package sends and the plugin has not, a list against a single value, something that the plugin
 * needs and the package may leave out. What only the plugin has does not matter: no program sends it.
 */
export function misfits(schema: Schema, npmPackage: string): string[] {
  const root = dirname(require.resolve(`${npmPackage}/package.json`));
  const read = (...path: string[]) => readFileSync(join(root, ...path), 'utf8');
  const folder = (module: string) => (module === 'index' ? '' : module);

  const ofResource = ([token, r]: [string, Schema['resources'][string]]): string[] => {
    const { module, file, name } = placeOf(token);
    const js = read(folder(module), `${file}.js`);
    if (!js.includes(`'${token}'`)) return [`${token}: no class of that token in ${module}/${file}.js`];
    const args = fields(block(read(folder(module), `${file}.d.ts`), `export interface ${name}Args {`, '}') ?? '');
    const constructor = js.slice(js.indexOf('constructor('));
    const outs = matches(constructor, /resourceInputs\["(\w+)"\] = undefined \/\*out/g);
    return [
      ...without(args.keys(), r.inputProperties).map((n) => `${token}: no input ${n}`),
      ...without([...args.keys(), ...outs], r.properties).map((n) => `${token}: no output ${n}`),
      ...r.requiredInputs.filter((n) => args.get(n)?.optional !== false).map((n) => `${token}: needs ${n}`),
      ...listsUnlike(token, args, r.inputProperties),
      ...(args.size === 0 ? [`${token}: no ${name}Args in ${module}/${file}.d.ts`] : []),
    ];
  };

  const ofFunction = ([token, f]: [string, Schema['functions'][string]]): string[] => {
    if (token.startsWith('pulumi:providers:')) return []; // a method that every bridged provider has
    const { module, file } = placeOf(token);
    const call = block(read(folder(module), `${file}.js`), `invoke("${token}", {`, '    }');
    if (call === undefined) return [`${token}: no call of that token in ${module}/${file}.js`];
    return without(matches(call, /\n\s+"(\w+)": args/g), f.inputs?.properties ?? {}).map((n) => `${token}: no ${n}`);
  };

  const declared = [read('types', 'input.d.ts'), read('types', 'output.d.ts')];
  /** Nested types that the package declares; those of functions and of its own extras have no declaration. */
  const ofType = ([token, t]: [string, Schema['types'][string]]): string[] => {
    const { module, name } = placeOf(token);
    for (const text of declared) {
      const space = block(text, `export declare namespace ${module} {`, '}');
      const body = block(space ?? '', `    interface ${name} {`, '    }');
      if (body === undefined) continue;
      const npm = fields(body);
      return [
        ...without(npm.keys(), t.properties).map((n) => `${token}: no field ${n}`),
        ...listsUnlike(token, npm, t.properties),
      ];
    }
    return [];
  };

  const configured = matches(read('provider.js'), /resourceInputs\["(\w+)"\]/g);
  return [
    ...without(configured, schema.provider.inputProperties).map((n) => `provider: no input ${n}`),
    ...Object.entries(schema.resources).flatMap(ofResource),
    ...Object.entries(schema.functions).flatMap(ofFunction),
    ...Object.entries(schema.types).flatMap(ofType),
  ];
}

import { dirname, relative, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import tseslint from 'typescript-eslint';

const root = dirname(fileURLToPath(import.meta.url));

/** Which workspaces a folder may import: stacks -> components -> migration -> platform, and what stands beside. */
const MAY_IMPORT = {
  platform: ['platform'],
  migration: ['migration', 'platform'],
  components: ['components', 'migration', 'platform'],
  stacks: ['stacks', 'components', 'migration', 'platform'],
  policy: ['policy', 'platform'],
  cli: ['cli', 'migration', 'platform', 'tools'],
  tools: ['tools', 'platform'],
  test: ['test', 'bench', 'cli', 'policy', 'stacks', 'components', 'migration', 'platform', 'tools'],
  bench: ['bench', 'test', 'cli', 'migration', 'platform', 'tools'],
  examples: ['examples'],
};

/** The only folders that may import @pulumi/* (those of tools are parts of Pulumi, tests drive it). */
const PULUMI = [
  'stacks/',
  'components/',
  'migration/resources/',
  'policy/',
  'tools/pulumi-host/',
  'tools/providers/',
  'test/',
];

/** Workspace that an import names: `@nxnw/platform/x` or a relative path; undefined for anything else. */
function workspaceOf(source, file) {
  const named = /^@nxnw\/([a-z]+)/.exec(source);
  if (named) return named[1];
  if (!source.startsWith('.')) return undefined;
  return relative(root, resolve(dirname(file), source)).split(sep)[0];
}

const direction = {
  meta: { type: 'problem', schema: [] },
  create(context) {
    const file = relative(root, context.filename).split(sep).join('/');
    const from = file.split('/')[0];
    const allowed = MAY_IMPORT[from];
    const check = (node, source) => {
      if (typeof source !== 'string') return;
      if (source.startsWith('@pulumi/') && !PULUMI.some((p) => file.startsWith(p)))
        context.report({ node, message: `only ${PULUMI.join(', ')} may import @pulumi/*` });
      const to = workspaceOf(source, context.filename);
      if (allowed !== undefined && to !== undefined && to in MAY_IMPORT && !allowed.includes(to))
        context.report({ node, message: `${from} may not import ${to}; it may import: ${allowed.join(', ')}` });
      if (from === 'migration' && !file.startsWith('migration/resources/') && /(^|\/)resources\//.test(source))
        context.report({ node, message: 'the engines run without Pulumi: only components may import the resources' });
    };
    return {
      ImportDeclaration: (node) => check(node, node.source.value),
      ExportNamedDeclaration: (node) => check(node, node.source?.value),
      ExportAllDeclaration: (node) => check(node, node.source.value),
      ImportExpression: (node) => check(node, node.source.value),
      TSImportType: (node) => check(node, node.source?.value),
      CallExpression: (node) => {
        if (node.callee.name === 'require') check(node, node.arguments[0]?.value);
      },
    };
  },
};

export default tseslint.config(
  { ignores: ['**/dist/', '**/node_modules/', '.nxnw/', '.tools/'] },
  { plugins: { nxnw: { rules: { direction } } }, rules: { 'nxnw/direction': 'error' } },
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.strict],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: root } },
    rules: {
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': ['error', { checksVoidReturn: false }],
      '@typescript-eslint/await-thenable': 'error',
      '@typescript-eslint/return-await': ['error', 'error-handling-correctness-only'],
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      '@typescript-eslint/no-unnecessary-type-assertion': 'error',
      '@typescript-eslint/only-throw-error': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      '@typescript-eslint/no-extraneous-class': 'off',
      eqeqeq: ['error', 'always'],
      'no-console': 'error',
    },
  },
  // Provider methods are serialised into state: they load the engine when they run.
  {
    files: ['migration/resources/*.ts', 'components/clouds/index.ts'],
    rules: { '@typescript-eslint/no-require-imports': 'off' },
  },
  // Programs talk to people on their terminal; services log.
  { files: ['cli/**', 'bench/**', 'tools/**', 'test/**', 'examples/**'], rules: { 'no-console': 'off' } },
);

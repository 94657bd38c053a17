import type { RunRequest } from '@pulumi/pulumi/proto/language_pb.js';

/** Exit code by which a program says that the user has been told already; nothing more is printed then. */
export const ALREADY_REPORTED = 32;

/** Arguments of `@pulumi/pulumi/cmd/run` for one run of a program, with the entry point and its arguments last. */
export function runArguments(request: RunRequest, engineAddress: string): string[] {
  const info = request.getInfo();
  const programDir = info?.getProgramDirectory() ?? request.getPwd();
  const args = [
    `--monitor=${request.getMonitorAddress()}`,
    `--engine=${engineAddress}`,
    `--organization=${request.getOrganization()}`,
    `--project=${request.getProject()}`,
    `--stack=${request.getStack()}`,
    `--root-directory=${info?.getRootDirectory() ?? programDir}`,
    `--pwd=${request.getPwd()}`,
    `--parallel=${String(request.getParallel())}`,
  ];
  if (request.getDryrun()) args.push('--dry-run');
  return [...args, info?.getEntryPoint() ?? request.getProgram(), ...request.getArgsList()];
}

/** The configuration as `@pulumi/pulumi` reads it from its environment. */
export function configEnvironment(request: RunRequest): Record<string, string> {
  const config: Record<string, string> = {};
  request.getConfigMap().forEach((value: string, key: string) => {
    config[key] = value;
  });
  return {
    PULUMI_CONFIG: JSON.stringify(config),
    PULUMI_CONFIG_SECRET_KEYS: JSON.stringify(request.getConfigsecretkeysList()),
  };
}

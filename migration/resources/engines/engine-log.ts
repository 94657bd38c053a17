import { Metadata, credentials } from '@grpc/grpc-js';
import { EngineClient } from '@pulumi/pulumi/proto/engine_grpc_pb.js';
import { LogRequest, LogSeverity } from '@pulumi/pulumi/proto/engine_pb.js';

/** Shows one line of progress beside a resource; the next one takes its place. */
export type Log = (line: string) => void;

const LOG_MS = 2000;
let engine: EngineClient | undefined;

/**
 * The engine's log for the resource `urn`. Its address is the provider process's last argument. A line that cannot be
 * shown is dropped: progress is never a reason to fail.
 */
export function engineLog(urn: string, severity: 'info' | 'warning' = 'info'): Log {
  const address = process.argv.at(-1) ?? '';
  if (!/^[^\s/]+:\d+$/.test(address)) return () => undefined;
  engine ??= new EngineClient(address, credentials.createInsecure());
  const client = engine;
  return (line) => {
    const request = new LogRequest();
    request.setUrn(urn);
    request.setMessage(line);
    request.setSeverity(severity === 'info' ? LogSeverity.INFO : LogSeverity.WARNING);
    request.setEphemeral(severity === 'info');
    client.log(request, new Metadata(), { deadline: Date.now() + LOG_MS }, () => undefined);
  };
}

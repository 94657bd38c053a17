/** What a command prints: collected as its result, and shown line by line while it runs. */
import type { Readable } from 'node:stream';

export interface Printed {
  readonly stdout: string;
  readonly stderr: string;
}

/** Shows one line of a stream. */
export type Show = (stream: keyof Printed, line: string) => void;

/** Collects a stream to its end and shows its lines; answers the text so far, without one newline at its end. */
export function collect(stream: keyof Printed, from: Readable, show: Show): () => string {
  let text = '';
  let shown = 0;
  from.setEncoding('utf8');
  from.on('data', (chunk: string) => {
    text += chunk;
    for (let end = text.indexOf('\n', shown); end >= 0; end = text.indexOf('\n', shown)) {
      show(stream, text.slice(shown, end));
      shown = end + 1;
    }
  });
  from.once('end', () => {
    if (shown < text.length) show(stream, text.slice(shown));
  });
  return () => text.replace(/\n$/, '');
}

/** The error of a command that did not end with 0. */
export function commandFailed(how: string, command: string, printed: Printed): Error {
  return new Error(`${how}: running ${JSON.stringify(command)}:\n${[printed.stderr, printed.stdout].join('\n')}`);
}

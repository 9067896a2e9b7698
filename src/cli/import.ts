// `lanyard import litellm FILE`: reads the configuration of another gateway, prints it as one of ours, and says on standard
// error what is different here. No secret of the file is printed anywhere.
import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { toStandardError } from './standard-error.ts';
import { shown } from '../config/faults.ts';
import { count } from '../doctor/finding.ts';
import { importLitellm, NotLitellm } from '../import/litellm.ts';
import { remarks, yaml } from '../import/write.ts';

const USAGE = `usage: lanyard import litellm FILE      FILE is the config.yaml of a LiteLLM proxy; - is standard input

It prints the same as a Lanyard configuration, and says on standard error what has no counterpart:
  npx lanyard import litellm config.yaml > config/lanyard.yaml
  npx lanyard check`;

/** More is not a configuration. */
const FILE_BYTES_MAX = 1024 ** 2;

interface Printer {
  /** One line of standard output. */
  readonly out: (line: string) => void;
  /** One line of standard error. */
  readonly fail?: (line: string) => void;
  readonly stdin?: AsyncIterable<Uint8Array>;
}

/**
 * @returns the exit code: 0 when all was carried over or remarked upon, 1 for a file that is not LiteLLM's, 2 for a command
 * that is not understood
 */
export async function importConfig(
  argv: readonly string[],
  { out, fail = toStandardError, stdin = process.stdin }: Printer,
): Promise<number> {
  const [format, file, ...more] = argv;
  if (format === '--help' || format === '-h') {
    out(USAGE);
    return 0;
  }
  if (format !== undefined && format !== 'litellm') {
    fail(`lanyard import: cannot import "${shown(format)}"; what it can: litellm`);
    return 2;
  }
  if (file === undefined || more.length > 0 || (file.startsWith('-') && file !== '-')) {
    fail(USAGE);
    return 2;
  }
  const name = file === '-' ? 'stdin' : file;
  try {
    const imported = importLitellm(text(await read(file, stdin)));
    // In the comments a name that could end one would be odd; the folder says nothing there.
    const short = /^[\p{L}\p{N}._ -]+$/u.test(basename(name)) ? basename(name) : 'the file';
    const { models, backends } = imported;
    out(yaml(imported, short));
    fail(
      `${name}: ${count(models.size, 'model')} on ${count(backends.length, 'backend')}. These remarks head the output too.`,
    );
    for (const line of remarks(imported, short)) fail(line);
    return 0;
  } catch (error) {
    if (error instanceof NotLitellm) for (const fault of error.faults) fail(`${name}:${fault}`);
    else fail(`${name}: ${reason(error)}`);
    return 1;
  }
}

async function read(file: string, stdin: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  if (file !== '-') {
    const bytes = await readFile(file);
    if (bytes.length > FILE_BYTES_MAX) throw new TooLarge();
    return bytes;
  }
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of stdin) {
    length += chunk.length;
    if (length > FILE_BYTES_MAX) throw new TooLarge();
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function text(bytes: Uint8Array): string {
  return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
}

class TooLarge extends Error {}

/** Why the file cannot be read; anything else is a bug of ours, and is told as one. */
function reason(error: unknown): string {
  if (error instanceof TooLarge) return 'is larger than 1 MiB; this is no configuration';
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  if (code === '') throw error;
  return REASONS[code] ?? `cannot be read (${code})`;
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file',
  EISDIR: 'is a directory; name the file in it',
  EACCES: 'may not be read by this user: change its permissions or its owner',
  ERR_ENCODING_INVALID_ENCODED_DATA: 'is not UTF-8 text: save it as UTF-8',
};

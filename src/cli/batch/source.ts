// The file of requests that is submitted: read as it is sent, and known beforehand only up to its first line's end, which tells
// what answers it.
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { CannotRead } from './files.ts';
import type { Upload } from './upload.ts';
import { parseRecord } from '../../wire/record.ts';

/** A first line that is longer does not tell what answers it. */
const LINE_BYTES_MAX = 64 << 20;

export interface Source extends Upload {
  /** The first line, or as much of it as LINE_BYTES_MAX lets in. */
  readonly first: string;
  /** Where it is not sent after all: a pipe that stays open would keep this process. */
  close(): Promise<void>;
}

/** @throws CannotRead */
export async function openSource(file: string, stdin: AsyncIterable<Uint8Array>): Promise<Source> {
  if (file === '-') return begun('stdin.jsonl', undefined, stdin);
  try {
    const found = await stat(file);
    // A pipe has no size, and what is written to a file meanwhile belongs to no batch.
    const bytes = found.isFile() ? found.size : undefined;
    const until = bytes === undefined || bytes === 0 ? {} : { end: bytes - 1 };
    return await begun(basename(file), bytes, createReadStream(file, { highWaterMark: 256 << 10, ...until }));
  } catch (error) {
    throw CannotRead.from(file, error);
  }
}

/** `undefined` where the first line does not tell. */
export function endpointOf({ first }: Source): string | undefined {
  const url = parseRecord(first)?.['url'];
  return typeof url === 'string' && url.startsWith('/') ? url : undefined;
}

async function begun(name: string, bytes: number | undefined, from: AsyncIterable<Uint8Array>): Promise<Source> {
  const pieces = from[Symbol.asyncIterator]();
  const head: Uint8Array[] = [];
  let length = 0;
  while (length < LINE_BYTES_MAX) {
    const { done, value } = await pieces.next();
    if (done === true) break;
    head.push(value);
    length += value.length;
    if (value.includes(NEWLINE)) break;
  }
  const [first = ''] = Buffer.concat(head).toString().split('\n', 1);
  return {
    name,
    bytes,
    first: first.trim(),
    content: rest(name, head, pieces),
    close: async () => void (await pieces.return?.()),
  };
}

async function* rest(
  name: string,
  head: readonly Uint8Array[],
  pieces: AsyncIterator<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  try {
    yield* head;
    for (;;) {
      const { done, value } = await pieces.next();
      if (done === true) return;
      yield value;
    }
  } catch (error) {
    throw CannotRead.from(name, error);
  }
}

const NEWLINE = 0x0a;

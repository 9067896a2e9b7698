// The files, on disk until the fake stops: a test may read the lines of one that the API has deleted.
import type { IncomingMessage } from 'node:http';
import { randomBytes } from 'node:crypto';
import { createReadStream, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Refusal } from './refusal.ts';
import type { FileObject, Upload } from './shapes.ts';
import { LIVES, receive } from './upload.ts';

export interface Files {
  readonly uploads: Upload[];
  readonly deleted: string[];
  /** The ones that are there, oldest first. */
  list(): FileObject[];
  get(id: string): FileObject;
  has(id: string): boolean;
  upload(req: IncomingMessage, bytes_max: number): Promise<FileObject>;
  /** A batch's output. */
  write(filename: string, lines: readonly Buffer[], lives: number | undefined): Promise<FileObject>;
  delete(id: string): { id: string; object: 'file'; deleted: true };
  path(id: string): string;
  /** Each line's text as it came, deleted or not. */
  lines(id: string): string[];
  stop(): void;
}

export function open_files(): Files {
  const home = mkdtempSync(join(tmpdir(), 'batch-api-'));
  const there = new Map<string, FileObject>();
  const uploads: Upload[] = [];
  const deleted: string[] = [];

  const path = (id: string): string => join(home, id);
  const keep = (
    id: string,
    filename: string,
    purpose: FileObject['purpose'],
    bytes: number,
    lives: number,
  ): FileObject => {
    const created_at = seconds();
    const expires_at = created_at + lives;
    const file = { id, object: 'file', bytes, created_at, expires_at, filename, purpose } as const;
    const whole = { ...file, status: 'processed', status_details: null } as const;
    there.set(id, whole);
    return whole;
  };
  const get = (id: string): FileObject => {
    const file = there.get(id);
    if (file === undefined) throw new Refusal(404, `No such File object: ${id}`, 'id');
    return file;
  };

  return {
    uploads,
    deleted,
    list: () => [...there.values()],
    get,
    has: (id) => there.has(id),
    upload: async (req, bytes_max) => {
      const id = new_id('file-');
      const { filename, bytes, line_count, lives } = await receive(req, path(id), bytes_max);
      const file = keep(id, filename, 'batch', bytes, lives);
      uploads.push({ id, filename, purpose: file.purpose, bytes, line_count, at: performance.now() });
      return file;
    },
    write: async (filename, lines, lives = LIVES) => {
      const id = new_id('file-');
      const whole = Buffer.concat(lines);
      await writeFile(path(id), whole);
      return keep(id, filename, 'batch_output', whole.length, lives);
    },
    delete: (id) => {
      get(id);
      there.delete(id);
      deleted.push(id);
      return { id, object: 'file', deleted: true };
    },
    path,
    lines: (id) => {
      const lines = readFileSync(path(id), 'utf8').split('\n');
      if (lines.at(-1) === '') lines.pop();
      return lines;
    },
    stop: () => rmSync(home, { recursive: true, force: true }),
  };
}

/** The lines of a file, without their line feeds; what follows the last line feed is a line where it is not empty. */
export async function* lines_of(path: string): AsyncGenerator<Buffer> {
  let rest: Buffer[] = [];
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 }) as AsyncIterable<Buffer>) {
    let from = 0;
    for (let at = chunk.indexOf(0x0a); at >= 0; at = chunk.indexOf(0x0a, from)) {
      yield Buffer.concat([...rest, chunk.subarray(from, at)]);
      rest = [];
      from = at + 1;
    }
    if (from < chunk.length) rest.push(chunk.subarray(from));
  }
  if (rest.length > 0) yield Buffer.concat(rest);
}

export function new_id(prefix: string): string {
  return prefix + randomBytes(12).toString('hex');
}

export function seconds(): number {
  return Math.floor(Date.now() / 1000);
}

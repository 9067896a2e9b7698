// One multipart upload, written to disk as it comes: 200 MB never stand in memory.
import type { IncomingMessage } from 'node:http';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Busboy, type BusboyFileStream } from '@fastify/busboy';
import { lifetime, Refusal } from './refusal.ts';

export interface Uploaded {
  readonly filename: string;
  readonly bytes: number;
  readonly line_count: number;
  /** Seconds. */
  readonly lives: number;
}

/** OpenAI keeps a batch's files for thirty days where nothing else is said. */
export const LIVES = 2_592_000;

const FIELDS = new Set(['purpose', 'expires_after[anchor]', 'expires_after[seconds]']);

/** Throws a `Refusal`, and then nothing is left at `path`. */
export async function receive(req: IncomingMessage, path: string, bytes_max: number): Promise<Uploaded> {
  try {
    return await read(req, path, bytes_max);
  } catch (error) {
    req.unpipe();
    req.resume();
    await rm(path, { force: true });
    throw error;
  }
}

async function read(req: IncomingMessage, path: string, bytes_max: number): Promise<Uploaded> {
  const type = req.headers['content-type'] ?? '';
  if (!/^multipart\/form-data\s*;.*boundary=/i.test(type)) {
    throw new Refusal(400, `Invalid Content-Type header: expected multipart/form-data with a boundary, got '${type}'.`);
  }
  const fields = new Map<string, string>();
  const problems: Refusal[] = [];
  const files: { readonly filename: string; readonly stream: BusboyFileStream; readonly written: Promise<Written> }[] =
    [];
  const form = Busboy({ headers: { ...req.headers, 'content-type': type }, limits: { fileSize: bytes_max } });
  form.on('field', (name, value) => {
    if (!FIELDS.has(name)) problems.push(unknown(name));
    if (fields.has(name)) problems.push(new Refusal(400, `Duplicate parameter: '${name}'.`, name));
    fields.set(name, value);
  });
  form.on('file', (name, stream, filename) => {
    if (name === 'file' && files.length === 0) {
      const written = write(stream, path);
      // A form that breaks off fails here too, and is told of by the form itself.
      written.catch(() => {});
      files.push({ filename, stream, written });
      return;
    }
    problems.push(
      name === 'file' ? new Refusal(400, 'Only one file can be uploaded at a time.', 'file') : unknown(name),
    );
    stream.on('error', () => {}).resume();
  });
  const gone = (): void => {
    if (!req.complete) form.emit('error', new Error('the connection broke off'));
  };
  req.once('close', gone);
  req.pipe(form);
  try {
    await once(form, 'finish');
  } catch (error) {
    for (const { stream } of files) stream.destroy();
    throw new Refusal(400, `Could not parse multipart form: ${error instanceof Error ? error.message : 'broken'}`);
  } finally {
    req.off('close', gone);
  }
  const [file] = files;
  if (file === undefined) {
    throw new Refusal(400, "Missing required parameter: 'file'.", 'file', 'missing_required_parameter');
  }
  const { bytes, line_count } = await file.written;
  if (file.stream.truncated)
    throw new Refusal(413, `File is too large: the limit for batch files is ${bytes_max} bytes.`, 'file');
  const [problem] = problems;
  if (problem !== undefined) throw problem;
  const purpose = fields.get('purpose');
  if (purpose === undefined) {
    throw new Refusal(400, "Missing required parameter: 'purpose'.", 'purpose', 'missing_required_parameter');
  }
  if (purpose !== 'batch')
    throw new Refusal(400, `Invalid value for purpose: '${purpose}'.`, 'purpose', 'invalid_value');
  if (!file.filename.endsWith('.jsonl')) {
    throw new Refusal(400, `Invalid file format for Batch API. Must be .jsonl, got '${file.filename}'.`, 'file');
  }
  if (bytes === 0) throw new Refusal(400, 'File is empty.', 'file', 'empty_file');
  return { filename: file.filename, bytes, line_count, lives: lives(fields) };
}

interface Written {
  readonly bytes: number;
  readonly line_count: number;
}

async function write(stream: BusboyFileStream, path: string): Promise<Written> {
  let bytes = 0;
  let feeds = 0;
  let last = 0x0a;
  const count = new Transform({
    transform(chunk: Buffer, _, done) {
      bytes += chunk.length;
      for (let at = chunk.indexOf(0x0a); at >= 0; at = chunk.indexOf(0x0a, at + 1)) feeds += 1;
      last = chunk.at(-1) ?? last;
      done(null, chunk);
    },
  });
  await pipeline(stream, count, createWriteStream(path));
  return { bytes, line_count: last === 0x0a ? feeds : feeds + 1 };
}

function lives(fields: ReadonlyMap<string, string>): number {
  const anchor = fields.get('expires_after[anchor]');
  const seconds = fields.get('expires_after[seconds]');
  if (anchor === undefined && seconds === undefined) return LIVES;
  return lifetime(anchor, seconds === undefined ? undefined : Number(seconds), 'expires_after');
}

function unknown(name: string): Refusal {
  return new Refusal(400, `Unknown parameter: '${name}'.`, name, 'unknown_parameter');
}

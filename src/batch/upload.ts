// A file as it is uploaded (multipart/form-data, RFC 7578), streamed to where it is kept: at no moment is it in memory. It is
// the one door to busboy.
import type { IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import { Busboy } from '@fastify/busboy';
import { GatewayError } from '../wire/errors.ts';

export interface Upload {
  readonly filename: string;
  readonly bytes: number;
  /** The form's other fields. */
  readonly fields: ReadonlyMap<string, string>;
}

export interface UploadLimits {
  readonly file_bytes_max: number;
  /** Longest silence. */
  readonly body_idle_ms: number;
}

const FIELDS_MAX = 16;
const FIELD_BYTES_MAX = 1024;
/** What a form adds to its file. */
const FORM_BYTES_MAX = 64 * 1024;

/**
 * `keep` writes the file down and tells its bytes. @throws GatewayError for a form that is none, has no `file` or is too large;
 * what `keep` throws; the signal's reason
 */
export async function receive(
  request: IncomingMessage,
  limits: UploadLimits,
  signal: AbortSignal,
  keep: (source: AsyncIterable<Buffer>) => Promise<number>,
): Promise<Upload> {
  const type = request.headers['content-type'] ?? '';
  if (!/^multipart\/form-data\s*;/i.test(type)) {
    throw new GatewayError('unsupported_media_type', 'Send the file as multipart/form-data.');
  }
  if (Number(request.headers['content-length'] ?? 0) > limits.file_bytes_max + FORM_BYTES_MAX) throw tooLarge(limits);
  const form = formOf(request, limits);
  const fields = new Map<string, string>();
  return await new Promise<Upload>((resolve, reject) => {
    let file: { readonly filename: string; readonly kept: Promise<number> } | undefined;
    const end = (error: unknown): void => {
      clearTimeout(silence);
      signal.removeEventListener('abort', leave);
      request.unpipe(form);
      stream?.destroy(error instanceof Error ? error : undefined);
      // What has been written of it is taken away before the refusal is told.
      void settled(file?.kept, () => reject(error));
    };
    let stream: Readable | undefined;
    const leave = (): void => end(signal.reason);
    const silence = setTimeout(() => {
      const message = `No byte of the file arrived for ${limits.body_idle_ms} ms (body_idle_ms).`;
      end(new GatewayError('request_timeout', message));
    }, limits.body_idle_ms);
    signal.addEventListener('abort', leave, { once: true });
    request.on('data', () => silence.refresh());
    request.once('aborted', () => end(new GatewayError('bad_request', 'The upload was broken off.')));
    form.on('field', (name, value, name_cut, value_cut) => {
      if (name_cut || value_cut) end(new GatewayError('invalid_value', 'A field of the form is too long.'));
      else fields.set(name, value);
    });
    form.on('file', (name, incoming, filename) => {
      if (name !== 'file' || file !== undefined) {
        incoming.resume();
        end(new GatewayError('invalid_value', 'The form must have one file, named "file".', { param: 'file' }));
        return;
      }
      stream = incoming;
      // An error of the stream is told by what reads it.
      incoming.on('error', () => undefined);
      const kept = keep(wholeOf(incoming, limits));
      kept.catch(end);
      file = { filename, kept };
    });
    form.on('error', () => end(new GatewayError('bad_request', 'The form is not valid multipart/form-data.')));
    form.on('finish', () => {
      if (file === undefined) {
        const message = 'The form has no file: send it as the part "file".';
        end(new GatewayError('missing_required_parameter', message, { param: 'file' }));
        return;
      }
      const { filename, kept } = file;
      const tell = (bytes: number): void => {
        clearTimeout(silence);
        signal.removeEventListener('abort', leave);
        resolve({ filename, bytes, fields });
      };
      void kept.then(tell, () => undefined);
    });
    if (signal.aborted) leave();
    else request.pipe(form);
  });
}

async function settled(work: Promise<unknown> | undefined, then: () => void): Promise<void> {
  await Promise.allSettled([work]);
  then();
}

function formOf(request: IncomingMessage, { file_bytes_max }: UploadLimits): InstanceType<typeof Busboy> {
  try {
    return new Busboy({
      headers: { ...request.headers, 'content-type': request.headers['content-type'] ?? '' },
      limits: {
        fields: FIELDS_MAX,
        fieldSize: FIELD_BYTES_MAX,
        fieldNameSize: 100,
        files: 2,
        fileSize: file_bytes_max,
        parts: FIELDS_MAX + 2,
        headerPairs: 20,
        headerSize: 8192,
      },
    });
  } catch {
    throw new GatewayError('bad_request', 'The form is not valid multipart/form-data.');
  }
}

async function* wholeOf(file: Readable, limits: UploadLimits): AsyncGenerator<Buffer> {
  for await (const piece of file) yield piece as Buffer;
  if ('truncated' in file && file.truncated === true) throw tooLarge(limits);
}

function tooLarge({ file_bytes_max }: UploadLimits): GatewayError {
  return new GatewayError('request_too_large', `The file is larger than ${file_bytes_max} bytes (file_bytes_max).`);
}

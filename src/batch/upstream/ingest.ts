// A file of results, line by line as it comes: each to the line of ours that its custom_id names, whatever the order. A line that
// cannot be read, or that is nobody's here, is passed over; what was written down before is not written again.
import type { Books } from '../books.ts';
import type { Place, Result } from '../records/lines.ts';
import type { Sent, SentLine } from '../records/sent.ts';
import { answered, refused, unanswered } from '../result.ts';
import { readCustomId } from './layout.ts';
import { readString, scanMember, scanObject, valueKind } from '../../wire/body.ts';
import { GatewayError } from '../../wire/errors.ts';
import { clean } from '../../wire/refusals.ts';

/** Results of one look at the database. */
const TOGETHER = { lines: 200, bytes: 4 << 20 } as const;
const LF = 0x0a;
const CUSTOM_ID_CHARS_MAX = 200;

/** `line_bytes_max`: a longer line is passed over. How many were given their end. */
export async function ingest(
  content: AsyncIterable<Buffer>,
  shard: string,
  { books, sent, secrets, line_bytes_max }: IngestMeans,
): Promise<number> {
  let given = 0;
  let group: Told[] = [];
  let bytes = 0;
  const write = async (): Promise<void> => {
    const some = group;
    group = [];
    bytes = 0;
    const lines = await sent.find(
      shard,
      some.map(({ place }) => place),
    );
    const by = new Map(lines.map((line) => [`${line.batch}-${line.n}`, line]));
    const results = some.flatMap((told) => {
      const line = by.get(`${told.place.batch}-${told.place.n}`);
      return line === undefined ? [] : [resultOf(line, told, secrets)];
    });
    const first = await Promise.all(results.map((result) => books.finish(result)));
    given += first.filter(Boolean).length;
  };
  for await (const text of linesOf(content, line_bytes_max)) {
    const told = read(text);
    if (told === undefined) continue;
    group.push(told);
    bytes += text.length;
    if (group.length >= TOGETHER.lines || bytes >= TOGETHER.bytes) await write();
  }
  if (group.length > 0) await write();
  return given;
}

export interface IngestMeans {
  readonly books: Books;
  readonly sent: Sent;
  readonly secrets: readonly string[];
  readonly line_bytes_max: number;
}

/** What a line tells. */
interface Told {
  readonly place: Place;
  readonly response:
    | { readonly status: number; readonly request_id: string; readonly body: Buffer | undefined }
    | undefined;
  readonly error: { readonly code: string; readonly message: string } | undefined;
}

function resultOf(line: SentLine, { response, error }: Told, secrets: readonly string[]): Result {
  if (response !== undefined) {
    const { status, request_id, body } = response;
    // The key that is wrong is the gateway's: a client would look for the fault in its own.
    if (status === 401 || status === 403 || status === 407) {
      const words = "The backend refused the gateway's own key for it; yours is not at fault.";
      return refused(line, request_id, new GatewayError('upstream_auth', words));
    }
    return body === undefined ? refused(line, request_id, none()) : answered(line, status, request_id, body);
  }
  if (error === undefined) return refused(line, '', none());
  return unanswered(line, error.code, clean(error.message, secrets));
}

function none(): GatewayError {
  return new GatewayError('upstream_invalid', "The backend's Batch API sent no answer to this request.");
}

/** `undefined` for a line that names none of ours, or is no JSON object. */
function read(text: Buffer): Told | undefined {
  try {
    const { members } = scanObject(text, { depth_max: DEPTH_MAX, once: [] });
    const id = members.get('custom_id');
    if (id === undefined || id.value_end - id.value_start > CUSTOM_ID_CHARS_MAX) return undefined;
    const place = readCustomId(readString(text, id) ?? '');
    if (place === undefined) return undefined;
    const response = members.get('response');
    if (response !== undefined && valueKind(text, response) === 'object') {
      const { members: parts } = scanMember(text, response, { depth_max: DEPTH_MAX });
      const [status, request, body] = ['status_code', 'request_id', 'body'].map((name) => parts.get(name));
      const number = status === undefined ? NaN : Number(text.toString('latin1', status.value_start, status.value_end));
      return {
        place,
        error: undefined,
        response: {
          status: Number.isInteger(number) && number >= 200 && number <= 599 ? number : 502,
          request_id: request === undefined ? '' : (readString(text, request) ?? ''),
          body:
            body === undefined || valueKind(text, body) !== 'object'
              ? undefined
              : text.subarray(body.value_start, body.value_end),
        },
      };
    }
    const error = members.get('error');
    if (error === undefined || valueKind(text, error) !== 'object') {
      return { place, response: undefined, error: undefined };
    }
    const { members: words } = scanMember(text, error, { depth_max: DEPTH_MAX });
    const [code, message] = ['code', 'message'].map((name) => {
      const field = words.get(name);
      return field === undefined ? '' : (readString(text, field) ?? '');
    });
    const plain = /^[\w.-]{1,64}$/.test(code ?? '') ? (code ?? '') : 'upstream_error';
    return { place, response: undefined, error: { code: plain, message: message ?? '' } };
  } catch (error) {
    if (error instanceof GatewayError) return undefined;
    throw error;
  }
}

/** An answer's nesting is the engine's affair: this only keeps the stack whole. */
const DEPTH_MAX = 1000;

/** Unlike a client's input, a line too long is nothing to end at: those behind it are others'. */
async function* linesOf(content: AsyncIterable<Buffer>, bytes_max: number): AsyncGenerator<Buffer> {
  let held: Buffer[] = [];
  let bytes = 0;
  const keep = (piece: Buffer): void => {
    bytes += piece.length;
    if (bytes > bytes_max) held = [];
    else held.push(piece);
  };
  const whole = (): Buffer | undefined => {
    const line = bytes > bytes_max || bytes === 0 ? undefined : held.length === 1 ? held[0] : Buffer.concat(held);
    held = [];
    bytes = 0;
    return line;
  };
  for await (const piece of content) {
    let from = 0;
    for (let end = piece.indexOf(LF); end >= 0; end = piece.indexOf(LF, from)) {
      keep(piece.subarray(from, end));
      const line = whole();
      if (line !== undefined) yield line;
      from = end + 1;
    }
    if (from < piece.length) keep(piece.subarray(from));
  }
  const line = whole();
  if (line !== undefined) yield line;
}

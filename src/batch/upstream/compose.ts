// A shard's lines as a file for the service: one line after the other, never all in memory. Of a request only the model's name
// changes, and what asks for a stream is left out; all other bytes are the client's.
import { mkdir, open, readdir, rm, stat, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import type { Books } from '../books.ts';
import { isGone } from '../contents.ts';
import type { Place } from '../records/lines.ts';
import type { Sent, SentLine } from '../records/sent.ts';
import type { Shard } from '../records/shards.ts';
import { refused } from '../result.ts';
import { customId, extend, type Layout } from './layout.ts';
import { Ranges } from './ranges.ts';
import type { Endpoint } from '../../types.ts';
import { removeMember, scanArray, scanObject, setMember, splice, valueKind } from '../../wire/body.ts';
import { GatewayError } from '../../wire/errors.ts';
import { onOneLine } from '../../wire/jsonl.ts';

/** OpenAI's: inputs of all the embeddings requests of one batch. */
const INPUTS_MAX = 50_000;
const PAGE = 1000;
const PIECE_BYTES = 256 << 10;
/** So many lines of one file are read by going through it; fewer, or large ones, one by one. */
const MANY = 32;
const LARGE_BYTES = 1 << 20;
const OLD_MS = 86_400_000;

/** A folder for files that are gone with their upload; what a gateway left that died is removed. */
export async function tmpFolder(data: string): Promise<string> {
  const folder = join(data, 'tmp');
  await mkdir(folder, { recursive: true, mode: 0o700 });
  for (const name of await readdir(folder)) {
    const { mtimeMs } = await stat(join(folder, name)).catch(() => ({ mtimeMs: Infinity }));
    if (mtimeMs < Date.now() - OLD_MS) await rm(join(folder, name), { force: true });
  }
  return folder;
}

/**
 * Writes the file. Lines for which there is no room go back to waiting; one that cannot be read ends. @throws what the database
 * and the disk throw, and the signal's reason
 */
export async function compose(
  shard: Shard,
  path: string,
  books: Books,
  sent: Sent,
  signal: AbortSignal,
): Promise<Layout> {
  const { bytes_max } = books.config().collate;
  const runs: [string, number, number][] = [];
  let lines = 0;
  let bytes = 0;
  let inputs = 0;
  await rm(path, { force: true });
  const file = await open(path, 'wx', 0o600);
  const bodies = new Bodies(books);
  try {
    const out = new Output(file);
    let after: Place | undefined;
    filling: for (;;) {
      signal.throwIfAborted();
      const page = await sent.page(shard.id, after, PAGE);
      for (const [index, line] of page.entries()) {
        const body = await bodies.of(line, page.length - index);
        const made = body === undefined ? undefined : await composed(shard, line, body, books);
        if (made === undefined) continue;
        if (lines > 0 && (bytes + made.text.length > bytes_max || inputs + made.inputs > INPUTS_MAX)) {
          await sent.giveBack(shard.id, 0, false, line);
          break filling;
        }
        await out.write(made.text);
        extend(runs, line);
        lines += 1;
        bytes += made.text.length;
        inputs += made.inputs;
      }
      if (page.length < PAGE) break;
      after = page.at(-1);
    }
    await out.flush();
  } finally {
    await bodies.close();
    await file.close();
  }
  return { bytes, lines, runs };
}

async function composed(
  { name, endpoint }: Shard,
  line: SentLine,
  body: Buffer,
  books: Books,
): Promise<{ readonly text: Buffer; readonly inputs: number } | undefined> {
  try {
    const head = `{"custom_id":${JSON.stringify(customId(line))},"method":"POST","url":"/v1/${endpoint}","body":`;
    const text = Buffer.concat([Buffer.from(head), onOneLine(bodyFor(body, name)), Buffer.from('}\n')]);
    return { text, inputs: endpoint === 'embeddings' ? inputsOf(body) : 0 };
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error;
    await books.finish(refused(line, '', error));
    return undefined;
  }
}

function bodyFor(body: Buffer, name: string): Buffer {
  const fields = scanObject(body);
  const off = ['stream', 'stream_options'].filter((one) => fields.members.has(one));
  return splice(body, [
    setMember(body, fields, 'model', JSON.stringify(name)),
    ...off.map((one) => removeMember(body, fields, one)),
  ]);
}

function inputsOf(body: Buffer): number {
  const field = scanObject(body).members.get('input');
  if (field === undefined || valueKind(body, field) !== 'array') return 1;
  const elements = scanArray(body, field);
  // Numbers are the tokens of one text.
  return elements[0] !== undefined && valueKind(body, elements[0]) === 'number' ? 1 : elements.length;
}

/** How many bytes a line takes beside its body, at most: what is around it, and the model's name. */
export function aroundLine(name: string, endpoint: Endpoint): number {
  return 160 + endpoint.length + Buffer.byteLength(JSON.stringify(name));
}

/** The bodies of lines in their order: from the batch's file, or kept with the line. */
class Bodies {
  readonly #books: Books;
  #batch = '';
  #input = '';
  #through: Ranges | undefined;

  constructor(books: Books) {
    this.#books = books;
  }

  /** `undefined`: it has ended, now or meanwhile. `many`: how many lines there are to come, this one included. */
  async of(line: SentLine, many: number): Promise<Buffer | undefined> {
    // Kept with the line: gone only with its end.
    if (line.at === null) return await this.#books.lines.body(line);
    try {
      return await this.#read(line, line.at, many);
    } catch (error) {
      await this.close();
      if (!isGone(error)) throw error;
      const gone = new GatewayError('internal_error', 'The file that this request is in is gone.');
      await this.#books.finish(refused(line, '', gone));
      return undefined;
    }
  }

  async #read(line: SentLine, at: number, many: number): Promise<Buffer> {
    const { contents, batches } = this.#books;
    if (line.batch !== this.#batch) {
      await this.close();
      this.#batch = line.batch;
      this.#input = (await batches.any(line.batch))?.input_file ?? '';
    }
    if (line.bytes > LARGE_BYTES) return await contents.slice(this.#input, at, line.bytes);
    if (this.#through === undefined && many < MANY) return await contents.slice(this.#input, at, line.bytes);
    this.#through ??= new Ranges(contents.read(this.#input));
    return await this.#through.next(at, line.bytes);
  }

  async close(): Promise<void> {
    const through = this.#through;
    this.#through = undefined;
    await through?.close();
  }
}

/** In pieces worth a write. */
class Output {
  readonly #file: FileHandle;
  #held: Buffer[] = [];
  #bytes = 0;

  constructor(file: FileHandle) {
    this.#file = file;
  }

  async write(text: Buffer): Promise<void> {
    this.#held.push(text);
    this.#bytes += text.length;
    if (this.#bytes >= PIECE_BYTES) await this.flush();
  }

  async flush(): Promise<void> {
    const held = Buffer.concat(this.#held);
    this.#held = [];
    this.#bytes = 0;
    if (held.length > 0) await this.#file.writeFile(held);
  }
}

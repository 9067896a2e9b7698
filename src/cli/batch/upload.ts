// A file on its way to the gateway, never whole in memory. By hand and not with fetch, which knows no `Expect: 100-continue`: without
// it a refusal is mostly lost, since a gateway that does not take the file closes while it is still being sent.
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { request as requestHttp, type IncomingMessage } from 'node:http';
import { request as requestHttps } from 'node:https';
import { pipeline } from 'node:stream/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { CannotRead } from './files.ts';
import { silence, type Silence } from './silence.ts';

/** How long a file may wait for being welcome: some servers never say so (RFC 9110 §10.1.1). */
const WELCOME_MS = 3000;
/** The longest silence while it is on its way, and until it is stored once all of it is there. */
const SILENCE_MS = 60_000;
const STORED_MS = 300_000;

export interface Upload {
  readonly name: string;
  /** Unknown where it comes from a pipe. */
  readonly bytes: number | undefined;
  readonly content: AsyncIterable<Uint8Array>;
}

/**
 * @param sent is told how many of the file's bytes are on their way
 * @throws CannotRead, or the network's own errors
 */
export async function upload(
  url: URL,
  headers: Readonly<Record<string, string>>,
  file: Upload,
  sent: (bytes: number) => void,
): Promise<Response> {
  using watch = silence();
  const boundary = `lanyard-${randomUUID()}`;
  const [head, tail] = around(boundary, file.name);
  const request = url.protocol === 'https:' ? requestHttps : requestHttp;
  const asked = request(url, {
    method: 'POST',
    agent: false,
    signal: watch.signal,
    headers: {
      ...headers,
      'content-type': `multipart/form-data; boundary=${boundary}`,
      // With a length too large a file is refused before it is sent.
      ...(file.bytes === undefined ? {} : { 'content-length': head.length + file.bytes + tail.length }),
      expect: '100-continue',
    },
  });
  const answered = once(asked, 'response').then(([answer]) => answer as IncomingMessage);
  const welcome = once(asked, 'continue').then(() => undefined);
  // Whichever comes second may fail, and nobody waits for it then.
  for (const promise of [answered, welcome]) promise.catch(() => undefined);
  asked.on('error', () => undefined).flushHeaders();
  try {
    watch.within(SILENCE_MS);
    const refused = await Promise.race([welcome, answered, connected(asked)]);
    if (refused !== undefined) return await read(refused);
    const sending = pipeline(parts(head, tail, file, sent, watch), asked);
    // An answer may come before all is sent.
    const answer = await Promise.race([answered, sending.then(() => answered)]);
    sending.catch(() => undefined);
    return await read(answer);
  } finally {
    asked.destroy();
  }
}

/** A while after it has been connected. */
async function connected(asked: ReturnType<typeof requestHttp>): Promise<undefined> {
  const [socket] =
    asked.socket === null ? ((await once(asked, 'socket')) as [NonNullable<typeof asked.socket>]) : [asked.socket];
  if (socket.connecting) await once(socket, 'connect');
  await pause(WELCOME_MS, undefined, { ref: false });
  return undefined;
}

async function* parts(
  head: Uint8Array,
  tail: Uint8Array,
  { name, bytes, content }: Upload,
  sent: (bytes: number) => void,
  watch: Silence,
): AsyncGenerator<Uint8Array> {
  watch.within(SILENCE_MS);
  yield head;
  watch.rest();
  let total = 0;
  for await (const piece of content) {
    watch.within(SILENCE_MS);
    yield piece;
    watch.rest();
    sent((total += piece.length));
  }
  if (bytes !== undefined && total !== bytes) throw new CannotRead(`${name} was changed while it was sent`);
  watch.within(STORED_MS);
  yield tail;
}

/** RFC 7578. */
function around(boundary: string, name: string): [Buffer, Buffer] {
  // Names are escaped as browsers do it (https://html.spec.whatwg.org/#multipart-form-data).
  const escaped = name.replaceAll('\n', '%0A').replaceAll('\r', '%0D').replaceAll('"', '%22');
  const field = `--${boundary}\r\ncontent-disposition: form-data; name=`;
  const type = 'content-type: application/jsonl';
  const head = `${field}"purpose"\r\n\r\nbatch\r\n${field}"file"; filename="${escaped}"\r\n${type}\r\n\r\n`;
  return [Buffer.from(head), Buffer.from(`\r\n--${boundary}--\r\n`)];
}

async function read(answer: IncomingMessage): Promise<Response> {
  const text = Buffer.concat(await answer.toArray()).toString();
  const headers = new Headers();
  for (const [name, value] of Object.entries(answer.headers)) if (typeof value === 'string') headers.set(name, value);
  return new Response(text === '' ? null : text, { status: answer.statusCode ?? 500, headers });
}

// The mock engine that streams, a program of its own: a frame every so many milliseconds on each of thousands of streams,
// until it is told to end them. It also takes bodies of any size, which it drops as they come, and answers those that ask
// for no stream. One wheel of a slot a millisecond turns for all streams, which lie evenly spread over it.
//
//     node bench/load/streaming-engine.ts 20001
import { createServer, type Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { freePort } from '../../test/stage/ports.ts';
import { startProgram } from '../../test/stage/program.ts';
import { LOAD_CORE, pin } from '../machine.ts';
import { CHAT_ANSWER, MODELS_ANSWER } from './answers.ts';
import { DONE, FINISH, USAGE, frame, nowUs, readAsk } from './frames.ts';
import { MessageReader } from './message.ts';
import type { MockEngine } from './engine.ts';

export interface StreamingEngine extends MockEngine {
  readonly pid: number;
}

/** What `POST /end` answers, once every stream has been ended. */
export interface Ended {
  /** Events written to all streams since it was asked the last time, and those that streams broken off still lacked. */
  readonly events: number;
}

export async function startStreamingEngine(): Promise<StreamingEngine> {
  const port = await freePort();
  const args = [fileURLToPath(import.meta.url), String(port)];
  const program = await startProgram(process.execPath, args, async (output) => output.includes('listening'));
  pin(program.pid, LOAD_CORE);
  return { url: `http://127.0.0.1:${port}`, pid: program.pid, stop: () => program.end('SIGKILL') };
}

/** More than any stream waits between two frames, in milliseconds. */
const WHEEL_SLOTS = 2048;
/** A body that asks for a stream is smaller; of a larger one nothing is kept. */
const ASK_BYTES_MAX = 16 * 1024;
/** A stream that nobody ends. */
const EVENTS_MAX = 100_000;
/** FINISH and [DONE]. */
const LAST_EVENTS = 2;

interface Stream {
  readonly socket: Socket;
  readonly every_ms: number;
  readonly wants_usage: boolean;
  next: number;
}

const wheel = Array.from({ length: WHEEL_SLOTS }, (): Stream[] => []);
let turned_to = 0;
let begun = 0;
let open = 0;
let events = 0;
let ending = false;
const waiting: Socket[] = [];

function serve(port: number): void {
  turned_to = Math.floor(nowUs() / 1000);
  setInterval(turn, 1);
  const server = createServer({ noDelay: true }, (socket) => {
    let line = '';
    let body = '';
    let length = 0;
    const reader = new MessageReader({
      head(text) {
        line = text.slice(0, text.indexOf('\r\n'));
        body = '';
        length = 0;
      },
      body(bytes, from, to) {
        length += to - from;
        if (length <= ASK_BYTES_MAX) body += bytes.toString('latin1', from, to);
      },
      end: () => answer(socket, line, length <= ASK_BYTES_MAX ? body : ''),
    });
    socket.on('error', () => undefined);
    socket.on('data', (bytes: Buffer) => reader.push(bytes));
  });
  server.listen({ port, host: '127.0.0.1', backlog: 4096 }, () => process.stdout.write('listening\n'));
}

function answer(socket: Socket, line: string, body: string): void {
  const path = line.split(' ')[1];
  const every_ms = body.includes('"stream":true') ? readAsk(body) : undefined;
  if (path === '/end') {
    waiting.push(socket);
    ending = true;
  } else if (path === '/v1/models') {
    socket.write(whole(MODELS_ANSWER));
  } else if (path !== '/v1/chat/completions') {
    socket.write(whole('{}').replace('200 OK', '404 Not Found'));
  } else if (every_ms === undefined) {
    socket.write(whole(CHAT_ANSWER));
  } else {
    begin({ socket, every_ms, wants_usage: /"include_usage":\s*true/.test(body), next: 1 });
  }
}

function whole(json: string): string {
  return `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${json.length}\r\n\r\n${json}`;
}

const HEAD = 'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n';

/** The first frame at once, the others where this stream lies on the wheel. */
function begin(stream: Stream): void {
  const { socket, every_ms } = stream;
  open += 1;
  events += 1;
  begun += 1;
  const phase_ms = begun % every_ms;
  const now_ms = Math.max(turned_to, Math.floor(nowUs() / 1000));
  put(stream, now_ms + every_ms - ((now_ms - phase_ms) % every_ms));
  socket.write(`${HEAD}${chunk(frame(0, nowUs()))}`, 'latin1');
}

function put(stream: Stream, due_ms: number): void {
  wheel[due_ms % WHEEL_SLOTS]!.push(stream);
}

function turn(): void {
  const now_ms = Math.floor(nowUs() / 1000);
  for (; turned_to < now_ms;) {
    turned_to += 1;
    const slot = wheel[turned_to % WHEEL_SLOTS]!;
    if (slot.length === 0) continue;
    wheel[turned_to % WHEEL_SLOTS] = [];
    for (const stream of slot) send(stream, turned_to);
  }
  if (!ending || open > 0) return;
  ending = false;
  for (const socket of waiting.splice(0)) socket.write(whole(JSON.stringify({ events } satisfies Ended)));
  events = 0;
}

function send(stream: Stream, due_ms: number): void {
  const { socket, every_ms, wants_usage } = stream;
  if (socket.destroyed || ending || stream.next === EVENTS_MAX) {
    open -= 1;
    events += LAST_EVENTS;
    const last = [FINISH, ...(wants_usage ? [USAGE] : []), DONE].map(chunk).join('');
    if (!socket.destroyed) socket.write(`${last}0\r\n\r\n`, 'latin1');
    return;
  }
  put(stream, due_ms + every_ms);
  events += 1;
  socket.write(chunk(frame(stream.next, nowUs())), 'latin1');
  stream.next += 1;
}

function chunk(event: string): string {
  return `${(event.length + 2).toString(16)}\r\n${event}\n\n\r\n`;
}

if (import.meta.main) serve(Number(process.argv[2]));

// The main thread's end of the line to the worker that holds SQLite (worker.ts). What is asked in one turn of the event loop's
// microtasks goes as one message.
import { Worker } from 'node:worker_threads';
import { DatabaseError, faultOfSqlite } from './fault.ts';
import {
  handedOver,
  type Answer,
  type Ask,
  type Failure,
  type Files,
  type Opened,
  type Reply,
  type Value,
} from './messages.ts';

interface Pending {
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: Error) => void;
}

export class Link {
  readonly #worker: Worker;
  readonly #pending: Pending[] = [];
  #asks: Ask[] = [];
  #handed_over: ArrayBuffer[] = [];
  #ended: DatabaseError | undefined;
  #streams = 0;

  private constructor(worker: Worker) {
    this.#worker = worker;
    worker.on('message', (replies: readonly Reply[]) => this.#take(replies));
    worker.on('error', (error: Error) => this.#end(`the thread of the database failed: ${error.message}`));
    worker.on('exit', () => this.#end('the database is closed'));
    worker.unref();
  }

  /** @throws DatabaseError where another process has the database, or its file is none or cannot be written */
  static async open(files: Files): Promise<Link> {
    const worker = new Worker(new URL('worker.ts', import.meta.url), {
      name: 'lanyard.db',
      workerData: files,
      // Node.js before 26 calls node:sqlite experimental on stderr.
      execArgv: ['--disable-warning=ExperimentalWarning'],
    });
    const opened = await new Promise<Opened>((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
    });
    if (opened === 'opened') return new Link(worker);
    await worker.terminate();
    throw errorOf(opened.failed);
  }

  /** @throws DatabaseError with what SQLite said, or `gone` after the worker's end */
  ask(ask: Ask): Promise<Answer> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    if (this.#pending.length === 0) this.#worker.ref();
    if (this.#asks.length === 0) queueMicrotask(() => this.#post());
    this.#asks.push(ask);
    if ('parameters' in ask) this.#handed_over.push(...handedOver(ask.parameters));
    return new Promise((resolve, reject) => this.#pending.push({ resolve, reject }));
  }

  /** A number for a stream, which no other has. */
  nextStream(): number {
    this.#streams += 1;
    return this.#streams;
  }

  /** What was asked before is answered first. */
  async close(): Promise<void> {
    if (this.#ended !== undefined) return;
    const exited = new Promise((resolve) => this.#worker.once('exit', resolve));
    await this.ask({ kind: 'close' });
    this.#worker.ref();
    await exited;
  }

  #post(): void {
    const asks = this.#asks;
    const handed_over = this.#handed_over;
    this.#asks = [];
    this.#handed_over = [];
    this.#worker.postMessage(asks, handed_over);
  }

  #take(replies: readonly Reply[]): void {
    const answered = this.#pending.splice(0, replies.length);
    if (this.#pending.length === 0) this.#worker.unref();
    for (const [index, reply] of replies.entries()) {
      if ('failed' in reply) answered[index]?.reject(errorOf(reply.failed));
      else answered[index]?.resolve(reply);
    }
  }

  #end(message: string): void {
    this.#ended ??= new DatabaseError(message, 'gone');
    for (const { reject } of this.#pending.splice(0)) reject(this.#ended);
  }
}

/** A parameter as it may cross. @throws TypeError for what SQLite does not store */
export function bind(value: unknown): Value {
  if (value === null || value === undefined) return null;
  if (typeof value === 'string' || typeof value === 'number' || typeof value === 'bigint') return value;
  if (!(value instanceof Uint8Array)) throw new TypeError(`a parameter cannot be of type ${typeof value}`);
  // A copy in any case: the caller keeps its bytes, and of a view the whole buffer underneath would cross.
  return new Uint8Array(value);
}

function errorOf({ message, errcode }: Failure): DatabaseError {
  return new DatabaseError(message, errcode === undefined ? 'other' : faultOfSqlite(errcode));
}

// SQLite's own thread: node:sqlite is synchronous, and an fsync takes milliseconds. It answers what it is asked in order
// (messages.ts), and what came in one message in one message.
import { parentPort, workerData } from 'node:worker_threads';
import { handedOver, type Answer, type Ask, type Failure, type Files, type Opened, type Reply } from './messages.ts';
import { openFiles, type OpenFiles } from './files.ts';
import { Statements } from './statements.ts';
import { Streams } from './streams.ts';

/** After this long, what is answered goes out, though more of the message is to be answered. */
const TOGETHER_MS = 5;
const NOTHING: Answer = { columns: [], rows: [] };

const port = parentPort;
if (port === null) throw new Error('worker.ts is a worker');
const files = workerData as Files;
const opened = open();
if (opened !== undefined) serve(opened);

function open(): OpenFiles | undefined {
  try {
    const opened = openFiles(files);
    port?.postMessage('opened' satisfies Opened);
    return opened;
  } catch (error) {
    port?.postMessage({ failed: failureOf(error) } satisfies Opened);
    return undefined;
  }
}

function serve({ database, lock }: OpenFiles): void {
  const statements = new Statements(database);
  const streams = new Streams(database, files.database);

  port?.on('message', (asks: readonly Ask[]) => {
    let replies: Reply[] = [];
    let began_at = performance.now();
    const post = (): void => {
      const buffers = replies.flatMap((reply) => ('rows' in reply ? reply.rows.flatMap(handedOver) : []));
      port?.postMessage(replies, buffers);
      replies = [];
      began_at = performance.now();
    };
    for (const ask of asks) {
      replies.push(reply(ask));
      if (performance.now() - began_at > TOGETHER_MS) post();
    }
    if (replies.length > 0) post();
    if (asks.at(-1)?.kind === 'close') port?.close();
  });

  function reply(ask: Ask): Reply {
    try {
      return answer(ask);
    } catch (error) {
      return { failed: failureOf(error) };
    }
  }

  function answer(ask: Ask): Answer {
    switch (ask.kind) {
      case 'query':
        return query(ask);
      case 'begin':
        // Immediate: who reads first and writes later must not find another tool's lock in between.
        database.exec(ask.writes ? 'begin immediate' : 'begin');
        return NOTHING;
      case 'commit':
        insist(true);
        database.exec('commit');
        streams.leaveInside();
        return NOTHING;
      case 'rollback':
        streams.leaveInside();
        // SQLite rolls back by itself on a full disk, for one (sqlite.org/lang_transaction.html).
        if (database.isTransaction) database.exec('rollback');
        return NOTHING;
      case 'stream':
        if (ask.inside) insist(true);
        return streams.begin(ask);
      case 'page':
        return streams.page(ask.stream, ask.rows_max);
      case 'leave':
        streams.leave(ask.stream);
        return NOTHING;
      case 'close':
        break;
    }
    streams.leaveAll();
    database.close();
    lock.close();
    return NOTHING;
  }

  function query({ sql, parameters, inside }: Extract<Ask, { kind: 'query' }>): Answer {
    insist(inside);
    const answer = statements.run(sql, parameters);
    if (!inside && database.isTransaction) {
      database.exec('rollback');
      throw new Error('a transaction is begun with transaction(), so that nobody else gets into it');
    }
    return answer;
  }

  function insist(inside: boolean): void {
    if (inside && !database.isTransaction) throw new Error('the transaction has been rolled back by an error in it');
  }
}

function failureOf(error: unknown): Failure {
  const { message = 'unknown error', errcode } = error as { message?: string; errcode?: number };
  return errcode === undefined ? { message } : { message, errcode };
}

// One request as it is served, from the moment its headers are there until its answer or its peer is gone.
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Endpoint } from './answers.ts';
import type { Fault } from './faults.ts';
import type { Entry } from './ledger.ts';
import type { Shape } from './shapes/shape.ts';
import type { Engine } from './state.ts';

export interface Visit {
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  readonly socket: Socket;
  readonly url: URL;
  readonly entry: Entry;
  readonly endpoint: Endpoint | undefined;
  readonly faults: readonly Fault[];
  readonly gone: AbortSignal;
  /** The whole answer has been written: when the peer closes now, it was complete. */
  answered: boolean;
  /** In the engine's own form. */
  native: boolean;
  leave(ended: 'complete' | 'aborted' | 'broken'): void;
}

/** Enters the request in the ledger, and watches its peer: FIN and RST both mean that it has gone. */
export function arrive(
  engine: Engine,
  req: IncomingMessage,
  res: ServerResponse,
  endpoint: Endpoint | undefined,
  faults: readonly Fault[],
): Visit {
  const { socket } = req;
  const life = new AbortController();
  const inferring = endpoint !== undefined;
  const entry: Entry = {
    method: req.method ?? '',
    path: req.url ?? '',
    headers: req.headers,
    body: Buffer.alloc(0),
    started_at: performance.now(),
    ended: undefined,
    ended_at: undefined,
    aborted_at: undefined,
    began: false,
    tokens_sent: 0,
    events_sent: 0,
    bytes_sent: 0,
    remote_port: socket.remotePort ?? 0,
  };
  const left = (): void => visit.leave(visit.answered && socket.writableLength === 0 ? 'complete' : 'aborted');
  const visit: Visit = {
    req,
    res,
    socket,
    url: new URL(`http://engine${req.url ?? '/'}`),
    entry,
    endpoint,
    faults,
    gone: life.signal,
    answered: false,
    native: false,
    leave: (ended) => {
      if (entry.ended !== undefined) return;
      socket.off('end', left).off('close', left).off('error', left);
      engine.ledger.close(entry, ended, inferring);
      life.abort();
    },
  };
  socket.once('end', left).once('close', left).once('error', left);
  res.once('finish', () => visit.leave('complete'));
  engine.ledger.open(entry, inferring);
  return visit;
}

/** Which inference route this is, if it is one. */
export function inference(shape: Shape, method: string | undefined, target: string): Endpoint | undefined {
  const path = target.split('?', 1)[0] ?? '';
  if (method !== 'POST') return undefined;
  const ends = ['chat/completions', 'completions', 'embeddings'] as const;
  return ends.find(
    (end) => (shape.talks || end === 'embeddings') && shape.bases.some((base) => path === `${base}/${end}`),
  );
}

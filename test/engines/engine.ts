// A fake engine on a real port: it behaves as the engine it is named after, keeps a ledger of what it saw, and misbehaves
// when a test asks it to. One request goes: seen → key → what is asked → model → load → slot → answer.
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Endpoint } from './answers.ts';
import type { Fault } from './faults.ts';
import type { Seen } from './ledger.ts';
import type { ProbeFault } from './reply.ts';
import type { EngineKind, ModelSpec } from './shapes/shape.ts';
import type { Engine, EngineOptions } from './state.ts';
import type { Visit } from './visit.ts';
import { createServer } from 'node:http';
import { answer } from './answer.ts';
import { default_tokens } from './answers.ts';
import { parts } from './faults.ts';
import { Gone } from './pipe.ts';
import { refuse, reply } from './reply.ts';
import { build, spec, state_of } from './state.ts';
import { arrive, inference } from './visit.ts';

export type { Fault } from './faults.ts';
export type { Seen } from './ledger.ts';
export type { EngineKind, ModelSpec } from './shapes/shape.ts';
export type { EngineOptions } from './state.ts';

export interface FakeEngine {
  /** http://127.0.0.1:port, no path. */
  readonly url: string;
  readonly port: number;
  readonly kind: EngineKind;
  /** What it answers by default, whole. */
  readonly says: string;
  /** Every request, in order. */
  readonly seen: readonly Seen[];
  /** Inference requests only. */
  readonly asked: readonly Seen[];
  /** Inference requests not yet ended, those in line for a slot too. */
  readonly in_flight: number;
  readonly peak_in_flight: number;
  /** Answers that wait for `release()`. */
  readonly held: number;
  /** Open connections. */
  readonly connections: number;
  /** Faults for the next inference requests, one each. */
  next(...faults: Fault[]): void;
  /** For every one that has none of its own, until cleared. */
  always(fault: Fault | undefined): void;
  /** Resolves when the predicate holds; looked at on every event. Rejects with what was seen after `timeout_ms` (5 s). */
  until(predicate: (engine: FakeEngine) => boolean, timeout_ms?: number): Promise<void>;
  /** Everything that is not inference: `refuse` resets the connection (for a closed port, `stop()`). */
  probes(fault: ProbeFault): void;
  set_models(models: readonly (string | ModelSpec)[]): void;
  /** Lets the answers go on that `hold` and `hold_after` keep. */
  release(): void;
  /** Closes the port and every socket. Another engine can start on the same port. */
  stop(): Promise<void>;
}

export async function startEngine(options: EngineOptions): Promise<FakeEngine> {
  const host = options.host ?? '127.0.0.1';
  const engine = build(options);
  const { ledger, shape } = engine;
  const sockets = new Set<Socket>();
  const queued: Fault[] = [];
  const visits = new Set<Visit>();
  let standing: Fault | undefined;
  let probes: ProbeFault;

  const receive = async (req: IncomingMessage, res: ServerResponse): Promise<void> => {
    // What a native route is asked for shows in its body alone.
    const native = req.method === 'POST' ? shape.natives?.[(req.url ?? '/').split('?', 1)[0] ?? ''] : undefined;
    const body = native === undefined ? undefined : await whole(req);
    const loads = body !== undefined && native !== undefined && !asks(native, body);
    const endpoint = native === undefined ? inference(shape, req.method, req.url ?? '/') : loads ? undefined : native;
    const fault = endpoint === undefined ? undefined : (queued.shift() ?? standing);
    const visit = arrive(engine, req, res, endpoint, parts(fault));
    visit.native = native !== undefined;
    if (body !== undefined) visit.entry.body = body;
    visits.add(visit);
    visit.gone.addEventListener('abort', () => visits.delete(visit), { once: true });
    serve(engine, visit, endpoint === undefined ? probes : undefined, loads).catch((error: unknown) => {
      if (error instanceof Gone) return;
      visit.leave('broken');
      visit.socket.destroy();
      throw error;
    });
  };

  const server = createServer(
    { keepAliveTimeout: keep_alive(options), requestTimeout: 0, headersTimeout: 0 },
    (req, res) => void receive(req, res),
  );
  // Node would close a connection that is idle a little later than it says (keepAliveTimeoutBuffer); uvicorn does not.
  server.keepAliveTimeoutBuffer = 0;
  server.on('connection', (socket: Socket) => {
    if (shape.loads === 'closed' && engine.loading()) {
      socket.destroy();
      return;
    }
    sockets.add(socket);
    ledger.changed();
    socket.setNoDelay(true);
    socket.on('error', () => {});
    socket.once('close', () => {
      sockets.delete(socket);
      ledger.changed();
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port ?? 0, host, resolve);
  });
  const { port } = server.address() as AddressInfo;

  const fake: FakeEngine = {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${port}`,
    port,
    kind: options.kind,
    says: default_tokens(options.tokens).join(''),
    seen: ledger.seen,
    asked: ledger.asked,
    get in_flight() {
      return ledger.in_flight;
    },
    get peak_in_flight() {
      return ledger.peak_in_flight;
    },
    get held() {
      return engine.gate.held;
    },
    get connections() {
      return sockets.size;
    },
    next: (...faults) => void queued.push(...faults),
    always: (fault) => void (standing = fault),
    until: (predicate, timeout_ms = 5000) => ledger.until(() => predicate(fake), timeout_ms),
    probes: (fault) => void (probes = fault),
    set_models: (models) => void (engine.models = models.map(spec)),
    release: () => engine.gate.open(),
    stop: () =>
      new Promise<void>((resolve) => {
        for (const visit of visits) visit.leave('broken');
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
  return fake;
}

async function serve(engine: Engine, visit: Visit, probe: ProbeFault, loads: boolean): Promise<void> {
  try {
    if (!visit.native) visit.entry.body = await whole(visit.req);
  } catch {
    throw new Gone();
  }
  engine.ledger.changed();
  if (visit.endpoint !== undefined) {
    await answer(engine, visit, visit.endpoint);
    return;
  }
  if (await refuse(engine, visit, probe)) return;
  const method = visit.req.method ?? 'GET';
  const path = visit.url.pathname;
  if (engine.options.router === true && method === 'POST' && path === '/models/load') {
    const { model } = JSON.parse(visit.entry.body.toString('utf8')) as { model: string };
    // It starts a process, and answers at once.
    void engine.load(model);
    return reply(engine, visit, { status: 200, body: { success: true } });
  }
  if (loads) {
    const { model } = JSON.parse(visit.entry.body.toString('utf8')) as { model: string };
    const known = engine.models.find(({ name }) => name === model || name === `${model}:latest`);
    if (known !== undefined) await engine.load(known.name);
  }
  const told = engine.shape.route(method, visit.url, state_of(engine), visit.entry.body);
  await reply(engine, visit, told ?? engine.shape.unknown_path(method, path));
}

async function whole(req: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of req) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

/** Whether there is anything to infer from. */
function asks(endpoint: Endpoint, body: Buffer): boolean {
  const { messages, prompt, input } = JSON.parse(body.toString('utf8')) as Record<string, unknown>;
  return { 'chat/completions': messages, completions: prompt, embeddings: input }[endpoint] !== undefined;
}

function keep_alive(options: EngineOptions): number {
  return options.keep_alive_ms ?? (options.kind === 'vllm' || options.kind === 'sglang' ? 5000 : 60_000);
}

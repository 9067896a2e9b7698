// The figures that are read when Prometheus asks: what is under way, what is up, when certificates expire. Each comes
// from where it is known, so none can drift from it.
import { Gauge, type Registry } from 'prom-client';
import type { CertificateNow } from './certificates.ts';

export interface Live {
  in_flight(): number;
  queued(): number;
  connections(): number;
  connections_max(): number;
  body_bytes(): number;
  /** `undefined` where none is configured. */
  redis_up(): boolean | undefined;
  backends(): Iterable<BackendNow>;
  models(): Iterable<ModelNow>;
  /** Whether the configuration has them. */
  has(): { readonly batch: boolean; readonly cache: boolean };
  /** Lines of batches under way here; `undefined` without batches, as those below. */
  lines(): number | undefined;
  /** Clients that wait for a batch's answer. */
  waiting(): number | undefined;
  batches(): Promise<ReadonlyMap<string, number>>;
  cache_bytes(): number | undefined;
  certificates(): Promise<readonly CertificateNow[]>;
}

interface BackendNow {
  readonly name: string;
  readonly up: boolean;
  readonly in_flight: number;
  readonly slots: number;
}

/** A public model, and how many of its deployments could take a call. */
interface ModelNow {
  readonly name: string;
  readonly deployments_up: number;
}

export function openLive(live: Live, registry: Registry): void {
  const registers = [registry];
  /** One figure; absent while it is undefined. */
  const single = (name: string, help: string, read: () => number | undefined): Gauge =>
    new Gauge({
      name,
      help,
      registers,
      collect() {
        const figure = read();
        if (figure === undefined) this.remove();
        else this.set(figure);
      },
    });
  /** A figure for each of several things, under the label; what is gone is forgotten. */
  const each = (
    name: string,
    help: string,
    label: string,
    read: () => Iterable<Figure> | Promise<Iterable<Figure>>,
  ): Gauge =>
    new Gauge({
      name,
      help,
      labelNames: [label],
      registers,
      async collect() {
        const figures = await read();
        this.reset();
        for (const [of, figure] of figures) this.set({ [label]: of }, figure);
      },
    });
  const backends = (read: (one: BackendNow) => number) => (): Figure[] =>
    [...live.backends()].map((one) => [one.name, read(one)]);

  single('lanyard_in_flight', 'Requests on a hot route under way.', () => live.in_flight());
  single('lanyard_queued', 'Requests waiting for a slot.', () => live.queued());
  single('lanyard_connections', "Callers' connections, over all listeners.", () => live.connections());
  single('lanyard_connections_max', 'The limit on them: limits.connections_max.', () => live.connections_max());
  single('lanyard_body_bytes', 'Request bodies held in memory.', () => live.body_bytes());
  single('lanyard_redis_up', 'Whether limits are shared through Redis; absent where none is configured.', () => {
    const up = live.redis_up();
    return up === undefined ? undefined : Number(up);
  });
  single('lanyard_batch_lines_in_flight', 'Lines of batches on our own engines.', () => live.lines());
  single('lanyard_batch_waiting', "Clients that wait for a batch's answer.", () => live.waiting());
  each('lanyard_batches', 'Batches by status, over all gateways of the database.', 'status', () => live.batches());
  single('lanyard_cache_bytes', 'Answers kept in this process.', () => live.cache_bytes());
  each(
    'lanyard_backend_up',
    'Whether requests are sent to the backend.',
    'backend',
    backends(({ up }) => Number(up)),
  );
  each(
    'lanyard_backend_in_flight',
    'Requests on the backend.',
    'backend',
    backends(({ in_flight }) => in_flight),
  );
  each(
    'lanyard_backend_slots',
    'Requests the backend is given at once.',
    'backend',
    backends(({ slots }) => slots),
  );
  each('lanyard_model_deployments_up', 'Deployments of the model on backends that are up.', 'model', () =>
    [...live.models()].map(({ name, deployments_up }) => [name, deployments_up]),
  );
  each(
    'lanyard_certificate_readable',
    'Whether the file of metrics.certificates holds certificates that can be read.',
    'file',
    async () => (await live.certificates()).map(({ file, expires_at_s }) => [file, Number(expires_at_s !== undefined)]),
  );
  each(
    'lanyard_certificate_expiry_timestamp_seconds',
    "When the first of the file's certificates expires, as Unix time; absent while it cannot be read.",
    'file',
    async () =>
      (await live.certificates()).flatMap(({ file, expires_at_s }) =>
        expires_at_s === undefined ? [] : [[file, expires_at_s] as const],
      ),
  );
}

type Figure = readonly [of: string, figure: number];

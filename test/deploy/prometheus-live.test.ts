// A real Prometheus with the files of deploy/ reads a real gateway, and then everything is asked of it that the board asks
// and the alerts do: no question may be wrong, no panel empty, no metric unknown, and none exported for nobody.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { startBatchApi } from '../engines/batch-api.ts';
import { startEngine, type FakeEngine } from '../engines/engine.ts';
import { call } from '../stage/caller.ts';
import { KEY } from '../stage/gateway.ts';
import { startLanyard, type Lanyard } from '../stage/lanyard.ts';
import { freePort } from '../stage/ports.ts';
import { findProgram } from '../stage/program.ts';
import { startPrometheus, type PrometheusServer } from '../stage/prometheus.ts';
import { startRedis } from '../stage/redis.ts';
import { interpolate, metricNames, QUESTIONS, VARIABLES, type Choice, type Question } from './board.ts';
import { ALERTS, RECORDINGS } from './rules.ts';

const CHAT = '/v1/chat/completions';
const ALICE = 'sk-lanyard-alices-own-key-Qm9vbWVyYW5nIQ';
/** A name with what regular expressions have a meaning for. */
const MODEL = 'qwen2.5-coder:14b';
const PATIENT = { timeout: 12_000, interval: 200 };

test(
  'after a day with every kind of trouble each question has an answer, and each trouble its alert',
  { timeout: 45_000 },
  async () => {
    const { gateway, engines, redis, ask } = await stage();
    const prometheus = await startPrometheus(`127.0.0.1:${gateway.port}`);
    await day(gateway, engines, ask, 'cold');
    // A line that appears with its first event shows no rise: the second one does.
    await caughtUp(prometheus, gateway);
    await day(gateway, engines, ask, 'cold-too');
    await redis.kill();
    await ask({ model: MODEL });
    engines.small.always(undefined);
    await engines.small.stop();
    await ask({ model: 'small' });

    await reloads(gateway);

    // ---- the board
    const wrong = async (): Promise<string[]> =>
      await without(QUESTIONS, prometheus, (expr) => strict(interpolate(expr)));
    await expect.poll(wrong, PATIENT).toEqual([]);
    const chosen: Choice = { model: [MODEL], backend: ['rack'], instance: [`127.0.0.1:${gateway.port}`] };
    const two: Choice = { model: [MODEL, 'small'], backend: ['rack', 'small'] };
    for (const choice of [chosen, two]) {
      for (const { expr } of QUESTIONS) await prometheus.query(interpolate(expr, choice));
      expect(await prometheus.query(interpolate('lanyard_model_deployments_up{model=~"$model"}', choice))).toHaveLength(
        choice['model']?.length ?? 0,
      );
    }
    for (const { name, query } of VARIABLES) {
      const [, selector = '', label = ''] =
        /^label_values\((.+), (\w+)\)$/.exec(typeof query === 'string' ? query : query.query) ?? [];
      expect(label).toBe(name);
      expect(await prometheus.labelValues(interpolate(selector), label), name).not.toEqual([]);
    }

    // ---- the alerts
    const firing = async (): Promise<string[]> =>
      (await prometheus.alerts()).filter(({ state }) => state === 'firing').map(({ labels }) => nameOf(labels));
    await expect.poll(firing, PATIENT).toEqual(expect.arrayContaining(TROUBLES));
    const said = await prometheus.alerts();
    for (const { annotations } of said) expect(Object.values(annotations).join('\n')).not.toMatch(/[<{]|no value/);
    expect(said.find(({ labels }) => nameOf(labels) === 'LanyardBackendDown small')?.annotations['summary']).toBe(
      `The backend small is down, as 127.0.0.1:${gateway.port} sees it.`,
    );
    const rules = await prometheus.rules();
    expect(rules).toHaveLength(ALERTS.length + RECORDINGS.length);
    for (const { name, health, lastError } of rules) expect([name, health, lastError]).toEqual([name, 'ok', undefined]);

    // ---- the metrics, both ways
    const text = await (await fetch(`${gateway.url}/metrics`)).text();
    const exported = new Set([...text.matchAll(/^# TYPE (\w+) /gm)].map(([, name = '']) => name));
    const ours = [...exported].filter((name) => name.startsWith('lanyard_'));
    const silent = ours.filter((name) => !new RegExp(`^${name}(?:_bucket|_sum|_count)?[{ ]`, 'm').test(text));
    expect(silent).toEqual([]);
    const used = new Set(
      [...QUESTIONS, ...ALERTS, ...RECORDINGS].flatMap(({ expr }) => [...metricNames(interpolate(expr))]),
    );
    const recorded = RECORDINGS.map(({ record }) => record);
    const known = new Set([...exported, ...recorded, 'up', 'ALERTS']);
    expect([...used].filter((name) => !known.has(name) && !known.has(family(name)))).toEqual([]);
    const asked = new Set([...used].map((name) => (known.has(name) ? name : family(name))));
    expect([...ours, ...recorded].filter((name) => !asked.has(name))).toEqual([]);
  },
);

test('in a calm hour no panel is empty and no alert wakes anyone', { timeout: 45_000 }, async () => {
  const engine = await engineOf();
  const gateway = await startLanyard({
    yaml: `listen: [{ port: 0 }]\nbackends: { rack: { engine: vllm, url: "${engine.url}" } }\nmodels: { coder: [rack/x] }\n`,
    env: { LITELLM_MASTER_KEY: KEY },
  });
  const prometheus = await startPrometheus(`127.0.0.1:${gateway.port}`);
  const ask = asker(gateway);
  const answered = (): Promise<number> => sum(prometheus, 'lanyard_requests_total');
  for (const count of [1, 2, 3]) {
    expect(await ask({ model: 'coder', stream: true })).toBe(200);
    await expect.poll(answered, PATIENT).toBe(count);
  }
  const shown = QUESTIONS.filter(({ panel }) => panel.fieldConfig?.defaults.noValue === undefined);
  await expect.poll(() => without(shown, prometheus, (expr) => interpolate(expr)), PATIENT).toEqual([]);
  expect(await prometheus.alerts()).toEqual([]);
});

/** What the day leaves behind, each with what it is about. */
const TROUBLES = [
  'LanyardBackendDown small',
  'LanyardBackendDown dead',
  'LanyardModelUnavailable small',
  'LanyardErrors',
  'LanyardStreamsBreak broken',
  'LanyardRedisAway',
  'LanyardCertificateExpires soon.pem',
  'LanyardCertificateUnreadable nowhere.pem',
  'LanyardConfigurationRefused',
];

function nameOf({ alertname, backend, model, file }: Readonly<Record<string, string>>): string {
  const about = backend ?? model ?? file?.split('/').at(-1);
  return about === undefined ? String(alertname) : `${alertname} ${about}`;
}

/** Without its way out for quiet times: what there was must itself be seen. */
function strict(expr: string): string {
  return expr.replace(/ or on\(\) label_replace\(vector\(0\).*$| or vector\(0\)$/, '');
}

/** The questions that have no answer now, or none that is a number. */
async function without(
  questions: readonly Question[],
  prometheus: PrometheusServer,
  write: (expr: string) => string,
): Promise<string[]> {
  const empty: string[] = [];
  for (const { panel, expr } of questions) {
    const samples = await prometheus.query(write(expr));
    if (samples.every(({ value }) => Number.isNaN(value))) empty.push(`${panel.title}: ${write(expr)}`);
  }
  return empty;
}

/** Prometheus has read all that happened until now. */
async function caughtUp(prometheus: PrometheusServer, { url }: Lanyard): Promise<void> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const accepted = Number(/^lanyard_accepted_total (\d+)$/m.exec(text)?.[1]);
  await expect.poll(() => sum(prometheus, 'lanyard_accepted_total'), PATIENT).toBe(accepted);
}

async function sum(prometheus: PrometheusServer, name: string): Promise<number> {
  return (await prometheus.query(`sum(${name})`))[0]?.value ?? 0;
}

function family(name: string): string {
  return name.replace(/_(?:bucket|sum|count)$/, '');
}

// ---- the day -----------------------------------------------------------------------------------------------------

interface Engines {
  readonly rack: FakeEngine;
  readonly small: FakeEngine;
  readonly broken: FakeEngine;
  /** Loads its model when it is asked. */
  readonly cold: FakeEngine;
}

type Ask = (
  body: object,
  to?: { readonly path?: string; readonly key?: string; readonly mode?: string },
) => Promise<number>;

/** Answers of every kind, refusals of every kind, and failures of every kind. */
async function day(gateway: Lanyard, { rack, small, broken }: Engines, ask: Ask, cold: string): Promise<void> {
  for (const key of [KEY, ALICE]) {
    expect(await ask({ model: MODEL, stream: true }, { key })).toBe(200);
    expect(await ask({ model: MODEL }, { key })).toBe(200);
  }
  expect(await ask({ model: MODEL, input: 'x' }, { path: '/v1/embeddings' })).toBe(200);
  expect(await ask({ model: 'none' })).toBe(404);
  expect(await ask({ model: MODEL }, { key: 'sk-wrong' })).toBe(401);
  expect(await ask({}, { path: '/v1/nowhere' })).toBe(404);

  // Batches here and elsewhere, and what is asked twice.
  for (const model of [MODEL, 'far']) expect(await ask({ model }, { mode: 'batch-async' })).toBe(202);
  for (let n = 0; n < 2; n += 1) expect(await ask({ model: MODEL, temperature: 0 })).toBe(200);

  // Alice may have one request at once; the only slot of `small` is taken, so another waits in vain.
  small.next({ kind: 'hold_after', events: 1 });
  const stream = { model: 'small', messages: [], stream: true };
  const held = await call(gateway.port, CHAT, stream, { headers: { authorization: `Bearer ${ALICE}` } });
  await held.until('data: ');
  expect(await ask({ model: MODEL }, { key: ALICE })).toBe(429);
  expect(await ask({ model: cold })).toBe(200);
  expect(await ask({ model: 'small' })).toBe(503);
  held.leave('fin');
  await small.until(({ in_flight }) => in_flight === 0);

  // Busy, so another answers; then a stream that breaks off, one that is none, and nobody there.
  broken.always({ kind: 'status', status: 429 });
  const before = broken.asked.length;
  while (broken.asked.length === before) expect(await ask({ model: 'either' })).toBe(200);
  broken.always(undefined);
  for (let n = 0; n < 3; n += 1) {
    broken.next({ kind: 'die_after', events: 2 });
    expect(await ask({ model: 'brittle', stream: true })).toBe(200);
  }
  broken.next({ kind: 'error', what: 'internal' });
  expect(await ask({ model: 'brittle' })).toBe(502);
  expect(await ask({ model: 'gone' })).toBe(503);
  rack.next({ kind: 'status', status: 200, type: 'text/event-stream', body: 'data: {"usage":odd\n\ndata: [DONE]\n\n' });
  expect(await ask({ model: MODEL, stream: true })).toBe(200);
}

/** Takes one configuration, then refuses one. */
async function reloads(gateway: Lanyard): Promise<void> {
  const told = (message: string) => () => gateway.log().filter(({ msg }) => String(msg).startsWith(message)).length;
  gateway.signal('SIGHUP');
  await expect.poll(told('configuration reloaded'), PATIENT).toBe(1);
  gateway.configure('lissen: []\n');
  gateway.signal('SIGHUP');
  await expect.poll(told('configuration refused'), PATIENT).toBeGreaterThan(0);
}

function asker(gateway: Lanyard): Ask {
  return async (body, { path = CHAT, key = KEY, mode = 'direct' } = {}) => {
    const answer = await fetch(`${gateway.url}${path}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json', 'x-lanyard-mode': mode },
      body: JSON.stringify({ messages: [], ...body }),
    });
    await answer.text();
    return answer.status;
  };
}

async function engineOf(kind: 'vllm' | 'ollama' = 'vllm'): Promise<FakeEngine> {
  const engine = await startEngine({ kind, models: ['x', 'y'] });
  onTestFinished(() => engine.stop());
  return engine;
}

async function stage() {
  const redis = await startRedis();
  onTestFinished(() => redis.stop());
  const engines: Engines = {
    rack: await engineOf(),
    small: await engineOf(),
    broken: await engineOf(),
    cold: await engineOf('ollama'),
  };
  const folder = mkdtempSync(join(tmpdir(), 'lanyard-certificates-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const certificate = (name: string, days: number): string => {
    const pem = join(folder, name);
    const made = `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days ${days} -subj /CN=lanyard -keyout ${pem}.key -out ${pem}`;
    execFileSync(findProgram('openssl'), made.split(' '), { stdio: 'pipe' });
    return pem;
  };
  const api = await startBatchApi();
  const files = [certificate('soon.pem', 10), certificate('later.pem', 60), join(folder, 'nowhere.pem')];
  const hash = createHash('sha256').update(ALICE).digest('hex');
  const gateway = await startLanyard({
    env: { LITELLM_MASTER_KEY: KEY },
    yaml: `
listen: [{ port: 0 }]
auth: { keys: [{ name: alice, hash: "sha256:${hash}", limits: { parallel: 1 } }] }
limits: { ip: off, queue_wait_ms: 50ms }
redis: ${redis.url}
metrics: { certificates: ${JSON.stringify(files)} }
batch:
  data: data
  disk_free_bytes_min: 1
  collate: { window_ms: 100ms }
  upstream: { poll_min_ms: 100ms, poll_max_ms: 200ms }
cache: {}
backends:
  cloud: { engine: openai, url: "${api.url}/v1", key: sk-upstream-test, batch: upstream }
  rack: { engine: vllm, url: "${engines.rack.url}" }
  small: { engine: vllm, url: "${engines.small.url}", slots: 1 }
  broken: { engine: vllm, url: "${engines.broken.url}" }
  cold: { engine: ollama, url: "${engines.cold.url}" }
  dead: { engine: vllm, url: "http://127.0.0.1:${await freePort()}" }
models:
  "${MODEL}": [rack/x]
  small: [small/x]
  brittle: [broken/x]
  either: [broken/x, rack/x]
  gone: [dead/x]
  far: [cloud/gpt-4o-mini]
  cold: [cold/x]
  cold-too: [cold/y]
`,
  });
  return { gateway, engines, redis, ask: asker(gateway) };
}

// The metrics' text, and that nobody can fill it: labels come from the configuration and our own tables only.
import { spawnSync } from 'node:child_process';
import { expect, onTestFinished, test } from 'vitest';
import { startEngine } from '../engines/engine.ts';
import { openLine } from '../stage/line.ts';
import { findProgram } from '../stage/program.ts';
import type { Stage } from '../stage/gateway.ts';

const CHAT = '/v1/chat/completions';

async function read({ url }: Stage): Promise<string> {
  const answer = await fetch(`${url}/metrics`);
  expect(answer.headers.get('content-type')).toMatch(/^text\/plain; version=0\.0\.4/);
  return await answer.text();
}

/** Every sample's name with its labels. */
function series(text: string): Set<string> {
  return new Set(text.split('\n').flatMap((line) => /^(lanyard_[^ ]+) /.exec(line)?.[1] ?? []));
}

test('every line is of the Prometheus text format, every sample of a described metric, none twice', async () => {
  const { gateway, chat } = await openLine();
  await (await gateway.ask(CHAT, chat())).text();
  await (await gateway.ask(CHAT, chat({ model: 'no' }))).text();
  const text = await read(gateway);
  const described = new Set<string>();
  const samples: string[] = [];
  for (const line of text.split('\n').filter((one) => one !== '')) {
    const type = /^# TYPE (\w+) (?:counter|gauge|histogram|summary)$/.exec(line)?.[1];
    if (type !== undefined) described.add(type);
    if (line.startsWith('#')) {
      expect(line).toMatch(/^# (?:HELP \w+ .+|TYPE \w+ \w+)$/);
      continue;
    }
    const [, name = '', labels = ''] =
      /^(\w+)(\{(?:\w+="[^"\n]*",?)*\})? (?:[-+]?[\d.e+-]+|NaN|[+-]Inf)$/.exec(line) ?? [];
    expect(name, line).not.toBe('');
    expect(described.has(name) || described.has(name.replace(/_(?:bucket|sum|count)$/, '')), line).toBe(true);
    samples.push(name + labels);
  }
  expect(new Set(samples).size).toBe(samples.length);
});

test('names of the issue are there once a chat was streamed', async () => {
  const { gateway, chat } = await openLine();
  await (await gateway.ask(CHAT, chat())).text();
  await expect.poll(() => gateway.outcomes()).toHaveLength(1);
  const labels = { model: 'coder', backend: 'rack' };
  expect(await gateway.metric('lanyard_requests_total', { ...labels, status: '200', end: 'complete' })).toBe(1);
  expect(await gateway.metric('lanyard_tokens_total', { ...labels, direction: 'out' })).toBeGreaterThan(0);
  for (const name of ['time_to_first_token_seconds', 'time_per_output_token_seconds', 'request_duration_seconds']) {
    expect(await gateway.metric(`lanyard_${name}_count`, labels), name).toBe(1);
  }
  expect(await gateway.metric('lanyard_queue_wait_seconds_count', { model: 'coder' })).toBe(1);
  expect(await gateway.metric('lanyard_backend_up', { backend: 'rack' })).toBe(1);
  expect(await gateway.metric('lanyard_build_info', { version: 'test' })).toBe(1);
  expect(await gateway.metric('lanyard_in_flight')).toBe(0);
  expect(await gateway.metric('lanyard_connections')).toBeGreaterThan(0);
  // Without Redis there is no word of it: an alert on 0 would be false.
  expect(await read(gateway)).not.toMatch(/^lanyard_redis_up /m);
});

test('promtool has no complaint about names, units or help', async () => {
  const { gateway, chat } = await openLine();
  await (await gateway.ask(CHAT, chat())).text();
  await expect.poll(() => gateway.outcomes()).toHaveLength(1);
  const { status, stdout, stderr } = spawnSync(findProgram('promtool'), ['check', 'metrics'], {
    input: await read(gateway),
    encoding: 'utf8',
  });
  expect([status, stdout, stderr]).toEqual([0, '', '']);
});

test('what happens for the first time is a rise from 0, not a new line', async () => {
  const { gateway } = await openLine();
  const before = series(await read(gateway));
  for (const one of [
    'lanyard_errors_total{code="internal_error"}',
    'lanyard_config_reloads_total{result="refused"}',
    'lanyard_account_failures_total',
    'lanyard_upstream_errors_total{backend="rack",kind="answer"}',
    'lanyard_stream_events_invalid_total{backend="rack"}',
    'lanyard_limiter_decisions_total{scope="key",decision="rate",source="local"}',
  ]) {
    expect(before).toContain(one);
  }
});

test('only streams tell of their first token: the first byte of a whole answer is also its last', async () => {
  const { gateway, chat } = await openLine();
  const labels = { model: 'coder', backend: 'rack' };
  for (const stream of [false, true, false]) await (await gateway.ask(CHAT, chat({ stream }))).text();
  await expect.poll(() => gateway.outcomes()).toHaveLength(3);
  expect(await gateway.metric('lanyard_time_to_first_token_seconds_count', labels)).toBe(1);
  expect(await gateway.metric('lanyard_time_per_output_token_seconds_count', labels)).toBe(1);
  expect(await gateway.metric('lanyard_request_duration_seconds_count', labels)).toBe(3);
});

test('a stream that breaks off after its first byte is counted as one; a whole answer, or one that never began, is not', async () => {
  const { engine, gateway, chat } = await openLine();
  const labels = { model: 'coder', backend: 'rack' };
  const aborts = () => gateway.metric('lanyard_stream_aborts_total', labels);
  await (await gateway.ask(CHAT, chat())).text();
  engine.next({ kind: 'error', what: 'internal' }, { kind: 'truncated' });
  await (await gateway.ask(CHAT, chat())).text();
  await (await gateway.ask(CHAT, chat({ stream: false }))).text();
  await expect.poll(() => gateway.outcomes()).toHaveLength(3);
  expect(gateway.outcomes().map(({ end }) => end)).toEqual(['complete', 'backend_failed', 'backend_failed']);
  expect(await aborts()).toBe(0);
  engine.next({ kind: 'die_after', events: 2 });
  await (await gateway.ask(CHAT, chat())).text();
  await expect.poll(aborts).toBe(1);
});

test('requests are counted by key; who could not be told has none', async () => {
  const { gateway, chat } = await openLine();
  await (await gateway.ask(CHAT, chat())).text();
  await (await gateway.ask(CHAT, chat(), { headers: { authorization: 'Bearer sk-guessed' } })).text();
  await expect.poll(() => gateway.outcomes()).toHaveLength(2);
  const text = await read(gateway);
  expect([...series(text)].filter((one) => one.startsWith('lanyard_key_requests_total'))).toEqual([
    'lanyard_key_requests_total{key="master",model="coder",end="complete"}',
    'lanyard_key_requests_total{key="",model="",end="rejected"}',
  ]);
});

test('a backend that came back at night is up before anyone asks it, and so are its models', async () => {
  const { engine, gateway, chat } = await openLine();
  const up = () => gateway.metric('lanyard_backend_up', { backend: 'rack' });
  const deployments = () => gateway.metric('lanyard_model_deployments_up', { model: 'coder' });
  expect([await up(), await deployments()]).toEqual([1, 1]);
  await engine.stop();
  await (await gateway.ask(CHAT, chat({ stream: false }))).text();
  expect([await up(), await deployments()]).toEqual([0, 0]);
  const again = await startEngine({ kind: 'vllm', port: engine.port });
  onTestFinished(() => again.stop());
  await expect.poll(up, { timeout: 10_000 }).toBe(1);
  expect(await deployments()).toBe(1);
  expect(again.asked).toEqual([]);
});

test('whether the configuration in use is the one in the file shows until it is', async () => {
  const { gateway } = await openLine();
  const loaded = () => gateway.metric('lanyard_config_last_reload_successful');
  expect(await loaded()).toBe(1);
  gateway.reloaded('refused');
  expect(await loaded()).toBe(0);
  gateway.reloaded('ok');
  expect(await loaded()).toBe(1);
});

test('five hundred odd requests make no new series', async () => {
  const { gateway, chat } = await openLine();
  const odd = async (n: number): Promise<void> => {
    const name = `odd-${n}-"}\\n{=,`;
    const answers = await Promise.all([
      gateway.ask(CHAT, chat({ model: name })),
      gateway.ask(`/v1/${encodeURIComponent(name)}`),
      gateway.ask(`/v1/models/${encodeURIComponent(name)}`),
      gateway.ask(CHAT, chat(), { headers: { authorization: `Bearer odd-${n}` } }),
      gateway.ask(`/v1/models?odd=${n}`, undefined, {
        method: 'DELETE',
        headers: { 'user-agent': `odd-${n}`, host: `odd-${n}` },
      }),
    ]);
    for (const answer of answers) await answer.text();
  };
  await odd(0);
  // The failures bucket's own refusal is one more series, of our table.
  for (let n = 1; n < 32; n += 1) await (await fetch(`${gateway.url}/v1/models`)).text();
  await expect.poll(() => gateway.outcomes()).toHaveLength(2);
  await odd(1);
  const before = series(await read(gateway));
  for (let n = 2; n < 102; n += 10) await Promise.all(Array.from({ length: 10 }, (_, at) => odd(n + at)));
  await expect.poll(() => gateway.outcomes().length).toBe(204);
  const text = await read(gateway);
  expect([...series(text)].filter((one) => !before.has(one))).toEqual([]);
  expect(text).not.toContain('odd-');
});

// A stream on its way through: what arrives is what the engine sent, as it sent it, but for what the design changes.
import { describe, expect, test } from 'vitest';
import type { EngineKind, Fault } from '../engines/engine.ts';
import { ENGINE_KINDS } from '../engines/kinds.ts';
import { call, events } from '../stage/caller.ts';
import { openLine } from '../stage/line.ts';

const CHAT = '/v1/chat/completions';
const DONE = 'data: [DONE]';

const bases: Partial<Record<EngineKind, string>> = { openvino: '/v3' };

/** Ids and times differ from one answer of an engine to its next. */
function steady(text: string): string {
  return text
    .replaceAll(/"(id|created)":("[^"]*"|\d+)/g, '"$1":0')
    .replaceAll(/"obfuscation":"[^"]*"/g, '"obfuscation":""');
}

test('the first event reaches the caller while the engine still works on the second', async () => {
  const { engine, gateway, chat } = await openLine();
  engine.next({ kind: 'hold_after', events: 1 });
  const caller = await call(gateway.port, CHAT, chat());
  await caller.until('\n\n');
  await engine.until(({ held }) => held === 1);
  expect(events(caller.text())).toHaveLength(1);
  engine.release();
  expect(events(await caller.whole()).at(-1)).toBe(DONE);
});

test('each token leaves as it comes', async () => {
  const { engine, gateway, chat } = await openLine({ kind: 'ollama', tokens: 4 });
  engine.next({ kind: 'all', faults: [1, 2, 3].map((events): Fault => ({ kind: 'hold_after', events })) });
  const caller = await call(gateway.port, CHAT, chat());
  for (const [before, token] of ['Gr', 'üß', 'e'].entries()) {
    await engine.until(({ held }) => held === 1);
    await caller.until(`"content":"${token}"`);
    expect(events(caller.text())).toHaveLength(before + 1);
    engine.release();
  }
  expect(await caller.whole()).toMatch(/data: \[DONE\]\n\n$/);
});

describe('what the caller gets is, byte for byte, what the engine would have told them itself', () => {
  const ways = [
    ['a chat', 'chat/completions', {}],
    ['a chat with usage', 'chat/completions', { stream_options: { include_usage: true } }],
    ['a completion', 'completions', {}],
    ['a completion with usage', 'completions', { stream_options: { include_usage: true } }],
  ] as const;
  describe.for(ENGINE_KINDS)('%s', (kind) => {
    test.for(ways)('%s', async ([, endpoint, more]) => {
      const { engine, gateway, model, chat } = await openLine({ kind });
      const body = endpoint === 'completions' ? { model: 'coder', prompt: 'Hi', stream: true, ...more } : chat(more);
      const asks_usage = 'stream_options' in more;
      // The gateway always asks for usage; what that changes on other chunks is the engine's own way of answering.
      const as_sent = { ...body, model, stream_options: { include_usage: true } };
      const direct = await fetch(`${engine.url}${bases[kind] ?? '/v1'}/${endpoint}`, {
        method: 'POST',
        body: JSON.stringify(as_sent),
      });
      const told = events(await direct.text());
      const wanted = asks_usage ? told : told.filter((event) => !event.includes('"choices":[]'));
      const caller = await call(gateway.port, `/v1/${endpoint}`, body);
      const given = await caller.whole();
      // The one engine without an `id` has one here, the same in every event.
      const ids = new Set(given.match(/"id":"[^"]*",/g));
      if (kind === 'openvino') expect(ids.size).toBe(1);
      const compared = kind === 'openvino' ? given.replaceAll(/"id":"[^"]*",/g, '') : given;
      expect(events(steady(compared))).toEqual(wanted.map(steady));
      expect(told.length - wanted.length).toBe(asks_usage ? 0 : 1);
      await expect.poll(() => gateway.outcomes()).toMatchObject([{ end: 'complete', status: 200, tokens_out: 8 }]);
    });
  });
});

describe('the frame an engine puts around its events does not reach the caller', () => {
  const frames: [string, Fault][] = [
    ['CRLF line ends', { kind: 'crlf' }],
    ['a byte order mark', { kind: 'bom' }],
    ['comments, id:, event: and retry: lines', { kind: 'comments' }],
    [
      'all of them, a byte at a time',
      { kind: 'all', faults: [{ kind: 'crlf' }, { kind: 'bom' }, { kind: 'comments' }, { kind: 'split', bytes: 1 }] },
    ],
  ];
  test.for(frames)('%s', async ([, fault]) => {
    const { engine, gateway, chat } = await openLine();
    const plain = steady(await (await call(gateway.port, CHAT, chat())).whole());
    engine.next(fault);
    expect(steady(await (await call(gateway.port, CHAT, chat())).whole())).toBe(plain);
  });
});

test('events cut at every small size, within characters too, arrive unhurt', async () => {
  const { engine, gateway, chat } = await openLine({ tokens: 16 });
  const plain = steady(await (await call(gateway.port, CHAT, chat())).whole());
  for (let bytes = 1; bytes <= 12; bytes += 1) {
    engine.next({ kind: 'split', bytes });
    expect(steady(await (await call(gateway.port, CHAT, chat())).whole()), `in pieces of ${bytes}`).toBe(plain);
  }
});

test('a streamed answer has the headers of a stream, and no event: or id: lines', async () => {
  const { gateway, chat } = await openLine({ kind: 'openai' });
  const caller = await call(gateway.port, CHAT, chat());
  const { status, headers } = await caller.head;
  expect(status).toBe(200);
  expect(headers).toMatchObject({
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-cache, no-transform',
    'x-accel-buffering': 'no',
    'x-request-id': expect.stringMatching(/^req_[0-9a-f]{32}$/),
    'x-lanyard-model': 'coder',
    'x-lanyard-backend': 'rack',
  });
  // The engine's own stay behind.
  expect(headers).not.toHaveProperty('openai-version');
  expect(headers).not.toHaveProperty('content-length');
  for (const event of events(await caller.whole())) expect(event).toMatch(/^data: [{[]/);
});

describe('usage', () => {
  const asked = '"stream_options":{"include_usage":true}';
  const rows: [string, object, string, boolean][] = [
    ['is asked of the engine for a caller who did not', {}, asked, false],
    ['is asked for in place of a refusal', { stream_options: { include_usage: false } }, asked, false],
    ['is asked for in place of null', { stream_options: null }, asked, false],
    [
      'is asked for beside other options',
      { stream_options: { include_obfuscation: false } },
      '"stream_options":{"include_obfuscation":false,"include_usage":true}',
      false,
    ],
    ['is left in for a caller who asked', { stream_options: { include_usage: true } }, asked, true],
  ];
  test.for(rows)('%s', async ([, more, sent, kept]) => {
    const { engine, gateway, chat } = await openLine({ kind: 'openai' });
    const text = await (await call(gateway.port, CHAT, chat(more))).whole();
    expect(engine.asked[0]?.body.toString()).toContain(sent);
    expect(text.includes('"choices":[]')).toBe(kept);
    expect(events(text).at(-1)).toBe(DONE);
    await expect.poll(() => gateway.outcomes()).toMatchObject([{ tokens_in: 1, tokens_out: 8 }]);
    expect(await gateway.metric('lanyard_tokens_total', { direction: 'out', model: 'coder' })).toBe(8);
  });

  test('so far, on every chunk, is counted once and left in', async () => {
    const { engine, gateway, chat } = await openLine();
    engine.next({ kind: 'continuous_usage' });
    const text = await (await call(gateway.port, CHAT, chat())).whole();
    expect(text).toContain('"completion_tokens":3');
    await expect.poll(() => gateway.outcomes()).toMatchObject([{ tokens_out: 8 }]);
  });
});

test('every choice of several is passed on, and all must finish', async () => {
  const { engine, gateway, chat } = await openLine();
  engine.next({ kind: 'no_done' });
  const whole = await (await call(gateway.port, CHAT, chat({ n: 3 }))).whole();
  expect(whole.match(/"finish_reason":"stop"/g)).toHaveLength(3);
  expect(events(whole).at(-1)).toBe(DONE);
  // One finish_reason of three, and a clean end.
  engine.next({ kind: 'end_after', events: 3 + 8 * 3 + 1 });
  const short = await (await call(gateway.port, CHAT, chat({ n: 3 }))).whole();
  expect(short.match(/"finish_reason":"stop"/g)).toHaveLength(1);
  expect(events(short).at(-1)).toMatch(/^data: \{"error":/);
});

test('an event that is not JSON is passed on as it is, and counted', async () => {
  const { engine, gateway, chat } = await openLine();
  engine.next({
    kind: 'status',
    status: 200,
    type: 'text/event-stream',
    body: `data: {"usage":\n\ndata: {"choices":[{"index":0,"finish_reason":"stop"}]}\n\n${DONE}\n\n`,
  });
  const text = await (await call(gateway.port, CHAT, chat())).whole();
  expect(events(text)[0]).toBe('data: {"usage":');
  expect(events(text).at(-1)).toBe(DONE);
  await expect.poll(() => gateway.metric('lanyard_stream_events_invalid_total', { backend: 'rack' })).toBe(1);
});

// Each fault, as it arrives at the other end of the socket.
import type { EngineKind, Fault, FakeEngine } from './engine.ts';
import { afterEach, describe, expect, test } from 'vitest';
import { startEngine } from './engine.ts';
import { KINDS, MODELS_DEFAULT } from './kinds.ts';
import type { Heard } from './talk.ts';
import { dial, request, talk, unchunked } from './talk.ts';

let engine: FakeEngine | undefined;

afterEach(async () => {
  await engine?.stop();
  engine = undefined;
});

function asking(kind: EngineKind, stream: boolean, more: object = {}): string {
  const body = { model: MODELS_DEFAULT[kind], messages: [{ role: 'user', content: 'hi' }], stream, ...more };
  return request(`${KINDS[kind].bases[0]}/chat/completions`, body, { connection: 'close' });
}

async function hear(fault: Fault, kind: EngineKind = 'vllm', stream = true, more: object = {}): Promise<Heard> {
  engine = await startEngine({ kind });
  engine.next(fault);
  return talk(engine.port, asking(kind, stream, more));
}

const events = (heard: Heard): string[] =>
  unchunked(heard.bytes)
    .toString('utf8')
    .split('\n\n')
    .filter((event) => event !== '');
const ended_chunked = (heard: Heard): boolean => heard.text.endsWith('\r\n0\r\n\r\n');

describe('instead of an answer', () => {
  test('reset, close, garbage', async () => {
    expect(await hear({ kind: 'reset' })).toMatchObject({ text: '', ended: 'reset' });
    expect(engine?.asked[0]?.ended).toBe('broken');
    await engine?.stop();
    expect(await hear({ kind: 'close' })).toMatchObject({ text: '', ended: 'fin' });
    await engine?.stop();
    expect((await hear({ kind: 'garbage' })).text).toMatch(/^SSH-2.0/);
  });

  test('a hang lasts until the peer has had enough', async () => {
    engine = await startEngine({ kind: 'vllm' });
    engine.always({ kind: 'hang' });
    const socket = await dial(engine.port);
    socket.write(asking('vllm', true));
    await engine.until(({ in_flight }) => in_flight === 1);
    socket.destroy();
    await engine.until(({ in_flight }) => in_flight === 0);
    expect(engine.asked[0]).toMatchObject({ ended: 'aborted', tokens_sent: 0 });
  });

  test.each([
    [{ kind: 'status', status: 429, body: { a: 1 }, headers: { 'retry-after': '7' } }, 429, 'retry-after: 7'],
    [{ kind: 'status', status: 503 }, 503, '"ServiceUnavailableError"'],
    [{ kind: 'html' }, 502, '<h1>502 Bad Gateway</h1>'],
    [{ kind: 'bad_json' }, 200, 'application/json'],
    [{ kind: 'error_200' }, 200, '"InternalServerError"'],
  ] as const)('%j', async (fault, status, part) => {
    const heard = await hear(fault, 'vllm', false);
    expect(heard.text).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    expect(heard.text).toContain(part);
    if (fault.kind === 'bad_json') expect(() => JSON.parse(heard.text.split('\r\n\r\n')[1] ?? '')).toThrow();
  });

  test('one for each of the next requests, and then a standing one', async () => {
    engine = await startEngine({ kind: 'vllm' });
    engine.next({ kind: 'status', status: 500 }, { kind: 'status', status: 502 });
    engine.always({ kind: 'status', status: 503 });
    const statuses: string[] = [];
    for (let n = 0; n < 4; n += 1) statuses.push((await talk(engine.port, asking('vllm', false))).text.slice(9, 12));
    engine.always(undefined);
    statuses.push((await talk(engine.port, asking('vllm', false))).text.slice(9, 12));
    expect(statuses).toEqual(['500', '502', '503', '503', '200']);
  });
});

describe('in the middle', () => {
  test('die_after: the events before it arrive, then RST', async () => {
    const heard = await hear({ kind: 'die_after', events: 3 });
    expect(events(heard)).toHaveLength(3);
    expect(heard.ended).toBe('reset');
    expect(engine?.asked[0]).toMatchObject({ ended: 'broken', events_sent: 3, tokens_sent: 2 });
  });

  test('die_after 0: headers only', async () => {
    const heard = await hear({ kind: 'die_after', events: 0 });
    expect(heard.text).toMatch(/^HTTP\/1.1 200 OK\r\n[^]*\r\n\r\n$/);
    expect(heard.ended).toBe('reset');
  });

  test('fin_after and end_after: FIN both times, but one says the body is whole', async () => {
    const fin = await hear({ kind: 'fin_after', events: 3 });
    expect([events(fin).length, fin.ended, ended_chunked(fin)]).toEqual([3, 'fin', false]);
    await engine?.stop();
    const end = await hear({ kind: 'end_after', events: 3 });
    expect([events(end).length, end.ended, ended_chunked(end)]).toEqual([3, 'fin', true]);
  });

  test('hang_after: silence, and the connection stays', async () => {
    engine = await startEngine({ kind: 'vllm' });
    engine.next({ kind: 'hang_after', events: 2 });
    const heard = await talk(engine.port, asking('vllm', true), (text) => text.split('data: ').length === 3);
    expect(events(heard)).toHaveLength(2);
    await engine.until(({ asked }) => asked[0]?.ended === 'aborted');
  });

  test('deaf: works on for a peer that has left, until released', async () => {
    engine = await startEngine({ kind: 'vllm', slots: 1 });
    engine.next({ kind: 'all', faults: [{ kind: 'hang_after', events: 2 }, { kind: 'deaf' }] });
    await talk(engine.port, asking('vllm', true), (text) => text.split('data: ').length === 3);
    await engine.until(({ asked, held }) => asked[0]?.ended === 'aborted' && held === 1);
    const running = async (): Promise<string> => await (await fetch(`${engine?.url}/metrics`)).text();
    expect(await running()).toMatch(/num_requests_running\{.*\} 1\.0/);
    engine.release();
    await expect.poll(running).toMatch(/num_requests_running\{.*\} 0\.0/);
  });

  test('hold and hold_after go on when released', async () => {
    engine = await startEngine({ kind: 'vllm' });
    engine.next({ kind: 'all', faults: [{ kind: 'hold' }, { kind: 'hold_after', events: 2 }] });
    const answer = talk(engine.port, asking('vllm', true));
    await engine.until(({ held }) => held === 1);
    expect(engine.asked[0]?.bytes_sent).toBe(0);
    engine.release();
    await engine.until(({ asked }) => asked[0]?.events_sent === 2);
    engine.release();
    expect(events(await answer).at(-1)).toBe('data: [DONE]');
  });

  test.each([
    ['vllm', /^data: \{"error":\{.*InternalServerError.*\}$/, true],
    ['sglang', /^data: \{"error":\{"object":"error".*\}$/, true],
    ['llama.cpp', /^data: \{"error":\{"code":500.*\}$/, false],
    ['openai', /^data: \{"error":\{"message".*\}$/, false],
    ['lmstudio', /^event: error\ndata: \{"error":\{"message".*\}$/, false],
    ['openvino', /^\{"error": "Mediapipe/, false],
    ['ollama', /^data: .*"model":"".*"content":"".*"finish_reason":null/, false],
  ] as const)('%s tells a failure within a stream in its own way', async (kind, shape, done) => {
    const told = events(await hear({ kind: 'error_event_after', events: 2 }, kind));
    expect(told[2]).toMatch(shape);
    expect(told.slice(3)).toEqual(done ? ['data: [DONE]'] : []);
  });

  test('raw_json_after: no data: before it, and a clean end', async () => {
    const heard = await hear({ kind: 'raw_json_after', events: 2 }, 'openvino');
    expect(events(heard)[2]).toMatch(/^\{"error":"Mediapipe/);
    expect(ended_chunked(heard)).toBe(true);
  });

  test('bad_chunk: a size that is none', async () => {
    expect((await hear({ kind: 'bad_chunk', events: 2 })).text).toMatch(/\r\nnot-a-size\r\n/);
  });

  test('huge_event', async () => {
    const sizes = events(await hear({ kind: 'huge_event', bytes: 1_000_000 })).map((event) => event.length);
    expect(Math.max(...sizes)).toBeGreaterThan(1_000_000);
  });

  test('endless: stops writing while nobody reads, and ends with the peer', async () => {
    engine = await startEngine({ kind: 'vllm' });
    engine.next({ kind: 'endless' });
    const socket = await dial(engine.port);
    socket.write(asking('vllm', true));
    socket.pause();
    // The kernels' buffers take some megabytes; then it must stand still.
    let sent = -1;
    await expect(engine.until(({ asked }) => (asked[0]?.bytes_sent ?? 0) > 100_000_000, 500)).rejects.toThrow();
    sent = engine.asked[0]?.bytes_sent ?? 0;
    expect(sent).toBeGreaterThan(10_000);
    socket.resume();
    await engine.until(({ asked }) => (asked[0]?.bytes_sent ?? 0) > sent + 1_000_000);
    socket.destroy();
    await engine.until(({ asked }) => asked[0]?.ended === 'aborted');
  });

  test('of an unstreamed answer too', async () => {
    const die = await hear({ kind: 'die_after', events: 1 }, 'vllm', false);
    expect(die.ended).toBe('reset');
    expect(die.text).toContain('{"id":"chatcmpl-1"');
    expect(die.text).not.toContain('usage');
    await engine?.stop();
    const end = await hear({ kind: 'end_after', events: 1 }, 'vllm', false);
    expect(ended_chunked(end)).toBe(true);
    expect(() => JSON.parse(unchunked(end.bytes).toString()) as unknown).toThrow();
  });
});

describe('at the end', () => {
  test('no_done, no_finish: clean ends that leave something out', async () => {
    const done = await hear({ kind: 'no_done' });
    expect(events(done).at(-1)).toContain('"finish_reason":"stop"');
    expect(ended_chunked(done)).toBe(true);
    await engine?.stop();
    const finish = await hear({ kind: 'no_finish' }, 'ollama');
    expect(events(finish).at(-1)).toMatch(/"content":""\},"finish_reason":null/);
    expect(ended_chunked(finish)).toBe(true);
  });

  test('after_done', async () => {
    expect(events(await hear({ kind: 'after_done' })).slice(-2)).toEqual(['data: [DONE]', 'data: {"late":true}']);
  });

  test('truncated: less than content-length, then FIN', async () => {
    const heard = await hear({ kind: 'truncated', missing: 7 }, 'vllm', false);
    const [head = '', body = ''] = heard.text.split('\r\n\r\n');
    expect(Number(/content-length: (\d+)/.exec(head)?.[1])).toBe(Buffer.byteLength(body) + 7);
    expect(heard.ended).toBe('fin');
  });

  test('extra_response: a second answer to one request', async () => {
    engine = await startEngine({ kind: 'vllm' });
    engine.next({ kind: 'extra_response' });
    const kept = asking('vllm', false).replace('connection: close\r\n', '');
    const heard = await talk(engine.port, kept, (text) => text.endsWith('"choices":[]}'));
    expect(heard.text.match(/HTTP\/1.1 200 OK/g)).toHaveLength(2);
  });
});

describe('in how it is written', () => {
  const ids = (text: string): string => text.replace(/"created":\d+/g, '').replace(/^date: .*\r\n/gim, '');

  test.each([1, 3, 7])('split in %i bytes: the same bytes, in many reads', async (bytes) => {
    const plain = await hear({ kind: 'delay', ms: 0 });
    await engine?.stop();
    const heard = await hear({ kind: 'split', bytes });
    expect(ids(unchunked(heard.bytes).toString())).toBe(ids(unchunked(plain.bytes).toString()));
    expect(heard.reads).toBeGreaterThan(50);
    expect(engine?.asked[0]?.ended).toBe('complete');
  });

  test('trickle and the two delays take their time', async () => {
    engine = await startEngine({ kind: 'vllm', tokens: 1 });
    engine.next({ kind: 'trickle', ms: 2, bytes: 20 }, { kind: 'delay', ms: 40 }, { kind: 'delay_body', ms: 40 });
    for (let n = 0; n < 3; n += 1) {
      const from = performance.now();
      expect((await talk(engine.port, asking('vllm', false))).text).toContain('Gr');
      expect(performance.now() - from).toBeGreaterThan(30);
    }
  });

  test('crlf, bom, comments', async () => {
    const crlf = await hear({ kind: 'crlf' });
    expect(unchunked(crlf.bytes).toString()).toMatch(/^data: .*\r\n\r\ndata: /);
    await engine?.stop();
    const bom = await hear({ kind: 'bom' });
    expect([...unchunked(bom.bytes).subarray(0, 3)]).toEqual([0xef, 0xbb, 0xbf]);
    await engine?.stop();
    const comments = unchunked((await hear({ kind: 'comments' }, 'llama.cpp')).bytes).toString();
    expect(comments).toMatch(/^:\n\nevent: message\nid: 0\nretry: 3000\ndata: /);
  });

  test('continuous_usage', async () => {
    const told = events(await hear({ kind: 'continuous_usage' }));
    expect(told.slice(0, -1).every((event) => event.includes('"usage":{"prompt_tokens"'))).toBe(true);
  });

  test('all: several at once', async () => {
    const heard = await hear({
      kind: 'all',
      faults: [{ kind: 'split', bytes: 5 }, { kind: 'crlf' }, { kind: 'no_done' }],
    });
    const body = unchunked(heard.bytes).toString();
    expect(body).toContain('\r\n\r\n');
    expect(body).not.toContain('[DONE]');
    expect(body).toContain('🌍');
  });
});

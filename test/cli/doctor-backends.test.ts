// What `lanyard doctor` finds out about engines: real sockets, engines that are down, hang, are another kind, lack a model, give
// too little context, or go on for callers who have left.
import { describe, expect, onTestFinished, test } from 'vitest';
import { startEngine, type FakeEngine } from '../engines/engine.ts';
import { ENGINE_KINDS } from '../engines/kinds.ts';
import { freePort } from '../stage/ports.ts';
import { examined, type Examined } from './examined.ts';

type Options = Parameters<typeof startEngine>[0];

async function engineOf(options: Options): Promise<FakeEngine> {
  const engine = await startEngine(options);
  onTestFinished(() => engine.stop());
  return engine;
}

/** One backend, `rack`, with one model, `coder`. */
async function looked(engine: string, url: string, model = 'm', ...args: string[]): Promise<Examined> {
  const port = await freePort();
  const yaml = `
listen: [{ port: ${port} }]
backends: { rack: { engine: ${engine}, url: "${url}" } }
models: { coder: ["rack/${model}"] }
`;
  return await examined(yaml, { args });
}

/** A small question, so that the model is in memory. */
async function warm(engine: FakeEngine, model: string): Promise<void> {
  const body = JSON.stringify({ model, messages: [], max_tokens: 1 });
  const headers = { 'content-type': 'application/json' };
  await (await fetch(`${engine.url}/v1/chat/completions`, { method: 'POST', headers, body })).text();
}

describe('reachable', () => {
  test.each(ENGINE_KINDS)('%s is recognised and well, and is asked nothing that infers', async (kind) => {
    const engine = await engineOf({ kind, models: [{ name: 'm', context: 65_536 }], slots: 16 });
    const { of } = await looked(kind, engine.url);
    expect(of('backend.reachable')).toEqual([
      expect.stringMatching(new RegExp(`^rack: ok ${RegExp.escape(kind)} at http.*, 1 model, in \\d+ ms$`)),
    ]);
    expect(of('backend.models')).toEqual(['rack: ok has the one it is to serve']);
    expect(of('backend.engine')).toEqual([]);
    expect(engine.asked).toEqual([]);
    expect(engine.seen.length).toBeGreaterThan(0);
  });

  test('a closed port is told, with what to do', async () => {
    const { code, of } = await looked('vllm', `http://127.0.0.1:${await freePort()}`);
    expect(code).toBe(1);
    expect(of('backend.reachable')).toEqual([
      expect.stringMatching(/^rack: fail cannot be reached \(http:\S+\) → Start the engine, or correct the port\.$/),
    ]);
  });

  test.each([
    ['hang', 'does not answer in time', 'look at its log, its load, the firewall'],
    ['refuse', 'breaks the connection off', 'check the port'],
    ['500', 'no model list (status 500)', 'check the port'],
  ] as const)('one that probes find to %s is told', async (fault, found, remedy) => {
    const engine = await engineOf({ kind: 'openai', models: ['m'] });
    engine.probes(fault);
    const { of } = await looked('openai', engine.url);
    expect(of('backend.reachable')).toEqual([expect.stringContaining(`rack: fail ${found}`)]);
    expect(of('backend.reachable')[0]).toContain(remedy);
  });

  test('one hanging engine hides nothing of the others', async () => {
    const [sick, well] = [await engineOf({ kind: 'ollama' }), await engineOf({ kind: 'vllm', models: ['m'] })];
    sick.probes('hang');
    const yaml = `
listen: [{ port: ${await freePort()} }]
backends:
  sick: { engine: ollama, url: "${sick.url}" }
  well: { engine: vllm, url: "${well.url}" }
models: { a: [sick/x], b: [well/m] }
`;
    const { of } = await examined(yaml);
    expect(of('backend.reachable')).toEqual([
      expect.stringContaining('sick: fail does not answer in time'),
      expect.stringContaining('well: ok vllm'),
    ]);
    expect(of('backend.models', 'well')).toEqual(['well: ok has the one it is to serve']);
  });

  test('an engine that wants another key is told, and the key is not', async () => {
    const engine = await engineOf({ kind: 'vllm', models: ['m'], key: 'the-right-key-of-the-engine' });
    const yaml = `
listen: [{ port: ${await freePort()} }]
backends: { rack: { engine: vllm, url: "${engine.url}", key: "the-wrong-key-of-the-engine" } }
models: { coder: [rack/m] }
`;
    const seen = await examined(yaml);
    expect(seen.of('backend.reachable')).toEqual([expect.stringContaining('rack: fail it refuses our key')]);
    expect(JSON.stringify(seen.findings)).not.toContain('wrong-key');
  });

  test('an engine of another kind than the file says is told', async () => {
    const engine = await engineOf({ kind: 'ollama', models: ['m'] });
    const { of } = await looked('vllm', engine.url);
    expect([...of('backend.engine'), ...of('backend.reachable')].join()).toContain('`engine: ollama`');
  });

  test('without any engine the demo is spoken of', async () => {
    const { of } = await examined(`listen: [{ port: ${await freePort()} }]`);
    expect(of('backend.found')).toEqual([expect.stringContaining('the built-in demo does')]);
  });

  test('engines found on the usual ports are looked at as well', async () => {
    const engine = await engineOf({ kind: 'vllm', models: ['m'] });
    const { of } = await examined(`listen: [{ port: ${await freePort()} }]`, { ports: [engine.port] });
    expect(of('backend.reachable')).toEqual([expect.stringContaining('vllm: ok vllm at')]);
  });
});

describe('models', () => {
  test('a missing one is told with what there is and how to get it', async () => {
    const engine = await engineOf({ kind: 'ollama', models: ['qwen2.5-coder:14b', 'nomic-embed-text:latest'] });
    const { code, of } = await looked('ollama', engine.url, 'mistral:7b');
    expect(code).toBe(1);
    expect(of('backend.models')).toEqual([
      'rack: fail has no mistral:7b, which coder is to be; it has qwen2.5-coder:14b, nomic-embed-text:latest → `ollama pull mistral:7b` on that machine, or correct the name after the slash under `models:`.',
    ]);
  });

  test("Ollama's :latest need not be written", async () => {
    const engine = await engineOf({ kind: 'ollama', models: ['nomic-embed-text:latest'] });
    const { of } = await looked('ollama', engine.url, 'nomic-embed-text');
    expect(of('backend.models')).toEqual(['rack: ok has the one it is to serve']);
  });

  test('a llama-server with fewer slots than it is given says so', async () => {
    const engine = await engineOf({ kind: 'llama.cpp', models: ['m'], slots: 2 });
    const { wrong, of } = await looked('llama.cpp, slots: 16', engine.url);
    expect(of('backend.slots')).toEqual([
      expect.stringMatching(/^rack: note 2 there, and it is given 16 .*`slots: 2`/),
    ]);
    // There is no gateway in these cases.
    expect(wrong).toEqual(['gateway.running']);
    expect((await looked('llama.cpp', engine.url)).of('backend.slots')).toEqual(['rack: ok 2 there, 2 used']);
  });
});

describe('context', () => {
  test('what Ollama allocates is compared with what the model was made for', async () => {
    const engine = await engineOf({ kind: 'ollama', models: [{ name: 'm', context: 4096, context_trained: 131_072 }] });
    await warm(engine, 'm');
    const { code, of } = await looked('ollama', engine.url);
    expect(code).toBe(1);
    expect(of('backend.context')).toEqual([
      expect.stringMatching(
        /^rack\/m: warn 4096 tokens of the 131072 it was made for, and drops .* → Set OLLAMA_CONTEXT_LENGTH/,
      ),
    ]);
  });

  test.each([
    ['ollama', 'a note', 'note not loaded, so what Ollama will give it is not known (made for 131072)'],
    ['llama.cpp', 'a warning', 'warn 4096 tokens of the 131072 it was made for: too few for editors and agents'],
    ['vllm', 'a warning', 'warn 4096 tokens: too few for editors and agents'],
  ] as const)('%s with a small one that is not asked yet gets %s', async (kind, _, found) => {
    const engine = await engineOf({
      kind,
      models: [{ name: 'm', context: 4096, context_trained: 131_072 }],
      slots: 16,
    });
    const { of } = await looked(kind, engine.url);
    expect(of('backend.context')).toEqual([expect.stringContaining(`rack/m: ${found}`)]);
    expect(engine.asked).toEqual([]);
  });

  test.each(['ollama', 'llama.cpp', 'vllm'] as const)('%s with a large one is well', async (kind) => {
    const engine = await engineOf({ kind, models: [{ name: 'm', context: 32_768 }], slots: 16 });
    if (kind === 'ollama') await warm(engine, 'm');
    const { of } = await looked(kind, engine.url);
    expect(of('backend.context')).toEqual(['rack/m: ok 32768 tokens']);
  });

  test('an embedding model may have a short one', async () => {
    const engine = await engineOf({ kind: 'ollama', models: [{ name: 'nomic', context: 2048, embeds: true }] });
    await warm(engine, 'nomic');
    const { of } = await looked('ollama', engine.url, 'nomic');
    expect(of('backend.context')).toEqual(['rack/nomic: ok 2048 tokens']);
  });
});

describe('with --deep', () => {
  test.each(['vllm', 'llama.cpp', 'ollama'] as const)('%s is seen to stop when a caller leaves', async (kind) => {
    const engine = await engineOf({ kind, models: ['m'], slots: 1 });
    await warm(engine, 'm');
    if (kind === 'ollama') engine.next({ kind: 'delay', ms: 0 });
    engine.next({ kind: 'hold_after', events: 3 });
    const { of } = await looked(kind, engine.url, 'm', '--deep');
    expect(of('backend.cancellation')).toEqual([expect.stringMatching(/^rack: ok (?:stops within|nothing stands)/)]);
    expect(engine.asked.filter(({ ended }) => ended === 'aborted')).toHaveLength(1);
  });

  test.each(['vllm', 'llama.cpp', 'ollama'] as const)('%s that goes on for nobody is found out', async (kind) => {
    const engine = await engineOf({ kind, models: ['m'], slots: 1 });
    await warm(engine, 'm');
    const deaf = { kind: 'all', faults: [{ kind: 'hold_after', events: 3 }, { kind: 'deaf' }] } as const;
    if (kind === 'ollama') engine.next({ kind: 'delay', ms: 0 });
    engine.next({ ...deaf, faults: [...deaf.faults] });
    const { code, of } = await looked(kind, engine.url, 'm', '--deep');
    expect(code).toBe(1);
    expect(of('backend.cancellation')).toEqual([expect.stringMatching(/^rack: fail .* → If others use it now/)]);
  });

  test('no model is loaded for it', async () => {
    const engine = await engineOf({ kind: 'ollama', models: ['m'] });
    const { of } = await looked('ollama', engine.url, 'm', '--deep');
    expect(of('backend.cancellation')).toEqual([expect.stringContaining('rack: skipped no model is loaded there')]);
    expect(engine.asked).toEqual([]);
  });

  test('how many inputs an embeddings request may have is found by asking', async () => {
    const engine = await engineOf({ kind: 'vllm', models: [{ name: 'bge-m3', embeds: true }] });
    const refused = { kind: 'status', status: 422 } as const;
    engine.next(refused, refused, refused, refused, refused, refused);
    const { of } = await looked('vllm', engine.url, 'bge-m3', '--deep');
    expect(of('backend.embeddings')).toEqual([
      expect.stringContaining('rack: note takes 32 inputs a request; more are sent in parts'),
    ]);
    const again = await looked('vllm', engine.url, 'bge-m3', '--deep');
    expect(again.of('backend.embeddings')).toEqual(['rack: ok takes 2048 inputs a request']);
  });

  test('without it, what was left out is said', async () => {
    const engine = await engineOf({ kind: 'vllm', models: ['m'] });
    const { of } = await looked('vllm', engine.url);
    expect(of('deep.tests')).toEqual([expect.stringContaining('skipped cancellation, streams')]);
  });
});

// A scene is one run of an example: what the engine and the caller do, and what has to be seen. `play` says what was not.
import type { FakeEngine, Fault } from '../../test/engines/engine.ts';
import { start, type Run } from './run.ts';
import type { Stage } from './stage.ts';

export interface Scene {
  readonly title: string;
  readonly args?: readonly string[];
  readonly env?: (stage: Stage) => Readonly<Record<string, string>>;
  /** What the engine does to its requests, one each. */
  readonly faults?: readonly Fault[];
  /** What has to be so before it starts. */
  readonly before?: (stage: Stage) => Promise<void>;
  /** What must come to pass before the answers that the engine holds back are let go. */
  readonly during?: (stage: Stage, run: Run) => Promise<void>;
  /** Must it end well? Default: true. */
  readonly ends_well?: boolean;
  /** What stands in its output, in this order. */
  readonly prints?: readonly string[];
  /** What stands in its output or in what it says of an error. */
  readonly says?: readonly string[];
  readonly says_not?: readonly string[];
  /** How often the engine is asked; any number when undefined. */
  readonly asked?: number;
}

/** What went wrong, or undefined. */
export async function play(scene: Scene, command: readonly string[], stage: Stage): Promise<string | undefined> {
  const { engine } = stage;
  const faults = scene.faults ?? [];
  let run: Run | undefined;
  let before = engine.asked.length;
  try {
    await scene.before?.(stage);
    before = engine.asked.length;
    engine.next(...faults);
    run = start([...command, ...(scene.args ?? [])], { ...environment(stage), ...scene.env?.(stage) });
    await scene.during?.(stage, run);
  } catch (error) {
    return `${error instanceof Error ? error.message : String(error)}\n${told(run)}`;
  } finally {
    engine.release();
    await run?.ended;
    await useUp(engine, faults.length - (engine.asked.length - before));
  }
  const fault = judge(scene, await run.ended, run, engine.asked.length - before);
  return fault === undefined ? undefined : `${fault}\n${told(run)}`;
}

function told(run: Run | undefined): string {
  return run === undefined ? '' : `${run.stdout}${run.stderr}`;
}

function judge(scene: Scene, status: number | undefined, { stdout, stderr }: Run, asked: number): string | undefined {
  const { ends_well = true, prints = [], says = [], says_not = [] } = scene;
  if (status === undefined) return 'did not end';
  if ((status === 0) !== ends_well) return `exit status ${status}`;
  const shown = together(stdout);
  let at = 0;
  for (const text of prints) {
    const found = shown.indexOf(text, at);
    if (found < 0) return `did not print ${JSON.stringify(text)}`;
    at = found + text.length;
  }
  const all = shown + stderr;
  for (const text of says) if (!all.includes(text)) return `did not say ${JSON.stringify(text)}`;
  for (const text of says_not) if (all.includes(text)) return `said ${JSON.stringify(text)}`;
  const wanted = scene.asked ?? asked;
  return asked === wanted ? undefined : `asked the engine ${asked} times, not ${wanted}`;
}

/** As a person who sourced .env has it, and nothing of this machine's own that a client may read. */
function environment({ url, master_key }: Stage): Record<string, string> {
  const own = /^(LANYARD|LITELLM|OPENAI)_|^PYTHON|^(SSL_CERT|NODE_EXTRA_CA|REQUESTS_CA|CURL_CA)_|_proxy$/i;
  const kept = Object.entries(process.env).filter(([name]) => !own.test(name)) as [string, string][];
  return { ...Object.fromEntries(kept), LANYARD_URL: url, LITELLM_MASTER_KEY: master_key, PYTHONIOENCODING: 'utf-8' };
}

/** Output with the pieces of a stream put together after it, so that its text can be looked for. */
function together(stdout: string): string {
  const pieces = [...stdout.matchAll(/^data: (\{.*\})$/gm)].map(([, json]) => {
    const chunk = JSON.parse(json ?? '') as { choices?: { delta: { content?: string | null } }[] };
    return chunk.choices?.[0]?.delta.content ?? '';
  });
  return `${stdout}\n${pieces.join('')}`;
}

/** Faults that a run has left must not strike the next one. */
async function useUp(engine: FakeEngine, left: number): Promise<void> {
  for (let n = 0; n < left; n += 1) {
    const leaving = { method: 'POST', body: '{}', signal: AbortSignal.timeout(500) };
    await fetch(`${engine.url}/v1/chat/completions`, leaving).catch(() => undefined);
  }
}

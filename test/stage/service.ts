// The batch service as it is shipped: config/examples/batch.yaml before the fake Batch API, in this process or as the program.
import { readFileSync } from 'node:fs';
import type OpenAI from 'openai';
import type { BatchApi } from '../engines/batch-api.ts';
import { clientOf, dataFolder } from './batches.ts';
import { openGateway, type Stage } from './gateway.ts';

export const EXAMPLE = readFileSync(new URL('../../config/examples/batch.yaml', import.meta.url), 'utf8');
export const CHAT = '/v1/chat/completions';
/** As the documents have it. */
export const DUMMY = 'dummy_openai_api_key';
export const UPSTREAM_KEY = 'sk-upstream-test';

interface Changes {
  /** The folder of files; as shipped it is `data`, in the folder that the program is started in. */
  readonly data?: string;
  /** How soon a batch there is looked at, in milliseconds; 5 seconds as shipped. */
  readonly poll_min?: number;
  /** When silence is filled first; 15 seconds as shipped. */
  readonly keep_alive?: number;
}

/** The file's text with any free port, and where tests run a disk may be full; all else is changed only where it is said here. */
export function serviceYaml({ data, poll_min = 10, keep_alive }: Changes = {}): string {
  const changes: [from: string, to: string][] = [
    ['{ port: 8080, ', '{ port: 0, '],
    ['batch:\n', `batch:\n  disk_free_bytes_min: 1\n${data === undefined ? '' : `  data: "${data}"\n`}`],
    ['upstream: { poll_max_ms:', `upstream: { poll_min_ms: ${poll_min}ms, poll_max_ms:`],
  ];
  if (keep_alive !== undefined) changes.push(['limits:\n', `limits:\n  keep_alive_ms: ${keep_alive}\n`]);
  let text = EXAMPLE;
  for (const [from, to] of changes) {
    if (text.split(from).length !== 2) throw new Error(`config/examples/batch.yaml has not once: ${from}`);
    text = text.replace(from, () => to);
  }
  return text;
}

/** What the file reads. Windows and looks are short, so that nobody waits. */
export function serviceEnv({ url }: Pick<BatchApi, 'url'>): Record<string, string> {
  return {
    OPENAI_API_KEY: UPSTREAM_KEY,
    OPENAI_BASE_URL: `${url}/v1`,
    COLLATE_BATCHES_FOR_DURATION_IN_MS: '50',
    COLLECT_BATCH_STATS_POLLING_MAX_INTERVAL_SECONDS: '1',
  };
}

export interface Service extends Stage {
  readonly data: string;
  /** With the key of the documents' clients. */
  readonly client: OpenAI;
  /** As curl does: without any key. */
  readonly post: (body: object | string, headers?: Readonly<Record<string, string>>) => Promise<Response>;
}

export interface ServiceOptions extends Changes {
  readonly env?: Readonly<Record<string, string>>;
}

export async function openService(
  api: Pick<BatchApi, 'url'>,
  { env = {}, data = dataFolder(), ...changes }: ServiceOptions = {},
): Promise<Service> {
  const text = serviceYaml({ data, ...changes });
  // The stage has a `listen` of its own.
  const [section = '', listener = ''] = /^listen:\n(?: +#.*\n)* +- (.*)\n/m.exec(text) ?? [];
  const gateway = await openGateway(text.replace(section, ''), {
    listen: `[${listener}]`,
    env: { ...serviceEnv(api), ...env },
  });
  return Object.assign(gateway, {
    data,
    client: clientOf(gateway.url, DUMMY),
    post: (body: object | string, headers: Readonly<Record<string, string>> = {}) =>
      fetch(`${gateway.url}${CHAT}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body: typeof body === 'string' ? body : JSON.stringify(body),
      }),
  });
}

/** A chat of this one question. */
export function chat(content: string, more: object = {}): { readonly model: string; readonly messages: object[] } {
  return { model: 'gpt-3.5-turbo', messages: [{ role: 'user', content }], ...more };
}

/** What the fake answers to it. */
export function contentOf(answer: unknown): string {
  return (answer as OpenAI.ChatCompletion).choices[0]?.message.content ?? '';
}

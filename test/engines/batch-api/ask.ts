// What the tests of the fake Batch API ask it, with fetch alone.
import type { Batch, BatchApi } from '../batch-api.ts';

export const KEY = { authorization: 'Bearer sk-upstream-test' };

export interface Line {
  readonly custom_id: string;
  readonly response: { readonly status_code: number; readonly body: Record<string, unknown> } | null;
  readonly error: { readonly code: string; readonly message: string } | null;
}

export const line = (id: number | string, change: object = {}, body: object = {}): object => ({
  custom_id: `request-${id}`,
  method: 'POST',
  url: '/v1/chat/completions',
  body: { model: 'gpt-4o-mini', messages: [{ role: 'user', content: `marker ${id}` }], ...body },
  ...change,
});

export const text_of = (...lines: (object | string)[]): string =>
  lines.map((each) => `${typeof each === 'string' ? each : JSON.stringify(each)}\n`).join('');

export const many = (count: number): string => text_of(...Array.from({ length: count }, (_, index) => line(index)));

export function form(
  content: string | Blob,
  fields: Record<string, string> = {},
  filename = 'requests.jsonl',
): FormData {
  const data = new FormData();
  for (const [name, value] of Object.entries({ purpose: 'batch', ...fields })) data.set(name, value);
  data.set('file', new File([content], filename));
  return data;
}

export interface Told {
  readonly status: number;
  readonly body: Record<string, unknown> & { readonly id: string };
}

export async function ask(api: BatchApi, method: string, path: string, body?: FormData | object): Promise<Told> {
  const plain = body === undefined || body instanceof FormData;
  const response = await fetch(`${api.url}/v1${path}`, {
    method,
    headers: plain ? KEY : { ...KEY, 'content-type': 'application/json' },
    body: plain ? (body ?? null) : JSON.stringify(body),
  });
  return { status: response.status, body: (await response.json()) as Told['body'] };
}

export const upload = async (api: BatchApi, content: string): Promise<string> =>
  (await ask(api, 'POST', '/files', form(content))).body.id;

export async function create(api: BatchApi, content: string, change: object = {}): Promise<string> {
  const input_file_id = await upload(api, content);
  const order = { input_file_id, endpoint: '/v1/chat/completions', completion_window: '24h', ...change };
  return (await ask(api, 'POST', '/batches', order)).body.id;
}

export const poll = async (api: BatchApi, id: string): Promise<Batch> =>
  (await ask(api, 'GET', `/batches/${id}`)).body as unknown as Batch;

export async function ended(api: BatchApi, id: string): Promise<{ batch: Batch; states: string[] }> {
  const states: string[] = [];
  for (;;) {
    const batch = await poll(api, id);
    states.push(batch.status);
    if (['completed', 'failed', 'expired', 'cancelled'].includes(batch.status)) return { batch, states };
  }
}

export async function results(api: BatchApi, id: string | null): Promise<Line[]> {
  if (id === null || id === '') return [];
  const response = await fetch(`${api.url}/v1/files/${id}/content`, { headers: KEY });
  const lines = (await response.text()).split('\n').slice(0, -1);
  return lines.map((each) => JSON.parse(each) as Line);
}

export const error_of = ({ body }: Told): { message: string; param: string | null; code: string | null } =>
  body['error'] as { message: string; param: string | null; code: string | null };

// A gateway with batches in a folder of the test's own, and OpenAI's client before it.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import OpenAI, { toFile } from 'openai';
import type { Batch, BatchCreateParams } from 'openai/resources/batches';
import type { FileObject } from 'openai/resources/files';
import { expect, onTestFinished } from 'vitest';
import { KEY, openGateway, type Stage } from './gateway.ts';

export interface BatchStage extends Stage {
  readonly client: OpenAI;
  readonly data: string;
}

/** `text` is the configuration without `batch:`, whose `more` options stand within its braces. */
export async function openBatchGateway(
  text: string,
  more = '',
  options: Parameters<typeof openGateway>[1] & { readonly data?: string; readonly free?: string } = {},
): Promise<BatchStage> {
  const data = options.data ?? dataFolder();
  const gateway = await openGateway(
    `batch: { data: "${data}", disk_free_bytes_min: ${options.free ?? 1}${more === '' ? '' : `, ${more}`} }\n${text}`,
    options,
  );
  return Object.assign(gateway, { client: clientOf(gateway.url), data });
}

/** Gone when the test is over. */
export function dataFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'lanyard-data-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export function clientOf(url: string, key = KEY): OpenAI {
  return new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 });
}

/** One line of an input file. */
export function lineOf(custom_id: string, body: object, url = '/v1/chat/completions'): string {
  return JSON.stringify({ custom_id, method: 'POST', url, body });
}

export function chatLine(custom_id: string, model: string, content = custom_id): string {
  return lineOf(custom_id, { model, messages: [{ role: 'user', content }] });
}

export async function upload(client: OpenAI, lines: readonly string[], name = 'lines.jsonl'): Promise<FileObject> {
  const text = lines.map((line) => `${line}\n`).join('');
  return await client.files.create({ file: await toFile(Buffer.from(text), name), purpose: 'batch' });
}

export async function submit(
  client: OpenAI,
  lines: readonly string[],
  more: Partial<BatchCreateParams> = {},
): Promise<Batch> {
  const { id } = await upload(client, lines);
  return await client.batches.create({
    input_file_id: id,
    endpoint: '/v1/chat/completions',
    completion_window: '24h',
    ...more,
  });
}

const ENDS: ReadonlySet<string> = new Set(['completed', 'failed', 'expired', 'cancelled']);

export async function ended(client: OpenAI, id: string, timeout = 15_000): Promise<Batch> {
  await expect
    .poll(async () => ENDS.has((await client.batches.retrieve(id)).status), { timeout, interval: 25 })
    .toBe(true);
  return await client.batches.retrieve(id);
}

export interface Told {
  readonly custom_id: string;
  readonly response: {
    readonly status_code: number;
    readonly request_id: string;
    readonly body: Record<string, unknown>;
  } | null;
  readonly error: { readonly code: string; readonly message: string } | null;
}

export async function fileLines(client: OpenAI, id: string | null | undefined): Promise<Told[]> {
  if (id === null || id === undefined) return [];
  const text = await (await client.files.content(id)).text();
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Told);
}

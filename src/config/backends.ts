// The part of the schema that tells of engines: backends, and the models that they serve.
import { z } from 'zod';
import type { BackendConfig, Deployment, EngineName, Exchange, FimFamily, ModelConfig, Tls } from '../types.ts';
import { backendUrl, optionalUrl } from './addresses.ts';
import { mode } from './batch.ts';
import { certificates } from './certificates.ts';
import { glob, list, model_name, section, text } from './shapes.ts';
import { duration, flag, whole } from './units.ts';

const ENGINES = [
  'ollama',
  'vllm',
  'llama.cpp',
  'lmstudio',
  'sglang',
  'openvino',
  'tei',
  'infinity',
  'openai',
  'token-exchange',
  'auto',
] as const satisfies readonly EngineName[];

const FAMILIES = [
  'qwen',
  'starcoder',
  'codellama',
  'deepseek',
  'codestral',
  'codegemma',
  'granite',
  'seed',
] as const satisfies readonly FimFamily[];

const URL_MISSING = 'is missing: where does it listen? An http:// or https:// URL such as http://10.0.0.11:11434';

const secret = text.regex(/^[\x20-\x7e]*$/, { error: 'holds a character that no header can carry' });

const tls = section({
  ca: certificates(text)
    .optional()
    .describe('A PEM file: the authorities trusted for this backend, in place of the public ones; empty: those.'),
  verify: flag()
    .prefault(true)
    .describe('With false every certificate is taken, and whoever stands between may read and change all.'),
})
  .refine(({ ca, verify }) => ca === undefined || verify, {
    path: ['verify'],
    error: 'is false, and then no authority is asked: remove one of the two lines',
  })
  .transform(({ ca, verify }): Tls => ({ ca, verify }));

const exchange = section({
  chat_url: backendUrl().describe('Where chats go, as it is.'),
  embedding_url: optionalUrl().optional().describe('Where embeddings go, as it is; left out or empty: it has none.'),
  form: z
    .enum(['envelope', 'openai'])
    .prefault('envelope')
    .describe('What it is asked and answers in: its own form, or OpenAI’s.'),
  token_url: backendUrl().describe('Where the token is had.'),
  code: text.optional().describe('The authorisation code.'),
  request: z.enum(['json', 'form']).prefault('json').describe('json: {"code": …}; form: as RFC 6749 has it.'),
  fields: z
    .record(text, z.string({ error: 'must be a text; put it in quotes' }), { error: 'must be a map of names to texts' })
    .prefault({})
    .describe('More of that request: grant_type, client_id, client_secret, …'),
  header: z.enum(['raw', 'bearer']).prefault('raw').describe('How the token goes with a call: as it is, or as Bearer.'),
  ttl: duration(1).prefault('10m').describe('How long a token holds that does not say so itself.'),
  refused: list(whole(400, 599), 'statuses').prefault([401]).describe('Statuses that mean that the token is refused.'),
})
  .refine(({ code = '', fields }) => code !== '' || Object.keys(fields).length > 0, {
    path: ['code'],
    error: 'is missing or empty: give the authorisation code, or the `fields` that stand for it',
  })
  .transform(({ chat_url, embedding_url, form, token_url, code, ttl, ...token }): Exchange => ({
    chat_url,
    embedding_url: embedding_url === '' ? undefined : embedding_url,
    form,
    token: { ...token, url: token_url, code: code === '' ? undefined : code, ttl_ms: ttl },
  }));

export const backend = section({
  engine: z.enum(ENGINES).prefault('auto').describe('What the server is; auto asks it.'),
  url: backendUrl().optional().describe('Where it listens; without a path the engine’s own is added.'),
  key: secret.optional().describe('The backend’s own key; none when empty or left out.'),
  slots: whole(1, 100_000)
    .optional()
    .describe('Requests at once; what the engine tells, or its usual number, when left out.'),
  publish: list(glob, 'globs').prefault([]).describe('Discovered models published under their own names.'),
  inputs_max: whole(1, 100_000).optional().describe('Inputs of one embeddings request; more are sent in parts.'),
  streams: flag().prefault(true).describe('false: it is asked for whole answers, which are told as streams.'),
  tls: tls.optional().describe('How its certificate is checked.'),
  exchange: exchange.optional().describe('For engine token-exchange: its routes, and how its token is had.'),
  batch: z
    .enum(['upstream'])
    .optional()
    .describe('upstream: lines of batches go through its own Files and Batch API; for engine openai.'),
})
  .superRefine(({ engine, url, key, exchange, batch }, context) => {
    const fault = (path: string, message: string): void => context.addIssue({ code: 'custom', path: [path], message });
    if (batch !== undefined && engine !== 'openai') fault('batch', 'is for engine: openai, whose Batch API it is');
    if (engine !== 'token-exchange') {
      if (url === undefined) fault('url', URL_MISSING);
      if (exchange !== undefined) fault('exchange', 'is for engine: token-exchange');
      return;
    }
    if (exchange === undefined) fault('exchange', 'is missing: chat_url, token_url and code at least');
    if (url !== undefined) fault('url', 'means nothing for engine: token-exchange, which has its URLs in `exchange`');
    if (key !== undefined) fault('key', 'means nothing for engine: token-exchange, whose token is had by `exchange`');
  })
  .transform(({ url, key, slots, exchange, ...backend }): BackendConfig => ({
    ...backend,
    slots,
    url: url ?? exchange?.chat_url ?? '',
    key: key === '' ? undefined : key,
    exchange,
  }));

const deployment_error = 'must be `backend/name-there`: a backend of this file, a slash, and the model’s name on it';
const place = z
  .string({ error: deployment_error })
  .regex(/^[A-Za-z0-9._-]+\/\S(.*\S)?$/, { error: deployment_error, abort: true })
  .transform((written): Deployment => {
    const slash = written.indexOf('/');
    return { backend: written.slice(0, slash), name: written.slice(slash + 1) };
  });

const keep_alive = z.union([z.literal('forever').transform(() => -1), duration(0).transform((ms) => ms / 1000)], {
  error: 'must be a duration such as 30m, or forever',
});

const deployment = z.union(
  [
    place,
    section({
      deployment: place.describe('`backend/name-there`.'),
      context_length: whole(1, 100_000_000)
        .optional()
        .describe('Tokens, where the engine tells none, or another than it gives.'),
      num_ctx: whole(1, 100_000_000).optional().describe('Ollama: the context it is loaded with, in tokens.'),
      keep_alive: keep_alive.optional().describe('Ollama: how long it stays in memory after a request; forever.'),
      fim: z
        .enum([...FAMILIES, 'off'])
        .optional()
        .describe('How `suffix` is written into the prompt; told by the model’s name.'),
    }).transform(({ deployment, keep_alive, ...options }): Deployment => ({
      ...deployment,
      ...options,
      keep_alive_s: keep_alive,
    })),
  ],
  { error: `${deployment_error}; or a map of deployment and options` },
);
const deployments = list(deployment, 'deployments').min(1, {
  error: 'is empty: name at least one `backend/name-there`',
});

const metadata = z.record(
  text,
  z.union([z.string(), z.number(), z.boolean()], { error: 'must be a text, a number, true or false' }),
  { error: 'must be a map of names to texts or numbers' },
);

export const model = z
  .union(
    [
      deployments,
      section({
        serve: deployments.describe('Who serves it.'),
        fallback: list(model_name, 'model names').prefault([]).describe('Models tried when none of these can.'),
        metadata: metadata.prefault({}).describe('Shown to callers in the list of models, as it stands.'),
        mode: mode.optional().describe('How its calls are answered, before what the listener says.'),
      }),
    ],
    { error: 'must be a list of deployments, or a map of serve, fallback, metadata, mode' },
  )
  .transform((model): ModelConfig => ('serve' in model ? model : { serve: model, fallback: [], metadata: {} }));

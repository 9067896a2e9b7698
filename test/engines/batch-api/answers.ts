// What the models say: an echo of what they were asked, so that an answer that reaches the wrong caller is found out.
import { randomUUID } from 'node:crypto';
import { base64_of, vector } from '../answers.ts';
import { error_body } from './refusal.ts';
import { type Answered, type Asked, is_object } from './shapes.ts';

export const ENDPOINTS = ['/v1/chat/completions', '/v1/embeddings', '/v1/completions'] as const;

/** 200, or 400 where the request lacks what its endpoint needs. */
export function usual(asked: Asked): Answered {
  const { body, endpoint, model } = asked;
  const created = Math.floor(Date.now() / 1000);
  const id = randomUUID().replaceAll('-', '');
  if (endpoint === '/v1/embeddings') return embeddings(asked);
  if (endpoint === '/v1/completions') {
    const prompts = [body['prompt']].flat();
    if (!prompts.every((prompt) => typeof prompt === 'string')) return missing('prompt');
    const said = prompts.map((prompt) => `echo: ${prompt}`);
    const choices = said.map((text, index) => ({ text, index, logprobs: null, finish_reason: 'stop' }));
    const usage = usage_of(prompts.join(''), said.join(''));
    return { status: 200, body: { id: `cmpl-${id}`, object: 'text_completion', created, model, choices, usage } };
  }
  const messages = body['messages'];
  if (!Array.isArray(messages) || messages.length === 0) return missing('messages');
  const last = messages.findLast((message) => is_object(message) && message['role'] === 'user');
  const content = `echo: ${text_of(is_object(last) ? last['content'] : undefined)}`;
  const count = typeof body['n'] === 'number' ? body['n'] : 1;
  const choices = Array.from({ length: count }, (_, index) => ({
    index,
    message: { role: 'assistant', content, refusal: null, annotations: [] },
    logprobs: null,
    finish_reason: 'stop',
  }));
  const prompt = messages.map((message) => text_of(is_object(message) ? message['content'] : undefined)).join('');
  const usage = usage_of(prompt, content.repeat(count));
  const object = 'chat.completion';
  return {
    status: 200,
    body: { id: `chatcmpl-${id}`, object, created, model, choices, usage, system_fingerprint: null },
  };
}

/** How many texts an embeddings request is of. */
export function inputs_of(body: Readonly<Record<string, unknown>>): (string | number[])[] {
  const { input } = body;
  if (typeof input === 'string') return [input];
  if (!Array.isArray(input)) return [];
  return typeof input[0] === 'number' ? [input as number[]] : (input as (string | number[])[]);
}

/** Four characters to a token, for a fixed and easy sum. */
function tokens_of(text: string): number {
  return Math.ceil(text.length / 4);
}

function embeddings({ body, model }: Asked): Answered {
  const inputs = inputs_of(body);
  if (inputs.length === 0) return missing('input');
  const dimensions = typeof body['dimensions'] === 'number' ? body['dimensions'] : undefined;
  const data = inputs.map((input, index) => {
    const floats = vector(input, dimensions);
    const embedding = body['encoding_format'] === 'base64' ? base64_of(floats) : floats;
    return { object: 'embedding', index, embedding };
  });
  const prompt_tokens = inputs.reduce(
    (sum, input) => sum + (typeof input === 'string' ? tokens_of(input) : input.length),
    0,
  );
  const usage = { prompt_tokens, total_tokens: prompt_tokens };
  return { status: 200, body: { object: 'list', data, model, usage } };
}

function usage_of(prompt: string, said: string): object {
  const prompt_tokens = tokens_of(prompt);
  const completion_tokens = tokens_of(said);
  return {
    prompt_tokens,
    completion_tokens,
    total_tokens: prompt_tokens + completion_tokens,
    prompt_tokens_details: { cached_tokens: 0, audio_tokens: 0 },
    completion_tokens_details: { reasoning_tokens: 0, audio_tokens: 0 },
  };
}

function text_of(content: unknown): string {
  if (typeof content === 'string') return content;
  if (!Array.isArray(content)) return '';
  return content.map((part) => (is_object(part) && typeof part['text'] === 'string' ? part['text'] : '')).join('');
}

function missing(param: string): Answered {
  return {
    status: 400,
    body: error_body(`Missing required parameter: '${param}'.`, param, 'missing_required_parameter'),
  };
}

// A call as Ollama's own routes take it: only they know `num_ctx`, `keep_alive` and how not to cut a prompt (Ollama's
// api/types.go and openai/openai.go, August 2026). What a field means is what Ollama's OpenAI routes take it for.
import type { Meeting, Said } from './dialect.ts';
import { GatewayError } from '../wire/errors.ts';
import { isRecord, type Json } from '../wire/record.ts';

export function ask(meeting: Meeting): Said {
  const { call } = meeting;
  const asked = parsed(call.body);
  const shared = common(meeting, asked);
  if (call.endpoint === 'embeddings') {
    return said('/api/embed', { ...shared, input: asked['input'], dimensions: asked['dimensions'] });
  }
  const stream = call.streamed;
  return call.endpoint === 'completions'
    ? said('/api/generate', { ...shared, ...completion(asked), stream })
    : said('/api/chat', { ...shared, ...chat(asked), stream });
}

/** Scanned already, but for the depth of long strings (wire/json.ts). */
function parsed(body: Buffer): Json {
  try {
    return JSON.parse(body.toString('utf8')) as Json;
  } catch {
    const message = 'The body is not valid JSON: a string holds a raw control character or a bad escape.';
    throw new GatewayError('invalid_json', message);
  }
}

function said(path: string, body: object): Said {
  return { path, body: [Buffer.from(JSON.stringify(body))] };
}

function common({ name, deployment, call }: Meeting, asked: Json): object {
  const { num_ctx, keep_alive_s } = deployment ?? {};
  const context = num_ctx === undefined ? undefined : { num_ctx };
  return {
    model: name,
    keep_alive: keep_alive_s,
    // Neither the prompt nor, while it is written, its beginning is cut: what does not fit is refused.
    truncate: false,
    ...(call.endpoint !== 'embeddings' && { shift: false }),
    options: call.endpoint === 'embeddings' ? context : { ...options(asked), ...context },
  };
}

/** Sampling is OpenAI's where the caller says nothing, as on Ollama's own OpenAI routes. */
function options(asked: Json): object {
  const { stop, temperature, top_p, seed, frequency_penalty, presence_penalty } = asked;
  return {
    temperature: temperature ?? 1,
    top_p: top_p ?? 1,
    ...(stop !== undefined && stop !== null && { stop: [stop].flat() }),
    num_predict: asked['max_completion_tokens'] ?? asked['max_tokens'] ?? undefined,
    seed: seed ?? undefined,
    frequency_penalty: frequency_penalty ?? undefined,
    presence_penalty: presence_penalty ?? undefined,
  };
}

function chat(asked: Json): object {
  const { messages, tools, tool_choice, response_format, reasoning_effort, reasoning } = asked;
  if (!Array.isArray(messages)) throw invalid('messages', 'must be a list of messages');
  const effort = (isRecord(reasoning) ? reasoning['effort'] : undefined) ?? reasoning_effort;
  return {
    messages: messages.map((one, at) => message(one, at, messages)),
    ...(tool_choice !== 'none' && { tools: tools ?? undefined }),
    format: formatOf(response_format),
    ...(typeof effort === 'string' && { think: effort === 'none' ? false : effort }),
  };
}

function completion(asked: Json): object {
  const { prompt, suffix } = asked;
  const [first] = Array.isArray(prompt) && prompt.length === 1 ? prompt : [prompt];
  if (typeof first !== 'string')
    throw invalid('prompt', 'must be one text: this backend takes no list and no token ids');
  return { prompt: first, suffix: suffix ?? undefined };
}

function message(one: unknown, at: number, all: readonly unknown[]): object {
  const param = `messages.${at}`;
  if (!isRecord(one) || typeof one['role'] !== 'string') throw invalid(param, 'must be a message with a role');
  const { role, content, tool_calls, tool_call_id, name, reasoning, reasoning_content } = one;
  const none = content === undefined || content === null;
  if (!none && typeof content !== 'string' && !Array.isArray(content))
    throw invalid(param, 'has a content that is neither text nor a list of parts');
  const parts = Array.isArray(content) ? content : [];
  const texts = parts.flatMap((part: unknown) => textOf(part, param));
  const images = parts.flatMap((part: unknown) => imageOf(part, param));
  const thinking = reasoning ?? reasoning_content;
  return {
    role: role === 'developer' ? 'system' : role,
    content: typeof content === 'string' ? content : texts.join('\n'),
    ...(images.length > 0 && { images }),
    ...(typeof thinking === 'string' && { thinking }),
    ...(Array.isArray(tool_calls) && { tool_calls: tool_calls.map((each) => calledTool(each, param)) }),
    ...(role === 'tool' && { tool_name: typeof name === 'string' ? name : toolNamed(tool_call_id, all), tool_call_id }),
  };
}

function textOf(part: unknown, param: string): string[] {
  if (!isRecord(part)) throw invalid(param, 'has a part that is no object');
  if (part['type'] === 'image_url') return [];
  if (part['type'] === 'text' && typeof part['text'] === 'string') return [part['text']];
  throw invalid(param, 'has a part that is neither text nor image_url');
}

/** Only images within the request: Ollama fetches none. */
function imageOf(part: unknown, param: string): string[] {
  if (!isRecord(part) || part['type'] !== 'image_url') return [];
  const { image_url } = part;
  const url = isRecord(image_url) ? image_url['url'] : image_url;
  const comma =
    typeof url === 'string' && /^data:[^,]{0,100};base64$/.test(url.slice(0, Math.max(0, url.indexOf(','))));
  if (typeof url !== 'string' || !comma) throw invalid(param, 'has an image that is no base64 data: URL');
  return [url.slice(url.indexOf(',') + 1)];
}

function calledTool(each: unknown, param: string): object {
  const called = isRecord(each) && isRecord(each['function']) ? each['function'] : undefined;
  if (called === undefined) throw invalid(param, 'has a tool call without a function');
  const { name, arguments: given } = called;
  try {
    const parsed: unknown = typeof given === 'string' ? JSON.parse(given === '' ? '{}' : given) : (given ?? {});
    return { id: (each as Json)['id'], function: { name, arguments: parsed } };
  } catch {
    throw invalid(param, 'has a tool call whose arguments are not JSON');
  }
}

/** The name of the tool that this is an answer of; the last one wins where ids repeat. */
function toolNamed(id: unknown, messages: readonly unknown[]): unknown {
  for (const one of messages.toReversed()) {
    const calls = isRecord(one) && Array.isArray(one['tool_calls']) ? one['tool_calls'] : [];
    const call: unknown = calls.find((each) => isRecord(each) && each['id'] === id);
    if (isRecord(call) && isRecord(call['function'])) return call['function']['name'];
  }
  return undefined;
}

function formatOf(response_format: unknown): unknown {
  if (!isRecord(response_format)) return undefined;
  const { type, json_schema } = response_format;
  if (type === 'json_object') return 'json';
  return type === 'json_schema' && isRecord(json_schema) ? json_schema['schema'] : undefined;
}

function invalid(param: string, what: string): GatewayError {
  return new GatewayError('invalid_value', `The field "${param}" ${what}.`, { param });
}

// What the bench sends and what its mocks answer: a chat of 1 KB, an answer of 0.6 KB, frames of a stream of 230 bytes each,
// the sizes of `reference` figures elsewhere, so that they can be compared.
import { ENGINE_MODEL, type Door } from '../gateways/gateway.ts';

/** A chat request of about this many bytes. */
export function chatBody(model: string, bytes = 1024, more: Readonly<Record<string, unknown>> = {}): string {
  const body = (content: string): string =>
    JSON.stringify({ model, messages: [{ role: 'user', content }], temperature: 0.2, max_tokens: 80, ...more });
  const room = Math.max(0, bytes - body('').length);
  return body('words and more '.repeat(Math.ceil(room / 15)).slice(0, room));
}

/** A chat about a picture, which makes up nearly all of so many bytes. */
export function pictureBody(model: string, bytes: number): Buffer {
  const body = (url: string): string =>
    JSON.stringify({
      model,
      messages: [
        {
          role: 'user',
          content: [
            { type: 'text', text: 'What is in this picture?' },
            { type: 'image_url', image_url: { url } },
          ],
        },
      ],
      max_tokens: 80,
    });
  const room = bytes - body('data:image/png;base64,').length;
  return Buffer.from(body(`data:image/png;base64,${'iVBORw0KGgoAAAANSUhEUgAABAAAAAQA'.repeat(room / 32)}`));
}

/** Of a chat, for those who write it to a socket of their own. */
export function requestHead({ base, headers }: Door, body_bytes: number): string {
  const { host, pathname } = new URL(`${base}/chat/completions`);
  const all = { ...headers, host, 'content-type': 'application/json', 'content-length': body_bytes };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  return `POST ${pathname} HTTP/1.1\r\n${lines.join('')}\r\n`;
}

/** What an engine answers to it, unstreamed: 0.6 KB. */
export const CHAT_ANSWER = JSON.stringify({
  id: 'chatcmpl-0123456789abcdef',
  object: 'chat.completion',
  created: 1764380000,
  model: ENGINE_MODEL,
  choices: [
    {
      index: 0,
      message: { role: 'assistant', content: 'words and more '.repeat(22).trimEnd() },
      finish_reason: 'stop',
    },
  ],
  usage: { prompt_tokens: 200, completion_tokens: 80, total_tokens: 280 },
});

export const MODELS_ANSWER = JSON.stringify({
  object: 'list',
  data: [{ id: ENGINE_MODEL, object: 'model', created: 1764380000, owned_by: 'bench' }],
});

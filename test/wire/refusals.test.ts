// Every engine's way of saying no, and what each means to a client.

import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { GatewayError, errorBody } from '../../src/wire/errors.ts';
import { meaningOf, readRefusal } from '../../src/wire/refusals.ts';

const SECRETS = ['sk-backend-key', 'http://10.0.0.12:8000', '10.0.0.12'];

function meaning(status: number, body: unknown, retry_after?: string): GatewayError {
  const bytes = typeof body === 'string' ? body : JSON.stringify(body);
  const type = typeof body === 'string' ? 'text/plain' : 'application/json';
  return meaningOf(status, readRefusal(status, Buffer.from(bytes), type), { secrets: SECRETS, retry_after });
}

// "2026": read in the engine's own sources and documents of late that year; the other wordings are quoted from issues about
// them. Context overflow has its own table, in overflow.test.ts.
const OPENAI = (message: string, type: string, code: unknown): object => ({
  error: { message, type, param: null, code },
});

describe('the meaning of', () => {
  test.each<[string, number, unknown, string, number]>([
    // Unknown models.
    [
      'vLLM (2026): no such model',
      404,
      OPENAI('The model `x` does not exist.', 'NotFoundError', 404),
      'model_not_found',
      404,
    ],
    [
      'Ollama /v1 (2026): no such model',
      404,
      OPENAI('model "x" not found, try pulling it first', 'not_found_error', null),
      'model_not_found',
      404,
    ],
    ['Ollama /api (2026): no such model', 404, { error: "model 'x' not found" }, 'model_not_found', 404],
    [
      'OVMS (2026): no such model',
      404,
      { error: 'Mediapipe graph definition with requested name is not found' },
      'model_not_found',
      404,
    ],
    [
      'Infinity (2026): no such model',
      400,
      OPENAI('Invalid model: x', 'invalid_request_error', 400),
      'model_not_found',
      404,
    ],
    [
      "llama.cpp's router, autoload off (2026)",
      400,
      OPENAI('model is not loaded', 'invalid_request_error', 400),
      'model_not_found',
      404,
    ],
    [
      "llama.cpp's router: no such model",
      400,
      OPENAI("model 'x' not found", 'invalid_request_error', 400),
      'model_not_found',
      404,
    ],
    [
      'LM Studio: nothing loaded',
      404,
      OPENAI(
        "No models loaded. Please load a model in the developer page or use the 'lms load' command.",
        'invalid_request_error',
        'model_not_found',
      ),
      'model_not_found',
      404,
    ],
    [
      'LM Studio: nothing loaded, with 200',
      500,
      { error: 'No models loaded. Please load a model.' },
      'model_not_found',
      404,
    ],
    [
      'LM Studio: a model that fails to load',
      404,
      { error: 'Failed to load model "x". Error: out of memory' },
      'upstream_error',
      502,
    ],
    // Routes.
    ['FastAPI: no such path', 404, { detail: 'Not Found' }, 'upstream_error', 502],
    ['Go: no such path', 404, '404 page not found\n', 'upstream_error', 502],
    ['llama.cpp: no such path', 404, OPENAI('File Not Found', 'not_found_error', 404), 'upstream_error', 502],
    [
      'LM Studio (bug 618): no such path, with 200',
      500,
      { error: 'Unexpected endpoint or method. (POST /v1/x)' },
      'upstream_error',
      502,
    ],
    ['nginx: no such path', 404, '<html><head><title>404 Not Found</title></head></html>', 'upstream_error', 502],
    ['FastAPI: a method', 405, { detail: 'Method Not Allowed' }, 'unsupported_endpoint', 400],
    [
      'llama.cpp: no embeddings',
      501,
      OPENAI('This server does not support embeddings. Start it with `--embeddings`', 'not_supported_error', 501),
      'unsupported_endpoint',
      400,
    ],
    // Busy.
    ['llama.cpp (2026): loading', 503, OPENAI('Loading model', 'unavailable_error', 503), 'model_loading', 503],
    [
      'Ollama (2026): its queue is full',
      503,
      OPENAI('server busy, please try again. maximum pending requests exceeded', 'api_error', null),
      'server_is_overloaded',
      503,
    ],
    [
      'vLLM ≥ 0.29 (2026): its queue is full',
      503,
      OPENAI('The server is overloaded', 'ServiceUnavailableError', 503),
      'server_is_overloaded',
      503,
    ],
    [
      'SGLang (2026): its queue is full',
      503,
      { object: 'error', message: 'The request queue is full.', type: '503', param: null, code: 503 },
      'server_is_overloaded',
      503,
    ],
    [
      'TGI (2026): overloaded',
      429,
      { error: 'Model is overloaded', error_type: 'overloaded' },
      'server_is_overloaded',
      503,
    ],
    [
      'TEI (2026): overloaded',
      429,
      { message: 'Model is overloaded', code: 429, type: 'overloaded' },
      'server_is_overloaded',
      503,
    ],
    [
      'Infinity (2026): overloaded',
      429,
      OPENAI('model x is currently overloaded', 'rate_limit', 429),
      'server_is_overloaded',
      503,
    ],
    ['529', 529, '', 'server_is_overloaded', 503],
    ["a proxy's 503", 503, '<html>', 'server_is_overloaded', 503],
    // Keys.
    ['vLLM (2026): a wrong key', 401, { error: 'Unauthorized' }, 'upstream_auth', 502],
    [
      'llama.cpp (2026): a wrong key',
      401,
      OPENAI('Invalid API Key', 'authentication_error', 401),
      'upstream_auth',
      502,
    ],
    ['any 403', 403, '', 'upstream_auth', 502],
    // Failures.
    [
      'TGI (2026): generation failed',
      424,
      { error: 'Request failed during generation: oom', error_type: 'generation' },
      'upstream_error',
      502,
    ],
    [
      'TEI (2026): its backend failed',
      424,
      { message: 'backend error', code: 424, type: 'backend' },
      'upstream_error',
      502,
    ],
    [
      'Ollama: the runner died',
      500,
      OPENAI('model runner has unexpectedly stopped', 'api_error', null),
      'upstream_error',
      502,
    ],
    ['FastAPI: a crash', 500, 'Internal Server Error', 'upstream_error', 502],
    ['a gateway between', 502, '<html>Bad Gateway</html>', 'upstream_error', 502],
    ['a gateway between that waited', 504, '', 'upstream_error', 502],
    ['a redirect', 302, '', 'upstream_error', 502],
    ['a payment', 402, OPENAI('insufficient balance', 'x', null), 'upstream_error', 502],
    // An error without a status: its integer code is one (vLLM and llama.cpp, in streams).
    ['vLLM in a stream', 500, OPENAI('bad grammar', 'BadRequestError', 400), 'invalid_request', 400],
    ['vLLM in a stream, of itself', 500, OPENAI('EngineCore died', 'InternalServerError', 500), 'upstream_error', 502],
    ['llama.cpp in a stream, busy', 200, OPENAI('busy', 'unavailable_error', 503), 'server_is_overloaded', 503],
    ['a word in a stream', 200, { error: 'an error was encountered while running the model' }, 'upstream_error', 502],
    ['an empty body', 400, '', 'invalid_request', 400],
  ])('%s', (_, status, body, code, told) => {
    const error = meaning(status, body);
    expect(error).toMatchObject({ code, status: told });
    expect(error.message).not.toBe('');
    expect(error.details.cause).toMatch(/^[a-z0-9 ]{4,20}$/);
    expect(error.details.retry_ms === undefined).toBe(told !== 503);
    // What failed at the backend is told in our words only.
    if (told >= 500) expect(error.message).not.toMatch(/oom|died|grammar|stopped|Unauthorized|pulling|busy/);
  });

  test('a refused key says whose, for a caller would go and change their own', () => {
    expect(meaning(401, { error: 'Unauthorized' }).message).toMatch(/gateway's own key/);
  });

  test.each<[string, string | undefined, number]>([
    ['its seconds', '7', 7000],
    ['its none', '0', 0],
    ['a default for a date', 'Wed, 21 Oct 2026 07:28:00 GMT', 2000],
    ['a default for rubbish', '-1', 2000],
    ['a default for nothing', undefined, 2000],
  ])('Retry-After is %s', (_, retry_after, ms) => {
    expect(meaning(503, '', retry_after).details.retry_ms).toBe(ms);
  });
});

describe("the caller's fault is told in the engine's words", () => {
  test.each<[string, number, unknown, string, string | undefined]>([
    [
      'vLLM (2026)',
      400,
      {
        error: {
          message: 'temperature must be non-negative',
          type: 'BadRequestError',
          param: 'temperature',
          code: 400,
        },
      },
      'temperature must be non-negative',
      'temperature',
    ],
    [
      'SGLang (2026), flat',
      400,
      { object: 'error', message: 'bad stop', type: '400', param: null, code: 400 },
      'bad stop',
      undefined,
    ],
    [
      'Ollama',
      400,
      OPENAI('registry.ollama.ai/library/x does not support tools', 'api_error', null),
      'registry.ollama.ai/library/x does not support tools',
      undefined,
    ],
    [
      'TGI (2026), 422',
      422,
      { error: 'Template error: no tools', error_type: 'template_error' },
      'Template error: no tools',
      undefined,
    ],
    [
      'TEI, axum’s own text, 422',
      422,
      'Failed to deserialize the JSON body: missing field `input`',
      'Failed to deserialize the JSON body: missing field `input`',
      undefined,
    ],
    [
      'FastAPI (2026), pydantic, 422',
      422,
      {
        detail: [
          {
            type: 'missing',
            loc: ['body', 'messages', 0, 'role'],
            msg: 'Field required',
            input: { content: 'PROMPT' },
          },
          { loc: ['body', 'model'], msg: 'Input should be a string' },
        ],
      },
      'messages.0.role: Field required; model: Input should be a string',
      'messages.0.role',
    ],
    ['FastAPI, its own exception', 400, { detail: 'bad image' }, 'bad image', undefined],
    ['FastAPI, an object', 400, { detail: { message: 'bad image', param: 'image' } }, 'bad image', 'image'],
    ['go-openai’s list of messages', 400, { error: { message: ['one', 'two'] } }, 'one; two', undefined],
    [
      'Google’s list',
      400,
      [{ error: { code: 400, message: 'Invalid value', status: 'INVALID_ARGUMENT' } }],
      'Invalid value',
      undefined,
    ],
    ['a JSON string', 400, '"no such thing"', 'no such thing', undefined],
    ['HTML', 400, '<html>nginx</html>', 'The backend refused the request.', undefined],
    [
      'a proxy’s limit',
      413,
      '<h1>413 Request Entity Too Large</h1>',
      'The backend refused the request as too large.',
      undefined,
    ],
    ['JSON cut short', 400, '{"error":{"mess', 'The backend refused the request.', undefined],
    ['null', 400, 'null', 'The backend refused the request.', undefined],
    ['body-parser’s words', 413, { error: 'request entity too large' }, 'request too large', undefined],
    ['a conflict', 409, { error: 'busy slot' }, 'busy slot', undefined],
  ])('%s', (_, status, body, message, param) => {
    const error = meaning(status, body);
    expect(error).toMatchObject({ code: 'invalid_request', status: 400, message });
    expect(error.details.param).toBe(param);
    expect(JSON.stringify(error.details)).not.toContain('PROMPT');
    // An empty or a proxy's body is no reason to compact a conversation (earendil-works/pi#9482).
    expect(message).not.toMatch(/context|request entity too large/i);
  });

  test('without secrets, control characters or length', () => {
    const error = meaning(400, {
      error: {
        message: `at HTTP://10.0.0.12:8000/v1 with sk-backend-key on 10.0.0.12:\r\n\u001b[31mno\u202e ${'x'.repeat(5000)}`,
        param: 'sk-backend-key',
      },
    });
    expect(error.message.startsWith('at […]/v1 with […] on […]: [31mno  xxx')).toBe(true);
    expect(error.message.length).toBe(2000);
    expect(error.details.param).toBe('[…]');
  });

  test('a secret is found though the cut falls within it, and a pair is not cut in two', () => {
    const cut = meaning(400, { error: `${'x'.repeat(1990)}sk-backend-key` });
    expect(cut.message).not.toContain('sk-');
    expect(meaning(400, { error: `${'x'.repeat(1999)}😀` }).message.isWellFormed()).toBe(true);
  });
});

test('whatever a backend sends, the error is one of ours, with no secret in it', () => {
  const shape = fc.oneof(
    fc.json(),
    fc.string({ unit: 'binary' }),
    fc.record({ error: fc.anything() }).map((each) => JSON.stringify(each)),
    fc
      .record({ message: fc.anything(), code: fc.anything(), detail: fc.anything(), param: fc.anything() })
      .map((each) => JSON.stringify(each)),
    fc.constant('{"error":"sk-backend-key at 10.0.0.12"}'),
  );
  const statuses = fc.oneof(fc.integer({ min: 200, max: 599 }), fc.constantFrom(400, 404, 422, 500));
  fc.assert(
    fc.property(statuses, shape, fc.option(fc.string()), (status, body, retry) => {
      const refusal = readRefusal(status, Buffer.from(body), 'application/json');
      const error = meaningOf(status, refusal, { secrets: SECRETS, retry_after: retry ?? undefined });
      expect(error).toBeInstanceOf(GatewayError);
      const told = errorBody(error);
      for (const secret of SECRETS) expect(told).not.toContain(secret);
      expect(error.message.trim()).not.toBe('');
      expect([400, 404, 502, 503]).toContain(error.status);
    }),
    { numRuns: 2000 },
  );
});

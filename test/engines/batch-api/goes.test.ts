// How a batch of the fake goes on and ends, by itself and as a test says.
import { describe, expect, test } from 'vitest';
import { type BatchApiOptions, startBatchApi, token_limit_exceeded, type Verdict } from '../batch-api.ts';
import { line, text_of, many, ask, create, poll, ended, results, error_of } from './ask.ts';

describe('a batch goes on', () => {
  const table: [steps: BatchApiOptions['steps'], states: string[]][] = [
    [{}, ['validating', 'in_progress', 'finalizing', 'completed']],
    [{ validating: 0, in_progress: 0, finalizing: 0 }, ['completed']],
    [
      { validating: 2, in_progress: 3, finalizing: 0 },
      [...twice('validating'), ...twice('in_progress'), 'in_progress', 'completed'],
    ],
  ];
  function twice(state: string): string[] {
    return [state, state];
  }

  test.each(table)('by polls: %o', async (steps, expected) => {
    const api = await startBatchApi({ steps: steps ?? {} });
    const id = await create(api, many(3));
    await ask(api, 'GET', '/batches');
    expect(api.batches[0]?.batch.status).toBe('validating');
    const { batch, states } = await ended(api, id);
    expect(states).toEqual(expected);
    expect(batch).toMatchObject({
      model: 'gpt-4o-mini',
      in_progress_at: expect.any(Number),
      finalizing_at: expect.any(Number),
      completed_at: expect.any(Number),
      request_counts: { total: 3, completed: 3, failed: 0 },
      // "marker 0" and "echo: marker 0", four characters to a token.
      usage: { input_tokens: 6, output_tokens: 12, total_tokens: 18 },
      error_file_id: null,
    });
    expect(api.polls.get(id)).toHaveLength(expected.length);
    expect(await poll(api, id)).toEqual(batch);
  });

  test('and every request has its own answer, in another order', async () => {
    const orders = await Promise.all(
      [1, 1, 2].map(async (seed) => {
        const api = await startBatchApi({ seed });
        const { batch } = await ended(api, await create(api, many(200)));
        const lines = await results(api, batch.output_file_id);
        for (const { custom_id, response, error } of lines) {
          const content = `echo: marker ${custom_id.replace('request-', '')}`;
          const body = { object: 'chat.completion', model: 'gpt-4o-mini', choices: [{ message: { content } }] };
          expect([error, response]).toMatchObject([null, { status_code: 200, body }]);
        }
        return lines.map(({ custom_id }) => custom_id);
      }),
    );
    const [one, same, other] = orders;
    expect(new Set(one).size).toBe(200);
    expect(one).toEqual(same);
    expect(one).not.toEqual(other);
    expect(one?.some((id, index) => id === `request-${index}`)).toBe(false);
  });

  test('with embeddings and completions too', async () => {
    const api = await startBatchApi();
    const embeddings = { model: 'text-embedding-3-small', input: ['a', 'b'], messages: undefined };
    const url = '/v1/embeddings';
    const first = await create(api, text_of(line(1, { url }, embeddings)), { endpoint: url });
    const [embedded] = await results(api, (await ended(api, first)).batch.output_file_id);
    expect(embedded?.response?.body).toMatchObject({
      object: 'list',
      data: [
        { object: 'embedding', index: 0 },
        { object: 'embedding', index: 1 },
      ],
      usage: { prompt_tokens: 2, total_tokens: 2 },
    });
    const endpoint = '/v1/completions';
    const second = await create(api, text_of(line(1, { url: endpoint }, { prompt: 'p' })), { endpoint });
    const [completed] = await results(api, (await ended(api, second)).batch.output_file_id);
    expect(completed?.response?.body).toMatchObject({ object: 'text_completion', choices: [{ text: 'echo: p' }] });
  });

  test('not while it is held, and on once it is released', async () => {
    const api = await startBatchApi();
    api.hold();
    const id = await create(api, many(1));
    for (let time = 0; time < 5; time += 1) expect((await poll(api, id)).status).toBe('validating');
    api.release();
    expect((await ended(api, id)).states).toEqual(['validating', 'in_progress', 'finalizing', 'completed']);
  });

  test('to its end at once when a test says so', async () => {
    const api = await startBatchApi();
    api.hold();
    const [one, two] = [await create(api, many(2)), await create(api, many(2))];
    expect((await api.finish(one)).status).toBe('completed');
    expect((await api.finish(two, { expired: 1 })).request_counts).toEqual({ total: 2, completed: 1, failed: 0 });
    await expect(api.finish(one)).rejects.toThrow('ended already');
  });

  test('when two polls come at once too', async () => {
    const api = await startBatchApi();
    const id = await create(api, many(100));
    const states = await Promise.all(Array.from({ length: 6 }, async () => (await poll(api, id)).status));
    expect(states.filter((state) => state === 'completed')).toHaveLength(3);
    expect(api.files).toHaveLength(2);
  });
});

describe('a batch ends otherwise', () => {
  const limit = token_limit_exceeded('gpt-4o-mini', 90_000);
  const expired = ['request-0', 'request-1', 'request-2'].map((id) => `${id} batch_expired`);
  const table: [verdict: Verdict, status: string, good: string[], bad: string[]][] = [
    [{ expired: 1 }, 'expired', ['request-0'], expired.slice(1)],
    [{ expired: 0 }, 'expired', [], expired],
    [{ cancelled: 2 }, 'cancelled', ['request-0', 'request-1'], ['request-2 batch_cancelled']],
    ['completed_without_files', 'completed', [], []],
    [{ ids: '' }, 'completed', [], []],
    [limit, 'failed', [], []],
  ];

  test.each(table)('%o', async (verdict, status, good, bad) => {
    const api = await startBatchApi();
    api.verdict(verdict);
    const { batch } = await ended(api, await create(api, many(3)));
    expect(batch.status).toBe(status);
    expect(batch).toMatchObject({ [`${status}_at`]: expect.any(Number) });
    const output = await results(api, batch.output_file_id);
    const errors = await results(api, batch.error_file_id);
    expect(output.map(({ custom_id }) => custom_id).sort()).toEqual(good);
    expect(errors.map(({ custom_id, error }) => `${custom_id} ${error?.code}`).sort()).toEqual(bad);
    expect(errors.every(({ response }) => response === null)).toBe(true);
    const none = typeof verdict === 'object' && 'ids' in verdict ? '' : null;
    if (good.length === 0) expect(batch.output_file_id).toBe(none);
    if (bad.length === 0) expect(batch.error_file_id).toBe(none);
    if (verdict === limit) expect(batch.errors?.data).toMatchObject([{ code: 'token_limit_exceeded', line: null }]);
    // The next one is as ever.
    expect((await ended(api, await create(api, many(1)))).batch.status).toBe('completed');
  });

  test('a line of its own fails alone, and one that is not answered lets the batch expire', async () => {
    const body = { error: { message: 'too long', type: 'invalid_request_error', param: 'messages', code: 'long' } };
    const api = await startBatchApi({
      answer: ({ custom_id }) =>
        custom_id === 'request-0' ? { status: 400, body } : custom_id === 'request-9' ? 'unanswered' : undefined,
    });
    const { batch } = await ended(api, await create(api, many(3)));
    expect([batch.status, batch.request_counts]).toEqual(['completed', { total: 3, completed: 2, failed: 1 }]);
    const [failed] = await results(api, batch.error_file_id);
    expect(failed).toMatchObject({ custom_id: 'request-0', response: { status_code: 400, body }, error: null });
    expect((await ended(api, await create(api, many(10)))).batch.status).toBe('expired');
    const none = await ended(api, await create(api, text_of(line(1, {}, { messages: undefined }))));
    expect(none.batch).toMatchObject({ status: 'completed', output_file_id: null, error_file_id: expect.any(String) });
  });

  test('an id that is missing can be empty', async () => {
    const api = await startBatchApi({ empty_ids: true });
    const { batch } = await ended(api, await create(api, many(1)));
    expect([batch.output_file_id, batch.error_file_id]).toEqual([expect.stringMatching(/^file-/), '']);
  });

  test('by a cancel: with nothing while it is validated, with what was answered later', async () => {
    const api = await startBatchApi({
      answer: ({ custom_id }) => (custom_id === 'request-1' ? 'unanswered' : undefined),
    });
    const early = await create(api, many(2));
    const { body } = await ask(api, 'POST', `/batches/${early}/cancel`);
    expect(body).toMatchObject({ status: 'cancelling', cancelling_at: expect.any(Number) });
    const first = await ended(api, early);
    expect(first.states).toEqual(['cancelling', 'cancelled']);
    expect(first.batch).toMatchObject({ output_file_id: null, error_file_id: null });
    const late = await create(api, many(2));
    await poll(api, late);
    await poll(api, late);
    await ask(api, 'POST', `/batches/${late}/cancel`);
    expect((await ask(api, 'POST', `/batches/${late}/cancel`)).body['status']).toBe('cancelling');
    const second = await ended(api, late);
    expect(await results(api, second.batch.output_file_id)).toMatchObject([{ custom_id: 'request-0' }]);
    expect(await results(api, second.batch.error_file_id)).toMatchObject([{ error: { code: 'batch_cancelled' } }]);
    const told = await ask(api, 'POST', `/batches/${late}/cancel`);
    expect([told.status, error_of(told).message]).toEqual([409, "Cannot cancel a batch with status 'cancelled'."]);
  });
});

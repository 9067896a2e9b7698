// Files and batches through nginx as shipped: uploads larger than any other body, passed on as they come.
import { expect, test } from 'vitest';
import { chatLine, clientOf, dataFolder, ended, fileLines, submit } from '../stage/batches.ts';
import { openFront } from '../stage/front.ts';

test('a file of 70 MB goes through to the gateway, and a batch from its upload to its results', async () => {
  const { lan } = await openFront('ip: off', [], {
    more: `batch: { data: "${dataFolder()}", disk_free_bytes_min: 1 }\n`,
  });
  const client = clientOf(lan);
  const file = await client.files.create({
    file: new File([chatLine('large', 'coder', 'x'.repeat(70_000_000))], 'large.jsonl'),
    purpose: 'batch',
  });
  expect(file.bytes).toBeGreaterThan(70_000_000);
  expect(await client.files.delete(file.id)).toMatchObject({ deleted: true });
  const done = await ended(client, (await submit(client, [chatLine('a', 'coder'), chatLine('b', 'coder')])).id);
  expect(done.request_counts).toMatchObject({ total: 2, completed: 2 });
  expect((await fileLines(client, done.output_file_id)).map(({ custom_id }) => custom_id)).toEqual(['a', 'b']);
});

test('one above 220 MB is nginx’s to refuse, in OpenAI’s form', async () => {
  const { lan } = await openFront('ip: off', [], {
    more: `batch: { data: "${dataFolder()}", disk_free_bytes_min: 1 }\n`,
  });
  const answer = await fetch(`${lan}/v1/files`, {
    method: 'POST',
    headers: { 'content-type': 'multipart/form-data; boundary=x', authorization: 'Bearer x' },
    body: new Blob([new Uint8Array(221 << 20)]),
  });
  expect(answer.status).toBe(413);
  expect(await answer.json()).toMatchObject({ error: { code: 'request_too_large' } });
});

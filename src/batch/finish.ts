// The end of a batch whose lines are all done: its output and error files are written from their results, and then, at once,
// it is what it became. A gateway that dies at it leaves nothing half done: the next one begins anew.
import type { Books } from './books.ts';
import { fileId } from './ids.ts';
import type { Batch } from './records/batches.ts';
import type { StoredFile } from './records/files.ts';

const LF = Buffer.from('\n');

/** @throws what the database and the disk throw; then nothing has changed */
export async function finish(batch: Batch, books: Books): Promise<void> {
  const output = await write(batch, true, books);
  const error = await write(batch, false, books);
  const now = Date.now();
  const ended = { completed: 'completed_at', expired: 'expired_at', cancelled: 'cancelled_at' } as const;
  await books.database.kysely.transaction().execute(async (db) => {
    const { numUpdatedRows } = await db
      .updateTable('batches')
      .set({
        status: batch.ends_as,
        [ended[batch.ends_as]]: now,
        ended_at: now,
        output_file: output?.id ?? null,
        error_file: error?.id ?? null,
        held_by: null,
      })
      .where('id', '=', batch.id)
      .where('held_by', '=', books.gateway)
      .where('status', 'in', ['finalizing', 'cancelling'])
      .executeTakeFirst();
    // Another gateway has taken it over, and its files are the batch's.
    if (numUpdatedRows === 0n) return;
    const files = [output, error].filter((file) => file !== undefined);
    if (files.length > 0) await db.insertInto('files').values(files).execute();
  });
}

/** `undefined` where there is nothing to tell. */
async function write(batch: Batch, ok: boolean, books: Books): Promise<StoredFile | undefined> {
  if ((ok ? batch.completed : batch.failed) === 0) return undefined;
  const id = fileId();
  const bytes = await books.contents.write(id, linesOf(books.lines.results(batch.id, ok)));
  const now = Date.now();
  const age_ms = batch.output_age_ms ?? books.config().file_age_ms;
  return {
    id,
    owner: batch.owner,
    purpose: 'batch_output',
    filename: `${batch.id}_${ok ? 'output' : 'error'}.jsonl`,
    bytes,
    created_at: now,
    expires_at: now + age_ms,
  };
}

/** In pieces worth a write. */
async function* linesOf(results: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let piece: Buffer[] = [];
  let bytes = 0;
  for await (const result of results) {
    piece.push(result, LF);
    bytes += result.length + 1;
    if (bytes < PIECE_BYTES) continue;
    yield Buffer.concat(piece);
    piece = [];
    bytes = 0;
  }
  if (bytes > 0) yield Buffer.concat(piece);
}

const PIECE_BYTES = 256 * 1024;

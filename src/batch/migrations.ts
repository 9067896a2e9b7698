// The database's shape, step by step: a step that has been released never changes, the next one changes what it made.
import type { CreateTableBuilder, Kysely } from 'kysely';
import type { Migration } from 'kysely/migration';
import { columnTypes } from './db/migrate.ts';
import type { Database } from './db/open.ts';
import type { Tables } from './tables.ts';

export function migrations({ dialect, sql }: Pick<Database<Tables>, 'dialect' | 'sql'>): Record<string, Migration> {
  const { blob, int, rising } = columnTypes(dialect);
  type Table = CreateTableBuilder<string, string>;
  const texts = (table: Table, names: readonly string[]): Table =>
    names.reduce<Table>((made, name) => made.addColumn(name, 'text'), table);
  const ints = (table: Table, names: readonly string[]): Table =>
    names.reduce<Table>((made, name) => made.addColumn(name, int), table);
  const counts = (table: Table, names: readonly string[]): Table =>
    names.reduce<Table>((made, name) => made.addColumn(name, int, (column) => column.notNull().defaultTo(0)), table);
  const given = (table: Table, names: readonly string[]): Table =>
    names.reduce<Table>((made, name) => made.addColumn(name, 'text', (column) => column.notNull()), table);

  async function first(db: Kysely<never>): Promise<void> {
    const create = (name: string): Table => db.schema.createTable(name);

    let files = create('files').addColumn('seq', int, rising);
    files = ints(given(files, ['id', 'owner', 'purpose', 'filename']), ['bytes', 'created_at', 'expires_at']);
    await files.addUniqueConstraint('files_id', ['id']).execute();
    await db.schema.createIndex('files_owner').on('files').columns(['owner', 'seq']).execute();
    await db.schema.createIndex('files_expire').on('files').column('expires_at').execute();

    const parts = counts(given(create('parts'), ['file']), ['n', 'written_at']).addColumn('bytes', blob);
    await parts.addPrimaryKeyConstraint('parts_place', ['file', 'n']).execute();
    // Not compressed, so that a line is read without the whole part.
    if (dialect === 'postgres') await sql`alter table parts alter column bytes set storage external`.execute(db);

    let batches = create('batches').addColumn('seq', int, rising);
    batches = given(batches, ['id', 'owner', 'endpoint', 'status', 'completion_window', 'ends_as']);
    batches = texts(batches, ['models', 'input_file', 'output_file', 'error_file', 'metadata', 'errors']);
    batches = texts(batches, ['idempotency_key', 'asked', 'window', 'upstream', 'held_by']);
    batches = ints(batches, [
      'created_at',
      'in_progress_at',
      'expires_at',
      'finalizing_at',
      'completed_at',
      'failed_at',
    ]);
    batches = ints(batches, ['expired_at', 'cancelling_at', 'cancelled_at', 'ended_at', 'output_age_ms']);
    batches = ints(batches, ['window_ms', 'closes_at']);
    batches = counts(batches, ['total', 'completed', 'failed', 'tokens_in', 'tokens_out', 'tokens_cached']);
    batches = counts(batches, ['tokens_reasoning', 'open', 'swept']);
    await batches
      .addUniqueConstraint('batches_id', ['id'])
      .addUniqueConstraint('batches_asked', ['owner', 'idempotency_key'])
      .execute();
    await db.schema.createIndex('batches_owner').on('batches').columns(['owner', 'seq']).execute();
    await db.schema.createIndex('batches_status').on('batches').columns(['status', 'seq']).execute();
    await db.schema.createIndex('batches_ended').on('batches').columns(['swept', 'ended_at']).execute();

    let lines = given(create('lines'), ['batch', 'custom_id', 'model', 'state']);
    lines = texts(counts(lines, ['n', 'rank', 'not_before', 'tries', 'bytes', 'told']), [
      'claimed_by',
      'shard',
      'item',
      'answer',
    ]);
    lines = ints(lines, ['at', 'ok']).addColumn('body', blob).addColumn('result', blob);
    await lines.addPrimaryKeyConstraint('lines_place', ['batch', 'n']).execute();
    await db.schema.createIndex('lines_next').on('lines').columns(['batch', 'state', 'model', 'n']).execute();
    await db.schema.createIndex('lines_claimed').on('lines').columns(['state', 'claimed_by']).execute();
    await db.schema.createIndex('lines_item').on('lines').column('item').execute();
    await db.schema.createIndex('lines_shard').on('lines').columns(['shard', 'state', 'batch', 'n']).execute();

    let shards = given(create('shards'), ['id', 'backend', 'name', 'endpoint', 'state']);
    shards = ints(texts(shards, ['file', 'batch', 'layout', 'verdict', 'held_by']), ['failing_at']);
    shards = counts(shards, ['lines', 'urgent', 'cancel', 'due_at', 'pause_ms', 'tries', 'created_at']);
    await shards.addPrimaryKeyConstraint('shards_id', ['id']).execute();
    await db.schema.createIndex('shards_due').on('shards').columns(['state', 'due_at']).execute();

    const answers = ints(given(create('answers'), ['id']), ['bytes', 'expires_at']).addColumn('body', blob);
    await answers.addPrimaryKeyConstraint('answers_id', ['id']).execute();
    // With their sizes, or each sum of them would read all of the bodies.
    await db.schema.createIndex('answers_expire').on('answers').columns(['expires_at', 'bytes']).execute();

    const gateways = counts(given(create('gateways'), ['id']), ['beat']);
    await gateways.addPrimaryKeyConstraint('gateways_id', ['id']).execute();
  }

  return { '0001': { up: first } };
}

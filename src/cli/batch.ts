// `lanyard batch …`: batches of a gateway from the command line, over HTTP alone: any gateway that can be reached, with a key
// of its own.
import { readAsked, BATCH_USAGE, type Asked } from './batch/asked.ts';
import { connect, toldOf } from './batch/connection.ts';
import { CannotRead, pour, save } from './batch/files.ts';
import { hasEnded, isWhole, type Batch } from './batch/record.ts';
import { submit } from './batch/submit.ts';
import { usualSurroundings, type Surroundings } from './batch/surroundings.ts';
import { aligned } from './batch/text.ts';
import { Interrupted, untilEnded } from './batch/wait.ts';
import { described, faultOf, progressOf, reported, tableOf } from './batch/words.ts';
import { ApiFault, listBatches, openApi, type GatewayApi } from './gateway-api.ts';

interface Desk {
  readonly api: GatewayApi;
  readonly out: (line: string) => void;
  readonly around: Surroundings;
}

/** @returns the exit code, as in the usage */
export async function batch(
  argv: readonly string[],
  out: (line: string) => void,
  processEnv: Readonly<Record<string, string | undefined>>,
  around: Surroundings = usualSurroundings(),
): Promise<number> {
  const asked = readAsked(argv);
  if (asked === 'help') {
    out(BATCH_USAGE);
    return 0;
  }
  if ('wrong' in asked) {
    around.fail(`lanyard batch: ${asked.wrong}\n\n${BATCH_USAGE}`);
    return 2;
  }
  const gateway = connect(asked.connection, around.dir, processEnv);
  if ('wrong' in gateway) {
    around.fail(`lanyard batch: ${gateway.wrong}`);
    return 2;
  }
  const api = openApi(gateway);
  try {
    return await done(asked, { api, out, around });
  } catch (error) {
    if (error instanceof ApiFault) for (const line of toldOf('batch', error, gateway)) around.fail(line);
    else if (error instanceof CannotRead) around.fail(`lanyard batch: ${error.message}`);
    else throw error;
    return 1;
  }
}

async function done(asked: Asked, desk: Desk): Promise<number> {
  const { api, out, around } = desk;
  switch (asked.verb) {
    case 'submit': {
      const made = await submit(asked, api, around);
      if (!asked.wait) {
        out(asked.json ? json(made) : made.id);
        return 0;
      }
      if (!asked.json) out(made.id);
      return finish(made, asked, desk);
    }
    case 'status': {
      const found = await api.batch(asked.id);
      if (asked.watch) return finish(found, asked, desk);
      show(found, asked, desk);
      return 0;
    }
    case 'list': {
      const { status, limit, all } = asked;
      const query = { limit, ...(status === undefined ? {} : { status }), ...(all ? { all: 'true' as const } : {}) };
      const { batches, more } = await listBatches(api, query);
      if (asked.json) {
        out(JSON.stringify({ batches: batches.map(({ told }) => told), has_more: more }, null, 2));
        return 0;
      }
      if (batches.length === 0) around.fail('There are no such batches.');
      else for (const line of tableOf(batches, all)) out(line);
      if (more) around.fail(`There are more than ${limit}: --limit says how many are shown.`);
      return 0;
    }
    case 'cancel': {
      const cancelled = await api.cancel(asked.id);
      out(asked.json ? json(cancelled) : `${cancelled.id} ${cancelled.status} ${progressOf(cancelled)}`);
      return 0;
    }
    case 'report': {
      const told = await api.report(asked.all);
      if (asked.json) out(JSON.stringify(told, null, 2));
      else for (const line of aligned(reported(told))) out(line);
      return 0;
    }
    case 'results':
      break;
  }
  return results(await api.batch(asked.id), asked, desk);
}

/** Waits, and says how it ended. */
async function finish(first: Batch, asked: Asked & { verb: 'submit' | 'status' }, desk: Desk): Promise<number> {
  const { api, around } = desk;
  let ended;
  try {
    ended = await untilEnded(first, api, around);
  } catch (error) {
    const again = `npx lanyard batch status ${first.id} --watch${repeated(asked)}`;
    if (error instanceof Interrupted) {
      around.fail(`The batch goes on. To look at it again: ${again}`);
      return 130;
    }
    if (error instanceof ApiFault && error.passing) around.fail(`The batch may go on. To look at it again: ${again}`);
    throw error;
  }
  show(ended, asked, desk);
  if (asked.verb === 'submit' && asked.out !== undefined && ended.output_file_id !== '')
    await save(asked.out, api.content(ended.output_file_id));
  return isWhole(ended) ? 0 : 1;
}

async function results(
  found: Batch,
  { errors, out }: { readonly errors: boolean; readonly out: string | undefined },
  { api, around }: Desk,
): Promise<number> {
  const file = errors ? found.error_file_id : found.output_file_id;
  if (file === '') {
    around.fail(`lanyard batch: ${found.id} ${whyNothing(found, errors)}`);
    return 1;
  }
  const pieces = api.content(file);
  await (out === undefined ? pour(around.stdout, pieces) : save(out, pieces));
  return 0;
}

function whyNothing(found: Batch, errors: boolean): string {
  const { status, id, errors: faults } = found;
  if (!hasEnded(found))
    return `is ${status}, ${progressOf(found)}: wait for its end with lanyard batch status ${id} --watch`;
  const [fault] = faults;
  if (fault !== undefined) return `is ${status}, and nothing of it was answered: ${faultOf(fault)}`;
  if (errors) return `is ${status}, and none of its requests failed: there is no file of errors`;
  return `is ${status}, and none of its requests was answered: --errors shows why`;
}

function show(found: Batch, asked: Asked, { out, around }: Desk): void {
  if (asked.json) out(json(found));
  else
    for (const line of aligned(described(found, around.now_ms() / 1000).map(([name, text]) => [name, text]))) out(line);
}

function json({ told }: Batch): string {
  return JSON.stringify(told, null, 2);
}

/** The options that say where the gateway is, to be given again. */
function repeated({ connection }: Asked): string {
  return Object.entries(connection)
    .map(([name, text]) => (text === undefined ? '' : ` --${name} ${/^[\w.:/@+-]+$/.test(text) ? text : `'${text}'`}`))
    .join('');
}

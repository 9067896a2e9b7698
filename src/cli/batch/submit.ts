// `lanyard batch submit`: a file becomes a batch, and with --wait its results.
import type { Submission } from './asked.ts';
import { CannotRead, canHold } from './files.ts';
import type { Batch } from './record.ts';
import { endpointOf, openSource, type Source } from './source.ts';
import type { Surroundings } from './surroundings.ts';
import { ApiFault, type GatewayApi } from '../gateway-api.ts';

/** How long a gateway that is busy is asked to make a batch of what it has already been sent. */
const PATIENCE_MS = 120_000;
const AGAIN_MS = 1000;

/** @throws ApiFault, CannotRead */
export async function submit(asked: Submission, api: GatewayApi, around: Surroundings): Promise<Batch> {
  if (asked.out !== undefined) await canHold(asked.out);
  await using parts = new AsyncDisposableStack();
  const source = await openSource(asked.file, around.stdin);
  parts.defer(() => source.close());
  if (source.first === '' && source.bytes === 0) throw new CannotRead(`${source.name} is empty`);
  const endpoint = asked.endpoint ?? endpointOf(source);
  if (endpoint === undefined) {
    throw new CannotRead(
      `the first line of ${source.name} is no JSON object with a "url"; --endpoint says what answers, such as /v1/chat/completions`,
    );
  }
  // A wrong key or address is told by a small question sooner, and more surely, than in the middle of a large file.
  await api.page({ limit: '1' });
  const input_file_id = await api.upload(source, uploading(source, around));
  const wanted = {
    input_file_id,
    endpoint,
    completion_window: asked.window,
    ...(Object.keys(asked.metadata).length === 0 ? {} : { metadata: asked.metadata }),
  };
  try {
    return await created(wanted, api, around);
  } catch (error) {
    // Only where it surely is in no batch; and if it stays, it expires.
    if (error instanceof ApiFault && error.status !== undefined && error.status < 500)
      await api.remove(input_file_id).catch(() => undefined);
    throw error;
  }
}

/** What is refused for now was not done, and may be asked for again; anything else may have been done. */
async function created(wanted: object, api: GatewayApi, around: Surroundings): Promise<Batch> {
  const from_ms = around.now_ms();
  for (;;) {
    try {
      return await api.create(wanted);
    } catch (error) {
      if (!(error instanceof ApiFault) || (error.status !== 429 && error.status !== 503)) throw error;
      const wait_ms = Math.max(error.retry_after_ms ?? 0, AGAIN_MS);
      if (around.now_ms() + wait_ms - from_ms > PATIENCE_MS) throw error;
      await around.pause(wait_ms, NEVER);
    }
  }
}

const NEVER = new AbortController().signal;

/** On a terminal, how much of the file is on its way. */
function uploading({ bytes }: Source, { terminal }: Surroundings): (sent: number) => void {
  if (terminal === undefined) return () => undefined;
  let shown = '';
  return (sent) => {
    const over = bytes !== undefined && sent >= bytes;
    const text = over
      ? ''
      : `sending ${bytes === undefined ? megabytes(sent) : `${Math.floor((sent / bytes) * 100)} %`}`;
    if (text !== shown) terminal.write(`\r\u001B[K${text}`);
    shown = text;
  };
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(0)} MB`;
}

// A gateway whose models are served by the fake Batch API, which it looks at as often as a test wants to wait.
import type { BatchApi } from '../engines/batch-api.ts';
import { openBatchGateway, type BatchStage, type Told } from './batches.ts';

export interface UpstreamOptions {
  readonly key?: string;
  readonly data?: string;
  /** More options of `batch.upstream`, and of `batch`. */
  readonly upstream?: string;
  readonly batch?: string;
  /** More of the configuration. */
  readonly text?: string;
}

const MODELS = ['gpt-4o-mini', 'gpt-3.5-turbo', 'text-embedding-3-small'] as const;

/** Each model under its own name, and `small` for the first. */
export async function openUpstream(
  api: Pick<BatchApi, 'url'>,
  { key = 'sk-upstream-test', data, upstream = '', batch = '', text: more_text = '' }: UpstreamOptions = {},
): Promise<BatchStage> {
  const text = `${more_text}
backends:
  cloud: { engine: openai, url: "${api.url}/v1", key: ${key}, batch: upstream }
models:
  small: [cloud/gpt-4o-mini]
${MODELS.map((name) => `  ${name}: [cloud/${name}]`).join('\n')}
`;
  const polls = 'poll_min_ms: 10ms, poll_max_ms: 50ms';
  const more = `upstream: { ${polls}${upstream === '' ? '' : `, ${upstream}`} }${batch === '' ? '' : `, ${batch}`}`;
  return await openBatchGateway(text, more, data === undefined ? {} : { data });
}

/** What a chat's answer says. */
export function told({ response }: Told): string {
  const [choice] = (response?.body['choices'] ?? []) as { readonly message: { readonly content: string } }[];
  return choice?.message.content ?? '';
}

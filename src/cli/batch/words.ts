// A batch in words and cells: its times, its progress, its rows and its description. Pure; the monitor shows the same.
import { isRecord } from '../../wire/record.ts';
import { hasEnded, type Batch } from './record.ts';
import { aligned } from './text.ts';

/** Local time, to the second: `2026-11-29 09:51:03`. */
export function clock(seconds: number): string {
  const date = new Date(seconds * 1000);
  const two = (number: number): string => String(number).padStart(2, '0');
  const day = [date.getFullYear(), two(date.getMonth() + 1), two(date.getDate())].join('-');
  return `${day} ${[date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(':')}`;
}

/** A length of time in its largest unit: `45s`, `12m`, `3h`, `2d`. */
export function age(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole}s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}m`;
  if (whole < 86_400) return `${Math.floor(whole / 3600)}h`;
  return `${Math.floor(whole / 86_400)}d`;
}

/** A length of time in its two largest units: `45s`, `12m 5s`, `3h 0m`. */
export function span(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole}s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}m ${whole % 60}s`;
  if (whole < 86_400) return `${Math.floor(whole / 3600)}h ${Math.floor((whole % 3600) / 60)}m`;
  return `${Math.floor(whole / 86_400)}d ${Math.floor((whole % 86_400) / 3600)}h`;
}

/** How many cells of a bar are completed, failed and left. Whatever has failed is seen, and what is left too. */
export function barOf({ counts: { total, completed, failed } }: Batch, width: number) {
  if (width < 1 || total < 1) return { completed: 0, failed: 0, left: Math.max(0, width) };
  const share = (part: number): number => Math.floor((Math.min(part, total) / total) * width);
  const done = Math.min(total, completed + failed);
  const filled = done === 0 ? 0 : Math.max(1, share(done));
  const bad = failed === 0 ? 0 : Math.min(filled, Math.max(1, share(failed)));
  return { completed: filled - bad, failed: bad, left: width - filled };
}

export const BAR = { completed: '█', failed: 'x', left: '░' } as const;

/** `50/100`, or `50/100 2 failed`. */
export function progressOf({ counts: { total, completed, failed } }: Batch): string {
  return `${completed + failed}/${total}${failed === 0 ? '' : ` ${failed} failed`}`;
}

/** The list's rows under their heads. */
export function tableOf(batches: readonly Batch[], all: boolean): string[] {
  const heads = ['ID', 'STATUS', 'DONE', 'FAILED', 'CREATED', 'MODEL', 'ENDPOINT', ...(all ? ['OWNER'] : [])];
  const rows = batches.map((batch) => {
    const { completed, failed, total } = batch.counts;
    return [
      batch.id,
      batch.status,
      `${completed + failed}/${total}`,
      String(failed),
      batch.times.created_at === undefined ? '-' : clock(batch.times.created_at),
      batch.model || '-',
      batch.endpoint || '-',
      ...(all ? [batch.owner || '-'] : []),
    ];
  });
  return aligned([heads, ...rows], new Set([2, 3]));
}

/** All that is known of it: names, and what they stand for. */
export function described(batch: Batch, now_s: number): [string, string][] {
  const { counts, tokens, times, collation } = batch;
  const line = (name: string, text: string | undefined): [string, string][] =>
    text === undefined || text === '' ? [] : [[name, text]];
  const at = (name: string, seconds: number | undefined): [string, string][] =>
    line(name, seconds === undefined ? undefined : `${clock(seconds)}${around(seconds, now_s)}`);
  return [
    ['id', batch.id],
    ['status', batch.status],
    ...line('owner', batch.owner),
    ...line('model', batch.model),
    ...line('endpoint', batch.endpoint),
    ['requests', `${counts.total}: ${counts.completed} completed, ${counts.failed} failed`],
    ...line('tokens', tokens && `${tokens.input} in, ${tokens.output} out, ${tokens.total} together`),
    ...at('created', times.created_at),
    ...at('in progress', times.in_progress_at),
    ...at('finalizing', times.finalizing_at),
    ...at('completed', times.completed_at),
    ...at('failed', times.failed_at),
    ...at('expired', times.expired_at),
    ...at('cancelling', times.cancelling_at),
    ...at('cancelled', times.cancelled_at),
    // Once it has ended, nothing expires any more.
    ...(hasEnded(batch) ? [] : at('expires', times.expires_at)),
    ...line('window', batch.completion_window),
    ...line('gathers', collation && gathering(collation, now_s)),
    ...line('input file', batch.input_file_id),
    ...line('output file', batch.output_file_id),
    ...line('error file', batch.error_file_id),
    ...Object.entries(batch.metadata).map(([key, text]): [string, string] => ['metadata', `${key} = ${text}`]),
    ...batch.errors.map((error): [string, string] => ['error', faultOf(error)]),
  ];
}

/** One line an error: where it is, what it is. */
export function faultOf({ code, message, line }: Batch['errors'][number]): string {
  const told = [message, code === '' ? '' : `(${code})`].filter((part) => part !== '').join(' ') || 'not said';
  return line === undefined ? told : `line ${line}: ${told}`;
}

function around(seconds: number, now_s: number): string {
  return seconds > now_s ? ` (in ${span(seconds - now_s)})` : ` (${span(now_s - seconds)} ago)`;
}

function gathering({ window_ms, closes_at }: NonNullable<Batch['collation']>, now_s: number): string {
  const window = `requests for ${window_ms % 1000 === 0 ? `${window_ms / 1000} s` : `${window_ms} ms`}`;
  if (closes_at === undefined) return window;
  return `${window}, ${closes_at > now_s ? 'until' : 'closed'} ${clock(closes_at)}`;
}

/** The report's lines: what was collected, and what that saved. */
export function reported(told: Readonly<Record<string, unknown>>): readonly string[][] {
  const number = (section: string, name: string): string => {
    const { [section]: part } = told;
    const value = isRecord(part) ? part[name] : undefined;
    return typeof value === 'number' ? String(value) : '0';
  };
  const { since, batches } = told;
  return [
    ['since', typeof since === 'number' ? clock(since) : 'nothing yet'],
    ['batches', typeof batches === 'number' ? String(batches) : '0'],
    ['requests', `${number('requests', 'completed')} completed, ${number('requests', 'failed')} failed`],
    ['tokens', `${number('tokens', 'input')} in, ${number('tokens', 'output')} out`],
    ['collected', `${number('collected', 'requests')} requests in ${number('collected', 'windows')} windows`],
    [
      'upstream',
      `${number('upstream', 'requests')} of them, as ${number('upstream', 'windows')} batches: ${number('upstream', 'calls_saved')} calls saved`,
    ],
  ];
}

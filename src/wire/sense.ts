// Whether a whole answer makes sense, and what it tells of itself: a JSON object that is not an error.
import { findMembers, isNull, parseAnswer } from './body.ts';
import { parseRecord } from './record.ts';
import { meaningOf, readRefusal } from './refusals.ts';
import { readUsage, type Usage } from './usage.ts';

export interface Sense {
  readonly body: Buffer;
  readonly usage: Usage | undefined;
  /** Whether the engine says anything of usage, understood or not. */
  readonly tells_usage: boolean;
  /** Where it was worth parsing. */
  readonly parsed: Record<string, unknown> | undefined;
}

/** Up to here V8's parser is faster than our scan, which builds nothing but is not compiled C++. */
const PARSED_BYTES_MAX = 16 * 1024;

/**
 * `parses`: it is wanted as an object. Else a large one is only looked through, which builds nothing. @throws GatewayError for
 * an error that came with 200, and for what is no JSON object
 */
export function senseOf(body: Buffer, secrets: readonly string[], parses: boolean): Sense {
  const { failed, ...sense } = parses || body.length <= PARSED_BYTES_MAX ? parsed(body) : scanned(body);
  if (failed) throw meaningOf(500, readRefusal(500, body, 'application/json'), { secrets });
  return { body, ...sense };
}

type Told = Omit<Sense, 'body'> & { readonly failed: boolean };

function parsed(body: Buffer): Told {
  const answer = parseAnswer(body);
  const { error, usage } = answer;
  const failed =
    error !== undefined && error !== null && answer['choices'] === undefined && answer['data'] === undefined;
  return { failed, usage: readUsage(usage), tells_usage: usage !== undefined && usage !== null, parsed: answer };
}

function scanned(body: Buffer): Told {
  const { members } = findMembers(body);
  const error = members.get('error');
  const failed = error !== undefined && !isNull(body, error) && !members.has('choices') && !members.has('data');
  const field = members.get('usage');
  // Usage that cannot be read is no reason to withhold an answer.
  const usage =
    field === undefined ? undefined : readUsage(parseRecord(body.toString('utf8', field.value_start, field.value_end)));
  return { failed, usage, tells_usage: field !== undefined && !isNull(body, field), parsed: undefined };
}

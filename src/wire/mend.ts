// What engines say differently, made alike: `reasoning` and `reasoning_content` both there, tool calls numbered and named, the
// finish reason true, an `id`, no stop string. It works on a parsed event or answer, and says whether anything changed:
// what is right leaves as the bytes it came in.
import { isRecord } from './record.ts';
import { Stops } from './stops.ts';
import { ToolCalls } from './tools.ts';

interface Wanted {
  /** Makes the ids that are missing; unique to the answer. */
  readonly id: string;
  /** Where the engine sends the matched one too; else empty. */
  readonly stops: readonly string[];
}

type Json = Record<string, unknown>;

export class Mender {
  readonly #id: string;
  readonly #stops: readonly string[];
  readonly #tools = new Map<number, ToolCalls>();
  readonly #trims = new Map<number, Stops>();
  /** Whether every event must be looked at, since something is missing from all or could be in any. */
  every: boolean;

  constructor({ id, stops }: Wanted) {
    this.#id = id;
    this.#stops = stops;
    this.every = stops.length > 0;
  }

  /** A stream's first event with choices shows whether the engine gives an `id` at all. */
  first(event: Json): void {
    if (!hasId(event)) this.every = true;
  }

  /** One event of a stream; the same object where nothing was wrong with it. */
  event(event: Json): Json {
    return this.#mend(event, (choice, index) => this.#delta(choice, index));
  }

  /** An unstreamed answer, likewise. */
  whole(answer: Json): Json {
    return this.#mend(answer, (choice, index) => this.#message(choice, index));
  }

  #mend(answer: Json, one: (choice: Json, index: number) => Json): Json {
    const { choices } = answer;
    if (!Array.isArray(choices)) return answer;
    const mended = choices.map((choice: unknown, at) =>
      isRecord(choice) ? one(choice, typeof choice['index'] === 'number' ? choice['index'] : at) : choice,
    );
    const same = mended.every((choice, at) => choice === choices[at]);
    if (same && hasId(answer)) return answer;
    const named = hasId(answer) ? answer : { id: this.#madeId(answer), ...without(answer, 'id') };
    return same ? named : { ...named, choices: mended };
  }

  #madeId({ object }: Json): string {
    return `${typeof object === 'string' && object.startsWith('text') ? 'cmpl' : 'chatcmpl'}-${this.#id}`;
  }

  #delta(choice: Json, index: number): Json {
    let mended = choice;
    const { delta, text } = choice;
    if (isRecord(delta)) {
      let changed = reasoned(delta);
      if (Array.isArray(changed['tool_calls'])) {
        const tool_calls = this.#toolsOf(index).pieces(changed['tool_calls']);
        if (tool_calls !== changed['tool_calls']) changed = { ...changed, tool_calls };
      }
      if (this.#stops.length > 0) changed = this.#trimmed(changed, 'content', index, finishes(choice));
      if (changed !== delta) mended = { ...mended, delta: changed };
    } else if (this.#stops.length > 0 && text !== undefined) {
      mended = this.#trimmed(mended, 'text', index, finishes(choice));
    }
    return this.#finished(mended, index);
  }

  #message(choice: Json, index: number): Json {
    const { message } = choice;
    if (!isRecord(message)) return this.#finished(choice, index);
    let changed = reasoned(message);
    if (Array.isArray(changed['tool_calls']) && changed['tool_calls'].length > 0) {
      const tool_calls = this.#toolsOf(index).whole(changed['tool_calls']);
      if (tool_calls !== changed['tool_calls']) changed = { ...changed, tool_calls };
    }
    return this.#finished(changed === message ? choice : { ...choice, message: changed }, index);
  }

  /** Some say `stop` after a tool call (Ollama); some say `""` where nothing has finished (SGLang issue 3912). */
  #finished(choice: Json, index: number): Json {
    const { finish_reason } = choice;
    if (finish_reason === '') return { ...choice, finish_reason: null };
    if (finish_reason === 'stop' && this.#tools.get(index)?.any === true)
      return { ...choice, finish_reason: 'tool_calls' };
    return choice;
  }

  #trimmed(said: Json, name: 'content' | 'text', index: number, last: boolean): Json {
    let trim = this.#trims.get(index);
    if (trim === undefined) this.#trims.set(index, (trim = new Stops(this.#stops)));
    const told = said[name];
    const text = typeof told === 'string' ? told : '';
    const kept = trim.push(text) + (last ? trim.end() : '');
    return kept === text ? said : { ...said, [name]: kept };
  }

  #toolsOf(index: number): ToolCalls {
    let tools = this.#tools.get(index);
    if (tools === undefined) {
      this.#tools.set(index, (tools = new ToolCalls(index === 0 ? this.#id : `${this.#id}_${index}`)));
    }
    return tools;
  }
}

/** vLLM and Ollama say `reasoning`, llama.cpp, LM Studio and SGLang `reasoning_content`; clients read one of the two. */
function reasoned(said: Json): Json {
  const { reasoning, reasoning_content } = said;
  if (typeof reasoning === 'string' && reasoning_content === undefined)
    return { ...said, reasoning_content: reasoning };
  if (typeof reasoning_content === 'string' && reasoning === undefined)
    return { ...said, reasoning: reasoning_content };
  return said;
}

function finishes({ finish_reason }: Json): boolean {
  return typeof finish_reason === 'string' && finish_reason !== '';
}

function hasId({ id }: Json): boolean {
  return typeof id === 'string' && id !== '';
}

function without(answer: Json, name: string): Json {
  return Object.fromEntries(Object.entries(answer).filter(([key]) => key !== name));
}

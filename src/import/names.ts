// Public model names: LiteLLM takes any text, Lanyard what can stand in a URL and a header.
import { model_name } from '../config/shapes.ts';
import type { Note } from './source.ts';
import { unique } from './values.ts';

/** Gives each of LiteLLM's names one of ours, the same for the same name. */
export class Names {
  readonly #given = new Map<string, string>();

  get(name: string): string | undefined {
    return this.#given.get(name);
  }

  give(name: string): string {
    const given = this.#given.get(name) ?? this.#fresh(name);
    this.#given.set(name, given);
    return given;
  }

  #fresh(name: string): string {
    const taken = [...this.#given.values()];
    if (isName(name) && !taken.includes(name)) return name;
    const fitting = name
      .normalize('NFKD')
      .replaceAll(/[^A-Za-z0-9._:/@+-]+/g, '-')
      .replace(/^[^A-Za-z0-9]+/, '')
      .replace(/-+$/, '');
    return unique(fitting.slice(0, 190) || 'model', taken);
  }
}

export function isName(name: string): boolean {
  return model_name.safeParse(name).success;
}

export function renamed(name: string): Note {
  return { kind: 'todo', text: `a name may not hold all of these characters: clients ask for ${name} from now on` };
}

// The settings of clients that VSCODE_SETUP.md gives to paste, read as those clients read them.
import { parse } from 'yaml';
import { LAN, LOCAL, NET, TEAM } from './stage.ts';

const MODELS = Object.keys((parse(TEAM) as { models: object }).models);

/** Parses it, and knows every address and every model in it. */
export function loadSettings(form: 'yaml' | 'json', text: string): unknown {
  const value: unknown = form === 'yaml' ? parse(text) : JSON.parse(text);
  for (const url of text.match(/https?:\/\/[^\s"']+/g) ?? []) {
    if (![LOCAL, LAN, NET].some((known) => url.startsWith(known)))
      throw new Error(`not one of the three addresses: ${url}`);
  }
  const named = [...text.matchAll(/^\s*(?:- )?"?(?:model|id)"?: "?([\w.:/-]+)"?,?$/gm)].map(([, model = '']) => model);
  for (const model of named) if (!MODELS.includes(model)) throw new Error(`the example team has no model ${model}`);
  return value;
}

// What docs/VSCODE_SETUP.md gives to paste, read from the page itself, so that the page and what the tests send cannot drift.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readPage } from '../docs/page.ts';
import { loadSettings } from '../docs/settings.ts';
import { ROOT } from '../docs/stage.ts';

const PAGE = readFileSync(join(ROOT, 'docs/VSCODE_SETUP.md'), 'utf8');
const { blocks } = readPage(PAGE);

function pasted(kind: string): string {
  const block = blocks.find((one) => one.kind === kind);
  if (block === undefined) throw new Error(`VSCODE_SETUP.md has no block "${kind}"`);
  return block.text;
}

interface ContinueModel {
  readonly provider: string;
  readonly model: string;
  readonly apiBase: string;
  readonly roles: readonly string[];
  readonly useLegacyCompletionsEndpoint?: boolean;
}

export const CONTINUE = loadSettings('yaml', pasted('yaml continue')) as { models: ContinueModel[] };
/** The three of the page, those in comments too; each also works without /v1. */
export const BASES = [...pasted('yaml continue').matchAll(/apiBase: (\S+)/g)]
  .map(([, base = '']) => base)
  .flatMap((base) => [base, base.replace(/\/v1$/, '')]);

export function forRole(role: string): ContinueModel {
  const model = CONTINUE.models.find(({ roles }) => roles.includes(role));
  if (model === undefined) throw new Error(`no model of the page is for ${role}`);
  return model;
}

interface CustomEndpoint {
  readonly vendor: string;
  readonly apiType: string;
  readonly models: readonly {
    readonly id: string;
    readonly url: string;
    readonly maxInputTokens: number;
    readonly maxOutputTokens: number;
    readonly requestHeaders?: Readonly<Record<string, string>>;
  }[];
}

export const [VSCODE] = loadSettings('json', pasted('json vscode')) as [CustomEndpoint];

export const ZED = loadSettings('json', pasted('json zed')) as {
  language_models: { openai_compatible: { Lanyard: { api_url: string; available_models: { name: string }[] } } };
};

/** A field of the table under a heading, as Cline's settings have it. */
export function field(heading: string, name: string): string {
  const section = PAGE.split(`## ${heading}\n`)[1]?.split('\n## ')[0] ?? '';
  const value = new RegExp(`^\\| ${name} \\| \`([^\`]+)\` \\|$`, 'm').exec(section)?.[1];
  if (value === undefined) throw new Error(`no field "${name}" under ${heading}`);
  return value;
}

// Filling in the middle: a completion's `suffix`, which most engines do not take (vLLM documents it as unsupported), written
// into the prompt as each model family was taught to read it. From the families' own model cards and repositories.
import { readString, removeMember, scanArray, setMember, valueKind, type Edit } from './body.ts';
import { GatewayError } from './errors.ts';
import type { Call, FimFamily } from '../types.ts';

interface Template {
  /** Told by the model's name. */
  readonly names: RegExp;
  write(prefix: string, suffix: string): string;
}

const TEMPLATES: Readonly<Record<FimFamily, Template>> = {
  qwen: {
    names: /qwen[\d.]*-?coder/i,
    write: (prefix, suffix) => `<|fim_prefix|>${prefix}<|fim_suffix|>${suffix}<|fim_middle|>`,
  },
  starcoder: {
    // CodeQwen1.5 came before Qwen's own tokens.
    names: /star-?coder|stable-code|codeqwen/i,
    write: (prefix, suffix) => `<fim_prefix>${prefix}<fim_suffix>${suffix}<fim_middle>`,
  },
  codellama: {
    names: /code-?llama/i,
    write: (prefix, suffix) => `<PRE> ${prefix} <SUF>${suffix} <MID>`,
  },
  deepseek: {
    names: /deepseek-coder/i,
    write: (prefix, suffix) => `<｜fim▁begin｜>${prefix}<｜fim▁hole｜>${suffix}<｜fim▁end｜>`,
  },
  codestral: {
    names: /codestral/i,
    write: (prefix, suffix) => `[SUFFIX]${suffix}[PREFIX]${prefix}`,
  },
  codegemma: {
    names: /codegemma/i,
    write: (prefix, suffix) => `<|fim_prefix|>${prefix}<|fim_suffix|>${suffix}<|fim_middle|>`,
  },
  granite: {
    names: /granite-?4/i,
    write: (prefix, suffix) => `<|fim_prefix|>${prefix}<|fim_suffix|>${suffix}<|fim_middle|>`,
  },
  seed: {
    names: /seed-?coder/i,
    write: (prefix, suffix) => `<[fim-suffix]>${suffix}<[fim-prefix]>${prefix}<[fim-middle]>`,
  },
};

/** Whether a call has something to stand behind what is filled in. */
export function hasSuffix({ endpoint, body, fields }: Call): boolean {
  if (endpoint !== 'completions') return false;
  const field = fields.members.get('suffix');
  return field !== undefined && (readString(body, field) ?? '') !== '';
}

/** The call with the suffix written into its prompt. @throws GatewayError where that cannot be done */
export function fillIn({ body, fields }: Call, name: string, family: FimFamily | 'off' | undefined): Edit[] {
  const found = family ?? familyOf(name);
  const template = found === undefined || found === 'off' ? undefined : TEMPLATES[found];
  const suffix = fields.members.get('suffix');
  if (template === undefined || suffix === undefined) {
    const message =
      'This model cannot be asked with a suffix: its family is not known. The operator can say it (`fim` of the deployment).';
    throw new GatewayError('unsupported_parameter', message, { param: 'suffix' });
  }
  const prompt = fields.members.get('prompt');
  const only = prompt !== undefined && valueKind(body, prompt) === 'array' ? scanArray(body, prompt) : [prompt];
  const [one] = only;
  const prefix = only.length === 1 && one !== undefined ? readString(body, one) : undefined;
  if (prefix === undefined) {
    throw new GatewayError('invalid_value', 'With a suffix the prompt must be one text.', { param: 'prompt' });
  }
  const written = template.write(prefix, readString(body, suffix) ?? '');
  return [setMember(body, fields, 'prompt', JSON.stringify(written)), removeMember(body, fields, 'suffix')];
}

function familyOf(name: string): FimFamily | undefined {
  return (Object.keys(TEMPLATES) as FimFamily[]).find((family) => TEMPLATES[family].names.test(name));
}

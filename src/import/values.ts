// Values that may come from the environment, and secrets: `os.environ/NAME` becomes `${NAME}`, and a secret that stands in
// the file is never copied: it becomes a variable, to be set in `.env`.

/** `${NAME}` for a value that LiteLLM reads from the environment, or that is a template for it; `undefined` for any other. */
export function reference(value: string): string | undefined {
  const [, name] = /^os\.environ\/([A-Za-z_][A-Za-z0-9_]*)$/.exec(value) ?? [];
  if (name !== undefined) return `\${${name}}`;
  // Some fill in `${NAME}` before LiteLLM sees the file. A default behind `:-` could be a secret, and stays behind.
  const [, template] = /^\$\{([A-Za-z_][A-Za-z0-9_]*)(?::?-[^}]*)?\}$/.exec(value) ?? [];
  return template === undefined ? undefined : `\${${template}}`;
}

/** A text as our YAML means it: `$$` is one `$`. */
export function literal(text: string): string {
  return text.replaceAll('$', '$$$$');
}

/** What people write where a client insists on a key and the engine wants none. */
export function isPlaceholder(value: string): boolean {
  const bare = value
    .toLowerCase()
    .replace(/^sk-/, '')
    .replaceAll(/[^a-z]/g, '');
  return PLACEHOLDERS.has(bare) && !/\d/.test(value);
}

const PLACEHOLDERS = new Set(
  `none null empty na no any anything nokey nokeyneeded nokeyrequired notneeded notrequired notused unused dummy dummykey
   fake fakekey fakeapikey xxx xxxx string ollama lmstudio llamacpp llamafile vllm local placeholder`.split(/\s+/),
).add('');

/** A name of a variable, made of a name of anything: `gpu-1` gives `GPU_1_KEY`. */
export function variable(name: string, ending: string): string {
  const word = name
    .toUpperCase()
    .replaceAll(/[^A-Z0-9]+/g, '_')
    .replace(/^(?=\d)/, 'BACKEND_');
  return `${word}_${ending}`;
}

/** The variables that a written value reads without a default. */
export function variables(written: string): string[] {
  return [...written.replaceAll('$$', '').matchAll(/\$\{([A-Za-z_][A-Za-z0-9_]*)\}/g)].map(([, name]) => name ?? '');
}

/** The wanted name, or with a number where it is taken. */
export function unique(wanted: string, taken: readonly string[]): string {
  for (let number = 1; ; number += 1) {
    const name = number === 1 ? wanted : `${wanted}-${number}`;
    if (!taken.includes(name)) return name;
  }
}

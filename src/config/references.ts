// What the options of one file say about each other: names that are used must be there, names that are given must differ,
// a fallback must end. It reads the file as written, so that these faults are told together with all others.
import { label, shown, suggestion } from './faults.ts';
import type { Finding, Path } from './faults.ts';

export function references(raw: unknown): Finding[] {
  const file = record(raw);
  return [...listeners(list(file['listen'])), ...keys(file), ...models(file), ...batches(file)];
}

function listeners(listen: readonly unknown[]): Finding[] {
  const places = listen.map((item) => {
    const { port, host = '127.0.0.1' } = record(item);
    // Port 0 is a different one each time.
    return isName(port) && isName(host) && String(port) !== '0' ? `${String(host)} ${String(port)}` : undefined;
  });
  return repeated(places, ['listen'], 'port', (first) => `is the address and port of ${first} too: change one of them`);
}

function keys(file: Record<string, unknown>): Finding[] {
  const path: Path = ['auth', 'keys'];
  const keys = list(record(file['auth'])['keys']).map(record);
  const names = keys.map(({ name }) => text(name));
  const hashes = keys.map(({ hash }) => text(hash)?.toLowerCase());
  const known = Object.keys(record(file['models']));
  const open =
    known.length === 0 ||
    Object.values(record(file['backends'])).some((one) => list(record(one)['publish']).length > 0);
  const unknown = keys.flatMap(({ default_model }, index): Finding[] => {
    const name = text(default_model);
    if (open || name === undefined || known.includes(name)) return [];
    const message = `is not one of the models of this file${suggestion(name, known)}`;
    return [{ path: [...path, index, 'default_model'], message }];
  });
  return [
    ...repeated(names, path, 'name', (first) => `is the name of ${first} too: every key has its own`),
    ...repeated(
      hashes,
      path,
      'hash',
      (first) => `is the hash of ${first} too: make a key for each with \`lanyard key NAME\``,
    ),
    ...unknown,
  ];
}

function models(file: Record<string, unknown>): Finding[] {
  const models = Object.entries(record(file['models'])).map(([name, model]) => {
    const path: Path = ['models', name];
    return Array.isArray(model)
      ? { name, serve: list(model), fallback: [], at: path, on: path }
      : {
          name,
          serve: list(record(model)['serve']),
          fallback: list(record(model)['fallback']),
          at: [...path, 'serve'],
          on: [...path, 'fallback'],
        };
  });
  const names = models.map(({ name }) => name);
  const backends = Object.keys(record(file['backends']));
  const findings = models.flatMap(({ serve, fallback, at, on }) => [
    ...serve.flatMap((item, index) => undeployed(item, [...at, index], backends)),
    ...serve.flatMap((item, index) => misplaced(item, [...at, index], record(file['backends']))),
    ...repeated(serve.map(placeOf), at, undefined, (first) => `is ${first} again: name each deployment once`),
    ...fallback.flatMap((item, index) => unknownModel(item, [...on, index], names)),
    ...repeated(fallback.map(text), on, undefined, (first) => `is ${first} again: name each model once`),
  ]);
  return [...findings, ...circles(new Map(models.map(({ name, fallback }) => [name, fallback.map(text)])))];
}

/** What means nothing without `batch:`, or without `cache:`. */
function batches(file: Record<string, unknown>): Finding[] {
  const missing = (value: unknown, path: Path, needs: string): Finding[] =>
    value === undefined || value === 'direct' || value === '' || Object.hasOwn(file, needs)
      ? []
      : [{ path, message: `needs \`${needs}:\` in this file: add it (\`${needs}: {}\` takes every default)` }];
  const modes = (part: unknown, path: Path): Finding[] => {
    const { mode } = record(part);
    return missing(mode, [...path, 'mode'], mode === 'cache' ? 'cache' : 'batch');
  };
  return [
    ...list(file['listen']).flatMap((one, index) => modes(one, ['listen', index])),
    ...list(record(file['auth'])['keys']).flatMap((one, index) => modes(one, ['auth', 'keys', index])),
    ...Object.entries(record(file['models'])).flatMap(([name, one]) => modes(one, ['models', name])),
    ...Object.entries(record(file['backends'])).flatMap(([name, one]) =>
      missing(record(one)['batch'], ['backends', name, 'batch'], 'batch'),
    ),
    ...missing(file['database'], ['database'], 'batch'),
  ];
}

function undeployed(item: unknown, path: Path, backends: readonly string[]): Finding[] {
  const written = placeOf(item) ?? '';
  const slash = written.indexOf('/');
  const backend = written.slice(0, Math.max(slash, 0));
  if (backend === '' || backends.includes(backend)) return [];
  if (backends.length === 0) {
    return [
      { path, message: `names the backend "${shown(backend)}", and the file has no \`backends:\`: add it there` },
    ];
  }
  const close = suggestion(backend, backends) || '.';
  const message = `names an unknown backend "${shown(backend)}"${close} Backends of this file: ${backends.map(shown).join(', ')}`;
  return [{ path, message }];
}

/** What only Ollama takes, said of another engine. */
function misplaced(item: unknown, path: Path, backends: Record<string, unknown>): Finding[] {
  const place = placeOf(item) ?? '';
  const engine = text(record(backends[place.slice(0, Math.max(place.indexOf('/'), 0))])['engine']) ?? 'auto';
  if (engine === 'ollama' || engine === 'auto') return [];
  return ['num_ctx', 'keep_alive'].flatMap((option) =>
    Object.hasOwn(record(item), option)
      ? [{ path: [...path, option], message: `is for engine: ollama, and the backend is ${shown(engine)}: remove it` }]
      : [],
  );
}

function unknownModel(item: unknown, path: Path, names: readonly string[]): Finding[] {
  const name = text(item);
  if (name === undefined || names.includes(name)) return [];
  const message = `names an unknown model "${shown(name)}"${suggestion(name, names) || ':'} it must be one of \`models\``;
  return [{ path, message }];
}

/** Fallbacks that lead back to where they began: each circle once, at the step that closes it. */
function circles(fallbacks: ReadonlyMap<string, readonly (string | undefined)[]>): Finding[] {
  const findings: Finding[] = [];
  const done = new Set<string>();
  const way: string[] = [];
  const follow = (name: string): void => {
    way.push(name);
    for (const [index, next] of (fallbacks.get(name) ?? []).entries()) {
      if (next === undefined || done.has(next) || !fallbacks.has(next)) continue;
      const begin = way.indexOf(next);
      if (begin < 0) {
        follow(next);
        continue;
      }
      const circle = [...way.slice(begin), next].map(shown).join(' → ');
      findings.push({ path: ['models', name, 'fallback', index], message: `leads back to where it began: ${circle}` });
    }
    way.pop();
    done.add(name);
  };
  for (const name of fallbacks.keys()) if (!done.has(name)) follow(name);
  return findings;
}

/** `backend/name-there`, alone or with options. */
function placeOf(item: unknown): string | undefined {
  return text(item) ?? text(record(item)['deployment']);
}

/** A finding for every word that stood before, at `path[index].key`. */
function repeated(
  words: readonly (string | undefined)[],
  path: Path,
  key: string | undefined,
  message: (first: string) => string,
): Finding[] {
  return words.flatMap((word, index): Finding[] => {
    const first = word === undefined ? index : words.indexOf(word);
    if (first === index) return [];
    return [{ path: [...path, index, ...(key === undefined ? [] : [key])], message: message(label([...path, first])) }];
  });
}

function record(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : {};
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

function isName(value: unknown): value is string | number {
  return typeof value === 'string' || typeof value === 'number';
}

// nginx' configuration language, as far as it has to be read: words, quotes, comments, blocks; and what `nginx -T` prints, which
// is every file that is included, one after the other.

export interface Directive {
  readonly name: string;
  readonly args: readonly string[];
  /** Of a block; `undefined` for a simple directive. */
  readonly block: readonly Directive[] | undefined;
}

const FILE_MARK = /^# configuration file (.*):$/;
/** Files that include each other would never end; nginx itself refuses them. */
const DEPTH_MAX = 16;

/** The whole configuration with its includes put in; `text` is one nginx.conf, or what `nginx -T` printed. @throws SyntaxError */
export function parseNginx(text: string): readonly Directive[] {
  const files = filesOf(text);
  const [main] = files.keys();
  if (main === undefined) return [];
  const folder = main.slice(0, main.lastIndexOf('/') + 1);
  const include = (directives: readonly Directive[], depth: number): Directive[] =>
    directives.flatMap(({ name, args, block }) => {
      if (name !== 'include' || depth > DEPTH_MAX) return [{ name, args, block: block && include(block, depth) }];
      const pattern = args[0] ?? '';
      const wanted = globOf(pattern.startsWith('/') ? pattern : folder + pattern);
      return [...files].flatMap(([file, inner]) => (wanted.test(file) ? include(read(inner), depth + 1) : []));
    });
  return include(read(files.get(main) ?? ''), 0);
}

function filesOf(text: string): Map<string, string> {
  const files = new Map<string, string[]>();
  let lines: string[] | undefined;
  for (const line of text.split('\n')) {
    const mark = FILE_MARK.exec(line.trimEnd())?.[1];
    if (mark !== undefined) files.set(mark, (lines = []));
    else if (lines !== undefined) lines.push(line);
  }
  if (files.size === 0) return new Map([['nginx.conf', text]]);
  return new Map([...files].map(([name, all]) => [name, all.join('\n')]));
}

function globOf(pattern: string): RegExp {
  const escaped = pattern.replaceAll(/[.+^${}()|\\]/g, String.raw`\$&`);
  return new RegExp(`^${escaped.replaceAll('*', '[^/]*').replaceAll('?', '[^/]')}$`);
}

/** One file. */
function read(text: string): Directive[] {
  const words = wordsOf(text);
  let at = 0;
  const block = (nested: boolean): Directive[] => {
    const directives: Directive[] = [];
    let args: string[] = [];
    for (; at < words.length; at += 1) {
      const word = words[at] as Word;
      if (!word.mark) {
        args.push(word.text);
        continue;
      }
      if (word.text === '}') {
        if (!nested) throw new SyntaxError('a } too many');
        if (args.length > 0) throw new SyntaxError('a ; is missing before }');
        return directives;
      }
      const [name = '', ...rest] = args;
      args = [];
      if (word.text === ';') {
        if (name !== '') directives.push({ name, args: rest, block: undefined });
        continue;
      }
      at += 1;
      directives.push({ name, args: rest, block: block(true) });
    }
    if (nested) throw new SyntaxError('a } is missing');
    if (args.length > 0) throw new SyntaxError('a ; is missing at the end');
    return directives;
  };
  return block(false);
}

interface Word {
  readonly text: string;
  /** `{`, `}` or `;`, outside quotes. */
  readonly mark: boolean;
}

/** As ngx_conf_read_token: a word may hold `${name}`, quotes only count at a word's beginning, a backslash keeps the next character. */
function wordsOf(text: string): Word[] {
  const words: Word[] = [];
  const pattern =
    /\s+|#[^\n]*|"((?:[^"\\]|\\[^])*)"|'((?:[^'\\]|\\[^])*)'|([{};])|((?!["'])(?:\$\{[^}]*\}|\\[^]|[^\s{};\\])+)/gy;
  for (let match = pattern.exec(text); match !== null; match = pattern.exec(text)) {
    const [, double, single, mark, plain] = match;
    if (mark !== undefined) words.push({ text: mark, mark: true });
    const word = double ?? single ?? plain;
    if (word !== undefined) words.push({ text: word.replaceAll(/\\([^])/g, '$1'), mark: false });
    if (pattern.lastIndex === text.length) return words;
  }
  if (text !== '') throw new SyntaxError('a quote is not closed');
  return words;
}

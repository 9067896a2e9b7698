// nginx configurations as crossplane, F5's parser of them, reads them: a tree of statements, and its faults.
// `node scripts/setup.ts` puts crossplane into .cache/python.
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const PYTHON = fileURLToPath(new URL('../../.cache/python/bin/python', import.meta.url));

/** Why nothing can be parsed here; `undefined` when it can. */
export const WHY_NOT = existsSync(PYTHON) ? undefined : 'crossplane is not installed: run `node scripts/setup.ts`';

export interface Statement {
  readonly directive: string;
  readonly args: readonly string[];
  readonly line: number;
  /** What stands between its braces, where it has any. */
  readonly block?: readonly Statement[];
}

/** A statement, and the blocks around it, outermost first. */
export interface Place {
  readonly statement: Statement;
  readonly around: readonly Statement[];
}

export interface Parsed {
  readonly tree: readonly Statement[];
  /** Syntax, wrong contexts, wrong numbers of arguments; and, outside `map`, directives crossplane does not know. */
  readonly faults: readonly string[];
}

// crossplane's own strict mode takes the lines of a `map` for directives, so what it knows is asked of its table.
const SCRIPT = `
import crossplane, json, os, sys, tempfile
from crossplane.analyzer import DIRECTIVES

def unknown(statements):
    for statement in statements:
        if statement["directive"] not in DIRECTIVES:
            yield 'unknown directive "%s" on line %d' % (statement["directive"], statement["line"])
        if statement["directive"] != "map":
            yield from unknown(statement.get("block", []))

answers = []
for text in json.load(sys.stdin):
    with tempfile.TemporaryDirectory() as folder:
        name = os.path.join(folder, "nginx.conf")
        with open(name, "w") as file:
            file.write(text)
        payload = crossplane.parse(name, single=True)
    tree = payload["config"][0]["parsed"]
    faults = [error["error"].replace(name, "nginx.conf") for error in payload["errors"]]
    answers.append({"tree": tree, "faults": faults + list(unknown(tree))})
json.dump(answers, sys.stdout)
`;

export function parseNginx(texts: readonly string[]): Parsed[] {
  const input = JSON.stringify(texts);
  return JSON.parse(execFileSync(PYTHON, ['-c', SCRIPT], { input, encoding: 'utf8' })) as Parsed[];
}

export function placesIn(block: readonly Statement[], around: readonly Statement[]): Place[] {
  return block.flatMap((statement) => [
    { statement, around },
    // The lines of a map are data.
    ...(statement.directive === 'map' ? [] : placesIn(statement.block ?? [], [...around, statement])),
  ]);
}

export function named(places: readonly Place[], directive: string): Statement[] {
  return places.filter(({ statement }) => statement.directive === directive).map(({ statement }) => statement);
}

export function inner(around: readonly Statement[]): string | undefined {
  return around.at(-1)?.directive;
}

/** What holds here: of the innermost block that has any. */
export function effective(around: readonly Statement[], directive: string): readonly Statement[] {
  for (const { block = [] } of around.toReversed()) {
    const own = block.filter((statement) => statement.directive === directive);
    if (own.length > 0) return own;
  }
  return [];
}

export function spelled({ directive, args }: Statement): string {
  return [directive, ...args].join(' ');
}

// Runs every example as a user would (`npm run test:examples`), against a gateway and a fake engine of its own. An example
// whose toolchain is missing is left out and named. Ends with 1 when one fails, or when something stands in examples/ that
// nothing here runs, or that its README.md does not name. Names after the command choose examples: `npm run test:examples -- go retry`;
// with --all a missing toolchain is a failure too.
import { globSync, readFileSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { play } from './examples/scene.ts';
import { openStage } from './examples/stage.ts';
import { EXAMPLES } from './examples/table.ts';
import { build, ROOT, TOOLCHAINS, type Language } from './examples/toolchains.ts';

/** What stands beside examples and is none; and what people's own builds leave. */
const BESIDE = new Set(['README.md', 'go.sum', 'Cargo.lock']);
const BUILT = /\/(target|node_modules|__pycache__)\//;

const counts = { passed: 0, failed: 0, left_out: 0 };
const args = process.argv.slice(2);
const all = args.includes('--all');
await runAll(args.filter((arg) => arg !== '--all'));
console.log(`examples: ${counts.passed} passed, ${counts.failed} failed, ${counts.left_out} left out`);
process.exitCode = counts.failed === 0 ? 0 : 1;

async function runAll(names: readonly string[]): Promise<void> {
  const chosen = EXAMPLES.filter(({ file }) => names.length === 0 || names.some((name) => file.includes(name)));
  if (chosen.length === 0) fail(names.join(' '), 'there is no such example');
  for (const file of strays()) fail(file, 'scripts/examples/table.ts does not run it');
  const readme = readFileSync(join(ROOT, 'examples', 'README.md'), 'utf8');
  for (const { file } of EXAMPLES) {
    if (!readme.includes(`(${file.replace('examples/', '')})`)) fail(file, 'examples/README.md does not link to it');
  }

  const builds = new Map<Language, string | undefined>();
  for (const language of new Set(chosen.map((example) => example.language))) {
    builds.set(language, build(TOOLCHAINS[language]));
  }
  await using stage = await openStage();
  for (const { file, language, scenes } of chosen) {
    const { program, missing, command } = TOOLCHAINS[language];
    const unbuilt = builds.get(language);
    if (program === undefined && all) {
      fail(file, missing);
      continue;
    }
    if (program === undefined) {
      counts.left_out += 1;
      console.log(`left out  ${file}: ${missing}`);
      continue;
    }
    if (unbuilt !== undefined) {
      fail(file, unbuilt);
      continue;
    }
    const faults: string[] = [];
    for (const scene of scenes) {
      const fault = await play(scene, command(program, file), stage);
      if (fault !== undefined) faults.push(`${scene.title}: ${fault}`);
    }
    if (faults.length > 0) {
      fail(file, faults.join('\n'));
      continue;
    }
    counts.passed += 1;
    console.log(`passed    ${file} (${scenes.map(({ title }) => title).join(', ')})`);
  }
}

function fail(file: string, why: string): void {
  counts.failed += 1;
  console.log(`FAILED    ${file}: ${why.trimEnd()}`);
}

/** Files in examples/ that are neither run nor built from. */
function strays(): readonly string[] {
  const known = new Set(EXAMPLES.map(({ file }) => file));
  for (const { build: built } of Object.values(TOOLCHAINS)) if (built !== undefined) known.add(built.manifest);
  return globSync('examples/**/*', { cwd: ROOT })
    .filter((file) => statSync(join(ROOT, file)).isFile())
    .filter((file) => !known.has(file) && !BESIDE.has(basename(file)) && !BUILT.test(file));
}

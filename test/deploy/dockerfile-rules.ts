// What must hold for deploy/Dockerfile, as a function of its text and that of .dockerignore.
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { DockerfileParser, Keyword, type JSONInstruction } from 'dockerfile-ast';

const KNOWN: readonly string[] = Object.values(Keyword);
const here = (name: string): string => fileURLToPath(new URL(`../../${name}`, import.meta.url));

/** Every rule that is broken, in a sentence. */
export function dockerfileFaults(text: string, ignore: string): string[] {
  const file = DockerfileParser.parse(text);
  const all = file.getInstructions();
  const faults: string[] = [];
  const say = (broken: boolean, fault: string): void => void (broken && faults.push(fault));

  for (const one of all) {
    const keyword = one.getKeyword();
    say(!KNOWN.includes(keyword), `${one.getInstruction()} is no instruction`);
    say(one.getInstruction() !== keyword, `${one.getInstruction()} is not written in capitals`);
    say(one.getArguments().length === 0, `${keyword} says nothing`);
    say(keyword === 'ADD', 'ADD fetches and unpacks; COPY does what it says');
    say(keyword === 'VOLUME', 'VOLUME makes volumes that nobody asked for');
    const words = one.getArgumentsContent() ?? '';
    say(keyword === 'RUN' && /\b(curl|wget)\b|\|\s*(ba)?sh\b/.test(words), 'RUN takes what the network gives it');
    say(keyword === 'RUN' && /\bnpm (install|i)\b/.test(words), 'RUN npm install does not keep to the lock file');
    say(keyword === 'RUN' && words.includes('npm ci') && !words.includes('--ignore-scripts'), 'npm ci runs scripts');
    say(/(KEY|TOKEN|PASSWORD|SECRET)\s*=/i.test(words) && keyword !== 'RUN', `${keyword} puts a secret into a layer`);
  }

  for (const from of file.getFROMs()) {
    say(!/^\d+\.\d+\.\d+(-[a-z]+)?$/.test(from.getImageTag() ?? ''), `the image ${from.getImage()} is not pinned`);
  }
  const user = all.findLast((one) => one.getKeyword() === 'USER');
  say(/^(root|0)?(:|$)/.test(user?.getArgumentsContent() ?? ''), 'it runs as root');
  const later = new Set(all.slice(user === undefined ? 0 : all.indexOf(user)).map((one) => one.getKeyword()));
  say(later.has('COPY') || later.has('RUN'), 'its user owns, or changes, what it runs');

  const lets_through = ignore
    .split('\n')
    .filter((line) => line.startsWith('!'))
    .map((line) => line.slice(1));
  say(!ignore.split('\n').includes('*'), '.dockerignore lets everything through');
  const copied = file.getCOPYs().flatMap((copy) =>
    copy
      .getArguments()
      .slice(0, -1)
      .map((one) => one.getValue()),
  );
  for (const one of copied) {
    say(!existsSync(here(one)), `${one} is not in the repository`);
    say(!lets_through.includes(one.replace(/^\.\//, '')), `${one} does not get through .dockerignore`);
  }
  for (const one of lets_through) say(!copied.includes(one), `${one} gets through .dockerignore for nothing`);

  for (const [name, found] of [
    ['CMD', file.getCMDs()],
    ['ENTRYPOINT', file.getENTRYPOINTs()],
  ] as const) {
    say(found.length !== 1 || !isExec(found[0]), `${name} is not one, without a shell`);
  }
  const [health, ...more] = file.getHEALTHCHECKs();
  say(health?.getSubcommand()?.getValue() !== 'CMD' || more.length > 0, 'it has no one HEALTHCHECK');
  say(healthOf(text) === undefined, 'HEALTHCHECK needs a shell');
  return faults;
}

/** The command that asks for its health, or `undefined` where a shell would read it. */
export function healthOf(text: string): readonly string[] | undefined {
  const words = DockerfileParser.parse(text).getHEALTHCHECKs()[0]?.getRawArgumentsContent() ?? '';
  try {
    return JSON.parse(/(?:^|\s)CMD (\[.*\])$/s.exec(words)?.[1] ?? '') as string[];
  } catch {
    return undefined;
  }
}

function isExec(instruction: JSONInstruction | undefined): boolean {
  return (
    instruction !== undefined && instruction.getJSONStrings().length > 0 && instruction.getClosingBracket() !== null
  );
}

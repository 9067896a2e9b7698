// The rooms of ARCHITECTURE.md import downwards only, and each dependency has one door. The linter holds them to it; this
// holds the linter to it: a pattern that it silently ignores would pass for a rule.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished, test } from 'vitest';

const ROOT = fileURLToPath(new URL('../', import.meta.url));

/** A file of the room, what it may import, and what it may not. */
const ROOMS: readonly { file: string; may: readonly string[]; never: readonly string[] }[] = [
  { file: 'types.ts', may: [], never: ['node:fs', './wire/errors.ts', 'zod'] },
  {
    file: 'wire/sse.ts',
    may: ['node:crypto', './body.ts', '../types.ts'],
    never: ['yaml', '../steps/route.ts', '../ops/log.ts', '../gateway.ts', 'undici'],
  },
  {
    file: 'config/load.ts',
    may: ['node:fs', './schema.ts', '../types.ts', 'zod', 'yaml'],
    never: ['../wire/errors.ts', '../cli/check.ts', 'undici'],
  },
  {
    file: 'import/litellm.ts',
    may: ['node:path', './source.ts', '../types.ts', '../config/load.ts'],
    never: ['yaml', '../fleet/fleet.ts', '../cli/import.ts'],
  },
  {
    file: 'doctor/backends.ts',
    may: ['node:os', './finding.ts', '../types.ts', '../config/load.ts', '../fleet/http.ts', '../wire/address.ts'],
    never: ['undici', 'ioredis', '../gateway.ts', '../cli/doctor.ts', '../steps/route.ts'],
  },
  {
    file: 'store/limits.ts',
    may: ['node:fs', './gcra.ts', '../wire/errors.ts', '../ops/log.ts', 'ioredis'],
    never: ['undici', '../fleet/fleet.ts', '../edge/reply.ts', '../serve.ts'],
  },
  {
    file: 'fleet/http.ts',
    may: ['node:tls', './fault.ts', '../wire/sse.ts', '../ops/log.ts'],
    never: ['ioredis', '../store/limits.ts', '../steps/route.ts', '../edge/reply.ts'],
  },
  {
    file: 'fleet/engines/vllm.ts',
    may: ['./engine.ts', '../../types.ts', '../../wire/record.ts'],
    never: ['node:fs', '../http.ts', '../../ops/log.ts'],
  },
  {
    file: 'dialects/ollama.ts',
    may: ['./dialect.ts', '../types.ts', '../wire/record.ts'],
    never: ['node:net', '../fleet/http.ts', '../steps/relay.ts'],
  },
  {
    file: 'batch/contents.ts',
    may: ['node:crypto', './db/open.ts', 'kysely', 'kysely/migration', '@fastify/busboy', '../types.ts'],
    never: [
      'pg',
      'node:sqlite',
      'ioredis',
      'koa',
      '../serve.ts',
      '../gateway.ts',
      '../fleet/fleet.ts',
      '../store/store.ts',
    ],
  },
  {
    file: 'batch/records/lines.ts',
    may: ['kysely', '../tables.ts', '../db/open.ts', '../../types.ts', '../../wire/jsonl.ts'],
    never: ['pg', 'koa', '../../fleet/fleet.ts', '../../steps/route.ts'],
  },
  {
    file: 'cache/cache.ts',
    may: ['node:crypto', './recent.ts', '../types.ts', '../wire/body.ts'],
    never: ['kysely', 'ioredis', '../store/store.ts', '../batch/batching.ts'],
  },
  {
    file: 'batch/db/open.ts',
    may: ['node:path', 'node:sqlite', './link.ts', 'kysely', 'kysely/migration', 'pg'],
    never: ['../contents.ts', '../../types.ts', '../../ops/log.ts', 'ioredis'],
  },
  { file: 'fleet/fleet.ts', may: ['./backend.ts', '../types.ts'], never: ['undici'] },
  {
    file: 'ops/log.ts',
    may: ['node:fs', './metrics.ts', '../wire/errors.ts', '../types.ts', 'prom-client'],
    never: ['../fleet/fleet.ts', 'koa', 'pino'],
  },
  {
    file: 'edge/reply.ts',
    may: ['node:http', './cors.ts', '../wire/errors.ts', '../ops/log.ts', 'koa'],
    never: ['../fleet/fleet.ts', '../steps/relay.ts', 'undici'],
  },
  {
    file: 'embed/embed.ts',
    may: ['node:crypto', './inputs.ts', '../fleet/answer.ts', '../wire/body.ts', '../types.ts'],
    never: ['../steps/dispatch.ts', '../serve.ts', '../edge/reply.ts'],
  },
  {
    file: 'steps/relay.ts',
    may: ['../types.ts', '../fleet/http.ts', '../edge/reply.ts', '../store/limits.ts', '../wire/sse.ts'],
    never: ['./admit.ts', '../serve.ts', '../app.ts', '../pages/models.ts', 'undici', 'koa'],
  },
  {
    file: 'pages/models.ts',
    may: ['../fleet/fleet.ts', '../wire/glob.ts', '../types.ts'],
    never: ['../steps/route.ts', '../app.ts', '../gateway.ts', 'yaml'],
  },
  {
    file: 'serve.ts',
    may: ['./types.ts', './steps/admit.ts', './edge/reply.ts', './fleet/fleet.ts', './ops/log.ts'],
    never: ['./app.ts', './gateway.ts', './pages/models.ts', './cli/serve.ts', 'koa'],
  },
  {
    file: 'app.ts',
    may: ['node:http', 'koa', '@koa/router', './serve.ts', './pages/models.ts', './steps/identify.ts'],
    never: ['./gateway.ts', './cli/serve.ts', './doctor/doctor.ts', 'undici'],
  },
  { file: 'gateway.ts', may: ['node:net', './app.ts', './fleet/fleet.ts'], never: ['undici', 'koa', 'ioredis'] },
  {
    file: 'cli/serve.ts',
    may: ['node:fs', './banner.ts', '../gateway.ts'],
    never: ['yaml', 'zod', 'undici', 'ink', 'react'],
  },
  { file: 'cli/monitor.ts', may: ['node:util', './monitor/view.ts', './gateway-api.ts'], never: ['ink', 'react'] },
  { file: 'cli/batch/wait.ts', may: ['node:util', '../gateway-api.ts', '../../doctor/ask.ts'], never: ['ink', 'zod'] },
  {
    file: 'cli/monitor/screen.ts',
    may: ['ink', 'react', './view.ts', '../batch/record.ts', '../gateway-api.ts'],
    never: ['yaml', 'undici', 'koa'],
  },
];

test.for(ROOMS)('the linter keeps src/$file to what its room may import', ({ file, may, never }) => {
  const folder = mkdtempSync(join(tmpdir(), 'lanyard-boundaries-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  cpSync(`${ROOT}.oxlintrc.json`, `${folder}/.oxlintrc.json`);
  const path = `${folder}/src/${file}`;
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, [...may, ...never].map((from) => `import '${from}';\n`).join(''));
  const { stdout } = spawnSync(`${ROOT}node_modules/.bin/oxlint`, ['--format=unix', 'src'], {
    cwd: folder,
    encoding: 'utf8',
  });
  const all = [...may, ...never];
  const refused = [...stdout.matchAll(/:(\d+):\d+: .*no-restricted-imports/g)].map(([, line]) => all[Number(line) - 1]);
  expect(new Set(refused)).toEqual(new Set(never));
});

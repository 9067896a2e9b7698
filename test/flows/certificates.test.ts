// Certificates whose expiry is a metric: real ones by openssl, replaced, broken and taken away while the gateway runs.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { openGateway, stageConfig, type Stage } from '../stage/gateway.ts';
import { findProgram } from '../stage/program.ts';

const EXPIRY = 'lanyard_certificate_expiry_timestamp_seconds';
const READABLE = 'lanyard_certificate_readable';
const NO_ENGINE = 'backends: { none: { url: "http://127.0.0.1:1" } }\n';

function openFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'lanyard-certificates-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  return folder;
}

/** Writes a certificate and its key into one file, as some servers want them; when it expires, by openssl's own words. */
function make(file: string, days: number): number {
  const request = `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=lanyard -days ${days}`;
  execFileSync(findProgram('openssl'), [...request.split(' '), '-keyout', `${file}.key`, '-out', file], {
    stdio: 'pipe',
  });
  writeFileSync(file, readFileSync(`${file}.key`, 'utf8') + readFileSync(file, 'utf8'));
  const end = execFileSync(findProgram('openssl'), ['x509', '-enddate', '-noout', '-in', file], { encoding: 'utf8' });
  return Date.parse(end.replace('notAfter=', '')) / 1000;
}

async function watching(...files: string[]): Promise<Stage> {
  return await openGateway(`${NO_ENGINE}metrics: { certificates: ${JSON.stringify(files)} }`);
}

/** The samples of a metric by file. */
async function shown({ url }: Stage, name: string): Promise<Record<string, number>> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const lines = text.matchAll(new RegExp(`^${name}\\{file="(.*)"\\} (\\S+)$`, 'gm'));
  return Object.fromEntries([...lines].map(([, file, value]) => [file, Number(value)]));
}

test('each file tells when the first of its certificates expires, and follows a renewal', async () => {
  const folder = openFolder();
  const [leaf, chain] = [join(folder, 'leaf.pem'), join(folder, 'chain.pem')];
  const [soon, late] = [make(leaf, 10), make(chain, 90)];
  const gateway = await watching(leaf, chain);
  expect(await shown(gateway, EXPIRY)).toEqual({ [leaf]: soon, [chain]: late });
  expect(await shown(gateway, READABLE)).toEqual({ [leaf]: 1, [chain]: 1 });

  // A chain is as good as its first to expire, wherever it stands.
  writeFileSync(chain, readFileSync(chain, 'utf8') + readFileSync(leaf, 'utf8'));
  expect(await shown(gateway, EXPIRY)).toEqual({ [leaf]: soon, [chain]: soon });

  const renewed = make(join(folder, 'new.pem'), 300);
  renameSync(join(folder, 'new.pem'), leaf);
  expect((await shown(gateway, EXPIRY))[leaf]).toBe(renewed);
  expect(gateway.logged()).not.toContain('certificate');
});

test.each<[what: string, write: (file: string) => void, reason: string]>([
  ['not there', () => undefined, 'ENOENT'],
  ['a folder', (file) => mkdirSync(file), 'not a file'],
  ['a pipe that nobody writes to', (file) => execFileSync('sh', ['-c', 'mkfifo "$0"', file]), 'not a file'],
  ['empty', (file) => writeFileSync(file, ''), 'no PEM certificate in it'],
  ['only a key', (file) => renameSync((make(file, 1), `${file}.key`), file), 'no PEM certificate in it'],
  ['cut short', (file) => writeFileSync(file, (make(file, 1), readFileSync(file, 'utf8').slice(0, -40))), 'no PEM'],
  ['broken', (file) => writeFileSync(file, `${BEGIN}\nTm90IG9uZQ==\n${END}\n`), 'a certificate in it is broken'],
  ['huge', (file) => writeFileSync(file, Buffer.alloc(1024 ** 2 + 1)), 'too large'],
])('a file that is %s shows as unreadable, and is told once', async (_, write, reason) => {
  const file = join(openFolder(), 'x.pem');
  write(file);
  const gateway = await watching(file);
  for (let scrape = 0; scrape < 3; scrape += 1) {
    expect(await shown(gateway, READABLE)).toEqual({ [file]: 0 });
    expect(await shown(gateway, EXPIRY)).toEqual({});
  }
  expect(gateway.logged().split('certificate cannot be read')).toHaveLength(2);
  expect(gateway.logged()).toContain(`"reason":"${reason}`);

  // Put right, it counts; gone again, it is told again.
  rmSync(file, { recursive: true, force: true });
  const expiry = make(file, 30);
  expect(await shown(gateway, EXPIRY)).toEqual({ [file]: expiry });
  rmSync(file);
  expect(await shown(gateway, READABLE)).toEqual({ [file]: 0 });
  expect(gateway.logged().split('certificate cannot be read')).toHaveLength(3);
});

const BEGIN = '-----BEGIN CERTIFICATE-----';
const END = '-----END CERTIFICATE-----';

test('a reload takes files on and lets them go', async () => {
  const folder = openFolder();
  const file = join(folder, 'x.pem');
  const expiry = make(file, 5);
  const gateway = await openGateway(NO_ENGINE);
  expect(await shown(gateway, READABLE)).toEqual({});
  await gateway.reload(stageConfig(`${NO_ENGINE}metrics: { certificates: ["${file}"] }`));
  expect(await shown(gateway, EXPIRY)).toEqual({ [file]: expiry });
  await gateway.reload(stageConfig(NO_ENGINE));
  expect([await shown(gateway, READABLE), await shown(gateway, EXPIRY)]).toEqual([{}, {}]);
});

// The environment's part in a configuration, the keys that are refused, and files that cannot be read.
import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ConfigError, configPath, loadConfig, parseConfig, readEnvironment } from '../../src/config/load.ts';
import { weakness } from '../../src/config/keys.ts';
import type { Config } from '../../src/types.ts';

const STRONG = 'sk-lanyard-Qm9vdHN0cmFwLW9mLWEtc3Ryb25nLWtleS0x';

function parse(text: string, env: Record<string, string> = {}): Config {
  return parseConfig(text, 'f.yaml', env);
}

function sha256(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

describe('the environment', () => {
  test('changes the first listener and the level of the log', () => {
    const config = parse('listen: [{ port: 1 }, { port: 2 }]\nlog: { level: ERROR }', {
      PORT: '8080',
      LOG_LEVEL: 'DEBUG',
    });
    expect(config.listen.map(({ port }) => port)).toEqual([8080, 2]);
    expect(config.log_level).toBe('DEBUG');
  });

  test('changes nothing with variables that are set to nothing', () => {
    expect(parse('', { PORT: '', LOG_LEVEL: '', LITELLM_MASTER_KEY: '' })).toEqual(parse(''));
  });

  test('cannot give the first listener the port of another', () => {
    expect(() => parse('listen:\n  - port: 1\n  - port: 2\n', { PORT: '2' })).toThrow(
      'f.yaml:3:11 listen[1].port is the port that PORT in the environment gives the first listener: change one of them',
    );
  });

  test.each([
    '',
    'auth: { master_key: "" }',
    'auth: { master_key: "${LITELLM_MASTER_KEY:-}" }',
    'auth: { master_key: "${LITELLM_MASTER_KEY}" }',
  ])('gives the master key to %j', (text) => {
    expect(parse(text, { LITELLM_MASTER_KEY: STRONG }).keys).toMatchObject([
      { name: 'master', digest: sha256(STRONG) },
    ]);
  });

  test('gives no master key to a file that has its own, nor looks at it', () => {
    const { keys } = parse(`auth: { master_key: "${STRONG}" }`, { LITELLM_MASTER_KEY: 'changeme' });
    expect(keys).toMatchObject([{ name: 'master', digest: sha256(STRONG) }]);
  });

  test('cannot make a person the master', () => {
    const text = `auth:\n  keys:\n    - name: alice\n      hash: "sha256:${sha256(STRONG).toString('hex')}"`;
    expect(() => parse(text, { LITELLM_MASTER_KEY: STRONG })).toThrow(
      'f.yaml:4:13 auth.keys[0].hash is the hash of the master key',
    );
  });

  test('with a weak master key stops the start and does not repeat it', () => {
    expect(() => parse('', { LITELLM_MASTER_KEY: 'sk-1234' })).toThrow(
      'environment: LITELLM_MASTER_KEY (also read from .env) is an example, not a secret; remove it, and a strong one is made at the start',
    );
  });
});

describe('weak keys', () => {
  test.each([
    'sk-1234',
    'sk-1234-change-me-to-secure-key',
    'changeme',
    'changeme-changeme-changeme',
    'YOUR_API_KEY',
    'sk-your-key-goes-right-here-1234',
    'sk-your-master-key-goes-here',
    'your-litellm-master-key-0',
    'nineteen-characters',
    'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',
    'sk-lanyard-00000000000000000000000000000000000000000000',
    'sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxx',
    'abababababababababababab',
    'sk-123456789012345678901234567890',
    'abcdefghijklmnopqrstuvwxyz',
    'a-placeholder-for-the-key',
    'correct horse battery staple',
    'schlüssel-schlüssel-schlüssel',
  ])('%s is refused in the file without being repeated', (key) => {
    expect(() => parse(`auth:\n  master_key: ${key}`)).toThrow(/^f\.yaml:2:15 auth\.master_key (is|repeats|holds) /);
    expect(weakness(key)).not.toContain(key);
  });

  test('a made key is not weak, nor is one from `openssl rand -hex 32`', () => {
    expect(weakness(STRONG)).toBeUndefined();
    expect(weakness(`sk-${sha256('x').toString('hex')}`)).toBeUndefined();
  });
});

describe('the path of the file', () => {
  test.each([
    [[], {}, 'config/lanyard.yaml'],
    [[], { LANYARD_CONFIG: 'a.yaml' }, 'a.yaml'],
    [[], { LANYARD_CONFIG: '' }, 'config/lanyard.yaml'],
    [['serve', '--config', 'b.yaml'], { LANYARD_CONFIG: 'a.yaml' }, 'b.yaml'],
    [['--config=b.yaml'], {}, 'b.yaml'],
  ])('of %j and %j is %s', (argv, env, path) => {
    expect(configPath(argv, env)).toBe(path);
  });

  test.each([[['--config']], [['--config=']], [['--config', '--verbose']], [['--config', 'a', '--config', 'b']]])(
    'of %j is refused',
    (argv) => {
      expect(() => configPath(argv, {})).toThrow(ConfigError);
    },
  );
});

describe('files', () => {
  let dir = '';
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'lanyard-config-'));
  });
  afterEach(() => {
    rmSync(dir, { recursive: true });
  });

  test('a configuration that is not there is told with how to make one', () => {
    expect(() => loadConfig(join(dir, 'none.yaml'), {})).toThrow(
      `${join(dir, 'none.yaml')}: there is no such file. An empty one is a valid configuration; config/lanyard.example.yaml shows every option`,
    );
  });

  test('a directory, a text that is not UTF-8 and a far too large file are no configuration', () => {
    expect(() => loadConfig(dir, {})).toThrow('is a directory');
    writeFileSync(join(dir, 'latin1'), Buffer.from([0x23, 0xe9]));
    expect(() => loadConfig(join(dir, 'latin1'), {})).toThrow('is not UTF-8 text');
    writeFileSync(join(dir, 'large'), '#'.repeat(1024 ** 2 + 1));
    expect(() => loadConfig(join(dir, 'large'), {})).toThrow('is larger than 1 MiB');
  });

  test('.env is read under the environment, and never overrides it', () => {
    writeFileSync(join(dir, '.env'), '# comment\nA=file\nexport B="two words"\nC=file\n');
    expect(readEnvironment(dir, { A: 'process', C: '', D: 'd', E: undefined })).toEqual({
      A: 'process',
      B: 'two words',
      C: '',
      D: 'd',
    });
  });

  test('no .env is no fault; one that is a directory is', () => {
    expect(readEnvironment(dir, { A: '1' })).toEqual({ A: '1' });
    mkdirSync(join(dir, '.env'));
    expect(() => readEnvironment(dir, {})).toThrow(`${join(dir, '.env')}: is a directory`);
  });

  test.skipIf(process.getuid?.() === 0)(
    'a .env that may not be read is a fault (root, who reads all, skips this)',
    () => {
      writeFileSync(join(dir, '.env'), 'A=1');
      chmodSync(join(dir, '.env'), 0);
      expect(() => readEnvironment(dir, {})).toThrow('cannot be read (EACCES)');
    },
  );
});

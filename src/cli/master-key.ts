// The master key of a gateway that was started without one: made once, kept in `.env`, shown once to a person.
import { join } from 'node:path';
import { parseEnv } from 'node:util';
import { changeDotenv, whyNotWritten, withVariable } from './dotenv.ts';
import { digest, makeKey, masterKey, weakness } from '../config/keys.ts';
import { ConfigError } from '../config/load.ts';
import type { Config, Key } from '../types.ts';

const NAME = 'LITELLM_MASTER_KEY';

interface Wanted {
  /** Where `.env` is. */
  readonly dir: string;
  readonly config: Config;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Whether `out` is read by a person at a terminal: only then is the key shown. */
  readonly tty: boolean;
  readonly out: (line: string) => void;
}

/**
 * The master key that the configuration lacks, made where there is none; `undefined` when it has one, or every listener is open.
 * @throws ConfigError that says why it cannot be kept, and what to do
 */
export async function ensureMasterKey({ dir, config, env, tty, out }: Wanted): Promise<Key | undefined> {
  if (config.keys.some(({ name }) => name === 'master')) return undefined;
  if (config.listen.every(({ auth }) => auth === 'open')) return undefined;
  const given = env[NAME];
  if (given !== undefined && given !== '') return checked(given, 'the environment');

  const path = join(dir, '.env');
  const { key, made } = await kept(path).catch((error: unknown) => {
    throw new ConfigError(
      [`No master key is set, and none can be kept in ${path}: ${whyNotWritten(error)}. ${REMEDY}`],
      {
        cause: error,
      },
    );
  });
  if (!made) return checked(key, path);
  out(newKeyTold(path, key, tty));
  return masterKey(digest(key));
}

/** The one sentence on a key that was just made. It is shown to a person only: other output is kept, and read by others. */
export function newKeyTold(path: string, key: string, tty: boolean): string {
  return tty
    ? `A master key was made and written to ${path}. It is shown only now: ${key}`
    : `A master key was made and written to ${path}, as ${NAME}.`;
}

const REMEDY = `Set ${NAME} in the environment (\`lanyard key NAME\` prints a key that can be used), or let this user write .env`;

/** The key that is in the file in the end, whoever put it there. */
function kept(path: string): Promise<{ key: string; made: boolean }> {
  return changeDotenv(path, (text) => {
    const found = parseEnv(text)[NAME] ?? '';
    if (found !== '') return { text, key: found, made: false };
    const key = makeKey();
    return { text: withVariable(text, NAME, key), key, made: true };
  });
}

function checked(key: string, where: string): Key {
  const weak = weakness(key);
  if (weak !== undefined)
    throw new ConfigError([`${NAME} in ${where} ${weak}; remove it, and a strong one is made at the start`]);
  return masterKey(digest(key));
}

// How commands change `.env`. Losing what stands in it, or two writers at once, would lock people out, so it is written whole
// or not at all, and by one process at a time: the new file is created exclusively beside the old one, which makes it the lock
// as well, and is then renamed onto it. It is private to its owner from the first byte.
import type { Stats } from 'node:fs';
import { lstat, open, readFile, rename, unlink } from 'node:fs/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { isDeepStrictEqual, parseEnv } from 'node:util';

/** Another process's writing takes milliseconds; what lies here longer was left by one that was killed. */
const LOCK_WAIT_MS = 2000;
const LOCK_POLL_MS = 25;

/**
 * Gives the text of the file at `path` (empty where there is none) to `change`, and writes the text it returns; nothing is
 * written where that is the same.
 * @returns what `change` returned, once its text is in the file
 * @throws what `whyNotWritten` can tell, and what `change` throws; the file then is as it was
 */
export async function changeDotenv<Changed extends { readonly text: string }>(
  path: string,
  change: (text: string) => Changed,
): Promise<Changed> {
  await existing(path); // Tells a symbolic link or a directory before anything is created.
  const beside = `${path}.new`;
  const file = await exclusive(beside);
  let renamed = false;
  try {
    // Only now, with the lock held, is what stands in the file the last word.
    const before = await existing(path);
    const text = before === undefined ? '' : await readFile(path, 'utf8');
    const changed = change(text);
    if (changed.text === text) return changed;
    await file.writeFile(changed.text);
    await file.chmod(0o600); // The mode given to open() is cut by the umask.
    const ours = await file.stat();
    if (before !== undefined && (before.uid !== ours.uid || before.gid !== ours.gid))
      await file.chown(before.uid, before.gid);
    await file.sync();
    await rename(beside, path);
    renamed = true;
    return changed;
  } finally {
    await file.close();
    if (!renamed) await unlink(beside);
  }
}

/**
 * The text with the variable set: in its line where there is one (two lines of one name would mislead whoever greps), else in
 * a new one. Every other line, what follows the value, and whether the last line ends, stay as they are. A value with spaces
 * is put in quotes, as shells, Compose and systemd read them.
 * @throws what `whyNotWritten` can tell, for a text in which nothing can be set
 */
export function withVariable(text: string, name: string, value: string): string {
  const written = /^[\w.:/@+-]*$/.test(value) ? value : `"${value}"`;
  const before = parseEnv(text);
  if (before[name] === value) return text;
  const sets = (changed: string): boolean => isDeepStrictEqual({ ...parseEnv(changed) }, { ...before, [name]: value });

  const line = new RegExp(`^([ \\t]*(?:export[ \\t]+)?${name}[ \\t]*=[ \\t]*)(${VALUE})(?=[ \\t]*(?:#.*)?\\r?$)`, 'gm');
  for (const { 0: all, 1: head = '', index } of [...text.matchAll(line)].toReversed()) {
    const changed = text.slice(0, index) + head.trimEnd() + written + text.slice(index + all.length);
    // What looks like its line may stand within a value of several lines.
    if (sets(changed)) return changed;
  }
  const newline = text.includes('\r\n') ? '\r\n' : '\n';
  const ended = text === '' || text.endsWith('\n');
  const longer = ended ? `${text}${name}=${written}${newline}` : `${text}${newline}${name}=${written}`;
  if (!sets(longer))
    throw new Refusal(`${name} cannot be set in what stands there; see whether every quote in it closes`);
  return longer;
}

/** Within one line: in quotes of either kind, or bare up to a comment. */
const VALUE = String.raw`"[^"\r\n]*"|'[^'\r\n]*'|[^\s"'#][^"'#\r\n]*?|`;

/** What kept the file from being written, in words for the operator. */
export function whyNotWritten(error: unknown): string {
  if (error instanceof Refusal) return error.message;
  const code = codeOf(error);
  return REASONS[code] ?? `writing failed (${code || 'for an unknown reason'})`;
}

/** What is at the path: a file of its own, or nothing. Through a link a key would end up somewhere nobody looked. */
async function existing(path: string): Promise<Stats | undefined> {
  const found = await lstat(path).catch((error: unknown) => {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  });
  if (found?.isSymbolicLink() === true)
    throw new Refusal('it is a symbolic link, and a key is not written through one');
  if (found?.isDirectory() === true) throw new Refusal('it is a directory');
  if (found !== undefined && !found.isFile()) throw new Refusal('it is not a file');
  return found;
}

async function exclusive(path: string) {
  for (let waited = 0; ; waited += LOCK_POLL_MS) {
    try {
      return await open(path, 'wx', 0o600);
    } catch (error) {
      if (codeOf(error) !== 'EEXIST') throw error;
      if (waited >= LOCK_WAIT_MS)
        throw new Refusal(`${path} is in the way, left by a start that was killed: remove it`);
    }
    await pause(LOCK_POLL_MS);
  }
}

/** Our own reason not to write. */
export class Refusal extends Error {}

const REASONS: Readonly<Record<string, string>> = {
  EACCES: 'this user may not write there',
  EPERM: 'this user may not write there',
  EROFS: 'the file system is read-only',
  ENOSPC: 'the disk is full',
  ENOENT: 'the directory does not exist',
  EBUSY: 'it is mounted as a single file and cannot be replaced',
};

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}

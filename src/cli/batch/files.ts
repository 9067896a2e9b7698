// Files of this machine: what is read is not there or not readable, and what is written is whole or not there.
import { createWriteStream } from 'node:fs';
import { access, constants, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { clean } from './text.ts';

/** A file of the user's own that cannot be used, in words. */
export class CannotRead extends Error {
  /** Anything but the system's refusal is a bug of ours, or another's fault, and stays what it is. */
  static from(name: string, error: unknown): unknown {
    const code = error instanceof Error && 'code' in error ? String(error.code) : '';
    const known = code in REASONS || (error instanceof Error && 'syscall' in error);
    return known ? new CannotRead(`${clean(name)} ${REASONS[code] ?? `cannot be used (${code})`}`) : error;
  }
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'is not there',
  EISDIR: 'is a directory',
  ENOTDIR: 'is in no directory',
  EACCES: 'may not be used by this user',
  EPERM: 'may not be used by this user',
  ENOSPC: 'finds no room on its disk',
};

/** Before hours are spent on what it is to hold. @throws CannotRead */
export async function canHold(path: string): Promise<void> {
  try {
    await access(dirname(path), constants.W_OK);
    if (
      await stat(path).then(
        (found) => found.isDirectory(),
        () => false,
      )
    )
      throw new CannotRead(`${path} is a directory`);
  } catch (error) {
    throw error instanceof CannotRead ? error : CannotRead.from(dirname(path), error);
  }
}

/** Whole or not at all, unless it is a pipe or a device. @throws CannotRead, or what `pieces` throws */
export async function save(path: string, pieces: AsyncIterable<Uint8Array>): Promise<void> {
  const plain = await stat(path).then(
    (found) => found.isFile(),
    () => true,
  );
  const target = plain ? `${path}.part` : path;
  try {
    await pipeline(pieces, createWriteStream(target));
    if (plain) await rename(target, path);
  } catch (error) {
    if (plain) await rm(target, { force: true });
    throw CannotRead.from(path, error);
  }
}

/** To standard output, which may be left early (`| head`): that is no failure. */
export async function pour(stdout: Writable, pieces: AsyncIterable<Uint8Array>): Promise<void> {
  try {
    await pipeline(pieces, stdout, { end: false });
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EPIPE')) throw error;
  }
}

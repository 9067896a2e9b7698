// The bytes of files: on this gateway's disk, or, where several gateways share a database, in it. Written whole or not at all:
// what is told as kept has been synced. A full disk is told before anything is accepted.
import { mkdir, open, readdir, rename, rm, stat, statfs, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import type { Database } from './db/open.ts';
import { full } from './fault.ts';
import type { Tables } from './tables.ts';

export interface Contents {
  /** Keeps all of it, and tells how many bytes that was. @throws GatewayError `insufficient_storage`, or what `source` throws */
  write(id: string, source: AsyncIterable<Buffer>): Promise<number>;
  read(id: string): AsyncIterable<Buffer>;
  /** @throws when so much is not there */
  slice(id: string, at: number, bytes: number): Promise<Buffer>;
  remove(id: string): Promise<void>;
  /** What was begun so long ago, or is no file any more. */
  stray(older_than: number, known: (ids: readonly string[]) => Promise<ReadonlySet<string>>): Promise<void>;
}

const PIECE_BYTES = 256 * 1024;
/** After so many bytes the disk is looked at again. */
const LOOK_BYTES = 32 << 20;

/** `free_min`: bytes that are left free. */
export async function contentsOnDisk(folder: string, free_min: () => number): Promise<Contents> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const pathOf = (id: string): string => join(folder, id);

  async function write(id: string, source: AsyncIterable<Buffer>): Promise<number> {
    const path = pathOf(id);
    const part = `${path}.part`;
    await refuseFull(folder, free_min());
    let file: FileHandle | undefined;
    let bytes = 0;
    let look_at = LOOK_BYTES;
    try {
      file = await open(part, 'wx', 0o600);
      for await (const piece of source) {
        await file.writeFile(piece);
        bytes += piece.length;
        if (bytes < look_at) continue;
        look_at += LOOK_BYTES;
        await refuseFull(folder, free_min());
      }
      await file.sync();
      await file.close();
      file = undefined;
      await rename(part, path);
      await syncFolder(folder);
      return bytes;
    } catch (error) {
      await file?.close().catch(() => undefined);
      await rm(part, { force: true });
      throw codeOf(error) === 'ENOSPC' || codeOf(error) === 'EDQUOT' ? full() : error;
    }
  }

  return {
    write,
    async *read(id) {
      const file = await open(pathOf(id));
      try {
        for (;;) {
          const piece = Buffer.allocUnsafe(PIECE_BYTES);
          const { bytesRead } = await file.read(piece, 0, PIECE_BYTES);
          if (bytesRead === 0) return;
          yield piece.subarray(0, bytesRead);
        }
      } finally {
        await file.close();
      }
    },
    async slice(id, at, bytes) {
      const file = await open(pathOf(id));
      try {
        const piece = Buffer.allocUnsafe(bytes);
        let had = 0;
        while (had < bytes) {
          const { bytesRead } = await file.read(piece, had, bytes - had, at + had);
          if (bytesRead === 0) throw new Error('the file is shorter than it was');
          had += bytesRead;
        }
        return piece;
      } finally {
        await file.close();
      }
    },
    remove: (id) => rm(pathOf(id), { force: true }),
    async stray(older_than, known) {
      const names = await readdir(folder);
      const old: string[] = [];
      for (const name of names) {
        const { mtimeMs } = await stat(join(folder, name)).catch(() => ({ mtimeMs: Infinity }));
        if (mtimeMs < older_than) old.push(name);
      }
      const kept = await known(old);
      for (const name of old) if (!kept.has(name)) await rm(join(folder, name), { force: true });
    },
  };
}

/** Rows of so many bytes: small enough to be read for one line of a file. */
const PART_BYTES = 256 * 1024;

/** PostgreSQL's. */
export function contentsInDatabase({ kysely: db, sql }: Database<Tables>): Contents {
  const partsOf = (file: string) => db.selectFrom('parts').where('file', '=', file);

  async function keep(file: string, n: number, bytes: Buffer): Promise<void> {
    await db.insertInto('parts').values({ file, n, bytes, written_at: Date.now() }).execute();
  }

  async function remove(id: string): Promise<void> {
    await db.deleteFrom('parts').where('file', '=', id).execute();
  }

  return {
    async write(id, source) {
      let total = 0;
      let n = 0;
      let waiting: Buffer = Buffer.alloc(0);
      try {
        for await (const piece of source) {
          total += piece.length;
          waiting = waiting.length === 0 ? Buffer.from(piece) : Buffer.concat([waiting, piece]);
          while (waiting.length >= PART_BYTES) {
            await keep(id, n, waiting.subarray(0, PART_BYTES));
            n += 1;
            waiting = waiting.subarray(PART_BYTES);
          }
        }
        if (waiting.length > 0) await keep(id, n, waiting);
        return total;
      } catch (error) {
        await remove(id).catch(() => undefined);
        throw error;
      }
    },
    async *read(id) {
      for (let n = 0; ; n += 1) {
        const row = await partsOf(id).where('n', '=', n).select('bytes').executeTakeFirst();
        if (row === undefined) return;
        yield row.bytes;
      }
    },
    async slice(id, at, bytes) {
      const pieces: Buffer[] = [];
      let had = 0;
      while (had < bytes) {
        const n = Math.floor((at + had) / PART_BYTES);
        const from = at + had - n * PART_BYTES;
        const wanted = Math.min(bytes - had, PART_BYTES - from);
        // Cut there: a line is small, and a part would be read, sent and thrown away for each.
        const row = await partsOf(id)
          .where('n', '=', n)
          .select(sql<Buffer>`substring(bytes from ${from + 1}::int for ${wanted}::int)`.as('piece'))
          .executeTakeFirst();
        if (row === undefined || row.piece.length < wanted) throw new Error('the file is shorter than it was');
        pieces.push(row.piece);
        had += wanted;
      }
      return pieces.length === 1 && pieces[0] !== undefined ? pieces[0] : Buffer.concat(pieces);
    },
    remove,
    async stray(older_than, known) {
      const rows = await db
        .selectFrom('parts')
        .select('file')
        .groupBy('file')
        .having(({ fn }) => fn.max('written_at'), '<', older_than)
        .execute();
      const ids = rows.map(({ file }) => file);
      const kept = await known(ids);
      for (const id of ids) if (!kept.has(id)) await remove(id);
    },
  };
}

async function refuseFull(folder: string, free_min: number): Promise<void> {
  const { bavail, bsize } = await statfs(folder);
  if (bavail * bsize < free_min) throw full();
}

/** A new name is on disk only once its folder is. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** The file is not there any more, or not all of it. */
export function isGone(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  return 'code' in error ? error.code === 'ENOENT' : error.message.startsWith('the file is shorter');
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}

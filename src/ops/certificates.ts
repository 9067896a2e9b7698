// When the certificates of a file expire: for the metric, so that nobody learns it from a browser. Files are read when
// Prometheus asks, and anew only once they have changed.
import { X509Certificate } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { setTimeout as pause } from 'node:timers/promises';
import type { Log } from './log.ts';

export interface CertificateNow {
  /** The path as it is configured. */
  readonly file: string;
  /** Unix time at which the first of its certificates expires; `undefined` while it cannot be read. */
  readonly expires_at_s: number | undefined;
}

export interface Certificates {
  /** Never rejects, and waits a second at most: a file that cannot be read is told in the log, once until it can be again. */
  read(files: readonly string[]): Promise<readonly CertificateNow[]>;
}

interface Known {
  /** What tells one content from the next: certbot and `mv` replace files, others write into them. */
  readonly version: string;
  readonly expires_at_s: number;
}

/** Prometheus gives up after ten seconds; nobody else is to wait for one file. */
const READ_MS = 1_000;
/** A chain has a few kilobytes; a whole bundle of root certificates has 200. */
const FILE_BYTES_MAX = 1024 ** 2;

export function openCertificates(log: Log): Certificates {
  const known = new Map<string, Known>();
  /** One at a time of each file: several figures ask at once, and a file system that hangs is asked only once. */
  const under_way = new Map<string, Promise<CertificateNow>>();
  const told = new Map<string, string>();

  async function readOne(file: string): Promise<CertificateNow> {
    try {
      const status = await stat(file);
      const version = `${status.mtimeMs} ${status.ino} ${status.size}`;
      let found = known.get(file);
      if (found?.version !== version) {
        // A pipe would be waited for without end.
        if (!status.isFile()) throw new Unreadable('not a file');
        if (status.size > FILE_BYTES_MAX) throw new Unreadable('too large');
        found = { version, expires_at_s: firstExpiry(await readFile(file, 'latin1')) };
        known.set(file, found);
      }
      told.delete(file);
      return { file, expires_at_s: found.expires_at_s };
    } catch (error) {
      const reason = reasonOf(error);
      known.delete(file);
      if (told.get(file) !== reason) log.warn('certificate cannot be read', { file, reason });
      told.set(file, reason);
      return { file, expires_at_s: undefined };
    }
  }

  function asked(file: string): Promise<CertificateNow> {
    const before = under_way.get(file);
    if (before !== undefined) return before;
    const reading = readOne(file).finally(() => under_way.delete(file));
    under_way.set(file, reading);
    return reading;
  }

  return {
    async read(files) {
      const over = new AbortController();
      const late = pause(READ_MS, undefined, { signal: over.signal, ref: false }).catch(() => undefined);
      const slow = (file: string) => late.then((): CertificateNow => ({ file, expires_at_s: undefined }));
      const all = await Promise.all(files.map((file) => Promise.race([asked(file), slow(file)])));
      over.abort();
      return all;
    },
  };
}

/** The chain is as good as its first certificate to expire. @throws Unreadable */
function firstExpiry(pem: string): number {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  if (blocks.length === 0) throw new Unreadable('no PEM certificate in it');
  const expiries = blocks.map((block) => {
    try {
      return new X509Certificate(block).validToDate.getTime() / 1000;
    } catch {
      throw new Unreadable('a certificate in it is broken');
    }
  });
  return Math.min(...expiries);
}

class Unreadable extends Error {}

/** The file may hold a private key beside its certificates: nothing of its content is told. */
function reasonOf(error: unknown): string {
  if (error instanceof Unreadable) return error.message;
  return error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
}

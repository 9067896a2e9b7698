// The keys that are accepted, by digest. Keys themselves are never kept: what arrives is hashed, and digests compared.
import { hash, timingSafeEqual } from 'node:crypto';
import type { Key } from '../types.ts';

export interface Keyring {
  /** The key with this text, or `undefined`. */
  find(text: string): Key | undefined;
}

/**
 * Looking a SHA-256 digest up in a map tells an attacker nothing: he cannot choose its bits. The comparison that decides
 * is over the whole digest and in constant time (LiteLLM CVE-2026-35030 cached by a prefix of the key).
 */
export function keyring(keys: readonly Key[]): Keyring {
  const by_digest = new Map(keys.map((key) => [key.digest.toString('hex'), key]));
  return {
    find: (text) => {
      const digest = hash('sha256', text, 'hex');
      const key = by_digest.get(digest);
      return key !== undefined && timingSafeEqual(key.digest, Buffer.from(digest, 'hex')) ? key : undefined;
    },
  };
}

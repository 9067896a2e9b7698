// A file of certificates named in the configuration: read when that is, so that a missing one is told with its line, and a
// changed one counts from the next reload.
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { z } from 'zod';

/** The text of the PEM file at this path; none where it is empty. */
export function certificates(path: z.ZodString) {
  return path.transform((name, context) => {
    if (name === '') return undefined;
    try {
      const text = readFileSync(name, 'utf8');
      for (const [one] of text.matchAll(/-----BEGIN CERTIFICATE-----[^]*?-----END CERTIFICATE-----/g)) {
        void new X509Certificate(one);
      }
      if (text.includes('-----BEGIN CERTIFICATE-----')) return text;
      context.addIssue({ code: 'custom', message: 'is a file without a certificate in PEM form' });
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? String(error.code) : '';
      const message =
        code === 'ENOENT' ? 'names a file that is not there' : `names a file that cannot be read (${code})`;
      context.addIssue({ code: 'custom', message });
    }
    return '';
  });
}

// `lanyard key NAME`: makes a key for a person or a tool, shows it once, and prints the lines to paste. The gateway keeps
// only the hash, so a key that is lost is made anew.
import { toStandardError } from './standard-error.ts';
import { digest, makeKey } from '../config/keys.ts';
import { nameFault } from '../config/schema.ts';

/**
 * @param out one line of standard output; the key is the first of them, alone
 * @param fail one line of standard error
 * @returns the exit code: 0, or 2 for a command that is not understood
 */
export function key(
  argv: readonly string[],
  out: (line: string) => void,
  fail: (line: string) => void = toStandardError,
): number {
  const [name, ...more] = argv;
  if (name === undefined || name.startsWith('-') || more.length > 0) {
    fail('usage: lanyard key NAME      a name for the person or tool that will use the key, such as alice');
    return 2;
  }
  const fault = nameFault(name);
  if (fault !== undefined) {
    fail(`lanyard key: the name ${fault}`);
    return 2;
  }
  const made = makeKey();
  out(made);
  out('');
  out(
    `# The line above is ${name}'s key. It is shown only now; the gateway keeps its hash. Paste into config/lanyard.yaml:`,
  );
  out('auth:');
  out('  keys:');
  // In quotes: a name such as 1.10 or true would not be a text without them.
  out(`    - name: "${name}"`);
  out(`      hash: "sha256:${digest(made).toString('hex')}"`);
  return 0;
}

// deploy/certs.sh, how it writes: whenever it is cut off, the next run puts all in order, and no link in the folder leads what
// it writes elsewhere.
import { createPrivateKey } from 'node:crypto';
import {
  chmodSync,
  lstatSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { findProgram } from '../stage/program.ts';
import {
  caOf,
  certs,
  certsAfter,
  everything,
  leafOf,
  madeFolder,
  newFolder,
  openssl,
  read,
  SHELLS,
} from './run-certs.ts';

const KILL = 'kill -KILL "$SCRIPT"; exit 1';
const FULL = 'exit 1';

describe.for(SHELLS)('run by %s', (shell) => {
  describe('cut off where it writes a file, it goes on with the next run:', () => {
    const runs = [
      { run: 'the first run', start: newFolder, writes: 4 },
      { run: 'a renewal', start: madeFolder, writes: 1 },
      { run: 'a renewal with a new key', start: withoutKey, writes: 2 },
    ] as const;
    test.for(runs.flatMap((each) => Array.from({ length: each.writes }, (_, before) => ({ ...each, at: before + 1 }))))(
      '$run, file $at of $writes',
      ({ start, at }) => {
        for (const how of [KILL, FULL]) {
          const folder = start();
          const cut = certsAfter(':', folder, ['new.lan'], shell, withMv(at, how));
          expect([cut.signal, cut.status]).toEqual(how === KILL ? ['SIGKILL', null] : [null, 1]);
          expect(certs(folder, ['new.lan'], shell)).toMatchObject({ status: 0 });
          expectGood(folder);
        }
      },
    );

    test.for(runs)('$run writes $writes files and no more', ({ start, writes }) => {
      expect(certsAfter(':', start(), ['new.lan'], shell, withMv(writes + 1, FULL))).toMatchObject({ status: 0 });
    });
  });

  test('a renewal cut off leaves what nginx can start with', () => {
    const folder = madeFolder();
    const before = everything(folder);
    expect(certsAfter(':', folder, ['new.lan'], shell, withMv(1, FULL)).status).toBe(1);
    expect(everything(folder)).toEqual(before);
    certsAfter(':', folder, ['new.lan'], shell, withMv(1, KILL));
    expect(everything(folder)).toMatchObject(before);
  });

  test('after a first run cut off it still tells how clients are to trust the authority', () => {
    for (const step of [2, 3, 4]) {
      const folder = newFolder();
      certsAfter(':', folder, ['a.lan'], shell, withMv(step, KILL));
      expect(certs(folder, ['a.lan'], shell).words).toContain('curl --cacert ca.pem');
    }
  });

  test.for([
    ['cannot write', FULL, 'cannot be written'],
    ['is told to end', 'kill -TERM "$SCRIPT"; exit 0', ''],
  ] as const)('it leaves no half-written file when it %s', ([, how, words]) => {
    const [folder, temporary] = [newFolder(), newFolder()];
    const env = { ...withMv(2, how), TMPDIR: temporary };
    const ran = certsAfter(':', folder, ['a.lan'], shell, env);
    expect(ran).toMatchObject({ status: 1, words: expect.stringContaining(words) });
    expect([readdirSync(folder), readdirSync(temporary)]).toEqual([['ca-key.pem'], []]);
  });

  test('a link with a name that can be foretold leads nothing elsewhere', () => {
    const [folder, elsewhere] = [newFolder(), join(newFolder(), 'elsewhere')];
    writeFileSync(elsewhere, 'untouched');
    const plant = `ln -s '${elsewhere}' "$FOLDER/.new.$SCRIPT"`;
    expect(certsAfter(plant, folder, ['a.lan'], shell)).toMatchObject({ status: 0 });
    expect(readFileSync(elsewhere, 'utf8')).toBe('untouched');
    expectGood(folder);
  });

  // Who watches the folder sees every name it makes, and may put a link there at once.
  test('a link put in place of the new file itself leads nothing elsewhere', () => {
    const [folder, elsewhere, bin] = [newFolder(), join(newFolder(), 'elsewhere'), newFolder()];
    writeFileSync(elsewhere, 'untouched');
    const swap = `for each in "$FOLDER"/.new.*; do [ ! -e "$each" ] || ln -sf '${elsewhere}' "$each"; done`;
    for (const name of ['mktemp', 'chmod', 'cat', 'cp', 'touch', 'rm'])
      program(join(bin, name), `'${findProgram(name)}' "$@" || exit\n${swap}`);
    certsAfter(':', folder, ['a.lan'], shell, { ...process.env, PATH: `${bin}:${process.env['PATH']}` });
    expect(readFileSync(elsewhere, 'utf8')).toBe('untouched');
  });

  test('a certificate that is a link is replaced, and what it led to stays', () => {
    const [folder, archive] = [madeFolder(), newFolder()];
    for (const name of ['fullchain.pem', 'privkey.pem']) {
      renameSync(join(folder, name), join(archive, name));
      symlinkSync(join(archive, name), join(folder, name));
    }
    const before = everything(archive);
    expect(certs(folder, ['new.lan'], shell)).toMatchObject({ status: 0 });
    expect(lstatSync(join(folder, 'fullchain.pem')).isFile()).toBe(true);
    expect(everything(archive)).toEqual(before);
    expectGood(folder);
  });

  test('a link to a folder takes no file into it', () => {
    const [folder, elsewhere] = [newFolder(), newFolder()];
    const bin = newFolder();
    // Put there when it has looked already, just before it writes.
    program(
      join(bin, 'openssl'),
      `'${findProgram('openssl')}' "$@" || exit\ncase "$*" in *' -x509 '*) ln -s '${elsewhere}' "$FOLDER/ca-key.pem" ;; esac`,
    );
    const env = { ...process.env, PATH: `${bin}:${process.env['PATH']}` };
    expect(certsAfter(':', folder, ['a.lan'], shell, env)).toMatchObject({
      status: 1,
      words: expect.stringContaining('ca-key.pem cannot be written'),
    });
    expect([readdirSync(folder), readdirSync(elsewhere)]).toEqual([['ca-key.pem'], []]);
  });
});

/** An environment where `mv` does this instead, the time it is called for the `step`th. */
function withMv(step: number, how: string): NodeJS.ProcessEnv {
  const bin = newFolder();
  const count = join(bin, 'count');
  writeFileSync(count, '');
  const lines = [`echo >>'${count}'`, `[ "$(wc -l <'${count}')" -ne ${step} ] || { ${how}; }`];
  program(join(bin, 'mv'), `${lines.join('\n')}\nexec '${findProgram('mv')}' "$@"`);
  return { ...process.env, PATH: `${bin}:${process.env['PATH']}`, TMPDIR: newFolder() };
}

function program(file: string, script: string): void {
  writeFileSync(file, `#!/bin/sh\n${script}\n`);
  chmodSync(file, 0o755);
}

function withoutKey(): string {
  const folder = madeFolder();
  rmSync(join(folder, 'privkey.pem'));
  return folder;
}

/** All that nginx, the clients and the next renewal need, and all of it of one piece. */
function expectGood(folder: string): void {
  const leaf = leafOf(folder);
  expect(leaf.checkPrivateKey(createPrivateKey(read(folder, 'privkey.pem')))).toBe(true);
  expect(caOf(folder).checkPrivateKey(createPrivateKey(read(folder, 'ca-key.pem')))).toBe(true);
  expect(openssl('verify', '-x509_strict', '-CAfile', `${folder}/ca.pem`, `${folder}/fullchain.pem`)).toMatch(
    /: OK\n$/,
  );
  const modes = Object.fromEntries(
    readdirSync(folder, { withFileTypes: true })
      .filter((file) => file.isFile() && file.name.endsWith('.pem'))
      .map(({ name }) => [name, (statSync(join(folder, name)).mode & 0o777).toString(8)]),
  );
  for (const [name, mode] of Object.entries(modes)) expect(mode, name).toBe(name.includes('key') ? '600' : '644');
}

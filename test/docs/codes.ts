// Every code a caller can meet, read from where it is made: the gateway's table in src/wire/errors.ts, and nginx.conf's own
// refusals.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from './stage.ts';

interface Code {
  readonly status: number;
  readonly type: string;
}

function read(file: string, pattern: RegExp): string[][] {
  return [...readFileSync(join(ROOT, file), 'utf8').matchAll(pattern)].map((found) => [...found]);
}

export const OURS: ReadonlyMap<string, Code> = new Map(
  read('src/wire/errors.ts', /^ {2}(\w+): \[(\d{3}), '(\w+)'\],$/gm).map(([, code = '', status, type = '']) => [
    code,
    { status: Number(status), type },
  ]),
);

export const NGINX: ReadonlyMap<string, Code> = new Map(
  read('nginx.conf', /^ *(\d{3}|default) '\{"error":\{.*"type":"(\w+)","param":null,"code":"(\w+)"\}\}';$/gm).map(
    ([, status, type = '', code = '']) => [code, { status: status === 'default' ? 400 : Number(status), type }],
  ),
);

export const CODES: ReadonlyMap<string, Code> = new Map([...NGINX, ...OURS]);

// A command on a real terminal (test/cli/monitor-pty.py), its keys, and its screen as a person sees it: the few control sequences
// that ink uses are obeyed, and any other one fails the test.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';

const PTY = fileURLToPath(new URL('monitor-pty.py', import.meta.url));
const PATIENCE_MS = 15_000;

export const NO_TERMINAL =
  spawnSync('python3', ['-c', 'import pty, termios']).status === 0 ? '' : ' (skipped: python3 with pty is not here)';

export interface Terminal {
  /** What is seen now, line by line, without spaces behind. */
  screen(): string[];
  /** The screen, once it is so. */
  until(so: (screen: string[]) => boolean): Promise<string[]>;
  /** Until this stands on it. */
  shows(text: string | RegExp): Promise<string[]>;
  type(keys: string): void;
  resize(rows: number, columns: number): void;
  signal(number: number): void;
  /** Is it the alternate one; is the cursor hidden? */
  state(): { alternate: boolean; hidden: boolean };
  readonly ended: Promise<{ status: number; restored: boolean }>;
}

interface Options {
  readonly rows?: number;
  readonly columns?: number;
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd: string;
}

export function onTerminal(command: readonly string[], { rows = 24, columns = 80, env = {}, cwd }: Options): Terminal {
  const child = spawn('python3', [PTY, String(rows), String(columns), ...command], {
    cwd,
    env: { PATH: process.env['PATH'], TERM: 'xterm-256color', LANG: 'C.UTF-8', ...env },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const screen = emulate(rows, columns);
  const waiting = new Set<() => void>();
  let told = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    screen.write(text);
    for (const look of waiting) look();
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => (told += text));
  const ended = once(child, 'close').then(() => JSON.parse(told) as { status: number; restored: boolean });
  ended.catch(() => undefined);
  onTestFinished(() => void child.kill('SIGKILL'));
  const send = (what: object): void => void child.stdin.write(`${JSON.stringify(what)}\n`);
  const until = (so: (screen: string[]) => boolean): Promise<string[]> =>
    new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        reject(new Error(`not seen in time; what is seen:\n${screen.lines().join('\n')}\n${told}`));
      }, PATIENCE_MS);
      const look = (): void => {
        const lines = screen.lines();
        if (!so(lines)) return;
        clearTimeout(timer);
        waiting.delete(look);
        resolve(lines);
      };
      waiting.add(look);
      look();
    });
  return {
    screen: screen.lines,
    until,
    shows: (text) =>
      until((lines) => lines.some((line) => (typeof text === 'string' ? line.includes(text) : text.test(line)))),
    type: (keys) => send({ keys }),
    resize(newRows, newColumns) {
      screen.resize(newRows, newColumns);
      send({ size: [newRows, newColumns] });
    },
    signal: (number) => send({ signal: number }),
    state: screen.state,
    ended,
  };
}

// oxlint-disable no-control-regex -- control sequences are what this is about

/** ECMA-48, as much of it as is used. */
function emulate(rows: number, columns: number) {
  let [height, width] = [rows, columns];
  const screens = { main: [[]] as string[][], alternate: [[]] as string[][] };
  let shown: 'main' | 'alternate' = 'main';
  let [row, column, kept] = [0, 0, { row: 0, column: 0 }];
  let hidden = false;
  let rest = '';
  const put = (character: string): void => {
    if (column >= width) [column, row] = [0, row + 1];
    scroll();
    const line = (screens[shown][row] ??= []);
    while (line.length < column) line.push(' ');
    line[column] = character;
    column += 1;
  };
  const scroll = (): void => {
    while (row >= height) {
      screens[shown].shift();
      row -= 1;
    }
  };
  const control = (sequence: string): void => {
    const [, mark = '', digits = '', final = ''] = /^\u001B\[([?>]?)([\d;]*)(.)$/.exec(sequence) ?? [];
    const [first = 0, second = 0] = digits.split(';').map(Number);
    const grid = screens[shown];
    switch (mark + final) {
      case 'm':
        return;
      case 'A':
        row = Math.max(0, row - Math.max(1, first));
        return;
      case 'B':
        row = Math.min(height - 1, row + Math.max(1, first));
        return;
      case 'C':
        column += Math.max(1, first);
        return;
      case 'G':
        column = Math.max(1, first) - 1;
        return;
      case 'E':
        [row, column] = [Math.min(height - 1, row + Math.max(1, first)), 0];
        return;
      case 'H':
        [row, column] = [Math.max(1, first) - 1, Math.max(1, second) - 1];
        return;
      case 'K':
        if (first === 2) grid[row] = [];
        else if (first === 0) grid[row]?.splice(column);
        else throw new Error(`not known: ${JSON.stringify(sequence)}`);
        return;
      case 'J':
        if (first === 2) grid.splice(0);
        else if (first === 0) void [grid[row]?.splice(column), grid.splice(row + 1)];
        else throw new Error(`not known: ${JSON.stringify(sequence)}`);
        return;
      case '?h':
      case '?l': {
        const on = final === 'h';
        if (first === 25) hidden = !on;
        else if (first === 1049 && on) [shown, kept, screens.alternate] = ['alternate', { row, column }, [[]]];
        else if (first === 1049) [shown, row, column] = ['main', kept.row, kept.column];
        // 2026: drawn at once or not, 2004: pasting.
        else if (first !== 2026 && first !== 2004) throw new Error(`not known: ${JSON.stringify(sequence)}`);
        return;
      }
      default:
        throw new Error(`not known: ${JSON.stringify(sequence)}`);
    }
  };
  return {
    write(text: string): void {
      const all = rest + text;
      // A sequence may be cut in two.
      rest = /\u001B(?:\[[?>\d;]*)?$/.exec(all)?.[0] ?? '';
      const whole = all.slice(0, all.length - rest.length);
      for (const [part] of whole.matchAll(/\u001B\[[?>]?[\d;]*[A-Za-z]|[\s\S]/gu)) {
        if (part.length > 1 && part.startsWith('\u001B')) control(part);
        else if (part === '\n') row += 1;
        else if (part === '\r') column = 0;
        else put(part);
        scroll();
      }
    },
    lines: (): string[] => Array.from({ length: height }, (_, at) => (screens[shown][at] ?? []).join('').trimEnd()),
    resize: (newRows: number, newColumns: number): void => void ([height, width] = [newRows, newColumns]),
    state: () => ({ alternate: shown === 'alternate', hidden }),
  };
}
